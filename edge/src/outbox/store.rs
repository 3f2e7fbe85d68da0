//! One open sled store: numbered punches, made durable, read back, deleted.
//!
//! It does not know threads, salvage or the reserve; it reports what failed.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sled::{Batch, Db};

use crate::outbox::layout::Mark;
use crate::outbox::record::{OVERHEAD, Record};

/// Memory for sled's page cache; its default of a gigabyte breaks any budget.
const CACHE_BYTES: u64 = 8 << 20;

const EPOCH: &[u8] = b"m/epoch";
const LAST: &[u8] = b"m/last";
const THROUGH: &[u8] = b"m/through";
const BORN: &[u8] = b"m/born";
const PUNCH: &[u8] = b"p/";

#[derive(Debug)]
pub enum Failure {
    InUse,
    Full,
    Damaged(String),
    /// Anything else: a read-only disk, an I/O error.
    Other(String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => {
                Self::Damaged(error.to_string())
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let text = error.to_string();
        match error.kind() {
            StorageFull | QuotaExceeded => Self::Full,
            _ if text.contains("could not acquire lock") => Self::InUse,
            _ => Self::Other(text),
        }
    }
}

pub struct Store {
    db: Db,
    file: File,
    pub mark: Mark,
    /// Numbers up to this one were used before the epoch was drawn.
    pub born: u64,
    /// See `Options::sync`.
    pub sync: bool,
}

/// Turns a panic of sled, which panics on damage, into an error.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Failure::Damaged("sled panicked".into())))
}

