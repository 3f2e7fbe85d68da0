//! Emails arrive once, whatever happens to the mail server and the hub.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::api::{Api, expect_status};
use tests::dir::TestDir;
use tests::eventually;
use tests::notifications::{
    Person, add_absent_people, add_late_workday, ann, check_inbox, check_nothing_leaks, count_messages,
    deliver_punches, start_hub, wait_for_failure, wait_until_dropped, wait_until_sent,
};
use tests::smtp::Smtp;

/// The duration of the outage: `ROLLCALL_OUTAGE_S` seconds. The next attempt may be five minutes later.
fn outage() -> Result<Duration> {
    let seconds = std::env::var("ROLLCALL_OUTAGE_S").unwrap_or_else(|_| "0".into());
    Ok(Duration::from_secs(seconds.parse().context("ROLLCALL_OUTAGE_S: seconds")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn emails_are_sent_over_starttls_and_tls() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let mut hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    Person { manager: "9000", ..ann("1001", "ann@example.org") }.insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    wait_until_sent(&hub, 2).await?;
    check_inbox(&smtp, vec!["ann@example.org".into(), "boss@example.org".into()])?;
    let log = smtp.log();
    ensure!(log.lines().any(|line| line.contains(" starttls#1 stored ")), "{log}");
    ensure!(!log.lines().any(|line| line.contains(" tls#")), "the other port was used: {log}");
    let inbox = smtp.inbox()?;
    let own = inbox.iter().find(|mail| mail.to() == "ann@example.org").context("an email to Ann")?;
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
    let boss = inbox.iter().find(|mail| mail.to() == "boss@example.org").context("an email to the boss")?;
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
    ann("1002", "other@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1002").await?;
    wait_until_sent(&hub, 3).await?;
    ensure!(
        smtp.log().lines().any(|line| line.contains(" tls#") && line.contains("stored")),
        "{}",
        smtp.log()
    );
    // Recomputing does not notify a late arrival again.
    let again = "update workdays set late_s = 1; insert into jobs (person, from_date, to_date) \
        select person, date, date from workdays; select pg_notify('rollcall_job', '')";
    hub.cluster().execute(again).await?;
    eventually("the workdays to be computed", async || {
        ensure!(hub.cluster().number("select count(*) from workdays where late_s = 1").await? == 0);
        Ok(())
    })
    .await?;
    wait_until_sent(&hub, 3).await?;
    check_nothing_leaks(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_email_is_lost_or_duplicated_while_the_server_is_down() -> Result<()> {
    let dir = TestDir::new()?;
    let mut smtp = Smtp::start_new(&dir)?;
    let mut hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    smtp.stop()?;
    let mut expected = Vec::new();
    for number in ["1001", "1002", "1003"] {
        let email = format!("ann{number}@example.org");
        Person { manager: "9000", ..ann(number, &email) }.insert(&hub).await?;
        add_late_workday(&hub, number).await?;
        expected.extend([email, "boss@example.org".to_owned()]);
    }
    wait_for_failure(&hub).await?;
    let outage = outage()?;
    tokio::time::sleep(outage / 2).await;
    hub.kill()?;
    hub.start()?;
    wait_for_failure(&hub).await?;
    tokio::time::sleep(outage / 2).await;
    smtp.start()?;
    while outage > tests::TIMEOUT && wait_until_sent(&hub, 6).await.is_err() {}
    wait_until_sent(&hub, 6).await?;
    check_inbox(&smtp, expected.clone())?;
    // Killed before the server confirmed an email: it stays leased for a while.
    smtp.behave("stall-data")?;
    ann("1004", "ann1004@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1004").await?;
    eventually("an email on its way", async || {
        ensure!(smtp.log().contains("message taken, no answer"), "{}", smtp.log());
        Ok(())
    })
    .await?;
    hub.kill()?;
    hub.start()?;
    smtp.behave("accept")?;
    wait_until_sent(&hub, 7).await?;
    expected.push("ann1004@example.org".to_owned());
    check_inbox(&smtp, expected)?;
    check_nothing_leaks(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_server_is_retried() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    let modes = ["refuse-connect", "stall", "refuse-login", "drop", "busy", "stall-data"];
    let mut expected = Vec::new();
    for (i, mode) in modes.into_iter().enumerate() {
        smtp.behave(mode)?;
        let number = format!("{}", 1001 + i);
        let email = format!("{mode}@example.org");
        ann(&number, &email).insert(&hub).await?;
        add_late_workday(&hub, &number).await?;
        wait_for_failure(&hub).await?;
        ensure!(smtp.log().contains(&format!(" {mode} ")), "{mode}: {}", smtp.log());
        smtp.behave("accept")?;
        expected.push(email);
        wait_until_sent(&hub, expected.len() as i64).await?;
        check_inbox(&smtp, expected.clone()).with_context(|| mode.to_owned())?;
    }
    check_nothing_leaks(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_of_unknown_outcome_is_sent_again_with_the_same_id() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    smtp.behave("drop-after-accept")?;
    Person { manager: "9000", ..ann("1001", "ann@example.org") }.insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    eventually("two copies", async || {
        let copies = smtp.inbox()?;
        ensure!(copies.len() >= 3, "{} messages", copies.len());
        Ok(())
    })
    .await?;
    smtp.behave("accept")?;
    wait_until_sent(&hub, 2).await?;
    let mut ids: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for mail in smtp.inbox()? {
        ids.entry(mail.to().to_owned()).or_default().insert(mail.id().to_owned());
    }
    let people: Vec<&str> = ids.keys().map(String::as_str).collect();
    ensure!(people == ["ann@example.org", "boss@example.org"], "{ids:?}");
    ensure!(ids.values().all(|ids| ids.len() == 1), "one email under two ids: {ids:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_to_a_rejected_recipient_is_dropped_until_retried_by_hand() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    hub.account("hr", "hr", None)?;
    smtp.behave("refuse-rcpt")?;
    ann("1001", "ann@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    eventually("the email to be dropped", async || {
        ensure!(count_messages(&hub, "state = 'dropped'").await? == 1, "{}", hub.logged());
        Ok(())
    })
    .await?;
    let api = Api::login(&hub, "hr").await?;
    let dropped = expect_status(200, api.get("/notifications?state=dropped").await?)?;
    ensure!(dropped[0]["error"] == "the server did not take the recipient: 550 5.1.1", "{dropped:?}");
    ensure!(dropped[0]["number"] == "1001" && dropped[0]["recipient"] == "1001", "{dropped:?}");
    ensure!(dropped[0]["kind"] == "late" && dropped[0]["channel"] == "mail", "{dropped:?}");
    ensure!(dropped[0]["attempts"] == 1 && dropped[0]["next_at"].is_null(), "{dropped:?}");
    let id = dropped[0]["id"].as_str().context("an id")?;
    ensure!(api.list(&format!("/notifications?after={id}")).await?.is_empty());
    ensure!(api.list("/notifications?state=pending&limit=500").await?.is_empty());
    for wrong in ["state=lost", "limit=0", "limit=501", "after=x"] {
        let answer = api.get(&format!("/notifications?{wrong}")).await?;
        expect_status(400, answer).context(wrong)?;
    }
    smtp.behave("accept")?;
    let retry = format!("/notifications/{id}/retry");
    expect_status(204, api.post(&retry, &Value::Null).await?)?;
    wait_until_sent(&hub, 1).await?;
    check_inbox(&smtp, vec!["ann@example.org".into()])?;
    expect_status(409, api.post(&retry, &Value::Null).await?)?;
    let nothing = "/notifications/00000000-0000-7000-8000-000000000000/retry";
    expect_status(404, api.post(nothing, &Value::Null).await?)?;
    let audited = "select count(*) from audit where action like 'notification.%' and actor = 'hr'";
    ensure!(hub.cluster().number(audited).await? == 4, "looks and retries are audited");
    check_nothing_leaks(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_deferred_for_five_days_is_dropped() -> Result<()> {
    let dir = TestDir::new()?;
    let mut smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    smtp.stop()?;
    ann("1001", "ann@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    wait_for_failure(&hub).await?;
    ensure!(
        count_messages(&hub, "refused_at is not null").await? == 0,
        "a server that is away refuses no email"
    );
    smtp.behave("busy")?;
    smtp.start()?;
    eventually("the email to be refused", async || {
        ensure!(count_messages(&hub, "refused_at is not null").await? == 1, "{}", hub.logged());
        Ok(())
    })
    .await?;
    let six_days = "update outbox set refused_at = now() - interval '6 days', next_at = now();
        select pg_notify('rollcall_outbox', '')";
    hub.cluster().execute(six_days).await?;
    wait_until_dropped(&hub, "given up after five days: the server did not take the e-mail: 451 4.3.0")
        .await?;
    check_nothing_leaks(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn emails_that_keep_failing_do_not_delay_new_ones() -> Result<()> {
    let dir = TestDir::new()?;
    let mut smtp = Smtp::start_new(&dir)?;
    let mut hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    smtp.stop()?;
    for (number, email) in [("1001", "poison@example.org"), ("1002", "fresh@example.org")] {
        ann(number, email).insert(&hub).await?;
        add_late_workday(&hub, number).await?;
    }
    eventually("two emails", async || {
        ensure!(count_messages(&hub, "state = 'pending'").await? == 2, "{}", hub.logged());
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
    wait_until_sent(&hub, 2).await?;
    let order: Vec<String> = smtp.inbox()?.iter().map(|mail| mail.to().to_owned()).collect();
    ensure!(order == ["fresh@example.org", "poison@example.org"], "{order:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_send_each_email_once() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let first = start_hub(&dir, &smtp.configuration("starttls")).await?;
    let second = first.second(&dir, &smtp.configuration("starttls"))?;
    add_absent_people(&first, 60).await?;
    deliver_punches(&first, 60, "'09:30', '17:00'").await?;
    wait_until_sent(&first, 60).await?;
    check_inbox(&smtp, (2000..2060).map(|number| format!("{number}@example.org")).collect())?;
    for (name, hub) in [("first", &first), ("second", &second)] {
        ensure!(hub.logged().contains("notification sent"), "the {name} hub sent nothing: {}", hub.logged());
        ensure!(!hub.logged().contains("@example.org"), "an address in the log");
    }
    Ok(())
}
