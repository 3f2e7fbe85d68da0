//! When notifications are enqueued, dropped and sent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::dir::TestDir;
use tests::eventually;
use tests::hub::Hub;
use tests::notifications::{
    Person, add_absent_people, add_late_workday, add_workday, ann, check_inbox, check_nothing_leaks,
    count_messages, deliver_punches, start_hub, wait_for_failure, wait_until_dropped, wait_until_sent,
};
use tests::smtp::Smtp;

/// Waits until this many workdays match a condition.
async fn wait_for_workdays(hub: &Hub, number: i64, which: &str) -> Result<()> {
    let query = format!("select count(*) from workdays where shift = 'Early' and {which}");
    eventually("the workdays", async || {
        let found = hub.cluster().number(&query).await?;
        ensure!(found == number, "{found} workdays, not {number}: {which}; {}", hub.logged());
        Ok(())
    })
    .await
}

/// Lets the hub check for final days, which it does at most every five seconds.
async fn check_final_days(hub: &Hub) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(6)).await;
    hub.cluster().execute("select pg_notify('rollcall_job', '')").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_respect_opt_outs_and_language() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    Person { manager: "9000", muted: "late", ..ann("1001", "quiet@example.org") }.insert(&hub).await?;
    let german = Person { name: "Jörg Müßig", german: true, ..ann("1002", "joerg@example.org") };
    german.insert(&hub).await?;
    Person { manager: "9000", ..ann("1003", "") }.insert(&hub).await?;
    for number in ["1001", "1002", "1003"] {
        add_late_workday(&hub, number).await?;
    }
    wait_until_sent(&hub, 3).await?;
    let boss = "boss@example.org".to_owned();
    check_inbox(&smtp, vec![boss.clone(), boss, "joerg@example.org".into()])?;
    let inbox = smtp.inbox()?;
    let email = inbox.iter().find(|mail| mail.to() == "joerg@example.org").context("an email to Jörg")?;
    ensure!(email.header("Subject").starts_with("Sie kamen zu spät am "), "{email:?}");
    ensure!(email.header("To") == "Jörg Müßig <joerg@example.org>", "{email:?}");
    for part in ["Guten Tag Jörg Müßig,", "um 09:30 Uhr", "30 Minuten", "Nachricht hat Rollcall geschrieben"]
    {
        ensure!(email.body().contains(part), "{part}: {email:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn absences_are_notified_once_every_terminal_has_reported() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    hub.cluster().execute("update terminals set reported_through = now() - interval '10 days'").await?;
    ann("1001", "absent@example.org").insert(&hub).await?;
    ann("1002", "open@example.org").insert(&hub).await?;
    ann("1003", "fine@example.org").insert(&hub).await?;
    add_workday(&hub, "1001", 1, "").await?;
    add_workday(&hub, "1002", 1, "'09:00'").await?;
    add_workday(&hub, "1003", 1, "'09:00', '17:00'").await?;
    wait_for_workdays(&hub, 3, "true").await?;
    check_final_days(&hub).await?;
    ensure!(count_messages(&hub, "true").await? == 0, "an absence was notified before the terminal reported");
    let reported = "update terminals set reported_through = now(); select pg_notify('rollcall_job', '')";
    hub.cluster().execute(reported).await?;
    wait_until_sent(&hub, 2).await?;
    check_inbox(&smtp, vec!["absent@example.org".into(), "open@example.org".into()])?;
    for mail in smtp.inbox()? {
        let expected =
            if mail.to() == "open@example.org" { "Your time of leaving on " } else { "Your absence on " };
        ensure!(mail.header("Subject").starts_with(expected), "{mail:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_absence_is_notified_while_punches_wait() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    add_absent_people(&hub, 201).await?;
    wait_for_workdays(&hub, 201, "status = 'absent'").await?;
    // Another hub is computing one of them.
    let mut other = hub.cluster().connect().await?;
    let take = "begin; select from people where number = '2000' for no key update";
    sqlx::raw_sql(take).execute(&mut other).await?;
    deliver_punches(&hub, 200, "'09:00', '17:00'").await?;
    let jobs = "delete from jobs where person = (select id from people where number = '2000')";
    ensure!(sqlx::raw_sql(jobs).execute(&mut other).await?.rows_affected() == 1, "no job to take");
    wait_for_workdays(&hub, 199, "status = 'present'").await?;
    // Only the last person did not come.
    wait_until_sent(&hub, 1).await?;
    check_final_days(&hub).await?;
    ensure!(count_messages(&hub, "true").await? == 1, "an absence was notified while punches waited");
    sqlx::raw_sql("rollback").execute(&mut other).await?;
    hub.cluster().execute("select pg_notify('rollcall_job', '')").await?;
    wait_for_workdays(&hub, 200, "status = 'present'").await?;
    check_final_days(&hub).await?;
    ensure!(count_messages(&hub, "true").await? == 1, "an absence was notified that was none");
    check_inbox(&smtp, vec!["2200@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_punch_is_notified_after_the_window_closes_unless_on_leave() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    hub.cluster().execute("update terminals set reported_through = now() - interval '10 days'").await?;
    ann("1001", "open@example.org").insert(&hub).await?;
    ann("1002", "leave@example.org").insert(&hub).await?;
    for number in ["1001", "1002"] {
        add_workday(&hub, number, 1, "'09:00'").await?;
    }
    wait_for_workdays(&hub, 2, "'missing_out' = any(flags)").await?;
    let finalise = "update workdays set finalised_by = 'hr', finalised_at = now(), closes_at = now() + interval '1 hour';
        update workdays set status = 'leave' where person = (select id from people where number = '1002')";
    hub.cluster().execute(finalise).await?;
    check_final_days(&hub).await?;
    ensure!(count_messages(&hub, "true").await? == 0, "notified before the window closed");
    // The terminal has not reported, but HR has declared the day final.
    hub.cluster().execute("update workdays set closes_at = now()").await?;
    check_final_days(&hub).await?;
    wait_until_sent(&hub, 1).await?;
    check_inbox(&smtp, vec!["open@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_not_notified() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    for (number, days_ago) in [("1001", 1), ("1002", 4), ("1003", 20)] {
        ann(number, &format!("absent{days_ago}@example.org")).insert(&hub).await?;
        add_workday(&hub, number, days_ago, "").await?;
    }
    wait_for_workdays(&hub, 3, "status = 'absent'").await?;
    check_final_days(&hub).await?;
    wait_until_sent(&hub, 1).await?;
    // The same days with notifications enabled for longer: a terminal was offline over a long weekend.
    hub.cluster().execute("update notices set from_date = from_date - 30").await?;
    check_final_days(&hub).await?;
    wait_until_sent(&hub, 2).await?;
    check_inbox(&smtp, vec!["absent1@example.org".into(), "absent4@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_obsolete_notification_is_dropped_and_sent_if_it_becomes_true_again() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    smtp.behave("busy")?;
    ann("1001", "late@example.org").insert(&hub).await?;
    ann("1002", "absent@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    add_workday(&hub, "1002", 1, "").await?;
    eventually("two emails to wait", async || {
        ensure!(
            count_messages(&hub, "state = 'pending' and error is not null").await? == 2,
            "{}",
            hub.logged()
        );
        Ok(())
    })
    .await?;
    hub.cluster().execute("update workdays set late_s = 0, status = 'present'").await?;
    eventually("the emails to be dropped", async || {
        ensure!(count_messages(&hub, "state = 'dropped' and moot").await? == 2, "{}", hub.logged());
        Ok(())
    })
    .await?;
    check_final_days(&hub).await?;
    smtp.behave("accept")?;
    ensure!(smtp.inbox()?.is_empty() && count_messages(&hub, "state = 'dropped'").await? == 2);
    // Recomputed, both are as before.
    let again = "insert into jobs (person, from_date, to_date) select person, date, date from workdays;
        select pg_notify('rollcall_job', '')";
    hub.cluster().execute(again).await?;
    wait_for_workdays(&hub, 1, "status = 'absent'").await?;
    check_final_days(&hub).await?;
    wait_until_sent(&hub, 2).await?;
    check_inbox(&smtp, vec!["absent@example.org".into(), "late@example.org".into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn opting_out_drops_notifications_already_enqueued() -> Result<()> {
    let dir = TestDir::new()?;
    let smtp = Smtp::start_new(&dir)?;
    let hub = start_hub(&dir, &smtp.configuration("starttls")).await?;
    smtp.behave("busy")?;
    ann("1001", "ann@example.org").insert(&hub).await?;
    add_late_workday(&hub, "1001").await?;
    wait_for_failure(&hub).await?;
    hub.cluster().execute("update people set muted = '{late}' where number = '1001'").await?;
    smtp.behave("accept")?;
    wait_until_dropped(&hub, "the recipient wants no such messages").await?;
    ensure!(smtp.inbox()?.is_empty(), "an email after opting out");
    check_nothing_leaks(&hub).await
}
