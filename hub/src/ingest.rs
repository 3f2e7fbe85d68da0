//! From a batch that arrived to punches that stand for good, in one transaction.
//!
//! Redelivery, several hubs and a crash between commit and Receipt are all harmless: the stream's
//! row is locked, a number that has arrived is not stored twice, and the watermark moves with the
//! punches. What can't be a punch is kept as a dead letter with its reason, and acknowledged.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use prost::Message;
use proto::{DeviceId, Direction, Punch, PunchBatch, PunchRecord, Receipt};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::store;
use crate::store::jobs::Job;
use crate::store::punches::{Arrival, DeadLetter, Stream};

/// Records that a batch may hold: a terminal sends fewer.
const RECORDS: usize = 1000;
/// A punch before this instant was made by a clock that was never set: 2020-01-01.
const EARLIEST_US: i64 = 1_577_836_800_000_000;
/// No punch is as late as this: 2100-01-01.
const LATEST_US: i64 = 4_102_444_800_000_000;
/// A punch further ahead of the hub's clock than this has an estimated time.
const AHEAD_US: i64 = 24 * 3600 * 1_000_000;

/// Stores a batch and returns the Receipt to send. An error means that nothing was stored; the
/// terminal sends the batch again.
pub async fn ingest(pool: &PgPool, device: &DeviceId, payload: &[u8], now: Timestamp) -> Result<Receipt> {
    let batch = PunchBatch::decode(payload).context("a batch that can't be read")?;
    ensure!(batch.version == proto::VERSION, "a batch of version {}", batch.version);
    ensure!(batch.records.len() <= RECORDS, "a batch of {} punches", batch.records.len());
    let epoch = i64::try_from(batch.epoch).context("an epoch beyond 2^63")?;
    let stream = Stream { device, epoch };

    let mut transaction = pool.begin().await?;
    let held = store::punches::lock_stream(&mut transaction, stream).await?;
    let before = step_over(&mut transaction, stream, held, batch.oldest).await?;
    let stored = store_records(&mut transaction, stream, batch.records, now).await?;
    let beyond = store::punches::beyond(&mut transaction, stream, before).await?;
    let (watermark, missing) = contiguous(before, &beyond);
    if watermark > held {
        store::punches::advance(&mut transaction, stream, watermark).await?;
    }
    transaction.commit().await?;
    info!(device.id = %device, stored, watermark, "punches committed");
    Ok(Receipt { version: proto::VERSION, epoch: batch.epoch, through: watermark as u64, missing })
}

/// Numbers below `oldest` are gone from the terminal: a Receipt covered them. Where they are
/// missing here, the database was restored from before that Receipt. That is an alarm, but waiting
/// for them would hold up all that comes after.
async fn step_over(conn: &mut PgConnection, stream: Stream<'_>, watermark: i64, oldest: u64) -> Result<i64> {
    let gone = i64::try_from(oldest).context("a punch numbered beyond 2^63")? - 1;
    if gone <= watermark {
        return Ok(watermark);
    }
    error!(device.id = %stream.device, from = watermark + 1, to = gone,
        "ALARM: punches that had a receipt are not in the database: was it restored from a backup?");
    let detail = json!({"epoch": stream.epoch, "from": watermark + 1, "to": gone});
    store::audit::record(conn, "hub", "punches.missing", stream.device.as_str(), detail).await?;
    Ok(gone)
}

/// Up to where all numbers have arrived, and which are missing below the highest.
fn contiguous(watermark: i64, beyond: &[i64]) -> (i64, Vec<u64>) {
    /// Missing numbers that a Receipt names, at most.
    const NAMED: usize = 1000;
    let mut through = watermark;
    let mut missing = Vec::new();
    let mut expected = watermark + 1;
    for &seq in beyond {
        while expected < seq && missing.len() < NAMED {
            missing.push(expected as u64);
            expected += 1;
        }
        expected = seq + 1;
        if missing.is_empty() {
            through = seq;
        }
    }
    (through, missing)
}

/// What a record turned out to be.
enum Sorted {
    Punch(Arrival),
    Dead(DeadLetter),
}

async fn store_records(
    conn: &mut PgConnection,
    stream: Stream<'_>,
    records: Vec<PunchRecord>,
    now: Timestamp,
) -> Result<usize> {
    let mut fresh: HashMap<i64, Sorted> = HashMap::new();
    let mut seqs = Vec::with_capacity(records.len());
    for record in &records {
        seqs.push(number(record)?);
    }
    let known = store::punches::arrived(conn, stream, &seqs).await?;
    for (record, seq) in records.into_iter().zip(seqs) {
        let hash = Sha256::digest(&record.punch).to_vec();
        let twin = match fresh.get(&seq) {
            Some(Sorted::Punch(other)) => Some(other.hash.clone()),
            Some(Sorted::Dead(other)) => Some(other.hash.clone()),
            None => known.get(&seq).cloned(),
        };
        match twin {
            Some(twin) if twin == hash => {}
            Some(_) => {
                error!(device.id = %stream.device, punch.seq = seq, "ALARM: a number arrived with other contents");
                let letter = DeadLetter { seq, hash, punch: record.punch, reason: String::new() };
                store::punches::quarantine(conn, stream, &letter).await?;
            }
            None => {
                fresh.insert(seq, sort(seq, hash, record.punch, now));
            }
        }
    }
    settle(conn, stream, fresh, now).await
}

fn number(record: &PunchRecord) -> Result<i64> {
    match i64::try_from(record.seq) {
        Ok(seq) if seq > 0 => Ok(seq),
        _ => bail!("a punch numbered {}", record.seq),
    }
}

