//! Letters arrive once, whatever becomes of the mail server and of the hub.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::api::{Api, answered};
use tests::eventually;
use tests::ground::Ground;
use tests::office::{
    Person, all_sent, ann, count, crowd, deliver, dropped, each_once, late, nothing_is_given_away, office,
    refused,
};
use tests::smtp::Smtp;

/// How long the server is away besides: `ROLLCALL_OUTAGE_S` seconds, an hour being 3600. Afterwards the
/// next attempt may be five minutes away.
fn outage() -> Result<Duration> {
    let seconds = std::env::var("ROLLCALL_OUTAGE_S").unwrap_or_else(|_| "0".into());
    Ok(Duration::from_secs(seconds.parse().context("ROLLCALL_OUTAGE_S: seconds")?))
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
    let second = first.second(&ground, &smtp.configuration("starttls"))?;
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
