//! Punches of a terminal whose clock was not set: dated by the hub where it can, else by a person.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;
use proto::{ClockSample, Hello, Punch, PunchBatch, PunchRecord, Topic};
use serde_json::json;
use tests::api::{Api, expect_status};
use tests::company::Company;
use tests::dir::TestDir;
use tests::eventually;
use tests::faketime::Faketime;
use tests::hub::Hub;
use tests::simulated::{Ca, Simulated, accept};
use tests::terminal::{Terminal, Walk};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn offline_punches_with_an_unset_clock_are_dated_later() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let walk = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };
    let mut terminal = Terminal::new(&dir, &hub, &walk)?;
    // systemd-timesyncd does not say that the clock of this machine is set.
    let text = std::fs::read_to_string(&terminal.config)?;
    std::fs::write(&terminal.config, text.replace("\"always\"", "\"timesyncd\""))?;
    terminal.start()?;
    let more = async |terminal: &Terminal, count| {
        terminal.wait_until_durable(terminal.durable().len() + count).await
    };
    more(&terminal, 5).await?;
    hub.kill()?;
    more(&terminal, 15).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    hub.start()?;
    more(&terminal, 5).await?;
    let durable = terminal.durable();
    eventually("every punch to be dated", async || {
        let arrived = hub.cluster().punches().await?;
        ensure!(durable.iter().all(|id| arrived.get(id) == Some(&1)), "some are missing");
        Ok(())
    })
    .await?;
    ensure!(hub.cluster().number("select count(*) from unplaced where placed_at is null").await? == 0);
    ensure!(hub.cluster().number("select count(*) from punches where clock <> 'estimated'").await? == 0);
    // A punch's id contains its real time.
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as("select id, (extract(epoch from at) * 1000000)::bigint from punches")
            .fetch_all(&mut hub.cluster().connect().await?)
            .await?;
    for (id, at_us) in rows {
        let (seconds, nanoseconds) = id.get_timestamp().context("a UUIDv7")?.to_unix();
        let made_us = seconds as i64 * 1_000_000 + i64::from(nanoseconds) / 1000;
        ensure!((at_us - made_us).abs() < 2_000_000, "{id} is {} s off", (at_us - made_us) as f64 / 1e6);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jumping_clock_does_not_change_the_time_of_punches() -> Result<()> {
    let dir = TestDir::new()?;
    let mut hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let walk = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };
    let mut terminal = Terminal::new(&dir, &hub, &walk)?;
    let text = std::fs::read_to_string(&terminal.config)?;
    std::fs::write(&terminal.config, text.replace("\"always\"", "\"timesyncd\""))?;
    let clock = Faketime::new(&dir, "faketime")?;
    terminal.environment = clock.environment();
    let arrived = async |hub: &Hub, terminal: &Terminal, count: usize| {
        let before = terminal.durable().len();
        eventually("punches to arrive", async || {
            let durable = terminal.durable();
            ensure!(durable.len() >= before + count, "{}", terminal.logged());
            let arrived = hub.cluster().punches().await?;
            ensure!(
                durable.iter().take(before + count).all(|id| arrived.contains_key(id)),
                "{}",
                terminal.logged()
            );
            Ok(())
        })
        .await
    };
    // A terminal without a clock battery starts in 1980; the hub has renewed its certificate since the terminal was signed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    hub.kill()?;
    hub.start()?;
    clock.set(-1_450_000_000)?;
    terminal.start()?;
    arrived(&hub, &terminal, 10).await?;
    let forgiven = || terminal.logged().matches("not valid at the time of this terminal's clock").count();
    let early = forgiven();
    ensure!(early > 0, "{}", terminal.logged());
    // The clock jumps far ahead: the connection stays, and a new one succeeds.
    clock.set(900_000_000)?;
    arrived(&hub, &terminal, 10).await?;
    hub.kill()?;
    hub.start()?;
    arrived(&hub, &terminal, 20).await?;
    ensure!(forgiven() > early, "{}", terminal.logged());
    clock.set(-3600)?;
    arrived(&hub, &terminal, 10).await?;
    eventually("all of them", async || {
        let arrived = hub.cluster().punches().await?;
        let missing = terminal.durable().iter().filter(|id| !arrived.contains_key(id)).count();
        ensure!(missing < 10, "{missing} are missing"); // the latest are not delivered yet
        Ok(())
    })
    .await?;
    let off = "select count(*) from punches where at > now() or at < now() - interval '10 minutes'";
    ensure!(hub.cluster().number(off).await? == 0, "punches far from their time");
    ensure!(hub.cluster().number("select count(*) from unplaced where placed_at is null").await? == 0);
    Ok(())
}

/// A batch of punches of one boot, at seconds since the boot.
fn batch(person: Uuid, epoch: u64, boot: &str, seconds: &[u64]) -> Vec<u8> {
    let record = |(seq, second): (u64, &u64)| {
        let punch = Punch {
            version: proto::VERSION,
            id: Uuid::now_v7().as_bytes().to_vec(),
            person: person.as_bytes().to_vec(),
            at_us: 1_000_000 * *second as i64, // in 1970
            monotonic_us: second * 1_000_000,
            boot: boot.into(),
            ..Punch::default()
        };
        PunchRecord { seq, punch: punch.encode_to_vec() }
    };
    let records = (1..).zip(seconds).map(record).collect();
    PunchBatch { version: proto::VERSION, epoch, records, oldest: 1, ..PunchBatch::default() }.encode_to_vec()
}

