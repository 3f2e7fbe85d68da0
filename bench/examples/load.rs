//! A thousand terminals on one hub: how fast they connect, and how long a punch waits for its
//! Receipt.
//!
//!     load [TERMINALS] [PUNCHES_A_SECOND] [SECONDS]    default 1000 500 300; one line of JSON
//!
//! The hub is the real program with its own PostgreSQL, with fsync; the terminals are simulated in
//! this process, over real TLS, each with its own key and certificate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::simulated::{Behaviour, Ca, Record, Simulated, accept, add_people};
use tests::{eventually, peak_memory};
use tokio::task::JoinSet;

const PEOPLE: i64 = 1000;
/// How long terminals may take to connect before punches begin.
const CONNECT: Duration = Duration::from_mins(1);

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut number = |default| numbers.next().transpose().map(|number| number.unwrap_or(default));
    let (terminals, rate, seconds) = (number(1000)?, number(500)?, number(300)?);
    ensure!(terminals > 0 && rate > 0 && seconds > 0, "three numbers above 0");
    tests::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{}", runtime.block_on(load(terminals, rate, seconds))?);
    Ok(())
}

async fn load(count: u32, rate: u32, seconds: u32) -> Result<serde_json::Value> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let ca = Ca::of(&hub.state)?;
    let terminals: Vec<Simulated> = (0..count).map(|_| ca.terminal()).collect::<Result<_>>()?;
    accept(&hub.cluster(), &terminals).await?;
    let people = Arc::new(add_people(&hub.cluster(), PEOPLE).await?);

    let (begun, every) = (Instant::now(), Duration::from_secs_f64(f64::from(count) / f64::from(rate)));
    let start = begun + CONNECT;
    let mut tasks = JoinSet::new();
    for (number, terminal) in (0..).zip(terminals) {
        let first = start + every.mul_f64(f64::from(number) / f64::from(count));
        let until = start + Duration::from_secs(seconds.into());
        let behaviour = Behaviour { port: hub.mqtt.port(), until, every, first, people: people.clone() };
        tasks.spawn(terminal.run(behaviour));
    }
    let mut records: Vec<Record> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        records.push(done??);
    }
    let drained = start.elapsed();
    report(&hub, &records, begun, drained, seconds).await
}

async fn report(
    hub: &Hub,
    records: &[Record],
    begun: Instant,
    drained: Duration,
    seconds: u32,
) -> Result<serde_json::Value> {
    let connected = records.iter().map(|record| record.connected).collect::<Option<Vec<_>>>();
    let connected = connected.context("a terminal never connected")?;
    let connected = connected.into_iter().max().map_or(Duration::ZERO, |last| last - begun);
    let mut latencies: Vec<Duration> = records.iter().flat_map(|record| record.latencies.clone()).collect();
    latencies.sort();
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len() - 1);
        (latencies[index].as_secs_f64() * 10_000.0).round() / 10.0
    };
    let memory = peak_memory(hub.process()?)?;
    let stored = hub.cluster().punches().await?;
    let sent: usize = records.iter().map(|record| record.punches.len()).sum();
    let lost =
        records.iter().flat_map(|record| &record.punches).filter(|id| !stored.contains_key(id)).count();
    let settled = Instant::now();
    eventually("workdays", async || hub.cluster().wait_until_computed().await).await?;
    Ok(json!({
        "terminals": records.len(),
        "connected_s": (connected.as_secs_f64() * 10.0).round() / 10.0,
        "punches": sent,
        "seconds": seconds,
        "punches_per_s": (sent as f64 / drained.as_secs_f64()).round(),
        "receipt_ms": {"median": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0)},
        "hub_peak_mib": memory,
        "connections": records.iter().map(|record| record.connections).sum::<u32>(),
        "lost": lost,
        "doubled": stored.values().filter(|count| **count > 1).count(),
        "workdays_behind_s": settled.elapsed().as_secs(),
    }))
}
