# shellcheck shell=bash
# A real hub with a private PostgreSQL in $work/hub, for guests to talk to. To be sourced.
# shellcheck disable=SC2034,SC2154 # variables of who sources it, and for them

# binaries [EDGE]: what the run needs of a build, copied: it stays the same if someone builds meanwhile.
binaries() {
  local from=${ROLLCALL_BIN:-$root/target/release} each
  mkdir "$work/bin"
  for each in rollcall-edge rollcall-hub; do
    [[ -x $from/$each ]] || {
      echo "$suite: no $each in $from (ROLLCALL_BIN); build it with: cargo build --release --bins" >&2
      exit 2
    }
    cp "$from/$each" "$work/bin"
  done
  # What a build would have brought: PostgreSQL among others.
  { "$root/deploy/setup.sh" && "$root/models/fetch.sh" && "$root/deploy/photos.sh"; } >"$work/setup.log" 2>&1 ||
    skip "$(tail -n 1 "$work/setup.log")"
  export ROLLCALL_LITERT=$root/models/runtime/libLiteRt.so ROLLCALL_MODELS=$root/models/data
}

# hub COMMAND...: one of the hub's commands.
hub() { "$work/bin/rollcall-hub" "$@" --config "$work/hub.toml"; }

# start_hub NAME...: starts it under these names and enrols one person, number 1001. Sets `mqtt` and `https`,
# its ports, and `token`, which an administrator of the API has.
start_hub() {
  local names
  chmod 711 "$work" # PostgreSQL runs as a user of its own
  read -r mqtt https < <(/usr/bin/python3 -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))')
  names=$(printf '"%s", ' "$@")
  cat >"$work/hub.toml" <<TOML
state = "$work/hub"
names = [${names%, }]
mqtt = "127.0.0.1:$mqtt"
https = "127.0.0.1:$https"
zone = "UTC"
TOML
  "$work/bin/rollcall-hub" run --config "$work/hub.toml" >"$work/hub.out" 2>"$work/hub.log" &
  hub_process=$!
  until grep -qs "^console " "$work/hub.out"; do
    kill -0 "$hub_process" 2>/dev/null || { tail -n 5 "$work/hub.log" >&2; fail "the hub did not start"; }
    sleep 0.1
  done
  hub person add 1001 "Ada Example"
  hub person consent 1001
  hub person enrol 1001 "$root"/deploy/photos/obama{2,3}.jpg 2>"$work/enrol.log" ||
    fail "enrolling failed: $(tail -n 1 "$work/enrol.log")"
  hub account create lab --role admin <<<'correct horse battery'
  token=$(curl -sSf --cacert "$work/hub/pki/ca.pem" "https://localhost:$https/api/v1/sessions" \
    -H 'content-type: application/json' -d '{"name": "lab", "password": "correct horse battery"}' | jq -re .token)
} >"$work/start_hub.log"

# sign FOLDER: makes the state folder of a terminal that the hub knows. Sets `device`, its id.
sign() {
  device=$("$work/bin/rollcall-edge" csr --state "$1" | awk 'NR == 1 { print $2 }')
  hub terminal sign "$1/terminal.csr" --name "Lab" --out "$1" >/dev/null
}

# fill FOLDER: has a terminal of that state folder fetch what the hub has for it.
fill() {
  local terminal
  cat >"$work/fill.toml" <<TOML
state = "$1"
[hub]
host = "localhost"
port = $mqtt
https_port = $https
[camera]
kind = "walk"
passes = [{ photo = "$root/deploy/photos/obama.jpg" }]
start_after_s = 3600
[gallery]
key = "$1/roster.key"
TOML
  "$work/bin/rollcall-edge" run --config "$work/fill.toml" >"$work/fill.log" 2>&1 &
  terminal=$!
  until grep -qs 'gallery updated' "$work/fill.log"; do
    kill -0 "$terminal" 2>/dev/null || fail "the terminal ended: $(tail -n 1 "$work/fill.log")"
    sleep 0.1
  done
  kill "$terminal"
  wait "$terminal" || true
}

stop_hub() {
  [[ ${hub_process-} ]] || return 0
  kill "$hub_process" 2>/dev/null || true
  wait "$hub_process" 2>/dev/null || true
  hub_process=''
}