impl Store {
    /// Opens or creates the store in a folder, and checks every punch in it.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        guarded(|| {
            delete_incomplete_snapshots(folder)?;
            let db =
                sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
            let file = File::options().write(true).open(folder.join("db"))?;
            let mut store = Self { db, file, mark: Mark::default(), born: 0, sync: true };
            match store.db.get(EPOCH)? {
                Some(epoch) => store.mark.epoch = number(&epoch)?,
                None if store.db.is_empty() => store.draw_epoch()?,
                None => return Err(Failure::Damaged("the epoch is missing".into())),
            }
            store.mark.last = store.db.get(LAST)?.map_or(Ok(0), |last| number(&last))?;
            store.mark.through = store.db.get(THROUGH)?.map_or(Ok(0), |through| number(&through))?;
            store.born = store.db.get(BORN)?.map_or(Ok(0), |born| number(&born))?;
            store.check()?;
            Ok(store)
        })
    }

    /// Counts the punches and checks that none is missing or damaged.
    fn check(&mut self) -> Result<(), Failure> {
        let mut expected = self.mark.through;
        for entry in self.db.scan_prefix(PUNCH) {
            let (key, value) = entry?;
            let seq = checked(&key, &value)?.seq;
            expected += 1;
            if seq != expected {
                return Err(Failure::Damaged(format!("punch {seq} in place of {expected}")));
            }
            self.mark.held += 1;
            self.mark.bytes += value.len() as u64;
        }
        if expected != self.mark.last {
            return Err(Failure::Damaged(format!(
                "it ends with punch {expected} instead of {}",
                self.mark.last
            )));
        }
        Ok(())
    }

    /// Draws a new epoch, durably.
    pub fn draw_epoch(&mut self) -> Result<(), Failure> {
        // Below 2^63, so that it fits a bigint of the hub.
        let epoch = rand::random::<u64>() >> 1;
        let mut batch = Batch::default();
        batch.insert(EPOCH, &epoch.to_be_bytes());
        batch.insert(BORN, &self.mark.through.to_be_bytes());
        self.db.apply_batch(batch)?;
        self.flush()?;
        (self.mark.epoch, self.born) = (epoch, self.mark.through);
        Ok(())
    }

    /// Takes over the numbers of the store that this one replaces.
    pub fn take_over(&mut self, mark: &Mark, born: u64) -> Result<(), Failure> {
        let mut batch = Batch::default();
        batch.insert(BORN, &born.to_be_bytes());
        batch.insert(EPOCH, &mark.epoch.to_be_bytes());
        batch.insert(LAST, &mark.last.to_be_bytes());
        batch.insert(THROUGH, &mark.last.to_be_bytes());
        self.db.apply_batch(batch)?;
        self.flush()?;
        self.born = born;
        self.mark = Mark { held: 0, bytes: 0, through: mark.last, ..*mark };
        Ok(())
    }

    /// Appends punches durably and returns the first number.
    pub fn append(&mut self, punches: &[Vec<u8>]) -> Result<u64, Failure> {
        let Mark { epoch, through, last, .. } = self.mark;
        let mut batch = Batch::default();
        for (seq, punch) in (last + 1..).zip(punches) {
            batch.insert(key(seq), Record { epoch, seq, through, punch }.encode());
        }
        let end = last + punches.len() as u64;
        batch.insert(LAST, &end.to_be_bytes());
        self.db.apply_batch(batch)?;
        self.flush()?;
        self.mark.last = end;
        self.mark.held += punches.len() as u64;
        self.mark.bytes += stored_bytes(punches);
        Ok(last + 1)
    }

    /// Punches from number `from` on: at most `count` and about `bytes`, at least one if there is any.
    pub fn read(&self, from: u64, count: usize, bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let mut found = Vec::new();
        let mut size = 0;
        for entry in self.db.range(key(from)..key(u64::MAX)) {
            let (key, value) = entry?;
            let record = checked(&key, &value)?;
            size += record.punch.len();
            if !found.is_empty() && size > bytes {
                break;
            }
            found.push((record.seq, record.punch.to_vec()));
            if found.len() == count {
                break;
            }
        }
        Ok(found)
    }

    /// Deletes all punches up to a number.
    pub fn trim(&mut self, through: u64) -> Result<(), Failure> {
        let through = through.min(self.mark.last);
        let mut batch = Batch::default();
        let (mut count, mut bytes) = (0, 0);
        for entry in self.db.range(key(0)..=key(through)) {
            let (key, value) = entry?;
            count += 1;
            bytes += value.len() as u64;
            batch.remove(key);
        }
        if count > 0 {
            batch.insert(THROUGH, &through.to_be_bytes());
            // A lost deletion only means that the punch is sent again: no sync.
            self.db.apply_batch(batch)?;
            self.db.flush()?;
        }
        self.mark.held -= count;
        self.mark.bytes -= bytes;
        self.mark.through = self.mark.through.max(through);
        Ok(())
    }

    /// sled's own flush calls `sync_file_range` on Linux, which writes neither metadata nor the disk's cache.
    fn flush(&self) -> Result<(), Failure> {
        self.db.flush()?;
        if self.sync {
            rustix::fs::fdatasync(&self.file).map_err(std::io::Error::from)?;
        }
        Ok(())
    }
}

/// Deletes incomplete snapshots, which a full disk or a power cut leaves and sled 0.34 takes for damaged ones. The log has
/// everything.
fn delete_incomplete_snapshots(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Bytes that punches take in the store.
pub fn stored_bytes(punches: &[Vec<u8>]) -> u64 {
    punches.iter().map(|punch| (OVERHEAD + punch.len()) as u64).sum()
}

fn key(seq: u64) -> Vec<u8> {
    [PUNCH, &seq.to_be_bytes()].concat()
}

fn number(value: &[u8]) -> Result<u64, Failure> {
    let bytes = value.try_into().map_err(|_| Failure::Damaged("number of a wrong length".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The record of a key, checked.
fn checked<'a>(key: &[u8], value: &'a [u8]) -> Result<Record<'a>, Failure> {
    let seq = number(&key[PUNCH.len()..])?;
    match Record::decode(value) {
        Some(record) if record.seq == seq => Ok(record),
        _ => Err(Failure::Damaged(format!("punch {seq} is damaged"))),
    }
}
