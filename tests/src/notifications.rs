//! A hub with a shift and people who receive notifications.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use crate::dir::TestDir;
use crate::eventually;
use crate::hub::Hub;
use crate::smtp::{self, Mail, Smtp};

pub const SECRET: &str = "a secret of thirty-two characters";

/// A shift from 9 to 5 every day, whose window closes before midnight, and a terminal.
const PLAN: &str = r#"
    insert into shifts (name, rules) values ('Early', '{"start": "09:00", "end": "17:00", "window_after_min": 120}');
    insert into schedules (name, anchor, cycle_days) values ('Daily', '2025-01-06', 1);
    insert into schedule_days (schedule, day, shift) select c.id, 0, s.id from schedules c, shifts s;
    insert into terminals (device, name, state, certificate_sha256, expires_at, reported_through, created_at)
        values (repeat('0', 32), 'Door', 'accepted', '\x00', now() + interval '1 year', now(), '2025-01-01');
"#;

/// Starts a hub with the shift and a manager (9000).
pub async fn start_hub(dir: &TestDir, channels: &str) -> Result<Hub> {
    let mut hub = Hub::configure(dir, "hub", channels)?;
    hub.start()?;
    // The first sweep of a date recomputes all workdays: later it would overwrite what a test has changed.
    eventually("the sweep of the date", async || {
        let sites = hub.cluster().number("select count(*) from sites where swept_through is null").await?;
        ensure!(sites == 0, "{sites} sites wait");
        Ok(())
    })
    .await?;
    hub.cluster().execute(PLAN).await?;
    let boss = Person { number: "9000", name: "Berta Boss", email: "boss@example.org", ..Person::default() };
    boss.insert(&hub).await?;
    Ok(hub)
}

/// Empty fields are null.
#[derive(Default)]
pub struct Person<'a> {
    pub number: &'a str,
    pub name: &'a str,
    pub email: &'a str,
    /// German instead of English.
    pub german: bool,
    /// The manager's number.
    pub manager: &'a str,
    /// Notification kinds opted out of, separated by commas.
    pub muted: &'a str,
}

impl Person<'_> {
    pub async fn insert(&self, hub: &Hub) -> Result<()> {
        let Self { number, name, email, german, manager, muted } = self;
        let language = if *german { "de" } else { "en" };
        let text = format!(
            "insert into people (id, number, name, email, language, manager, muted)
            values (gen_random_uuid(), '{number}', '{name}', nullif('{email}', ''), '{language}',
                (select id from people where number = '{manager}'), string_to_array('{muted}', ','))"
        );
        hub.cluster().execute(&text).await
    }
}

/// Gives somebody a shift so many days ago, with punches at local times (`'09:30', '17:00'`).
pub async fn add_workday(hub: &Hub, number: &str, days_ago: u32, times: &str) -> Result<()> {
    let text = format!(
        r"create temporary table day as
            select p.id as person, (now() at time zone 'Europe/Berlin')::date - {days_ago} as date
            from people p where p.number = '{number}';
        insert into assignments (person, schedule, from_date, to_date)
            select d.person, c.id, d.date, d.date from day d, schedules c;
        insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), repeat('0', 32), 1,
                (select coalesce(max(seq), 0) from punches) + row_number() over (), d.person,
                (d.date + t.time) at time zone 'Europe/Berlin', 'synchronised', 'unknown', 0.1, '\x00'
            from day d, unnest(array[{times}]::time[]) as t (time);
        insert into jobs (person, from_date, to_date) select person, date, date from day;
        select pg_notify('rollcall_job', '');"
    );
    hub.cluster().execute(&text).await
}

/// Yesterday's shift, half an hour late.
pub async fn add_late_workday(hub: &Hub, number: &str) -> Result<()> {
    add_workday(hub, number, 1, "'09:30', '17:00'").await
}

