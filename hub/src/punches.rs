//! From batches that arrived to punches that stand for good, in one transaction.
//!
//! Redelivery, several hubs and a crash between commit and Receipt are all harmless: the streams'
//! rows are locked, a number that has arrived is not stored twice, and the watermarks move with the
//! punches. What can't be a punch is kept as a dead letter with its reason, and acknowledged; what
//! nobody knows the time of waits on a worklist.

mod classify;
pub mod http;
pub mod listing;
pub mod undated;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use jiff::tz::TimeZone;
use prost::Message;
use proto::{DeviceId, PunchBatch, Receipt};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::date::Timestamp;
use crate::db;
use crate::db::boots::Undated;
use crate::db::punches::{Arrival, DeadLetter, Number, Stream};
use crate::db::recompute_queue::Job;
use crate::person::PersonId;
use crate::punches::classify::{Classified, sort};

/// Maximum records per batch; a terminal sends fewer.
const RECORDS: usize = 1000;
/// Bytes of a punch, at most: a terminal's have about 150.
const PUNCH_BYTES: usize = 16 << 10;

/// A batch that can be stored.
pub struct Batch {
    /// Whose.
    pub device: DeviceId,
    /// The terminal's store.
    epoch: i64,
    /// Numbers below this one are gone from the terminal.
    oldest: i64,
    /// Numbers up to this one were never used in this store.
    born: i64,
    /// Which start of the terminal's daemon sent it.
    run: u64,
    records: Vec<(i64, Vec<u8>)>,
}

impl Batch {
    /// Reads a batch that a terminal signed.
    pub fn read(device: DeviceId, body: &[u8]) -> Result<Self> {
        let batch = PunchBatch::decode(body).context("a batch that can't be read")?;
        ensure!(batch.version == proto::VERSION, "a batch of version {}", batch.version);
        ensure!(batch.records.len() <= RECORDS, "a batch of {} punches", batch.records.len());
        let epoch = i64::try_from(batch.epoch).context("an epoch beyond 2^63")?;
        let oldest = i64::try_from(batch.oldest).context("a punch numbered beyond 2^63")?;
        let born = i64::try_from(batch.born).context("a punch numbered beyond 2^63")?;
        let mut records = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            match i64::try_from(record.seq) {
                Ok(seq) if seq > 0 && seq < i64::MAX => {
                    ensure!(record.punch.len() <= PUNCH_BYTES, "a punch of {} bytes", record.punch.len());
                    records.push((seq, record.punch));
                }
                _ => bail!("a punch numbered {}", record.seq),
            }
        }
        Ok(Self { device, epoch, oldest, born, run: batch.run, records })
    }

    fn stream(&self) -> (String, i64) {
        (self.device.as_str().to_owned(), self.epoch)
    }
}

/// Stores batches of any terminals in one transaction and returns a Receipt for each store among
/// them. An error means that nothing was stored; the terminals send them again.
pub async fn ingest(pool: &PgPool, batches: &[Batch], now: Timestamp) -> Result<Vec<(DeviceId, Receipt)>> {
    let mut streams: BTreeMap<(String, i64), &DeviceId> = BTreeMap::new();
    for batch in batches {
        streams.insert(batch.stream(), &batch.device);
    }
    let wanted: Vec<(String, i64)> = streams.keys().cloned().collect();
    let mut transaction = pool.begin().await?;
    let held = db::punches::lock_streams(&mut transaction, &wanted).await?;
    ensure!(held.len() == wanted.len(), "a terminal's row is gone");
    let before = step_over(&mut transaction, &held, batches).await?;
    let (stored, conflicts) = store_records(&mut transaction, batches, now).await?;
    let beyond = db::punches::beyond(&mut transaction, &before).await?;
    let mut receipts = Vec::with_capacity(before.len());
    let mut moved = Vec::new();
    for (stream, held) in before.iter().zip(&held) {
        let key = (stream.device.clone(), stream.epoch);
        let (watermark, missing) = contiguous(stream.watermark, beyond.get(&key).map_or(&[], Vec::as_slice));
        if watermark > held.watermark {
            moved.push(Stream { watermark, ..stream.clone() });
        }
        let conflicts = conflicts.get(&key).cloned().unwrap_or_default();
        let (run, from, to) = compared(batches, &key);
        let receipt = Receipt {
            version: proto::VERSION,
            epoch: stream.epoch as u64,
            through: watermark.min(to) as u64,
            missing,
            conflicts,
            from: from as u64,
            run,
        };
        receipts.push((streams[&key].clone(), receipt));
    }
    if !moved.is_empty() {
        db::punches::advance(&mut transaction, &moved).await?;
    }
    transaction.commit().await?;
    info!(terminals = receipts.len(), stored, "punches committed");
    Ok(receipts)
}

