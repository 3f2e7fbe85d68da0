//! Salvages a damaged store: finds the intact records in its bytes, and builds a new store of them under a new epoch.
//! Also replaces an empty store whose file has grown.
//!
//! The new store is complete before it replaces the old one: a power cut leaves one of the two.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::outbox::layout::{Layout, Mark, files};
use crate::outbox::record::{LONGEST, OVERHEAD, Record};
use crate::outbox::store::{Failure, Store, guarded};

/// Punches in one commit.
const GROUP: usize = 256;
/// Bytes that a broken card fails to read together.
const PAGE: usize = 4096;

/// File in the store's folder with the records that were found before sled opened it.
const KEPT: &str = "found";
/// Bytes of a file that are searched together.
const WINDOW: usize = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Intact punches that no Receipt is known to cover, by number.
    pub punches: Vec<Held>,
    /// Numbers without a Receipt whose punches are lost.
    pub lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub seq: u64,
    /// The store's epoch when it was written.
    pub epoch: u64,
    /// The encoded punch.
    pub punch: Vec<u8>,
}

impl Found {
    /// The punches after number `last`, up to the first gap.
    pub fn tail(&self, epoch: u64, last: u64) -> Vec<Vec<u8>> {
        let beyond = self.punches.iter().filter(|held| held.epoch == epoch && held.seq > last);
        let follows = (last + 1..).zip(beyond).take_while(|(seq, held)| held.seq == *seq);
        follows.map(|(_, held)| held.punch.clone()).collect()
    }
}

/// Searches the files of a store for punches, without sled.
///
/// Deleted punches stay there until sled overwrites them. Those that a Receipt covered when a later record was written are
/// left out; the few others are sent again, and the hub knows their ids.
pub fn search(folder: &Path, hint: Option<Mark>) -> io::Result<Found> {
    let mut found = BTreeMap::new();
    let mut through = 0;
    for path in files(folder) {
        scan(&path, |record| {
            through = through.max(record.through);
            found.insert((record.seq, record.epoch), record.punch.to_vec());
        })?;
    }
    let (last, epoch): (Option<u64>, Option<u64>) = found.keys().next_back().copied().unzip();
    let mut last = last.unwrap_or(0);
    // A mark of another epoch says nothing about this one.
    if let Some(mark) = hint.filter(|mark| epoch.is_none_or(|epoch| epoch == mark.epoch)) {
        through = through.max(mark.through);
        last = last.max(mark.last);
    }
    let held = found.split_off(&(through + 1, 0));
    let mut numbers: Vec<u64> = held.keys().map(|(seq, _)| *seq).collect();
    numbers.dedup();
    let missing = last.saturating_sub(through).saturating_sub(numbers.len() as u64);
    let punches = held.into_iter().map(|((seq, epoch), punch)| Held { seq, epoch, punch });
    Ok(Found { punches: punches.collect(), lost: missing })
}