/// Adds people from number 2000 on with a shift yesterday and no punches. The terminal has not reported.
pub async fn add_absent_people(hub: &Hub, people: u32) -> Result<()> {
    let text = format!(
        "begin;
        update terminals set reported_through = now() - interval '10 days';
        insert into people (id, number, name, email)
            select gen_random_uuid(), n::text, 'Person ' || n, n || '@example.org'
            from generate_series(2000, 1999 + {people}) as g (n);
        insert into assignments (person, schedule, from_date, to_date)
            select p.id, c.id, d.date, d.date from people p, schedules c,
                (select (now() at time zone 'Europe/Berlin')::date - 1) as d (date)
            where p.number between '2000' and '2999';
        insert into jobs (person, from_date, to_date) select person, from_date, to_date from assignments;
        select pg_notify('rollcall_job', '');
        commit;"
    );
    hub.cluster().execute(&text).await
}

/// Stores punches of the first of these people, and in the same transaction that the terminal has reported everything.
pub async fn deliver_punches(hub: &Hub, people: u32, times: &str) -> Result<()> {
    let text = format!(
        r"begin;
        insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), repeat('0', 32), 1, row_number() over (), a.person,
                (a.from_date + t.time) at time zone 'Europe/Berlin', 'synchronised', 'unknown', 0.1, '\x00'
            from assignments a join people p on p.id = a.person, unnest(array[{times}]::time[]) as t (time)
            where p.number between '2000' and (1999 + {people})::text;
        insert into jobs (person, from_date, to_date)
            select a.person, a.from_date, a.to_date from assignments a join people p on p.id = a.person
            where p.number between '2000' and (1999 + {people})::text;
        update terminals set reported_through = now();
        select pg_notify('rollcall_job', '');
        commit;"
    );
    hub.cluster().execute(&text).await
}

pub async fn wait_until_dropped(hub: &Hub, reason: &str) -> Result<()> {
    let which = format!("state = 'dropped' and error = '{reason}'");
    eventually("a message to be dropped", async || {
        ensure!(count_messages(hub, &which).await? == 1, "{}", hub.logged());
        Ok(())
    })
    .await
}

/// The number of messages that match a condition.
pub async fn count_messages(hub: &Hub, which: &str) -> Result<i64> {
    hub.cluster().number(&format!("select count(*) from outbox where {which}")).await
}

/// Waits until this many messages have been sent and none is pending.
pub async fn wait_until_sent(hub: &Hub, messages: i64) -> Result<()> {
    eventually("every message to be sent", async || {
        let (sent, waiting) =
            (count_messages(hub, "state = 'sent'").await?, count_messages(hub, "state = 'pending'").await?);
        ensure!(sent == messages && waiting == 0, "{sent} sent, {waiting} pending; {}", hub.logged());
        Ok(())
    })
    .await
}

pub async fn wait_for_failure(hub: &Hub) -> Result<()> {
    eventually("a failure", async || {
        ensure!(
            count_messages(hub, "state = 'pending' and error is not null").await? > 0,
            "{}",
            hub.logged()
        );
        Ok(())
    })
    .await
}

/// Checks that the mail server got one email to each of these addresses and no other, in any order.
pub fn check_inbox(smtp: &Smtp, mut expected: Vec<String>) -> Result<()> {
    let inbox = smtp.inbox()?;
    let ids: HashSet<&str> = inbox.iter().map(Mail::id).collect();
    let mut found: Vec<&str> = inbox.iter().map(Mail::to).collect();
    found.sort_unstable();
    expected.sort_unstable();
    ensure!(found == expected, "{found:?}, not {expected:?}");
    ensure!(ids.len() == inbox.len(), "one id twice: {inbox:?}");
    Ok(())
}

/// Checks that no address, name or secret is in the log, and no address in the error of a message.
pub async fn check_nothing_leaks(hub: &Hub) -> Result<()> {
    let logged = hub.logged();
    for secret in ["@example.org", smtp::PASSWORD, SECRET, "Ann Early"] {
        ensure!(!logged.contains(secret), "{secret} in the log");
    }
    ensure!(count_messages(hub, "error like '%@%'").await? == 0, "an address in an error");
    Ok(())
}

pub fn ann<'a>(number: &'a str, email: &'a str) -> Person<'a> {
    Person { number, name: "Ann Early", email, ..Person::default() }
}
