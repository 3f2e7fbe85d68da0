//! How fast punches are stored, without MQTT, against `COPY` into the same table in the same run.
//!
//!     ingest [PUNCHES] [ROUNDS]    one line of JSON: punches a second, and the share of COPY
//!
//! The tables, their indexes, keys and the database are the hub's own; `one_terminal` stores four
//! batches of 100 at a time, as while one outbox drains; `many_terminals` stores those of 64 at
//! once in each of four transactions, as the hub's workers do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hub::{Batch, Cluster, db, ingest};
use jiff::Timestamp;
use prost::Message;
use proto::{DeviceId, Punch, PunchBatch, PunchRecord};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row};
use uuid::Uuid;

const PEOPLE: usize = 500;
const TERMINALS: u8 = 64;
const WORKERS: usize = 4;
const BATCH: usize = 100;
/// Batches that a terminal has on their way at once.
const WINDOW: usize = 4;

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let punches = numbers.next().transpose()?.unwrap_or(50_000);
    let rounds = numbers.next().transpose()?.unwrap_or(3);
    ensure!(punches >= 10_000 && punches.is_multiple_of(BATCH), "at least 10000 punches, in hundreds");
    let folder = tempfile::Builder::new().prefix("rollcall-ingest-").tempdir_in("/tmp")?;
    std::os::unix::fs::chown(folder.path(), None, None)?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let cluster = Cluster::start(&folder.path().join("pg"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(measure(&cluster, punches, rounds));
    cluster.stop();
    println!("{}", measured?);
    Ok(())
}

async fn measure(cluster: &Cluster, punches: usize, rounds: usize) -> Result<serde_json::Value> {
    let pool = db::open(cluster.options()).await?;
    let people = prepare(&pool).await?;
    let (mut copied, mut single, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        copied.push(copy(&pool, &people, punches).await?);
        clear(&pool, punches).await?;
        let start = Instant::now();
        one_terminal(&pool, &batches(0, &people, punches)?).await?;
        single.push(start.elapsed());
        clear(&pool, punches).await?;
        many.push(many_terminals(&pool, &people, punches).await?);
        clear(&pool, punches).await?;
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        punches as f64 / times[times.len() / 2].as_secs_f64()
    };
    let (copied, single, many) = (rate(&mut copied), rate(&mut single), rate(&mut many));
    Ok(json!({
        "punches": punches,
        "rounds": rounds,
        "copy_per_s": copied.round(),
        "one_terminal_per_s": single.round(),
        "many_terminals_per_s": many.round(),
        "one_terminal_of_copy": (single / copied * 1000.0).round() / 1000.0,
        "many_terminals_of_copy": (many / copied * 1000.0).round() / 1000.0,
    }))
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_random([number; 16])
}

async fn prepare(pool: &PgPool) -> Result<Vec<Uuid>> {
    for number in 0..TERMINALS {
        sqlx::query("insert into terminals (device, name, state, certificate_sha256, expires_at) values ($1, 'Door', 'accepted', '', '2099-01-01')")
            .bind(device(number).as_str())
            .execute(pool)
            .await?;
    }
    let rows = sqlx::query("insert into people (id, number, name, site) select gen_random_uuid(), n::text, 'Somebody', (select min(id) from sites) from generate_series(1, $1) n returning id")
        .bind(PEOPLE as i32)
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}

async fn clear(pool: &PgPool, expected: usize) -> Result<()> {
    let stored: i64 = sqlx::query_scalar("select count(*) from punches").fetch_one(pool).await?;
    ensure!(stored as usize == expected, "{stored} of {expected} punches were stored");
    sqlx::raw_sql("truncate punches, streams, jobs").execute(pool).await?;
    sqlx::raw_sql("vacuum analyze").execute(pool).await?;
    Ok(())
}

/// The rows as text, as `COPY` takes them.
async fn copy(pool: &PgPool, people: &[Uuid], punches: usize) -> Result<Duration> {
    use std::fmt::Write;
    let mut text = String::new();
    for number in 0..punches {
        let (person, id) = (people[number % people.len()], Uuid::now_v7());
        let hash = hex::encode(Sha256::digest(id));
        writeln!(
            text,
            "{id}\t{}\t7\t{}\t{person}\t2026-03-02 08:00:00+00\tsynchronised\tunknown\t0.3\t\\\\x{hash}\t2026-03-02 08:00:01+00",
            device(0),
            number + 1
        )?;
    }
    let start = Instant::now();
    let mut conn = pool.acquire().await?;
    let mut sink = conn
        .copy_in_raw("copy punches (id, device, epoch, seq, person, at, clock, direction, distance, hash, received_at) from stdin")
        .await?;
    sink.send(text.as_bytes()).await?;
    sink.finish().await?;
    Ok(start.elapsed())
}

fn batches(number: u8, people: &[Uuid], punches: usize) -> Result<Vec<Batch>> {
    let mut found = Vec::new();
    for first in (0..punches).step_by(BATCH) {
        let record = |seq: usize| {
            let punch = Punch {
                version: proto::VERSION,
                id: Uuid::now_v7().as_bytes().to_vec(),
                person: people[seq % people.len()].as_bytes().to_vec(),
                at_us: 1_772_438_400_000_000 + seq as i64,
                synchronised: true,
                boot: "6b8f1f0e-3c5d-4b8e-9f0a-000000000000".into(),
                ..Punch::default()
            };
            PunchRecord { seq: seq as u64 + 1, punch: punch.encode_to_vec() }
        };
        let records = (first..first + BATCH).map(record).collect();
        let batch =
            PunchBatch { version: proto::VERSION, epoch: 7, records, oldest: 1, ..PunchBatch::default() };
        found.push(Batch::read(device(number), &batch.encode_to_vec())?);
    }
    Ok(found)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_772_450_000).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn one_terminal(pool: &PgPool, batches: &[Batch]) -> Result<()> {
    for group in batches.chunks(WINDOW) {
        ingest(pool, group, now().into()).await?;
    }
    Ok(())
}

async fn many_terminals(pool: &PgPool, people: &[Uuid], punches: usize) -> Result<Duration> {
    let each = usize::from(TERMINALS);
    let mut workers: Vec<Vec<Batch>> = (0..WORKERS).map(|_| Vec::new()).collect();
    let mut left = punches / BATCH;
    for number in 0..TERMINALS {
        let count = left.div_ceil(each - usize::from(number));
        left -= count;
        workers[usize::from(number) % WORKERS].extend(batches(number, people, count * BATCH)?);
    }
    let start = Instant::now();
    let work = workers.iter().map(|batches| async move {
        for group in batches.chunks(64) {
            ingest(pool, group, now().into()).await?;
        }
        anyhow::Ok(())
    });
    for done in futures_util::future::join_all(work).await {
        done.context("a worker")?;
    }
    Ok(start.elapsed())
}
