//! Punches between the green light and the hub's Receipt: a sled store, and nothing else.
//!
//! One thread owns the store. A punch is acknowledged only after `fdatasync` of the store's file:
//! sled's own flush does not reach the disk on Linux. After any error the store is opened anew,
//! because sled stays poisoned otherwise. Nothing is dropped but what a Receipt covers.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use sled::{Batch, Db};
use tokio::sync::oneshot;
use tracing::{error, info};

/// Memory for sled's page cache; its default of a gigabyte breaks any budget.
const CACHE_BYTES: u64 = 8 << 20;
/// Punches that one commit takes, at most.
const GROUP: usize = 256;

const EPOCH: &[u8] = b"m/epoch";
const LAST: &[u8] = b"m/last";
const PUNCH: &[u8] = b"p/";

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Another process has it.
    #[error("the outbox {0} is in use by another rollcall-edge: only one may run on a store")]
    InUse(PathBuf),
    /// The disk, mostly.
    #[error("the outbox {path}: {reason}")]
    Store {
        /// The folder.
        path: PathBuf,
        /// What sled or the kernel says.
        reason: String,
    },
    /// A record's checksum is wrong.
    #[error("the outbox {path}: punch {seq} is damaged")]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// Its number.
        seq: u64,
    },
    /// The thread is gone.
    #[error("the outbox has stopped")]
    Stopped,
}

type Answer<T> = oneshot::Sender<Result<T, OutboxError>>;

enum Command {
    Append(Vec<u8>, Answer<u64>),
    Read { from: u64, count: usize, bytes: usize, answer: Answer<Vec<(u64, Vec<u8>)>> },
    Trim(u64, Answer<()>),
    Queued(Answer<u64>),
    Last(Answer<u64>),
    Renew(Answer<u64>),
}

/// The store's door, cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    commands: mpsc::SyncSender<Command>,
    epoch: Arc<AtomicU64>,
}

impl Outbox {
    /// Opens or makes the store in `path` and starts its thread.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let mut store = Store::open(path)?;
        let epoch = Arc::new(AtomicU64::new(store.epoch));
        let (commands, receive) = mpsc::sync_channel(GROUP);
        std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || store.serve(&receive))
            .map_err(|e| OutboxError::Store { path: path.to_owned(), reason: e.to_string() })?;
        Ok(Self { commands, epoch })
    }

    /// The store's epoch: drawn when it was made, or renewed.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The number of the last punch that was appended.
    pub async fn last(&self) -> Result<u64, OutboxError> {
        self.ask(Command::Last).await
    }

    /// Draws a new epoch, under which the punches that are held are sent again: for a store that
    /// was put back from a copy, whose numbers have been used for other punches meanwhile. The ids
    /// of the punches keep them from being counted twice.
    pub async fn renew(&self) -> Result<(), OutboxError> {
        let epoch = self.ask(Command::Renew).await?;
        self.epoch.store(epoch, Ordering::Release);
        Ok(())
    }

    /// Numbers a punch and returns once it is durable.
    pub async fn append(&self, punch: Vec<u8>) -> Result<u64, OutboxError> {
        self.ask(|answer| Command::Append(punch, answer)).await
    }

    /// Punches from number `from` on: at most `count` and about `bytes`, at least one if there is any.
    pub async fn read(
        &self,
        from: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, OutboxError> {
        self.ask(|answer| Command::Read { from, count, bytes, answer }).await
    }

    /// Deletes all punches up to number `through`: a Receipt covers them.
    pub async fn trim(&self, through: u64) -> Result<(), OutboxError> {
        self.ask(|answer| Command::Trim(through, answer)).await
    }

    /// Punches without a Receipt.
    pub async fn queued(&self) -> Result<u64, OutboxError> {
        self.ask(Command::Queued).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, OutboxError> {
        let (answer, receive) = oneshot::channel();
        let mut command = command(answer);
        // The channel is short and its other end never waits for this task: yielding is enough.
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(back)) => {
                    command = back;
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(OutboxError::Stopped),
            }
        }
        receive.await.unwrap_or(Err(OutboxError::Stopped))
    }
}

/// The store on its thread.
struct Store {
    path: PathBuf,
    /// `None` after an error, until it is opened anew.
    open: Option<Opened>,
    epoch: u64,
    /// The folder was exchanged for another while it was closed.
    replaced: bool,
}

struct Opened {
    db: Db,
    file: File,
    last: u64,
}

impl Store {
    fn open(path: &Path) -> Result<Self, OutboxError> {
        let (opened, epoch) = open(path)?;
        info!(path = %path.display(), epoch, last = opened.last, "outbox open");
        Ok(Self { path: path.to_owned(), open: Some(opened), epoch, replaced: false })
    }

