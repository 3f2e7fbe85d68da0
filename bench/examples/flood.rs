//! How a login and a punch fare while others take all that they can get.
//!
//!     flood [CONNECTIONS] [REPORTS] [STREAMS]    default 5000 48 150; one line of JSON
//!
//! Silent TLS connections from 64 addresses of this machine, year reports of a manager with 2000 people
//! and live pages of one session, all at once; beside them somebody logs in every three
//! seconds and two terminals deliver ten punches a second. First the same without them, as a yardstick.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tests::api::Api;
use tests::dir::TestDir;
use tests::hub::{Hub, PASSWORD};
use tests::mqtt_client::{silent, tls};
use tests::peak_memory;
use tests::simulated::{Behaviour, Ca, accept};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How long each half is measured.
const SPAN: Duration = Duration::from_secs(40);
/// People of the manager.
const PEOPLE: usize = 2000;
/// Between a rejection and the next attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// As often as one address may log in in the long run.
const BETWEEN_LOGINS: Duration = Duration::from_millis(3200);
/// Addresses that silent connections come from.
const ADDRESSES: usize = 64;

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut number = |default| numbers.next().transpose().map(|number| number.unwrap_or(default));
    let (connections, reports, streams) = (number(5000)?, number(48)?, number(150)?);
    tests::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{}", runtime.block_on(flood(connections, reports, streams))?);
    Ok(())
}

async fn flood(connections: usize, reports: usize, streams: usize) -> Result<Value> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    fill(&hub).await?;
    let quiet = measure(&hub).await?;

    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    let config = Arc::new(tls(&hub.authority(), None)?);
    for number in 0..connections {
        let from = [127, 0, 1, 1 + (number % ADDRESSES) as u8].into();
        tasks.spawn(say_nothing(hub.https, from, config.clone(), counts.clone()));
    }
    let manager = Api::login(&hub, "manager").await?;
    for _ in 0..reports {
        tasks.spawn(read_reports(manager.clone(), counts.clone()));
    }
    for _ in 0..streams {
        tasks.spawn(watch(manager.clone(), counts.clone()));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let flooded = measure(&hub).await?;
    tasks.shutdown().await;
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    Ok(json!({
        "silent_connections": connections, "silent_opened": count(&counts.opened),
        "reports_at_once": reports, "reports_answered": count(&counts.reports), "reports_429": count(&counts.reports_429),
        "streams": streams, "streams_answered": count(&counts.streams), "streams_429": count(&counts.streams_429),
        "quiet": quiet, "flooded": flooded, "hub_peak_mib": peak_memory(hub.process()?)?,
    }))
}

/// What the others got.
#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    reports: AtomicUsize,
    reports_429: AtomicUsize,
    streams: AtomicUsize,
    streams_429: AtomicUsize,
}

fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Holds a connection that says nothing, and opens the next when the hub has ended it.
async fn say_nothing(https: SocketAddr, from: IpAddr, config: Arc<ClientConfig>, counts: Arc<Counts>) {
    loop {
        if let Ok(mut stream) = silent(https, from, config.clone()).await {
            add(&counts.opened);
            let _ = stream.read(&mut [0]).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for the year's report again and again, and reads it to its end.
async fn read_reports(manager: Api, counts: Arc<Counts>) {
    let path = "/reports/timesheet?from=2025-01-01&to=2025-12-31&format=csv";
    loop {
        if let Ok(answer) = manager.request(Method::GET, path).timeout(SPAN * 2).send().await {
            let rejected = answer.status() == StatusCode::TOO_MANY_REQUESTS;
            if answer.bytes().await.is_ok() {
                add(if rejected { &counts.reports_429 } else { &counts.reports });
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Opens a live page, again when it has ended or was rejected.
async fn watch(manager: Api, counts: Arc<Counts>) {
    loop {
        if let Ok(mut answer) = manager.console(Method::GET, "/live").timeout(SPAN * 2).send().await {
            let rejected = answer.status() == StatusCode::TOO_MANY_REQUESTS;
            add(if rejected { &counts.streams_429 } else { &counts.streams });
            while let Ok(Some(_)) = answer.chunk().await {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Logins, each with a connection of its own, and punches of two terminals.
async fn measure(hub: &Hub) -> Result<Value> {
    let terminals: Vec<_> = {
        let ca = Ca::of(&hub.state)?;
        (0..2).map(|_| ca.terminal()).collect::<Result<_>>()?
    };
    accept(&hub.cluster(), &terminals).await?;
    let people = hub.cluster().column("select id::text from people where number like 'E%' limit 100").await?;
    let people: Arc<Vec<Uuid>> = Arc::new(people.iter().map(|id| id.parse()).collect::<Result<_, _>>()?);
    let first = Instant::now() + Duration::from_secs(2);
    let mut doors = JoinSet::new();
    for terminal in terminals {
        let every = Duration::from_millis(200);
        let behaviour =
            Behaviour { port: hub.mqtt.port(), until: first + SPAN, every, first, people: people.clone() };
        doors.spawn(terminal.run(behaviour));
    }
    let mut logins = Vec::new();
    while first.elapsed() < SPAN {
        let start = Instant::now();
        let login = json!({"name": "hr", "password": PASSWORD});
        let answer = Api::anonymous(hub)?.post("/sessions", &login).await;
        let status = answer.map(|(status, _)| status.as_u16());
        ensure!(matches!(status, Ok(200)), "the honest login: {status:?}");
        logins.push(start.elapsed());
        tokio::time::sleep(BETWEEN_LOGINS).await;
    }
    let mut receipts = Vec::new();
    while let Some(done) = doors.join_next().await {
        receipts.extend(done??.latencies);
    }
    Ok(
        json!({"logins": logins.len(), "login_ms": spread(logins), "punches": receipts.len(), "receipt_ms": spread(receipts)}),
    )
}

fn spread(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |share: f64| {
        let time = times.get((times.len() as f64 * share) as usize).or(times.last());
        time.map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
    };
    json!({"median": at(0.5), "p95": at(0.95), "max": at(1.0)})
}

/// A manager with many people, each with a year of workdays; somebody from HR who logs in.
async fn fill(hub: &Hub) -> Result<()> {
    let cluster = hub.cluster();
    hub.must(&["person", "add", "M", "Manager"])?;
    hub.account("manager", "manager", Some("M"))?;
    hub.account("hr", "hr", None)?;
    let people = format!(
        "insert into people (id, number, name, manager, site)
        select gen_random_uuid(), 'E' || n, 'Employee ' || n, m.id, m.site
        from people m, generate_series(1, {PEOPLE}) n where m.number = 'M'"
    );
    cluster.execute(&people).await?;
    let workdays = "insert into workdays (person, date, shift, status, first_in, last_out, worked_s, expected_s,
            late_s, early_s, overtime_s, balance_s, flags, computed_at)
        select p.id, day::date, '', 'present', day + interval '8 hours', day + interval '17 hours', 32400, 28800,
            0, 0, 3600, 3600, '{}', now()
        from people p, generate_series(timestamptz '2025-01-01', '2025-12-31', '1 day') day where p.number like 'E%'";
    cluster.execute(workdays).await?;
    cluster.execute("analyze").await
}
