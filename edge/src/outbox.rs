//! The durable queue of punches that have no Receipt yet.
//!
//! One thread owns the store. A punch is acknowledged only after `fdatasync` of the store's file. After any error the
//! store is reopened, because sled stays poisoned otherwise; a damaged store is salvaged. Only punches that a Receipt
//! covers are deleted: a full outbox refuses new ones.

pub mod layout;
pub mod record;
mod request;
pub mod salvage;
pub mod store;
pub mod support;
mod writer;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::outbox::layout::Layout;
use crate::outbox::request::{Answer, Command, GROUP, Shared};
use crate::outbox::writer::Writer;

pub use request::{Batch, Options, OutboxError};

/// Handle of the outbox; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    commands: mpsc::SyncSender<Command>,
    shared: Arc<Shared>,
    layout: Layout,
}

impl Outbox {
    /// Opens or creates the store and starts its thread. A damaged store is salvaged first.
    pub fn open(options: Options) -> Result<Self, OutboxError> {
        let shared = Arc::new(Shared::default());
        let path = options.folder.clone();
        let mut writer = Writer::new(options, shared.clone());
        writer.ensure_open()?;
        writer.load_alarm();
        let layout = writer.layout.clone();
        let (commands, receive) = mpsc::sync_channel(GROUP);
        std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || writer.serve(&receive))
            .map_err(|e| OutboxError::Store { path, reason: e.to_string() })?;
        Ok(Self { commands, shared, layout })
    }

    /// Drawn at random when the store was created, renewed or salvaged.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// Punches without a Receipt.
    pub fn queued(&self) -> u64 {
        self.shared.held.load(Ordering::Acquire)
    }

    /// That the store is full, or was salvaged.
    pub fn alarm(&self) -> Option<String> {
        if self.shared.full.load(Ordering::Acquire) {
            return Some("the outbox is full".into());
        }
        self.shared.alarm.lock().clone()
    }

    /// The hub has received the alarm: the next start need not send it again.
    pub fn alarm_delivered(&self) {
        self.layout.clear_alarm();
    }

    /// Draws a new epoch, under which all punches are sent again: for a store that was restored from a copy and whose
    /// numbers were used for other punches meanwhile. Their ids keep them from being counted twice.
    pub async fn renew(&self) -> Result<(), OutboxError> {
        self.ask(Command::Renew).await
    }

    /// Appends a punch and returns its number once it is durable.
    pub async fn append(&self, punch: Vec<u8>) -> Result<u64, OutboxError> {
        self.ask(|answer| Command::Append(punch, answer)).await
    }

    /// Punches from number `from` on: at most `count` and about `bytes`, at least one if there is any.
    pub async fn read(&self, from: u64, count: usize, bytes: usize) -> Result<Batch, OutboxError> {
        self.ask(|answer| Command::Read { from, count, bytes, answer }).await
    }

    /// Deletes all punches up to number `through`, unless the store has another epoch.
    pub async fn trim(&self, epoch: u64, through: u64) -> Result<(), OutboxError> {
        self.ask(|answer| Command::Trim { epoch, through, answer }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, OutboxError> {
        let (answer, receive) = oneshot::channel();
        let mut command = command(answer);
        // The writer never waits for this task: a short sleep is enough.
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(back)) => {
                    command = back;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(OutboxError::Stopped),
            }
        }
        receive.await.unwrap_or(Err(OutboxError::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::writer::LARGE_BYTES;
    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn open(folder: &Path) -> Result<Outbox, OutboxError> {
        // The thread of the store before lets go of it a moment after its last handle is dropped.
        let mut attempts = 200;
        loop {
            match Outbox::open(Options::new(folder, LIMIT)) {
                Err(OutboxError::InUse(_)) if attempts > 0 => attempts -= 1,
                done => return done,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    async fn held(outbox: &Outbox) -> Vec<(u64, Vec<u8>)> {
        outbox.read(0, 10_000, 10 << 20).await.expect("reads").records
    }

    #[tokio::test]
    async fn punches_are_numbered_read_back_and_trimmed() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = open(folder.path()).expect("opens");
        for n in 1..=5_u8 {
            assert_eq!(outbox.append(vec![n; 10]).await.expect("durable"), u64::from(n));
        }
        let found = outbox.read(2, 2, 1000).await.expect("reads");
        assert_eq!(found.records, [(2, vec![2; 10]), (3, vec![3; 10])]);
        assert_eq!(outbox.read(1, 100, 25).await.expect("reads").records.len(), 2);
        outbox.trim(outbox.epoch() ^ 1, 4).await.expect("of another store");
        assert_eq!(outbox.queued(), 5);
        outbox.trim(outbox.epoch(), 4).await.expect("trims");
        assert_eq!(held(&outbox).await, [(5, vec![5; 10])]);
        assert_eq!(outbox.queued(), 1);
    }

    #[tokio::test]
    async fn numbers_and_epoch_survive_a_restart_even_when_all_is_delivered() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = open(folder.path()).expect("opens");
        let epoch = outbox.epoch();
        outbox.append(vec![1]).await.expect("durable");
        outbox.trim(epoch, 1).await.expect("trims");
        drop(outbox);
        let outbox = open(folder.path()).expect("opens");
        assert_eq!(outbox.epoch(), epoch);
        assert_eq!(outbox.append(vec![2]).await.expect("durable"), 2);
    }

    #[tokio::test]
    async fn a_renewed_epoch_keeps_punches_and_numbers() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = open(folder.path()).expect("opens");
        outbox.append(vec![1]).await.expect("durable");
        let before = outbox.epoch();
        outbox.renew().await.expect("renews");
        let renewed = outbox.epoch();
        assert_ne!(renewed, before);
        drop(outbox);
        let outbox = open(folder.path()).expect("opens");
        assert_eq!(outbox.epoch(), renewed);
        assert_eq!(held(&outbox).await, [(1, vec![1])]);
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let _first = open(folder.path()).expect("opens");
        let second = Outbox::open(Options::new(folder.path(), LIMIT));
        assert!(matches!(second, Err(OutboxError::InUse(_))));
    }

    #[tokio::test]
    async fn a_full_outbox_refuses_and_drops_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = open(folder.path()).expect("opens");
        let mut taken = 0;
        let refused = loop {
            match outbox.append(vec![7; 10_000]).await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, OutboxError::Full(_)), "{refused}");
        assert_eq!((outbox.queued(), outbox.alarm()), (taken, Some("the outbox is full".into())));
        outbox.trim(outbox.epoch(), 1).await.expect("trims");
        assert_eq!(outbox.append(vec![8]).await.expect("fits again"), taken + 1);
        assert_eq!(outbox.alarm(), None);
    }

    #[tokio::test]
    async fn an_empty_outbox_gives_its_space_back() {
        let folder = tempfile::tempdir().expect("folder");
        let mut options = Options::new(folder.path(), 64 << 20);
        options.sync = false; // only faster
        let outbox = Outbox::open(options).expect("opens");
        let size = || Layout(folder.path().to_owned()).size();
        let mut last = 0;
        while size() <= LARGE_BYTES + (1 << 20) {
            last = outbox.append(vec![9; 15_000]).await.expect("durable");
        }
        let epoch = outbox.epoch();
        outbox.trim(epoch, last).await.expect("trims");
        assert!(size() < LARGE_BYTES / 4, "{} bytes", size());
        assert_eq!((outbox.epoch(), outbox.append(vec![1]).await.expect("durable")), (epoch, last + 1));
    }

    #[tokio::test]
    async fn a_snapshot_that_was_never_finished_is_no_damage() {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = open(folder.path()).expect("opens");
        outbox.append(vec![7; 10]).await.expect("durable");
        let epoch = outbox.epoch();
        drop(outbox);
        let unfinished = folder.path().join("store/snap.FFFFFFFFFFFFFFFF.generating");
        std::fs::write(unfinished, b"").expect("written");
        let outbox = open(folder.path()).expect("opens");
        assert_eq!((outbox.epoch(), outbox.queued(), outbox.alarm()), (epoch, 1, None));
    }

    /// What is left of 300 punches after damage: everything that can be read, and an alarm.
    async fn damaged(damage: impl Fn(&std::fs::File)) -> (usize, String) {
        let folder = tempfile::tempdir().expect("folder");
        let outbox = open(folder.path()).expect("opens");
        let waiting: Vec<_> = (0..300_u32).map(|n| outbox.append(n.to_be_bytes().repeat(40))).collect();
        for append in futures_util::future::join_all(waiting).await {
            append.expect("durable");
        }
        let epoch = outbox.epoch();
        drop(outbox);
        drop(open(folder.path()).expect("opens")); // nobody has it any more
        std::thread::sleep(Duration::from_millis(50));
        let db = std::fs::File::options().write(true).open(folder.path().join("store/db")).expect("opens");
        damage(&db);
        let outbox = open(folder.path()).expect("opens what was damaged");
        let found = held(&outbox).await;
        for (_, punch) in &found {
            let first: [u8; 4] = punch[..4].try_into().expect("four bytes");
            assert_eq!(*punch, first.repeat(40), "a punch that nobody made");
        }
        assert_ne!(outbox.epoch(), epoch);
        let seq = outbox.append(vec![1]).await.expect("runs again");
        assert_eq!(seq as usize, found.len() + 1);
        (found.len(), outbox.alarm().unwrap_or_default())
    }

    #[tokio::test]
    async fn a_store_with_a_hole_is_salvaged() {
        let mut least = 300;
        for page in [0, 1, 4, 9] {
            let (found, alarm) = damaged(|db| db.write_all_at(&[0; 4096], page * 4096).expect("hole")).await;
            assert!(alarm.starts_with("the outbox was damaged"), "page {page}: {alarm:?}");
            least = least.min(found);
        }
        assert!(least > 250, "{least} of 300 left");
    }

    #[tokio::test]
    async fn a_store_cut_short_is_salvaged() {
        for left in [0, 9_000, 24 << 10, 40_001] {
            let (found, alarm) = damaged(|db| db.set_len(left).expect("cut")).await;
            assert!(
                alarm.ends_with(&format!(": {found} punches saved, {} lost", 300 - found)),
                "{left}: {alarm:?}"
            );
        }
    }
}
