// Keeps today's tables current. The hub sends whole tables, so nothing is missed after a break.
"use strict";
const state = document.getElementById("state");
const source = new EventSource("/live");
source.onopen = () => { state.textContent = "live"; };
source.onerror = () => {
  state.textContent = source.readyState === EventSource.CLOSED
    ? "not live: close other live pages or log in again, then reload"
    : "connection lost, trying again";
};
for (const table of ["punches", "timesheet"]) {
  source.addEventListener(table, (event) => { document.getElementById(table).innerHTML = event.data; });
}
