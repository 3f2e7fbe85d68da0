//! People are told what happened, once, whatever becomes of the mail server and of the hub.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tests::api::{Api, answered};
use tests::eventually;
use tests::ground::Ground;
use tests::hub::Hub;
use tests::smtp::{Mail, Smtp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const SECRET: &str = "a secret of thirty-two characters";

/// A shift from 9 to 5, and the door that everybody uses.
const PLAN: &str = r#"
    insert into shifts (name, rules) values ('Early', '{"start": "09:00", "end": "17:00"}');
    insert into schedules (name, anchor, cycle_days) values ('Daily', '2025-01-06', 1);
    insert into schedule_days (schedule, day, shift) select c.id, 0, s.id from schedules c, shifts s;
    insert into terminals (device, name, state, certificate_sha256, expires_at, reported_through, created_at)
        values (repeat('0', 32), 'Door', 'accepted', '\x00', now() + interval '1 year', now(), '2025-01-01');
"#;

/// A hub that runs, with a plan and a boss (9000).
async fn office(ground: &Ground, channels: &str) -> Result<Hub> {
    let mut hub = Hub::configure(ground, "hub", channels)?;
    hub.start()?;
    hub.cluster().execute(PLAN).await?;
    let boss = Person { number: "9000", name: "Berta Boss", email: "boss@example.org", ..Person::default() };
    boss.join(&hub).await?;
    Ok(hub)
}

/// Somebody; what is empty is not there.
#[derive(Default)]
struct Person<'a> {
    number: &'a str,
    name: &'a str,
    email: &'a str,
    german: bool,
    manager: &'a str,
    muted: &'a str,
}

