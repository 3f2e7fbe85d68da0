//! People are told what they ought to know, when it is certain, and nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::eventually;
use tests::ground::Ground;
use tests::hub::Hub;
use tests::office::{
    Person, all_sent, ann, count, crowd, deliver, dropped, each_once, late, nothing_is_given_away, office,
    refused, works,
};
use tests::smtp::Smtp;

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

/// Has the hub look at what has become final, and waits until it has: it does so every five seconds
/// at most.
async fn look(hub: &Hub) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(6)).await;
    hub.cluster().execute("select pg_notify('rollcall_job', '')").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
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