/// What of a stream was compared now, for one run of its terminal: the lowest number, and the highest
/// that follows on it without a gap. Only of these a Receipt may speak: under numbers beyond them the
/// terminal may hold other punches than arrived, if its store was put back from a copy.
fn compared(batches: &[Batch], stream: &(String, i64)) -> (u64, i64, i64) {
    let of_stream = || batches.iter().filter(|batch| batch.stream() == *stream);
    let run = of_stream().next_back().map_or(0, |batch| batch.run);
    let numbers = of_stream().filter(|batch| batch.run == run).flat_map(|batch| &batch.records);
    let numbers: BTreeSet<i64> = numbers.map(|(seq, _)| *seq).collect();
    let from = numbers.first().copied().unwrap_or(0);
    let to = (from..).zip(&numbers).take_while(|(expected, seq)| expected == *seq).last();
    (run, from, to.map_or(from, |(seq, _)| seq))
}

/// Numbers below `oldest` are gone from a terminal: a Receipt covered them. Where they are missing
/// here, the database was restored from before that Receipt. That is an alarm, but waiting for them
/// would hold up all that comes after.
async fn step_over(conn: &mut PgConnection, held: &[Stream], batches: &[Batch]) -> Result<Vec<Stream>> {
    let mut gone: HashMap<(String, i64), (i64, i64)> = HashMap::new();
    for batch in batches {
        let (most, born) = gone.entry(batch.stream()).or_default();
        (*most, *born) = ((*most).max(batch.oldest - 1), (*born).max(batch.born));
    }
    let mut before = held.to_vec();
    for stream in &mut before {
        let (gone, born) = gone.get(&(stream.device.clone(), stream.epoch)).copied().unwrap_or_default();
        // A store that goes on under a new epoch goes on with its numbers.
        stream.watermark = stream.watermark.max(born.min(gone));
        if gone <= stream.watermark {
            continue;
        }
        let from = stream.watermark + 1;
        error!(device.id = %stream.device, from, to = gone,
            "ALARM: punches that had a receipt are not in the database: was it restored from a backup?");
        let detail = json!({"epoch": stream.epoch, "from": from, "to": gone});
        db::audit::record(conn, "hub", "punches.missing", &stream.device, detail).await?;
        stream.watermark = gone;
    }
    Ok(before)
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

/// Numbers that arrived with other contents than before, by stream.
type Conflicts = HashMap<(String, i64), Vec<u64>>;

/// Stores what is new, and says how much that was.
async fn store_records(
    conn: &mut PgConnection,
    batches: &[Batch],
    now: Timestamp,
) -> Result<(usize, Conflicts)> {
    let mut numbers = Vec::new();
    for batch in batches {
        let (device, epoch) = batch.stream();
        numbers.extend(batch.records.iter().map(|(seq, _)| Number {
            device: device.clone(),
            epoch,
            seq: *seq,
        }));
    }
    let mut known = db::punches::arrived(conn, &numbers).await?;
    let (mut fresh, mut conflicts) = (Vec::new(), Conflicts::new());
    let punches = batches.iter().flat_map(|batch| &batch.records).map(|(_, punch)| punch);
    for (number, punch) in numbers.into_iter().zip(punches) {
        let hash = Sha256::digest(punch).to_vec();
        match known.get(&number) {
            Some(twin) if *twin == hash => {}
            Some(_) => {
                error!(device.id = %number.device, punch.seq = number.seq,
                    "ALARM: a number arrived with other contents");
                let stream = (number.device.clone(), number.epoch);
                conflicts.entry(stream).or_default().push(number.seq as u64);
                let letter = DeadLetter { number, hash, punch: punch.clone(), reason: String::new() };
                db::punches::quarantine(conn, &letter).await?;
            }
            None => {
                known.insert(number.clone(), hash.clone());
                fresh.push(sort(number, hash, punch, now));
            }
        }
    }
    let stored = fresh.len();
    store(conn, fresh, now).await?;
    Ok((stored, conflicts))
}

/// Stores what has not arrived before.
async fn store(conn: &mut PgConnection, fresh: Vec<Classified>, now: Timestamp) -> Result<()> {
    let (mut punches, mut undated, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for sorted in fresh {
        match sorted {
            Classified::Punch(arrival) => punches.push(arrival),
            Classified::Undated(punch) => undated.push(punch),
            Classified::Dead(letter) => dead.push(letter),
        }
    }
    let people: Vec<PersonId> =
        punches.iter().chain(undated.iter().map(|punch| &punch.arrival)).map(|punch| punch.person).collect();
    let existing: HashSet<PersonId> = db::people::existing(conn, &people).await?.into_iter().collect();
    let known = |punch: &Arrival| existing.contains(&punch.person);
    let (mut punches, unknown): (Vec<_>, Vec<_>) = punches.into_iter().partition(|punch| known(punch));
    let (undated, nobodys): (Vec<_>, Vec<_>) = undated.into_iter().partition(|punch| known(&punch.arrival));
    let nobodys = nobodys.into_iter().map(|punch| punch.arrival);
    dead.extend(unknown.into_iter().chain(nobodys).map(|punch| dead_letter(punch, "its person is unknown")));
    punches.extend(place(conn, undated, now, &mut dead).await?);
    let mut ids = HashSet::new();
    let (punches, twins): (Vec<_>, Vec<_>) = punches.into_iter().partition(|punch| ids.insert(punch.id));
    dead.extend(twins.into_iter().map(|punch| dead_letter(punch, "its id was counted under another number")));

    let stored = db::punches::insert(conn, &punches, now).await?;
    let touched: HashSet<Job> = punches.iter().filter(|punch| stored.contains(&punch.id)).map(job).collect();
    db::recompute_queue::ask(conn, &touched.into_iter().collect::<Vec<_>>()).await?;
    let again: Vec<Arrival> = punches.into_iter().filter(|punch| !stored.contains(&punch.id)).collect();
    dead.extend(known_before(conn, again).await?);
    for letter in &dead {
        warn!(device.id = %letter.number.device, punch.seq = letter.number.seq, reason = letter.reason,
            "dead letter");
        db::punches::bury(conn, letter).await?;
    }
    Ok(())
}

/// Punches of an unset clock: those whose start is known get their time, the others wait.
async fn place(
    conn: &mut PgConnection,
    undated: Vec<Undated>,
    now: Timestamp,
    dead: &mut Vec<DeadLetter>,
) -> Result<Vec<Arrival>> {
    if undated.is_empty() {
        return Ok(Vec::new());
    }
    let start = |punch: &Undated| (punch.arrival.number.device.clone(), punch.boot.clone());
    let starts: HashSet<(String, String)> = undated.iter().map(start).collect();
    let known = db::boots::known(conn, &starts.into_iter().collect::<Vec<_>>()).await?;
    let mut dated = Vec::new();
    for punch in undated {
        if let Some(start_us) = known.get(&start(&punch)) {
            let at_us = start_us.saturating_add(punch.monotonic_us).min(now.as_microsecond());
            dated.push(Arrival { at_us, ..punch.arrival });
        } else if db::boots::set_aside(conn, &punch, now).await? {
            info!(device.id = %punch.arrival.number.device, punch.seq = punch.arrival.number.seq,
                "a punch of an unset clock waits to be dated");
        } else {
            dead.push(dead_letter(punch.arrival, "its id was counted under another number"));
        }
    }
    Ok(dated)
}

/// Punches whose ids have been counted. The same punch of the same terminal is sent again under
/// another number where its store was salvaged or put back; anything else is an alarm.
async fn known_before(conn: &mut PgConnection, again: Vec<Arrival>) -> Result<Vec<DeadLetter>> {
    let ids: Vec<Uuid> = again.iter().map(|punch| punch.id).collect();
    let counted = if ids.is_empty() { HashMap::new() } else { db::punches::counted(conn, &ids).await? };
    let letter = |punch: Arrival| {
        let same = counted.get(&punch.id) == Some(&(punch.number.device.clone(), punch.hash.clone()));
        if same {
            return dead_letter(punch, "it was counted under another number");
        }
        error!(device.id = %punch.number.device, punch.id = %punch.id,
            "ALARM: a punch came with the id of another");
        dead_letter(punch, "its id belongs to another punch")
    };
    Ok(again.into_iter().map(letter).collect())
}

/// The punches of a terminal that can be dated now become punches.
pub async fn date_waiting(conn: &mut PgConnection, device: &str) -> Result<usize> {
    let dated = db::boots::place(conn, device).await?;
    let jobs: HashSet<Job> = dated.iter().map(|punch| days(punch.person, punch.at_us)).collect();
    db::recompute_queue::ask(conn, &jobs.into_iter().collect::<Vec<_>>()).await?;
    db::punches::announce(conn, &dated.iter().map(|punch| punch.id).collect::<Vec<_>>()).await?;
    Ok(dated.len())
}

/// The days that a punch may touch: its date in any zone.
fn days(person: PersonId, at_us: i64) -> Job {
    let date =
        Timestamp(jiff::Timestamp::from_microsecond(at_us).unwrap_or_default()).date_in(&TimeZone::UTC);
    Job { person, from: date.plus(-1), to: date.plus(1) }
}

fn job(punch: &Arrival) -> Job {
    days(punch.person, punch.at_us)
}

/// A punch that was understood, but can't be counted.
fn dead_letter(punch: Arrival, reason: &str) -> DeadLetter {
    DeadLetter { number: punch.number, hash: punch.hash, punch: punch.punch, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_speaks_of_what_was_compared_alone() {
        let device = DeviceId::from_random([1; 16]);
        let batch = |run, numbers: std::ops::Range<i64>| Batch {
            device: device.clone(),
            epoch: 7,
            oldest: 1,
            born: 0,
            run,
            records: numbers.map(|seq| (seq, Vec::new())).collect(),
        };
        let of = |batches: &[Batch]| compared(batches, &(device.as_str().to_owned(), 7));
        assert_eq!(of(&[batch(3, 5..9)]), (3, 5, 8));
        assert_eq!(of(&[batch(3, 9..12), batch(3, 5..9)]), (3, 5, 11));
        assert_eq!(of(&[batch(3, 5..9), batch(3, 20..30)]), (3, 5, 8));
        assert_eq!(of(&[batch(2, 1..99), batch(3, 5..9)]), (3, 5, 8), "of the latest run");
        assert_eq!(of(&[batch(3, 0..0)]), (3, 0, 0));
    }

    #[test]
    fn the_watermark_stops_at_the_first_gap() {
        assert_eq!(contiguous(0, &[]), (0, vec![]));
        assert_eq!(contiguous(0, &[1, 2, 3]), (3, vec![]));
        assert_eq!(contiguous(3, &[4, 6, 7, 9]), (4, vec![5, 8]));
        assert_eq!(contiguous(3, &[5]), (3, vec![4]));
    }
}
