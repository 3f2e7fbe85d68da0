//! The templates of everybody this terminal may recognise: a replica of the hub's gallery, encrypted at rest.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use anyhow::{Context, Result, bail, ensure};
use models::{Gallery, Template};
use prost::Message;
use tracing::{error, info, warn};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::identity::fs::{replace, write_new};

/// Marks the file and binds the ciphertext to its purpose. Part of the file's format, as are its name and that of
/// its key.
pub const HEADER: &[u8] = b"rollcall roster 1\n";
const NONCE_BYTES: usize = 12;

pub struct GalleryStore {
    file: PathBuf,
    cipher: Aes256Gcm,
    embedder: String,
    dimensions: usize,
    version: u64,
    people: BTreeMap<Uuid, Zeroizing<Vec<u8>>>,
}

/// What an update did.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    Changed,
    Same,
    /// An update before this one is missing.
    Gap,
}

impl GalleryStore {
    /// Opens the replica in the folder `state` with the key in `key_file`, which is created if it is missing. A
    /// replica of another embedder is discarded, and one that can't be decrypted is set aside: the hub sends the
    /// gallery again, and waiting punches are delivered meanwhile.
    pub fn open(state: &Path, key_file: &Path, embedder: &str, dimensions: usize) -> Result<Self> {
        if !key_file.exists() {
            create_key(key_file)?;
        }
        let mut store = Self::empty(state, key_file, embedder, dimensions)?;
        if let Err(error) = store.read() {
            let aside = store.aside();
            error!(file = %store.file.display(), aside = %aside.display(), error = format!("{error:#}"),
                "ALARM: the gallery can't be opened; the file is set aside and the hub will send the gallery again");
            fs::rename(&store.file, aside)
                .with_context(|| format!("cannot set {} aside", store.file.display()))?;
        }
        info!(version = store.version, people = store.people.len(), "gallery open");
        Ok(store)
    }

    /// Reads the replica without creating or moving a file.
    pub fn read_only(state: &Path, key_file: &Path, embedder: &str, dimensions: usize) -> Result<Self> {
        let mut store = Self::empty(state, key_file, embedder, dimensions)?;
        store.read()?;
        Ok(store)
    }

    fn empty(state: &Path, key_file: &Path, embedder: &str, dimensions: usize) -> Result<Self> {
        Ok(Self {
            file: state.join("roster.sealed"),
            cipher: Aes256Gcm::new(&key(key_file)?.as_slice().try_into().context("a key has 32 bytes")?),
            embedder: embedder.to_owned(),
            dimensions,
            version: 0,
            people: BTreeMap::new(),
        })
    }

    /// 0: nothing received yet.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Deletes all templates, on disk too; the hub sends all of them again.
    pub fn clear(&mut self) -> Result<()> {
        self.write(0, &BTreeMap::new())?;
        (self.version, self.people) = (0, BTreeMap::new());
        Ok(())
    }

    pub fn gallery(&self) -> Gallery {
        let usable = |(person, bytes): (&Uuid, &Zeroizing<Vec<u8>>)| {
            Template::from_bytes(bytes, self.dimensions)
                .inspect_err(|error| warn!(%person, %error, "unusable template; enrol this person again"))
                .ok()
                .map(|template| (*person, template))
        };
        Gallery::of(self.people.iter().filter_map(usable))
    }

    /// Applies an update of the hub. The file is replaced before the memory changes.
    pub fn apply(&mut self, message: &[u8]) -> Result<Applied> {
        let update = proto::GalleryUpdate::decode(message).context("malformed gallery update")?;
        ensure!(update.version == proto::VERSION, "gallery update with unknown version {}", update.version);
        if update.embedder != self.embedder {
            bail!("gallery of another embedder: install the same release on hub and terminal");
        }
        // An update after version 0 is a full gallery and replaces what is held.
        let full = update.after == 0 && update.through != self.version;
        if update.through <= self.version && !full {
            return Ok(Applied::Same);
        }
        if update.after > self.version {
            return Ok(Applied::Gap);
        }
        let mut people = if full { BTreeMap::new() } else { self.people.clone() };
        for entry in update.entries {
            let person = Uuid::from_slice(&entry.person).context("gallery entry without a person")?;
            if entry.template.is_empty() {
                people.remove(&person);
            } else {
                Template::from_bytes(&entry.template, self.dimensions)?;
                people.insert(person, Zeroizing::new(entry.template));
            }
        }
        self.write(update.through, &people)?;
        (self.version, self.people) = (update.through, people);
        info!(version = self.version, people = self.people.len(), "gallery updated");
        Ok(Applied::Changed)
    }

    /// Where a file is kept that could not be opened, in case the old key is put back. It is deleted once the hub
    /// has sent the gallery again: it must not outlive an erasure.
    fn aside(&self) -> PathBuf {
        self.file.with_extension("aside")
    }