/// Decodes a punch; what is not understood becomes a dead letter.
fn sort(seq: i64, hash: Vec<u8>, bytes: Vec<u8>, now: Timestamp) -> Sorted {
    let understood = || -> Result<Arrival> {
        let punch = Punch::decode(bytes.as_slice()).context("it can't be decoded")?;
        ensure!(punch.version == proto::VERSION, "it is of version {}", punch.version);
        let direction = match punch.direction() {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Unknown => "unknown",
        };
        let now_us = now.as_microsecond();
        ensure!(punch.at_us < LATEST_US, "its time is impossible");
        let ahead = punch.at_us > now_us.saturating_add(AHEAD_US);
        let never_set = punch.at_us < EARLIEST_US;
        if punch.synchronised && (ahead || never_set) {
            error!(
                punch.seq = seq,
                at_us = punch.at_us,
                "ALARM: the clocks of hub and terminal differ by a day or more"
            );
        }
        Ok(Arrival {
            seq,
            id: Uuid::from_slice(&punch.id).context("its id is no UUID")?,
            person: Uuid::from_slice(&punch.person).context("its person is no UUID")?,
            // A clock that was never set says nothing: the time of arrival is the best there is.
            // Of two clocks that differ by a day, the hub's may be the wrong one.
            at_us: if never_set { now_us } else { punch.at_us },
            clock: if punch.synchronised && !ahead && !never_set { "synchronised" } else { "estimated" },
            direction,
            distance: if punch.distance.is_finite() { punch.distance } else { 0.0 },
            hash: hash.clone(),
            punch: bytes.clone(),
        })
    };
    match understood() {
        Ok(arrival) => Sorted::Punch(arrival),
        Err(reason) => Sorted::Dead(DeadLetter { seq, hash, punch: bytes, reason: format!("{reason:#}") }),
    }
}

/// Stores what is new, and says how much it was.
async fn settle(
    conn: &mut PgConnection,
    stream: Stream<'_>,
    fresh: HashMap<i64, Sorted>,
    now: Timestamp,
) -> Result<usize> {
    let total = fresh.len();
    let (mut punches, mut dead) = (Vec::new(), Vec::new());
    for sorted in fresh.into_values() {
        match sorted {
            Sorted::Punch(arrival) => punches.push(arrival),
            Sorted::Dead(letter) => dead.push(letter),
        }
    }
    let people: Vec<Uuid> = punches.iter().map(|punch| punch.person).collect();
    let existing: HashSet<Uuid> = store::people::existing(conn, &people).await?.into_iter().collect();
    let (punches, unknown): (Vec<_>, Vec<_>) =
        punches.into_iter().partition(|punch| existing.contains(&punch.person));
    dead.extend(unknown.into_iter().map(|punch| dead_letter(punch, "its person is unknown")));
    let stored: HashSet<i64> =
        store::punches::insert(conn, stream, &punches, now).await?.into_iter().collect();
    let touched: Vec<Job> = punches.iter().filter(|punch| stored.contains(&punch.seq)).map(job).collect();
    store::jobs::ask(conn, &touched).await?;
    let again = punches.into_iter().filter(|punch| !stored.contains(&punch.seq));
    dead.extend(again.map(|punch| dead_letter(punch, "its id was counted under another number")));
    for letter in &dead {
        warn!(device.id = %stream.device, punch.seq = letter.seq, reason = letter.reason, "dead letter");
        store::punches::bury(conn, stream, letter).await?;
    }
    Ok(total)
}

/// The days that a punch may touch: its date in any zone.
fn job(punch: &Arrival) -> Job {
    let at = Timestamp::from_microsecond(punch.at_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = TimeZone::UTC.to_datetime(at).date();
    Job { person: punch.person, from: date.saturating_sub(1.day()), to: date.saturating_add(1.day()) }
}

/// A punch that was understood, but can't be counted.
fn dead_letter(punch: Arrival, reason: &str) -> DeadLetter {
    DeadLetter { seq: punch.seq, hash: punch.hash, punch: punch.punch, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_stops_at_the_first_gap() {
        assert_eq!(contiguous(0, &[]), (0, vec![]));
        assert_eq!(contiguous(0, &[1, 2, 3]), (3, vec![]));
        assert_eq!(contiguous(3, &[4, 6, 7, 9]), (4, vec![5, 8]));
        assert_eq!(contiguous(3, &[5]), (3, vec![4]));
    }

    #[test]
    fn times_that_cannot_be_are_dead_or_estimated() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let bytes = |at_us, synchronised| {
            let uuid = vec![1; 16];
            Punch { version: 1, id: uuid.clone(), person: uuid, at_us, synchronised, ..Punch::default() }
                .encode_to_vec()
        };
        let sorted = |at_us, synchronised| sort(1, vec![], bytes(at_us, synchronised), now);
        assert!(matches!(sorted(now.as_microsecond(), true), Sorted::Punch(a) if a.clock == "synchronised"));
        let ahead = now.as_microsecond() + 2 * AHEAD_US;
        assert!(
            matches!(sorted(ahead, true), Sorted::Punch(a) if a.clock == "estimated" && a.at_us == ahead)
        );
        let never_set = sorted(5, true);
        assert!(
            matches!(never_set, Sorted::Punch(a) if a.clock == "estimated" && a.at_us == now.as_microsecond())
        );
        assert!(matches!(sorted(i64::MAX, true), Sorted::Dead(_)));
        assert!(matches!(sorted(5, false), Sorted::Punch(a) if a.at_us == now.as_microsecond()));
        assert!(matches!(sort(1, vec![], vec![255], now), Sorted::Dead(_)));
    }
}
