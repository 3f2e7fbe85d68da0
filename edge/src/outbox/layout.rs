//! The files in the outbox's folder, and how one store replaces another.
//!
//! ```text
//! store/       the sled store
//! next/        the store that is about to replace it
//! damaged-1/   damaged stores, for support staff
//! mark         the store's counters, for `outbox status` and to detect a truncated store
//! alarm        what the hub has not received yet
//! lock         held by the daemon
//! reserve      space that is freed when the disk is full
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Space that deleting needs on a full disk: sled writes segments of 512 KiB.
pub const RESERVE_BYTES: u64 = 4 << 20;
/// Damaged stores that are kept.
const DAMAGED: u32 = 2;
/// Bytes of the mark.
const MARK_BYTES: usize = 128;

#[derive(Clone, Debug)]
pub struct Layout(pub PathBuf);

/// The counters of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub epoch: u64,
    /// The number of the last punch.
    pub last: u64,
    /// Receipts covered all up to here.
    pub through: u64,
    /// Punches without a Receipt.
    pub held: u64,
    /// Bytes of these punches.
    pub bytes: u64,
}

impl Layout {
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub fn next(&self) -> PathBuf {
        self.0.join("next")
    }

    /// Locks the outbox for as long as the file is open. `None`: another process has it.
    pub fn lock(&self) -> io::Result<Option<File>> {
        fs::create_dir_all(&self.0)?;
        let file = File::options().write(true).create(true).truncate(false).open(self.0.join("lock"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the folder, and completes an interrupted exchange.
    pub fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let _ = fs::rename(self.0.join("ballast"), self.reserve()); // its earlier name
        if self.next().exists() {
            if self.store().exists() {
                fs::remove_dir_all(self.next())?; // incomplete
            } else {
                fs::rename(self.next(), self.store())?;
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Replaces the store by `next`; the old one is kept as damaged or deleted.
    pub fn exchange(&self, damaged: bool) -> io::Result<()> {
        sync_tree(&self.next())?;
        if damaged {
            fs::rename(self.store(), self.make_room()?)?;
        } else {
            fs::remove_dir_all(self.store())?;
        }
        self.sync()?;
        fs::rename(self.next(), self.store())?;
        self.sync()
    }

    /// The damaged stores, the oldest first.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let number =
            |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("damaged-")?.parse::<u32>().ok();
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<(u32, PathBuf)> =
            entries.filter_map(|path| Some((number(&path)?, path))).collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// A name for another damaged store; deletes the oldest if there are enough.
    fn make_room(&self) -> io::Result<PathBuf> {
        let found = self.damaged();
        let last = found.last().and_then(|path| path.to_str()?.rsplit('-').next()?.parse::<u32>().ok());
        let mut number = last.unwrap_or(0);
        for old in found.iter().take((found.len() + 1).saturating_sub(DAMAGED as usize)) {
            fs::remove_dir_all(old)?;
        }
        number += 1;
        Ok(self.0.join(format!("damaged-{number}")))
    }

    /// Writes the mark. It is a hint that may be older than the store, never newer, so it is not synced.
    pub fn mark(&self, mark: &Mark) {
        let Mark { epoch, last, through, held, bytes } = mark;
        let line = format!("{epoch} {last} {through} {held} {bytes}");
        let text = format!("{line:width$}\n", width = MARK_BYTES - 1);
        let open =
            || File::options().write(true).create(true).truncate(false).mode(0o600).open(self.0.join("mark"));
        if let Ok(file) = open() {
            let _ = file.write_all_at(text.as_bytes(), 0);
        }
    }

    pub fn marked(&self) -> Option<Mark> {
        let mut text = String::new();
        File::open(self.0.join("mark")).ok()?.take(MARK_BYTES as u64).read_to_string(&mut text).ok()?;
        let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [epoch, last, through, held, bytes] = numbers[..] else { return None };
        Some(Mark { epoch, last, through, held, bytes })
    }

    pub fn reserve(&self) -> PathBuf {
        self.0.join("reserve")
    }

    /// Allocates the reserve, if it is missing. Fails on a full disk.
    pub fn hold_reserve(&self) -> io::Result<()> {
        let path = self.reserve();
        if fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE_BYTES) {
            return Ok(());
        }
        let write = || {
            // Written, since not every file system can allocate.
            let mut file = File::create(&path)?;
            let block = vec![0; 1 << 16];
            for _ in 0..RESERVE_BYTES / block.len() as u64 {
                file.write_all(&block)?;
            }
            file.sync_all()
        };
        write().inspect_err(|_| self.drop_reserve())
    }

    /// Frees the reserve.
    pub fn drop_reserve(&self) {
        let _ = fs::remove_file(self.reserve());
    }

    /// Adds an alarm to those that the hub has not received, and returns all. Lost on a full disk.
    pub fn write_alarm(&self, text: &str) -> String {
        let all = self.alarm().map_or_else(|| text.to_owned(), |before| format!("{before}; {text}"));
        let _ = fs::write(self.0.join("alarm"), &all);
        all
    }

    /// The alarms of earlier runs.
    pub fn alarm(&self) -> Option<String> {
        fs::read_to_string(self.0.join("alarm")).ok().filter(|text| !text.is_empty())
    }

    pub fn clear_alarm(&self) {
        let _ = fs::remove_file(self.0.join("alarm"));
    }

    /// Bytes of the store's files.
    pub fn size(&self) -> u64 {
        files(&self.store()).iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for path in files(folder) {
        File::open(path)?.sync_all()?;
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_exchange_is_completed_or_undone() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = Layout(folder.path().to_owned());
        fs::create_dir(layout.next()).expect("makes");
        layout.prepare().expect("prepares");
        assert!(layout.store().exists() && !layout.next().exists());
        fs::create_dir(layout.next()).expect("makes");
        layout.prepare().expect("prepares");
        assert!(layout.store().exists() && !layout.next().exists());
    }

    #[test]
    fn two_damaged_stores_are_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = Layout(folder.path().to_owned());
        for _ in 0..4 {
            fs::create_dir_all(layout.store()).expect("makes");
            fs::create_dir(layout.next()).expect("makes");
            layout.exchange(true).expect("exchanges");
        }
        let names: Vec<_> =
            layout.damaged().iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect();
        assert_eq!(names, ["damaged-3", "damaged-4"].map(|name| Some(name.into())));
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = Layout(folder.path().to_owned());
        assert_eq!(layout.marked(), None);
        let mark =
            Mark { epoch: u64::MAX, last: u64::MAX, through: u64::MAX, held: u64::MAX, bytes: u64::MAX };
        layout.mark(&mark);
        assert_eq!(layout.marked(), Some(mark));
        layout.mark(&Mark { epoch: 1, ..Mark::default() });
        assert_eq!(layout.marked(), Some(Mark { epoch: 1, ..Mark::default() }));
    }
}