impl Person<'_> {
    async fn join(&self, hub: &Hub) -> Result<()> {
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
async fn works(hub: &Hub, number: &str, days_ago: u32, times: &str) -> Result<()> {
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

/// They came half an hour late yesterday.
async fn late(hub: &Hub, number: &str) -> Result<()> {
    works(hub, number, 1, "'09:30', '17:00'").await
}

/// People from number 2000 on who were to work yesterday, all asked for. The terminal is silent.
async fn crowd(hub: &Hub, people: u32) -> Result<()> {
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

/// The terminal delivers punches of so many of the crowd, in one commit with its word that there
/// are no more.
async fn deliver(hub: &Hub, people: u32, times: &str) -> Result<()> {
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

/// Waits until so many workdays are as the condition says.
async fn workdays(hub: &Hub, number: i64, which: &str) -> Result<()> {
    let query = format!("select count(*) from workdays where shift = 'Early' and {which}");
    eventually("the workdays", async || {
        let found = hub.cluster().number(&query).await?;
        ensure!(found == number, "{found} workdays, not {number}: {which}; {}", hub.logged());
        Ok(())
    })
    .await
}

/// Waits until a message was dropped for a reason.
async fn dropped(hub: &Hub, reason: &str) -> Result<()> {
    let which = format!("state = 'dropped' and error = '{reason}'");
    eventually("a message to be dropped", async || {
        ensure!(count(hub, &which).await? == 1, "{}", hub.logged());
        Ok(())
    })
    .await
}

/// Has the hub look at what has become final, and waits until it has: it does so every five seconds
/// at most.
async fn look(hub: &Hub) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(6)).await;
    hub.cluster().execute("select pg_notify('rollcall_job', '')").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// How long the server is away besides: `ROLLCALL_OUTAGE_S` seconds, an hour being 3600. Afterwards the
/// next attempt may be five minutes away.
fn outage() -> Result<Duration> {
    let seconds = std::env::var("ROLLCALL_OUTAGE_S").unwrap_or_else(|_| "0".into());
    Ok(Duration::from_secs(seconds.parse().context("ROLLCALL_OUTAGE_S: seconds")?))
}

async fn count(hub: &Hub, which: &str) -> Result<i64> {
    hub.cluster().number(&format!("select count(*) from outbox where {which}")).await
}

/// Waits until so many messages have been sent and none waits.
async fn all_sent(hub: &Hub, messages: i64) -> Result<()> {
    eventually("every message to be sent", async || {
        let (sent, waiting) = (count(hub, "state = 'sent'").await?, count(hub, "state = 'pending'").await?);
        ensure!(sent == messages && waiting == 0, "{sent} sent, {waiting} wait; {}", hub.logged());
        Ok(())
    })
    .await
}

/// Waits until an attempt to send a message has failed.
async fn refused(hub: &Hub) -> Result<()> {
    eventually("a failure", async || {
        ensure!(count(hub, "state = 'pending' and error is not null").await? > 0, "{}", hub.logged());
        Ok(())
    })
    .await
}

/// Checks that each of these addresses got one message and nobody got another, in any order.
fn each_once(smtp: &Smtp, mut expected: Vec<String>) -> Result<()> {
    let inbox = smtp.inbox()?;
    let ids: HashSet<&str> = inbox.iter().map(Mail::id).collect();
    let mut found: Vec<&str> = inbox.iter().map(Mail::to).collect();
    found.sort_unstable();
    expected.sort_unstable();
    ensure!(found == expected, "{found:?}, not {expected:?}");
    ensure!(ids.len() == inbox.len(), "one id twice: {inbox:?}");
    Ok(())
}

/// No address and no password may stand in a log or beside a message that waits.
async fn nothing_is_given_away(hub: &Hub) -> Result<()> {
    let logged = hub.logged();
    for secret in ["@example.org", tests::smtp::PASSWORD, SECRET, "Ann Early"] {
        ensure!(!logged.contains(secret), "{secret} in the log");
    }
    ensure!(count(hub, "error like '%@%'").await? == 0, "an address in an error");
    Ok(())
}

fn ann<'a>(number: &'a str, email: &'a str) -> Person<'a> {
    Person { number, name: "Ann Early", email, ..Person::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_by_starttls_and_by_tls() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let mut hub = office(&ground, &smtp.configuration("starttls")).await?;
    Person { manager: "9000", ..ann("1001", "ann@example.org") }.join(&hub).await?;
    late(&hub, "1001").await?;
    all_sent(&hub, 2).await?;
    each_once(&smtp, vec!["ann@example.org".into(), "boss@example.org".into()])?;
    let log = smtp.log();
    ensure!(log.lines().any(|line| line.contains(" starttls#1 stored ")), "{log}");
    ensure!(!log.lines().any(|line| line.contains(" tls#")), "the other port was used: {log}");
    let inbox = smtp.inbox()?;
    let own = inbox.iter().find(|mail| mail.to() == "ann@example.org").context("a letter to Ann")?;
    ensure!(own.header("Subject").starts_with("You came in late on "), "{own:?}");
    ensure!(own.header("From") == "Rollcall <rollcall@example.org>", "{own:?}");
    ensure!(own.header("To") == "Ann Early <ann@example.org>", "{own:?}");
    ensure!(own.header("Auto-Submitted") == "auto-generated", "{own:?}");
    ensure!(own.header("Content-Type").contains("text/plain"), "{own:?}");
    ensure!(own.header("Date").ends_with("+0000"), "{own:?}");
    ensure!(own.id().ends_with("@example.org>"), "{own:?}");
    for part in ["Hello Ann Early,", "at 09:30", "30 minutes", "09:00", "(Early)"] {
        ensure!(own.body().contains(part), "{part}: {own:?}");
    }
    let boss = inbox.iter().find(|mail| mail.to() == "boss@example.org").context("a letter to the boss")?;
    ensure!(boss.header("Subject").starts_with("Ann Early came in late on "), "{boss:?}");
    ensure!(
        boss.body().contains("Hello Berta Boss,") && boss.body().contains("Ann Early (1001)"),
        "{boss:?}"
    );

    hub.kill()?;
    let text = std::fs::read_to_string(&hub.config)?;
    let (before, after) = (smtp.configuration("starttls"), smtp.configuration("tls"));
    std::fs::write(&hub.config, text.replace(&before, &after))?;
    hub.start()?;
    ann("1002", "other@example.org").join(&hub).await?;
    late(&hub, "1002").await?;
    all_sent(&hub, 3).await?;
    ensure!(
        smtp.log().lines().any(|line| line.contains(" tls#") && line.contains("stored")),
        "{}",
        smtp.log()
    );
    // Told once, a late arrival is told of no more, whatever is computed again.
    let again = "update workdays set late_s = 1; insert into jobs (person, from_date, to_date) \
        select person, date, date from workdays; select pg_notify('rollcall_job', '')";
    hub.cluster().execute(again).await?;
    eventually("the workdays to be computed", async || {
        ensure!(hub.cluster().number("select count(*) from workdays where late_s = 1").await? == 0);
        Ok(())
    })
    .await?;
    all_sent(&hub, 3).await?;
    nothing_is_given_away(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_the_server_is_down() -> Result<()> {
    let ground = Ground::new()?;
    let mut smtp = Smtp::start_new(&ground)?;
    let mut hub = office(&ground, &smtp.configuration("starttls")).await?;
    smtp.stop()?;
    let mut expected = Vec::new();
    for number in ["1001", "1002", "1003"] {
        let email = format!("ann{number}@example.org");
        Person { manager: "9000", ..ann(number, &email) }.join(&hub).await?;
        late(&hub, number).await?;
        expected.extend([email, "boss@example.org".to_owned()]);
    }
    refused(&hub).await?;
    let outage = outage()?;
    tokio::time::sleep(outage / 2).await;
    hub.kill()?;
    hub.start()?;
    refused(&hub).await?;
    tokio::time::sleep(outage / 2).await;
    smtp.start()?;
    while outage > tests::PATIENCE && all_sent(&hub, 6).await.is_err() {}
    all_sent(&hub, 6).await?;
    each_once(&smtp, expected.clone())?;
    // Killed while the server had a letter and did not say so: nobody else takes it for a while.
    smtp.behave("stall-data")?;
    ann("1004", "ann1004@example.org").join(&hub).await?;
    late(&hub, "1004").await?;
    eventually("a letter on its way", async || {
        ensure!(smtp.log().contains("message taken, no answer"), "{}", smtp.log());
        Ok(())
    })
    .await?;
    hub.kill()?;
    hub.start()?;
    smtp.behave("accept")?;
    all_sent(&hub, 7).await?;
    expected.push("ann1004@example.org".to_owned());
    each_once(&smtp, expected)?;
    nothing_is_given_away(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_misbehaves_is_tried_again() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    let modes = ["refuse-connect", "stall", "refuse-login", "drop", "busy", "stall-data"];
    let mut expected = Vec::new();
    for (i, mode) in modes.into_iter().enumerate() {
        smtp.behave(mode)?;
        let number = format!("{}", 1001 + i);
        let email = format!("{mode}@example.org");
        ann(&number, &email).join(&hub).await?;
        late(&hub, &number).await?;
        refused(&hub).await?;
        ensure!(smtp.log().contains(&format!(" {mode} ")), "{mode}: {}", smtp.log());
        smtp.behave("accept")?;
        expected.push(email);
        all_sent(&hub, expected.len() as i64).await?;
        each_once(&smtp, expected.clone()).with_context(|| mode.to_owned())?;
    }
    nothing_is_given_away(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_may_have_arrived_is_sent_again_under_its_id() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    smtp.behave("drop-after-accept")?;
    Person { manager: "9000", ..ann("1001", "ann@example.org") }.join(&hub).await?;
    late(&hub, "1001").await?;
    eventually("two copies", async || {
        let copies = smtp.inbox()?;
        ensure!(copies.len() >= 3, "{} messages", copies.len());
        Ok(())
    })
    .await?;
    smtp.behave("accept")?;
    all_sent(&hub, 2).await?;
    let mut ids: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for mail in smtp.inbox()? {
        ids.entry(mail.to().to_owned()).or_default().insert(mail.id().to_owned());
    }
    let people: Vec<&str> = ids.keys().map(String::as_str).collect();
    ensure!(people == ["ann@example.org", "boss@example.org"], "{ids:?}");
    ensure!(ids.values().all(|ids| ids.len() == 1), "one letter under two ids: {ids:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_is_dropped_until_somebody_asks_again() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    hub.account("hr", "hr", None)?;
    smtp.behave("refuse-rcpt")?;
    ann("1001", "ann@example.org").join(&hub).await?;
    late(&hub, "1001").await?;
    eventually("the letter to be dropped", async || {
        ensure!(count(&hub, "state = 'dropped'").await? == 1, "{}", hub.logged());
        Ok(())
    })
    .await?;
    let api = Api::open(&hub, "hr").await?;
    let dropped = answered(200, api.get("/notifications?state=dropped").await?)?;
    ensure!(dropped[0]["error"] == "the server did not take the recipient: 550 5.1.1", "{dropped}");
    ensure!(dropped[0]["number"] == "1001" && dropped[0]["recipient"] == "1001", "{dropped}");
    ensure!(dropped[0]["kind"] == "late" && dropped[0]["channel"] == "mail", "{dropped}");
    ensure!(dropped[0]["attempts"] == 1 && dropped[0]["next_at"].is_null(), "{dropped}");
    let id = dropped[0]["id"].as_str().context("an id")?;
    ensure!(api.list(&format!("/notifications?after={id}")).await?.is_empty());
    ensure!(api.list("/notifications?state=pending&limit=500").await?.is_empty());
    for wrong in ["state=lost", "limit=0", "limit=501", "after=x"] {
        let answer = api.get(&format!("/notifications?{wrong}")).await?;
        answered(400, answer).context(wrong)?;
    }
    smtp.behave("accept")?;
    let retry = format!("/notifications/{id}/retry");
    answered(204, api.post(&retry, &Value::Null).await?)?;
    all_sent(&hub, 1).await?;
    each_once(&smtp, vec!["ann@example.org".into()])?;
    answered(409, api.post(&retry, &Value::Null).await?)?;
    let nothing = "/notifications/00000000-0000-7000-8000-000000000000/retry";
    answered(404, api.post(nothing, &Value::Null).await?)?;
    let audited = "select count(*) from audit where action like 'notification.%' and actor = 'hr'";
    ensure!(hub.cluster().number(audited).await? == 4, "looks and retries are audited");
    nothing_is_given_away(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_what_they_want_in_their_language() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    Person { manager: "9000", muted: "late", ..ann("1001", "quiet@example.org") }.join(&hub).await?;
    let german = Person { name: "Jörg Müßig", german: true, ..ann("1002", "joerg@example.org") };
    german.join(&hub).await?;
    Person { manager: "9000", ..ann("1003", "") }.join(&hub).await?;
    for number in ["1001", "1002", "1003"] {
        late(&hub, number).await?;
    }
    all_sent(&hub, 3).await?;
    let boss = "boss@example.org".to_owned();
    each_once(&smtp, vec![boss.clone(), boss, "joerg@example.org".into()])?;
    let inbox = smtp.inbox()?;
    let letter = inbox.iter().find(|mail| mail.to() == "joerg@example.org").context("a letter to Jörg")?;
    ensure!(letter.header("Subject").starts_with("Sie kamen zu spät am "), "{letter:?}");
    ensure!(letter.header("To") == "Jörg Müßig <joerg@example.org>", "{letter:?}");
    for part in ["Guten Tag Jörg Müßig,", "um 09:30 Uhr", "30 Minuten", "Nachricht hat Rollcall geschrieben"]
    {
        ensure!(letter.body().contains(part), "{part}: {letter:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn absences_are_told_when_every_terminal_has_reported() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    hub.cluster().execute("update terminals set reported_through = now() - interval '10 days'").await?;
    ann("1001", "absent@example.org").join(&hub).await?;
    ann("1002", "open@example.org").join(&hub).await?;
    ann("1003", "fine@example.org").join(&hub).await?;
    works(&hub, "1001", 1, "").await?;
    works(&hub, "1002", 1, "'09:00'").await?;
    works(&hub, "1003", 1, "'09:00', '17:00'").await?;
    workdays(&hub, 3, "true").await?;
    look(&hub).await?;
    ensure!(count(&hub, "true").await? == 0, "an absence was told before it was known");
    let reported = "update terminals set reported_through = now(); select pg_notify('rollcall_job', '')";
    hub.cluster().execute(reported).await?;
    all_sent(&hub, 2).await?;
    each_once(&smtp, vec!["absent@example.org".into(), "open@example.org".into()])?;
    for mail in smtp.inbox()? {
        let expected =
            if mail.to() == "open@example.org" { "Your time of leaving on " } else { "Your absence on " };
        ensure!(mail.header("Subject").starts_with(expected), "{mail:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_absent_whose_punches_wait() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    crowd(&hub, 201).await?;
    workdays(&hub, 201, "status = 'absent'").await?;
    // Another hub computes one of them, and takes its time.
    let mut other = hub.cluster().connect().await?;
    let take = "begin; select from people where number = '2000' for no key update";
    sqlx::raw_sql(take).execute(&mut other).await?;
    deliver(&hub, 200, "'09:00', '17:00'").await?;
    let jobs = "delete from jobs where person = (select id from people where number = '2000')";
    ensure!(sqlx::raw_sql(jobs).execute(&mut other).await?.rows_affected() == 1, "no job to take");
    workdays(&hub, 199, "status = 'present'").await?;
    // Only the last of them did not come.
    all_sent(&hub, 1).await?;
    look(&hub).await?;
    ensure!(count(&hub, "true").await? == 1, "told of an absence while punches waited");
    sqlx::raw_sql("rollback").execute(&mut other).await?;
    hub.cluster().execute("select pg_notify('rollcall_job', '')").await?;
    workdays(&hub, 200, "status = 'present'").await?;
    look(&hub).await?;
    ensure!(count(&hub, "true").await? == 1, "told of an absence that was none");
    each_once(&smtp, vec!["2200@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_told_when_its_window_has_closed_and_it_is_no_leave() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    hub.cluster().execute("update terminals set reported_through = now() - interval '10 days'").await?;
    ann("1001", "open@example.org").join(&hub).await?;
    ann("1002", "leave@example.org").join(&hub).await?;
    for number in ["1001", "1002"] {
        works(&hub, number, 1, "'09:00'").await?;
    }
    workdays(&hub, 2, "'missing_out' = any(flags)").await?;
    let finalise = "update workdays set finalised_by = 'hr', finalised_at = now(), closes_at = now() + interval '1 hour';
        update workdays set status = 'leave' where person = (select id from people where number = '1002')";
    hub.cluster().execute(finalise).await?;
    look(&hub).await?;
    ensure!(count(&hub, "true").await? == 0, "told while somebody may still leave");
    // The terminal is silent, but somebody has said that the day is final.
    hub.cluster().execute("update workdays set closes_at = now()").await?;
    look(&hub).await?;
    all_sent(&hub, 1).await?;
    each_once(&smtp, vec!["open@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn old_news_is_told_to_nobody() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    for (number, days_ago) in [("1001", 1), ("1002", 4), ("1003", 20)] {
        ann(number, &format!("absent{days_ago}@example.org")).join(&hub).await?;
        works(&hub, number, days_ago, "").await?;
    }
    workdays(&hub, 3, "status = 'absent'").await?;
    look(&hub).await?;
    all_sent(&hub, 1).await?;
    // The same days, had somebody listened for long: a terminal was away over a long weekend.
    hub.cluster().execute("update notices set from_date = from_date - 30").await?;
    look(&hub).await?;
    all_sent(&hub, 2).await?;
    each_once(&smtp, vec!["absent1@example.org".into(), "absent4@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_no_longer_is_told_when_it_is_so_again() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    smtp.behave("busy")?;
    ann("1001", "late@example.org").join(&hub).await?;
    ann("1002", "absent@example.org").join(&hub).await?;
    late(&hub, "1001").await?;
    works(&hub, "1002", 1, "").await?;
    eventually("two letters to wait", async || {
        ensure!(count(&hub, "state = 'pending' and error is not null").await? == 2, "{}", hub.logged());
        Ok(())
    })
    .await?;
    hub.cluster().execute("update workdays set late_s = 0, status = 'present'").await?;
    eventually("the letters to be dropped", async || {
        ensure!(count(&hub, "state = 'dropped' and moot").await? == 2, "{}", hub.logged());
        Ok(())
    })
    .await?;
    look(&hub).await?;
    smtp.behave("accept")?;
    ensure!(smtp.inbox()?.is_empty() && count(&hub, "state = 'dropped'").await? == 2);
    // Computed again, both are as they were.
    let again = "insert into jobs (person, from_date, to_date) select person, date, date from workdays;
        select pg_notify('rollcall_job', '')";
    hub.cluster().execute(again).await?;
    workdays(&hub, 1, "status = 'absent'").await?;
    look(&hub).await?;
    all_sent(&hub, 2).await?;
    each_once(&smtp, vec!["absent@example.org".into(), "late@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opts_out_gets_not_even_what_was_owed() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    smtp.behave("busy")?;
    ann("1001", "ann@example.org").join(&hub).await?;
    late(&hub, "1001").await?;
    refused(&hub).await?;
    hub.cluster().execute("update people set muted = '{late}' where number = '1001'").await?;
    smtp.behave("accept")?;
    dropped(&hub, "the recipient wants no such messages").await?;
    ensure!(smtp.inbox()?.is_empty(), "a letter nobody wanted");
    nothing_is_given_away(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_put_off_for_days_is_given_up() -> Result<()> {
    let ground = Ground::new()?;
    let mut smtp = Smtp::start_new(&ground)?;
    let hub = office(&ground, &smtp.configuration("starttls")).await?;
    smtp.stop()?;
    ann("1001", "ann@example.org").join(&hub).await?;
    late(&hub, "1001").await?;
    refused(&hub).await?;
    ensure!(count(&hub, "refused_at is not null").await? == 0, "a server that is away refuses no letter");
    smtp.behave("busy")?;
    smtp.start()?;
    eventually("the letter to be refused", async || {
        ensure!(count(&hub, "refused_at is not null").await? == 1, "{}", hub.logged());
        Ok(())
    })
    .await?;
    let six_days = "update outbox set refused_at = now() - interval '6 days', next_at = now();
        select pg_notify('rollcall_outbox', '')";
    hub.cluster().execute(six_days).await?;
    dropped(&hub, "given up after five days: the server did not take the letter: 451 4.3.0").await?;
    nothing_is_given_away(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_fail_again_and_again_come_last() -> Result<()> {
    let ground = Ground::new()?;
    let mut smtp = Smtp::start_new(&ground)?;
    let mut hub = office(&ground, &smtp.configuration("starttls")).await?;
    smtp.stop()?;
    for (number, email) in [("1001", "poison@example.org"), ("1002", "fresh@example.org")] {
        ann(number, email).join(&hub).await?;
        late(&hub, number).await?;
    }
    eventually("two letters", async || {
        ensure!(count(&hub, "state = 'pending'").await? == 2, "{}", hub.logged());
        Ok(())
    })
    .await?;
    hub.kill()?;
    let poison = "update outbox set held_until = null, attempts = 0, next_at = now() - interval '1 minute';
        update outbox set attempts = 4, next_at = now() - interval '1 hour'
            where person = (select id from people where number = '1001')";
    hub.cluster().execute(poison).await?;
    smtp.start()?;
    hub.start()?;
    all_sent(&hub, 2).await?;
    let order: Vec<String> = smtp.inbox()?.iter().map(|mail| mail.to().to_owned()).collect();
    ensure!(order == ["fresh@example.org", "poison@example.org"], "{order:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_send_each_letter_once() -> Result<()> {
    let ground = Ground::new()?;
    let smtp = Smtp::start_new(&ground)?;
    let first = office(&ground, &smtp.configuration("starttls")).await?;
    let url = ground.join("url");
    std::fs::write(&url, first.cluster().url())?;
    let more = format!("database_url_file = {url:?}\n{}", smtp.configuration("starttls"));
    let mut second = Hub::configure(&ground, "second", &more)?;
    second.start()?;
    crowd(&first, 60).await?;
    deliver(&first, 60, "'09:30', '17:00'").await?;
    all_sent(&first, 60).await?;
    each_once(&smtp, (2000..2060).map(|number| format!("{number}@example.org")).collect())?;
    for (name, hub) in [("first", &first), ("second", &second)] {
        ensure!(hub.logged().contains(" told "), "the {name} hub sent nothing: {}", hub.logged());
        ensure!(!hub.logged().contains("@example.org"), "an address in the log");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_signed_and_tried_again() -> Result<()> {
    let ground = Ground::new()?;
    let secret = ground.join("secret");
    std::fs::write(&secret, format!("{SECRET}\n"))?;
    let (port, mut posts) = listen(vec![500, 200])?;
    let hook = format!(
        "webhooks = [{{ name = \"payroll\", url = \"http://127.0.0.1:{port}/hook?key=opensesame\", \
        secret_file = {:?}, kinds = [\"late\"] }}]",
        secret.display().to_string()
    );
    let hub = office(&ground, &hook).await?;
    ann("1001", "ann@example.org").join(&hub).await?;
    late(&hub, "1001").await?;
    let mut events = Vec::new();
    for _ in 0..2 {
        let one = tokio::time::timeout(tests::PATIENCE, posts.recv()).await?.context("a post")?;
        ensure!(one.target == "/hook?key=opensesame", "{}", one.target);
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(one.header("x-rollcall-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&one.body);
        let expected = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
        ensure!(one.header("x-rollcall-signature") == expected, "a wrong signature");
        let event: Value = serde_json::from_slice(&one.body)?;
        ensure!(event["id"] == one.header("x-rollcall-id"), "{event}");
        events.push(event);
    }
    ensure!(events[0]["id"] == events[1]["id"], "{events:?}");
    let event = &events[1];
    ensure!(event["kind"] == "late" && event["number"] == "1001" && event["name"] == "Ann Early", "{event}");
    ensure!(event["shift"] == "Early" && event["detail"]["late_s"] == 1800, "{event}");
    ensure!(event["date"].is_string() && event["sent_at"].is_string(), "{event}");
    all_sent(&hub, 1).await?;
    ensure!(hub.cluster().number("select attempts::bigint from outbox").await? == 2);
    ensure!(!hub.logged().contains("opensesame"), "the address is in the log");
    nothing_is_given_away(&hub).await
}

/// What was posted.
struct Post {
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Takes posts, answering with one status after another.
fn listen(answers: Vec<u16>) -> Result<(u16, UnboundedReceiver<Post>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (sender, posts) = unbounded_channel();
    std::thread::spawn(move || {
        for status in answers {
            let taken = listener.accept().map_err(anyhow::Error::from);
            if let Err(error) = taken.and_then(|(stream, _)| answer(stream, status, &sender)) {
                eprintln!("webhook: {error:#}");
            }
        }
    });
    Ok((port, posts))
}

fn answer(stream: TcpStream, status: u16, posts: &UnboundedSender<Post>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).context("a target")?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length").context("a length")?.parse()?];
    reader.read_exact(&mut body)?;
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok(posts.send(Post { target, headers, body })?)
}