    fn serve(&mut self, commands: &mpsc::Receiver<Command>) {
        let mut next = None;
        while let Some(command) = next.take().or_else(|| commands.recv().ok()) {
            if self.replaced {
                return;
            }
            match command {
                Command::Append(punch, answer) => {
                    let mut group = vec![(punch, answer)];
                    while group.len() < GROUP {
                        match commands.try_recv() {
                            Ok(Command::Append(punch, answer)) => group.push((punch, answer)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
                Command::Read { from, count, bytes, answer } => {
                    let _ = answer.send(self.attempt(|store, path| store.read(path, from, count, bytes)));
                }
                Command::Trim(through, answer) => {
                    let _ = answer.send(self.attempt(|store, _| store.trim(through)));
                }
                Command::Last(answer) => {
                    let _ = answer.send(self.attempt(|store, _| Ok(store.last)));
                }
                Command::Renew(answer) => {
                    let renewed = self.attempt(|store, _| draw_epoch(&store.db, &store.file));
                    if let Ok(epoch) = renewed {
                        self.epoch = epoch;
                    }
                    let _ = answer.send(renewed);
                }
                Command::Queued(answer) => {
                    let _ =
                        answer.send(self.attempt(|store, _| Ok(store.db.scan_prefix(PUNCH).count() as u64)));
                }
            }
        }
    }

    fn commit(&mut self, group: Vec<(Vec<u8>, Answer<u64>)>) {
        let (punches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let done = self.attempt(|store, _| store.append(&punches));
        for (index, answer) in answers.into_iter().enumerate() {
            let _ = answer.send(match &done {
                Ok(first) => Ok(first + index as u64),
                Err(reason) => {
                    Err(OutboxError::Store { path: self.path.clone(), reason: reason.to_string() })
                }
            });
        }
    }

    /// Does something with the open store; opens it first if an error closed it, and closes it on
    /// an error or a panic of sled.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Opened, &Path) -> Result<T, Failure>,
    ) -> Result<T, OutboxError> {
        if self.open.is_none() {
            let (opened, epoch) = open(&self.path)?;
            if epoch != self.epoch {
                // The daemon ends with this, and starts again with the store that is there.
                self.replaced = true;
                return Err(self.failed("another store lies in its place"));
            }
            info!(path = %self.path.display(), "outbox open again");
            self.open = Some(opened);
        }
        let Some(store) = &mut self.open else { return Err(OutboxError::Stopped) };
        let reason = match catch_unwind(AssertUnwindSafe(|| work(store, &self.path))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Failure::Damaged(seq))) => {
                return Err(OutboxError::Damaged { path: self.path.clone(), seq });
            }
            Ok(Err(Failure::Store(reason))) => reason,
            Err(_) => "sled panicked".into(),
        };
        error!(path = %self.path.display(), reason, "the outbox failed; it will be opened anew");
        let closed = self.open.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(closed)));
        Err(self.failed(&reason))
    }

    fn failed(&self, reason: &str) -> OutboxError {
        OutboxError::Store { path: self.path.clone(), reason: reason.to_owned() }
    }
}

enum Failure {
    Store(String),
    Damaged(u64),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.to_string())
    }
}

fn open(path: &Path) -> Result<(Opened, u64), OutboxError> {
    let failed = |reason: String| {
        if reason.contains("could not acquire lock") {
            OutboxError::InUse(path.to_owned())
        } else {
            OutboxError::Store { path: path.to_owned(), reason }
        }
    };
    let opened = catch_unwind(|| -> Result<(Opened, u64), Failure> {
        let db = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        let file = File::options().write(true).open(path.join("db"))?;
        let epoch = match number(db.get(EPOCH)?) {
            Some(epoch) => epoch,
            None => draw_epoch(&db, &file)?,
        };
        let last = number(db.get(LAST)?).unwrap_or(0);
        Ok((Opened { db, file, last }, epoch))
    });
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(Failure::Store(reason))) => Err(failed(reason)),
        Ok(Err(Failure::Damaged(seq))) => Err(OutboxError::Damaged { path: path.to_owned(), seq }),
        Err(_) => Err(failed("sled panicked: the store is damaged".into())),
    }
}

fn draw_epoch(db: &Db, file: &File) -> Result<u64, Failure> {
    // Below 2^63, so that it is a bigint on the other side as it stands.
    let epoch = rand::random::<u64>() >> 1;
    db.insert(EPOCH, &epoch.to_be_bytes())?;
    db.flush()?;
    rustix::fs::fdatasync(file).map_err(std::io::Error::from)?;
    Ok(epoch)
}

impl Opened {
    fn append(&mut self, punches: &[Vec<u8>]) -> Result<u64, Failure> {
        let first = self.last + 1;
        let mut batch = Batch::default();
        let mut last = self.last;
        for punch in punches {
            last += 1;
            batch.insert(key(last), sealed(punch));
        }
        batch.insert(LAST, &last.to_be_bytes());
        self.db.apply_batch(batch)?;
        self.sync()?;
        self.last = last;
        Ok(first)
    }

