//! What to do with a store that broke: take out of its bytes what is whole, and go on under a new
//! epoch. Also how a store that has grown is made small again.
//!
//! The new store is finished beside the old one before it takes its place, so that a power cut at
//! any moment leaves one of the two.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::outbox::layout::{Layout, Mark, files};
use crate::outbox::record::{LONGEST, OVERHEAD, Record};
use crate::outbox::store::{Failure, Store, guarded};

/// Punches that are written at a time.
const GROUP: usize = 256;
/// Bytes that a broken card fails to read together.
const PAGE: usize = 4096;

/// What was found before sled saw the store, in the store's folder.
const KEPT: &str = "found";
/// Bytes of a file that are looked at together.
const WINDOW: usize = 1 << 20;

/// What lies in the files of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole punches that no Receipt is known to cover, in the order of their numbers.
    pub punches: Vec<Held>,
    /// Numbers without a Receipt of whose punches nothing whole is left.
    pub lost: u64,
}

/// A punch as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub seq: u64,
    /// The store's epoch when it was written.
    pub epoch: u64,
    /// The punch as it travels.
    pub punch: Vec<u8>,
}

impl Found {
    /// The punches that follow on number `last` of a store without a gap.
    pub fn tail(&self, epoch: u64, last: u64) -> Vec<Vec<u8>> {
        let beyond = self.punches.iter().filter(|held| held.epoch == epoch && held.seq > last);
        let follows = (last + 1..).zip(beyond).take_while(|(seq, held)| held.seq == *seq);
        follows.map(|(_, held)| held.punch.clone()).collect()
    }
}

/// Looks for punches in the files of a store, without sled.
///
/// Deleted punches lie there until sled writes over them. Those that a Receipt covered when some
/// other record was written are left out; the few after that are found again, and the hub knows
/// them by their ids.
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
    // A mark of another store says nothing of this one.
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

/// Shows every intact record of a file, in windows that overlap by the longest.
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

/// Reads as much as there is; what can't be read counts as zeros.
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

/// Keeps what was found beside the store, as records that [`search`] finds again: sled cuts off what
/// it can't read, and the power may fail before a new store is finished. Support staff find it with
/// the broken store.
pub fn keep(layout: &Layout, found: &Found) -> io::Result<()> {
    let file = layout.store().join(KEPT);
    if found.punches.is_empty() || !layout.store().exists() {
        return Ok(());
    }
    let seal =
        |held: &Held| Record { epoch: held.epoch, seq: held.seq, through: 0, punch: &held.punch }.seal();
    let mut kept = File::create(file)?;
    kept.write_all(&found.punches.iter().flat_map(seal).collect::<Vec<_>>())?;
    kept.sync_all()?;
    File::open(layout.store())?.sync_all()
}

/// The store is open and whole: what was kept is in it.
pub fn forget(layout: &Layout) {
    let _ = std::fs::remove_file(layout.store().join(KEPT));
}

/// Puts a new store in the place of the broken one, with what was found in it.
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

/// Puts a fresh store in the place of one that is empty and large: sled's file never shrinks.
pub fn rebuild(layout: &Layout, mark: &Mark, born: u64) -> Result<(), Failure> {
    build(layout, |store| store.follow(mark, born))?;
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
    fn the_bytes_of_a_store_tell_what_it_holds() {
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
        let sealed = |seq| Record { epoch: 1, seq, through: 0, punch: &[7; 300] }.seal();
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