    /// Reads the file, if it exists.
    fn read(&mut self) -> Result<()> {
        let file = self.file.display();
        let bytes = match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read.with_context(|| format!("cannot read {file}"))?,
        };
        let sealed = bytes.strip_prefix(HEADER).with_context(|| format!("{file} is not a gallery"))?;
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE_BYTES>().with_context(|| format!("{file} is truncated"))?;
        let opened = self.cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: HEADER });
        let plain = opened
            .map_err(|_| anyhow::anyhow!("{file} can't be decrypted: it has another key or is damaged"))?;
        let plain = Zeroizing::new(plain);
        let held =
            proto::GalleryUpdate::decode(plain.as_slice()).with_context(|| format!("{file} is damaged"))?;
        if held.embedder != self.embedder {
            warn!("the gallery on disk is of another embedder; the hub will send it again");
            return Ok(());
        }
        let entry = |entry: proto::GalleryEntry| {
            Ok((Uuid::from_slice(&entry.person)?, Zeroizing::new(entry.template)))
        };
        self.people = held.entries.into_iter().map(entry).collect::<Result<_>>()?;
        self.version = held.through;
        Ok(())
    }

    fn write(&self, version: u64, people: &BTreeMap<Uuid, Zeroizing<Vec<u8>>>) -> Result<()> {
        let entries = people.iter().map(|(person, template)| proto::GalleryEntry {
            person: person.as_bytes().to_vec(),
            template: template.to_vec(),
        });
        let plain = proto::GalleryUpdate {
            version: proto::VERSION,
            after: 0,
            through: version,
            embedder: self.embedder.clone(),
            entries: entries.collect(),
        };
        let plain = Zeroizing::new(plain.encode_to_vec());
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: &plain, aad: HEADER })
            .map_err(|_| anyhow::anyhow!("cannot encrypt the gallery"))?;
        replace(&self.file, &[HEADER, &nonce, &sealed].concat(), 0o600)?;
        match fs::remove_file(self.aside()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.aside().display()))
            }
            _ => Ok(()),
        }
    }
}

fn create_key(file: &Path) -> Result<()> {
    let fresh = Zeroizing::new(rand::random::<[u8; 32]>());
    write_new(file, Zeroizing::new(hex::encode(fresh.as_slice())).as_bytes(), 0o600)
}

fn key(file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let text =
        Zeroizing::new(fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?);
    let key = Zeroizing::new(hex::decode(text.trim()).unwrap_or_default());
    ensure!(key.len() == 32, "{} must hold 64 hexadecimal characters", file.display());
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(after: u64, through: u64, entries: &[(u128, &[f32])]) -> Vec<u8> {
        let entries = entries.iter().map(|(person, values)| proto::GalleryEntry {
            person: Uuid::from_u128(*person).as_bytes().to_vec(),
            template: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        });
        let entries = entries.collect();
        proto::GalleryUpdate { version: 1, after, through, embedder: "e".into(), entries }.encode_to_vec()
    }

    fn open(folder: &Path) -> Result<GalleryStore> {
        GalleryStore::open(folder, &folder.join("key"), "e", 2)
    }

    #[test]
    fn a_gallery_grows_shrinks_and_survives_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let mut store = open(folder.path()).expect("opens");
        let two: [(u128, &[f32]); 2] = [(1, &[1.0, 0.0]), (2, &[0.0, 1.0])];
        assert_eq!(store.apply(&update(0, 5, &two)).expect("fits"), Applied::Changed);
        assert_eq!(store.apply(&update(0, 5, &two)).expect("fits"), Applied::Same);
        assert_eq!(store.apply(&update(9, 12, &[])).expect("fits"), Applied::Gap);
        assert_eq!(store.apply(&update(5, 6, &[(1, &[])])).expect("fits"), Applied::Changed);
        let again = open(folder.path()).expect("opens");
        assert_eq!((again.version(), again.gallery().len()), (6, 1));
    }

    #[test]
    fn a_full_update_replaces_a_newer_gallery() {
        let folder = tempfile::tempdir().expect("folder");
        let mut store = open(folder.path()).expect("opens");
        store.apply(&update(0, 9, &[(1, &[1.0, 0.0]), (2, &[0.0, 1.0])])).expect("fits");
        assert_eq!(store.apply(&update(0, 4, &[(3, &[1.0, 0.0])])).expect("fits"), Applied::Changed);
        assert_eq!((store.version(), store.gallery().len()), (4, 1));
    }

    #[test]
    fn the_file_is_encrypted_and_with_another_key_it_is_fetched_again() {
        let folder = tempfile::tempdir().expect("folder");
        let mut store = open(folder.path()).expect("opens");
        store.apply(&update(0, 1, &[(0x4142_4344, &[1.0, 0.0])])).expect("fits");
        let bytes = fs::read(folder.path().join("roster.sealed")).expect("there");
        assert!(!bytes.windows(4).any(|w| w == b"ABCD"));
        let (key, aside) = (folder.path().join("key"), folder.path().join("roster.aside"));
        fs::write(&key, "00".repeat(32)).expect("written");
        let error = GalleryStore::read_only(folder.path(), &key, "e", 2).err().expect("doesn't open");
        assert!(format!("{error:#}").contains("another key") && !aside.exists());
        let mut store = open(folder.path()).expect("goes on");
        assert_eq!((store.version(), store.gallery().len()), (0, 0));
        assert_eq!(fs::read(&aside).expect("set aside"), bytes);
        store.apply(&update(0, 1, &[(1, &[1.0, 0.0])])).expect("fits");
        assert!(!aside.exists(), "an erased person stays in the file that was set aside");
        assert_eq!(open(folder.path()).expect("opens").gallery().len(), 1);
    }

    #[test]
    fn a_file_that_is_no_gallery_is_set_aside() {
        let folder = tempfile::tempdir().expect("folder");
        for junk in [&b""[..], b"junk", HEADER] {
            fs::write(folder.path().join("roster.sealed"), junk).expect("written");
            assert_eq!(open(folder.path()).expect("opens").version(), 0);
            assert_eq!(fs::read(folder.path().join("roster.aside")).expect("kept"), junk);
        }
    }

    #[test]
    fn a_bad_update_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let mut store = open(folder.path()).expect("opens");
        assert!(store.apply(&update(0, 1, &[(1, &[1.0, 0.0, 0.0])])).is_err());
        assert!(store.apply(b"\xff\xff").is_err());
        assert_eq!(store.version(), 0);
    }
}