    fn read(
        &mut self,
        path: &Path,
        from: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let mut found = Vec::new();
        let mut size = 0;
        for entry in self.db.range(key(from)..key(u64::MAX)) {
            let (key, value) = entry?;
            let seq = number(Some(key.subslice(PUNCH.len(), 8))).unwrap_or(0);
            let Some(punch) = unsealed(&value) else {
                error!(path = %path.display(), seq, "damaged punch");
                return Err(Failure::Damaged(seq));
            };
            size += punch.len();
            if !found.is_empty() && size > bytes {
                break;
            }
            found.push((seq, punch.to_vec()));
            if found.len() == count {
                break;
            }
        }
        Ok(found)
    }

    fn trim(&mut self, through: u64) -> Result<(), Failure> {
        let mut batch = Batch::default();
        let mut any = false;
        for entry in self.db.range(key(0)..=key(through)) {
            batch.remove(entry?.0);
            any = true;
        }
        if any {
            // A lost deletion only means that the punch is sent again: no sync.
            self.db.apply_batch(batch)?;
            self.db.flush()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.db.flush()?;
        rustix::fs::fdatasync(&self.file).map_err(std::io::Error::from)?;
        Ok(())
    }
}

fn key(seq: u64) -> Vec<u8> {
    [PUNCH, &seq.to_be_bytes()].concat()
}

fn number(value: Option<sled::IVec>) -> Option<u64> {
    Some(u64::from_be_bytes(value?.as_ref().try_into().ok()?))
}

/// A checksum in front: sled has its own for pages, but a torn page must never become a punch.
fn sealed(punch: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(punch).to_be_bytes(), punch].concat()
}

fn unsealed(value: &[u8]) -> Option<&[u8]> {
    let (sum, punch) = value.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*sum) == crc32fast::hash(punch)).then_some(punch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn punches_are_numbered_read_back_and_trimmed() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = Outbox::open(folder.path()).expect("opens");
        for n in 1..=5_u8 {
            assert_eq!(outbox.append(vec![n; 10]).await.expect("durable"), u64::from(n));
        }
        let found = outbox.read(2, 2, 1000).await.expect("reads");
        assert_eq!(found, [(2, vec![2; 10]), (3, vec![3; 10])]);
        assert_eq!(outbox.read(1, 100, 25).await.expect("reads").len(), 2);
        outbox.trim(4).await.expect("trims");
        assert_eq!(outbox.read(0, 100, 1000).await.expect("reads"), [(5, vec![5; 10])]);
        assert_eq!(outbox.queued().await.expect("counts"), 1);
    }

    #[tokio::test]
    async fn numbers_and_epoch_survive_a_restart_even_when_all_is_delivered() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = Outbox::open(folder.path()).expect("opens");
        let epoch = outbox.epoch();
        outbox.append(vec![1]).await.expect("durable");
        outbox.trim(1).await.expect("trims");
        drop(outbox);
        let outbox = reopen(folder.path());
        assert_eq!(outbox.epoch(), epoch);
        assert_eq!(outbox.append(vec![2]).await.expect("durable"), 2);
    }

    #[tokio::test]
    async fn a_renewed_epoch_keeps_punches_and_numbers() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = Outbox::open(folder.path()).expect("opens");
        outbox.append(vec![1]).await.expect("durable");
        let before = outbox.epoch();
        outbox.renew().await.expect("renews");
        let renewed = outbox.epoch();
        assert_ne!(renewed, before);
        drop(outbox);
        let outbox = reopen(folder.path());
        assert_eq!((outbox.epoch(), outbox.last().await.expect("reads")), (renewed, 1));
        assert_eq!(outbox.read(0, 9, 99).await.expect("reads"), [(1, vec![1])]);
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let _first = Outbox::open(folder.path()).expect("opens");
        assert!(matches!(Outbox::open(folder.path()), Err(OutboxError::InUse(_))));
    }

    #[tokio::test]
    async fn a_damaged_punch_is_not_delivered() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = Outbox::open(folder.path()).expect("opens");
        outbox.append(vec![1; 8]).await.expect("durable");
        drop(outbox);
        let db = loop {
            match sled::open(folder.path()) {
                Ok(db) => break db,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        };
        db.insert(key(1), b"\0\0\0\0damaged".as_slice()).expect("inserts");
        db.flush().expect("flushes");
        drop(db);
        let outbox = reopen(folder.path());
        assert!(matches!(outbox.read(1, 10, 100).await, Err(OutboxError::Damaged { seq: 1, .. })));
    }

    /// The thread of the store before lets go of it a moment after its last handle is dropped.
    fn reopen(path: &Path) -> Outbox {
        for _ in 0..200 {
            if let Ok(outbox) = Outbox::open(path) {
                return outbox;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the store stays locked");
    }
}
