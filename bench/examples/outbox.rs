//! What the outbox can do, and what a power cut does to it.
//!
//!     outbox bench [FOLDER]            time and bytes written for a punch, as JSON
//!     outbox write [--no-sync] FOLDER  appends for ever, and prints what is durable
//!     outbox list FOLDER               prints what is held
//!     outbox fill FOLDER COUNT PERSON  appends punches of a person, as after weeks offline
//!
//! `tests/lab/power.sh` cuts the power of a machine that writes, and lists what is left.
//! `--no-sync` leaves out what makes punches durable, to show that the test finds it.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edge::outbox::{Options, Outbox};
use prost::Message;
use serde_json::json;
use uuid::Uuid;

const LIMIT: u64 = 1 << 30;
/// Bytes of a punch as the terminal encodes it, about.
const PUNCH_BYTES: usize = 130;
/// Punches on their way to the disk at once, under load.
const IN_FLIGHT: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["bench"] => bench(tempfile::tempdir()?.path()).await,
        ["bench", folder] => bench(Path::new(folder)).await,
        ["write", folder] => write(Options::new(Path::new(folder), LIMIT)).await,
        ["write", "--no-sync", folder] => {
            write(Options { sync: false, ..Options::new(Path::new(folder), LIMIT) }).await
        }
        ["list", folder] => list(folder.into()).await,
        ["fill", folder, count, person] => fill(folder.as_ref(), count.parse()?, person.parse()?).await,
        _ => bail!(
            "usage: outbox bench [FOLDER] | write [--no-sync] FOLDER | list FOLDER | fill FOLDER COUNT PERSON"
        ),
    }
}

/// A punch's bytes with its id in front.
fn punch(id: Uuid) -> Vec<u8> {
    let mut bytes = id.as_bytes().to_vec();
    bytes.resize(PUNCH_BYTES, 0x5a);
    bytes
}

async fn write(options: Options) -> Result<()> {
    let outbox = Outbox::open(options)?;
    let mut waiting = VecDeque::new();
    loop {
        while waiting.len() < IN_FLIGHT {
            let (outbox, id) = (outbox.clone(), Uuid::now_v7());
            waiting.push_back(Box::pin(async move { outbox.append(punch(id)).await.map(|seq| (seq, id)) }));
        }
        for done in futures_util::future::join_all(waiting.drain(..)).await {
            let (seq, id) = done?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "durable {seq} {id}")?;
            out.flush()?;
        }
    }
}

async fn list(folder: PathBuf) -> Result<()> {
    let outbox = Outbox::open(Options::new(&folder, LIMIT))?;
    let (mut from, mut count) = (1, 0);
    loop {
        let records = outbox.read(from, 1000, 1 << 20).await?.records;
        let Some((last, _)) = records.last() else { break };
        from = last + 1;
        count += records.len();
        for (seq, bytes) in &records {
            println!("held {seq} {}", Uuid::from_slice(bytes.get(..16).context("a short punch")?)?);
        }
    }
    if let Some(alarm) = outbox.alarm() {
        println!("alarm {alarm}");
    }
    println!("end {count}");
    Ok(())
}

async fn fill(folder: &Path, count: u64, person: Uuid) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let outbox = Outbox::open(Options { sync: false, ..Options::new(folder, LIMIT) })?;
    let made = |number: u64| {
        let punch = proto::Punch {
            version: proto::VERSION,
            id: Uuid::now_v7().as_bytes().to_vec(),
            person: person.as_bytes().to_vec(),
            at_us: 1_790_000_000_000_000 + number as i64 * 1_000_000,
            monotonic_us: number * 1_000_000,
            boot: "6b8f1f0e-3c5d-4b8e-9f0a-6b8f1f0e3c5d".into(),
            synchronised: true,
            direction: 0,
            distance: 0.25,
            threshold: 0.4,
        };
        punch.encode_to_vec()
    };
    for first in (0..count).step_by(200) {
        let group = (first..count.min(first + 200)).map(|number| outbox.append(made(number)));
        for done in futures_util::future::join_all(group).await {
            done?;
        }
    }
    Ok(())
}

async fn bench(folder: &Path) -> Result<()> {
    let outbox = Outbox::open(Options::new(&folder.join("outbox"), LIMIT))?;
    let mut single = Vec::new();
    for _ in 0..300 {
        let start = Instant::now();
        outbox.append(punch(Uuid::now_v7())).await?;
        single.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    single.sort();
    let (count, before, start) = (20_000, written()?, Instant::now());
    for _ in 0..count / 100 {
        let group = (0..100).map(|_| outbox.append(punch(Uuid::now_v7())));
        for done in futures_util::future::join_all(group).await {
            done?;
        }
    }
    let (took, bytes) = (start.elapsed(), written()? - before);
    let held = outbox.queued();
    ensure!(held == count + 300, "{held} are held");
    let result = json!({
        "single_median_ms": single[single.len() / 2].as_secs_f64() * 1000.0,
        "single_p99_ms": single[single.len() * 99 / 100].as_secs_f64() * 1000.0,
        "load_punches_per_s": (count as f64 / took.as_secs_f64()).round(),
        "load_bytes_per_punch": bytes / count,
        "punch_bytes": PUNCH_BYTES,
    });
    println!("{result}");
    Ok(())
}

/// Bytes that this process has had written to disks.
fn written() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes")?.parse()?)
}