async fn company() -> Result<(Company, Simulated, Uuid)> {
    let company = Company::open().await?;
    company.add_people(&[("1", "Boss"), ("2", "Ann")]).await?;
    let terminal = Ca::of(&company.hub.state)?.terminal()?;
    accept(&company.hub.cluster(), std::slice::from_ref(&terminal)).await?;
    let ids = company.hub.cluster().column("select id::text from people where number = '2'").await?;
    Ok((company, terminal, ids[0].parse()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn punches_of_an_unsynchronised_boot_wait_to_be_dated_by_a_person() -> Result<()> {
    let (company, terminal, person) = company().await?;
    let port = company.hub.mqtt.port();
    terminal.publish(port, &[(Topic::Punches, batch(person, 9, "lost", &[60, 3660]))]).await?;
    let waiting = eventually("the undated punches", async || {
        let waiting = company.hr.list("/punches/unplaced").await?;
        ensure!(waiting.len() == 2, "{waiting:?}");
        Ok(waiting)
    })
    .await?;
    ensure!(company.hub.cluster().number("select count(*) from punches").await? == 0);
    ensure!(
        company.hub.cluster().number("select min(watermark) from streams").await? == 2,
        "not acknowledged"
    );
    ensure!(waiting[1]["seconds_after_start"] == 3660 && waiting[1]["number"] == "2", "{waiting:?}");
    let path = format!("/punches/unplaced/{}", waiting[1]["id"].as_str().context("an id")?);
    let at = json!({"at": "2025-03-03T10:01:00+01:00"});
    let anonymous = Api::anonymous(&company.hub)?;
    expect_status(401, anonymous.post(&path, &at).await?)?;
    expect_status(400, company.hr.post(&path, &json!({"at": "2199-03-03T10:01:00+01:00"})).await?)?;
    let placed = expect_status(200, company.hr.post(&path, &at).await?)?;
    ensure!(placed["placed"] == 2, "{placed}");
    expect_status(404, company.hr.post(&path, &at).await?)?;
    let times = "select to_char(at at time zone 'Europe/Berlin', 'YYYY-MM-DD HH24:MI') || ' ' || clock from punches order by at";
    let times = company.hub.cluster().column(times).await?;
    ensure!(times == ["2025-03-03 09:01 estimated", "2025-03-03 10:01 estimated"], "{times:?}");
    company.hub.cluster().wait_until_computed().await?;
    let day = company.hr.day("2", "2025-03-03").await?;
    ensure!(day["punches"].as_array().is_some_and(|punches| punches.len() == 2), "{day}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_dates_a_boot_that_holds_punches_of_their_own() -> Result<()> {
    let (company, terminal, ann) = company().await?;
    let helen = company.hub.cluster().column("select id::text from people where number = '900'").await?;
    let port = company.hub.mqtt.port();
    // Helen (HR) and Ann punched in one boot, Ann alone in another.
    terminal.publish(port, &[(Topic::Punches, batch(ann, 9, "shared", &[60]))]).await?;
    terminal.publish(port, &[(Topic::Punches, batch(helen[0].parse()?, 10, "shared", &[3660]))]).await?;
    terminal.publish(port, &[(Topic::Punches, batch(ann, 11, "other", &[60]))]).await?;
    let waiting = eventually("the undated punches", async || {
        let waiting = company.hr.list("/punches/unplaced").await?;
        ensure!(waiting.len() == 3, "{waiting:?}");
        Ok(waiting)
    })
    .await?;
    let at = json!({"at": "2025-03-03T10:01:00+01:00"});
    let admin = company.login("root", "admin", None).await?;
    let boss = company.login("boss", "hr", Some("1")).await?;
    for punch in waiting.iter().filter(|punch| punch["boot"] == "shared") {
        let path = format!("/punches/unplaced/{}", punch["id"].as_str().context("an id")?);
        for (api, code) in [(&company.hr, "own-punches"), (&admin, "account-without-person")] {
            let rejection = expect_status(403, api.post(&path, &at).await?)?;
            ensure!(rejection["code"] == code, "{rejection}");
        }
    }
    assert_eq!(company.hr.list("/punches/unplaced").await?.len(), 3, "a punch was dated");
    for (boot, api, placed) in [("other", &company.hr, 1), ("shared", &boss, 2)] {
        let punch = waiting.iter().find(|punch| punch["boot"] == boot).context("a punch")?;
        let path = format!("/punches/unplaced/{}", punch["id"].as_str().context("an id")?);
        assert_eq!(expect_status(200, api.post(&path, &at).await?)?, json!({"placed": placed}));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_clock_sample_dates_waiting_punches() -> Result<()> {
    let (company, terminal, person) = company().await?;
    let port = company.hub.mqtt.port();
    terminal.publish(port, &[(Topic::Punches, batch(person, 9, "earlier", &[60]))]).await?;
    let cluster = company.hub.cluster();
    eventually("the undated punches", async || {
        ensure!(cluster.number("select count(*) from unplaced where placed_at is null").await? == 1);
        Ok(())
    })
    .await?;
    // Its clock was set 100 seconds after that boot, and it has rebooted since.
    let sample = ClockSample {
        boot: "earlier".into(),
        monotonic_us: 100_000_000,
        at_us: 1_741_000_000_000_000,
        synchronised: true,
    };
    let now = ClockSample { boot: "this".into(), monotonic_us: 5_000_000, at_us: 0, synchronised: false };
    let hello = Hello {
        version: proto::VERSION,
        epoch: 9,
        clock_samples: vec![sample],
        now: Some(now),
        ..Hello::default()
    };
    terminal.publish(port, &[(Topic::Hello, hello.encode_to_vec())]).await?;
    eventually("the punch", async || {
        let at =
            cluster.number("select coalesce(min(extract(epoch from at)), 0)::bigint from punches").await?;
        ensure!(at == 1_741_000_000 - 40, "{at}");
        Ok(())
    })
    .await?;
    ensure!(company.hr.list("/punches/unplaced").await?.is_empty());
    Ok(())
}