/// Calls `show` for every intact record of a file, in windows that overlap by the longest record.
fn scan(path: &Path, mut show: impl FnMut(Record<'_>)) -> io::Result<()> {
    let file = File::open(path)?;
    let mut bytes = vec![0; WINDOW + LONGEST + OVERHEAD];
    let mut at = 0;
    loop {
        let read = fill(&file, &mut bytes, at)?;
        let starts_here = |(start, _): &(usize, Record<'_>)| *start < WINDOW;
        Record::find(&bytes[..read]).take_while(starts_here).for_each(|(_, record)| show(record));
        if read < bytes.len() {
            return Ok(());
        }
        at += WINDOW as u64;
    }
}

/// Reads as much as there is; unreadable pages become zeros.
fn fill(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let length = file.metadata()?.len();
    let wanted = (length.saturating_sub(at) as usize).min(bytes.len());
    for (index, page) in bytes[..wanted].chunks_mut(PAGE).enumerate() {
        if file.read_exact_at(page, at + (index * PAGE) as u64).is_err() {
            page.fill(0);
        }
    }
    Ok(wanted)
}

/// Writes what was found into the store's folder, where [`search`] finds it again: sled truncates what it can't read, and the
/// power may fail before a new store is complete.
pub fn keep(layout: &Layout, found: &Found) -> io::Result<()> {
    let file = layout.store().join(KEPT);
    if found.punches.is_empty() || !layout.store().exists() {
        return Ok(());
    }
    let encode =
        |held: &Held| Record { epoch: held.epoch, seq: held.seq, through: 0, punch: &held.punch }.encode();
    let mut kept = File::create(file)?;
    kept.write_all(&found.punches.iter().flat_map(encode).collect::<Vec<_>>())?;
    kept.sync_all()?;
    File::open(layout.store())?.sync_all()
}

/// Deletes that file: the store is open and intact.
pub fn discard_kept(layout: &Layout) {
    let _ = std::fs::remove_file(layout.store().join(KEPT));
}

/// Replaces a damaged store by a new one with what was found.
pub fn salvage(layout: &Layout, found: &Found) -> Result<(), Failure> {
    build(layout, |store| {
        for group in found.punches.chunks(GROUP) {
            store.append(&group.iter().map(|held| held.punch.clone()).collect::<Vec<_>>())?;
        }
        Ok(())
    })?;
    layout.exchange(true)?;
    Ok(())
}

/// Replaces an empty store by a new one: sled's file never shrinks.
pub fn rebuild(layout: &Layout, mark: &Mark, born: u64) -> Result<(), Failure> {
    build(layout, |store| store.take_over(mark, born))?;
    layout.exchange(false)?;
    Ok(())
}

fn build(layout: &Layout, fill: impl FnOnce(&mut Store) -> Result<(), Failure>) -> Result<(), Failure> {
    if layout.next().exists() {
        std::fs::remove_dir_all(layout.next())?;
    }
    let mut store = Store::open(&layout.next())?;
    guarded(|| fill(&mut store))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(punches: u64, trimmed: u64) -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().expect("folder");
        let layout = Layout(folder.path().to_owned());
        layout.prepare().expect("prepares");
        let mut store = Store::open(&layout.store()).expect("opens");
        for number in 1..=punches {
            store.append(&[number.to_string().into_bytes()]).expect("appends");
            if number == trimmed {
                store.trim(trimmed).expect("trims");
            }
        }
        (folder, layout)
    }

    #[test]
    fn a_search_finds_the_punches_of_a_store() {
        let (_folder, layout) = folder_with(9, 4);
        let found = search(&layout.store(), None).expect("searches");
        let texts: Vec<_> = found.punches.iter().map(|held| held.punch.as_slice()).collect();
        assert_eq!(texts, [b"5", b"6", b"7", b"8", b"9"]);
        assert_eq!(found.lost, 0);
        let epoch = Store::open(&layout.store()).expect("opens").mark.epoch;
        let mark = Mark { epoch, last: 12, through: 5, ..Mark::default() };
        let found = search(&layout.store(), Some(mark)).expect("searches");
        assert_eq!((found.punches.len(), found.lost), (4, 3));
        let found = search(&layout.store(), None).expect("searches");
        assert_eq!(found.tail(epoch, 7), [b"8", b"9"]);
        assert!(found.tail(epoch, 3).is_empty(), "4 is missing between");
        assert!(found.tail(epoch, 9).is_empty() && found.tail(epoch + 1, 7).is_empty());
        let foreign = Mark { epoch: epoch + 1, last: 99, through: 99, ..Mark::default() };
        assert_eq!(search(&layout.store(), Some(foreign)).expect("searches").punches.len(), 5);
    }

    #[test]
    fn a_salvaged_store_holds_the_same_punches_under_another_epoch() {
        let (_folder, layout) = folder_with(9, 4);
        let before = Store::open(&layout.store()).expect("opens").mark;
        let found = search(&layout.store(), None).expect("searches");
        salvage(&layout, &found).expect("salvages");
        let store = Store::open(&layout.store()).expect("opens");
        assert_ne!(store.mark.epoch, before.epoch);
        assert_eq!((store.mark.held, store.mark.last), (5, 5));
        assert_eq!(store.read(1, 1, 99).expect("reads"), [(1, b"5".to_vec())]);
        assert_eq!(layout.damaged().len(), 1);
    }

    #[test]
    fn records_across_windows_are_found_once() {
        let folder = tempfile::tempdir().expect("folder");
        let sealed = |seq| Record { epoch: 1, seq, through: 0, punch: &[7; 300] }.encode();
        let mut bytes = vec![0; WINDOW - 10];
        for seq in 1..=4000 {
            bytes.extend(sealed(seq));
        }
        std::fs::write(folder.path().join("db"), &bytes).expect("writes");
        let mut seen = Vec::new();
        scan(&folder.path().join("db"), |record| seen.push(record.seq)).expect("reads");
        assert_eq!(seen, (1..=4000).collect::<Vec<_>>());
    }

    #[test]
    fn a_rebuilt_store_goes_on_where_the_old_one_was() {
        let (_folder, layout) = folder_with(9, 9);
        let before = Store::open(&layout.store()).expect("opens").mark;
        rebuild(&layout, &before, 3).expect("rebuilds");
        let mut store = Store::open(&layout.store()).expect("opens");
        assert_eq!(store.mark, before);
        assert_eq!(store.append(&[vec![1]]).expect("appends"), 10);
        assert_eq!(layout.damaged().len(), 0);
    }
}
