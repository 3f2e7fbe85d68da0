//! A terminal's gallery: the file on disk, its decrypted contents, and the hub's updates. Each is searched in the
//! end.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use gallery::{Applied, GalleryStore};
use libfuzzer_sys::fuzz_target;
use models::Embedding;
use tempfile::TempDir;

#[path = "../../edge/src/gallery.rs"]
mod gallery;

/// What the gallery needs of `edge/src/identity/fs.rs`, without waiting for the disk.
mod identity {
    pub mod fs {
        use std::fs;
        use std::path::Path;

        pub fn write_new(path: &Path, bytes: &[u8], _mode: u32) -> anyhow::Result<()> {
            Ok(fs::write(path, bytes)?)
        }

        pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
            write_new(path, bytes, mode)
        }
    }
}

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [0; 12];
/// The embedder of the corpus. It has fewer numbers than a real one, so that more people fit.
const EMBEDDER: &str = "e";
const DIMENSIONS: usize = 4;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("key"), hex::encode(KEY)).expect("a key");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    search(open(Some(bytes)));
    search(open(Some(&seal(bytes))));

    let mut fresh = open(None).expect("an empty folder opens");
    if let Ok(Applied::Changed) = fresh.apply(bytes) {
        let again = GalleryStore::open(FOLDER.path(), &FOLDER.path().join("key"), EMBEDDER, DIMENSIONS);
        let again = again.expect("what was written is read");
        assert_eq!((again.version(), again.gallery().len()), (fresh.version(), fresh.gallery().len()));
        assert_eq!(fresh.apply(bytes).expect("as before"), Applied::Same);
    }
    search(Ok(fresh));
});

/// Opens a gallery whose file holds `bytes`.
fn open(bytes: Option<&[u8]>) -> anyhow::Result<GalleryStore> {
    let file: PathBuf = FOLDER.path().join("roster.sealed");
    match bytes {
        Some(bytes) => fs::write(&file, bytes).expect("written"),
        None => drop(fs::remove_file(&file)),
    }
    GalleryStore::open(FOLDER.path(), &FOLDER.path().join("key"), EMBEDDER, DIMENSIONS)
}

/// The file that holds `plain`, sealed with the right key.
fn seal(plain: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(&KEY.into());
    let payload = Payload { msg: plain, aad: gallery::HEADER };
    let sealed = cipher.encrypt(&Nonce::from(NONCE), payload).expect("seals");
    [gallery::HEADER, &NONCE, &sealed].concat()
}

fn search(store: anyhow::Result<GalleryStore>) {
    let Ok(store) = store else { return };
    let gallery = store.gallery();
    let face = Embedding::normalised(&[0.5, -0.5, 0.1, 1.0]).expect("a direction");
    let found = gallery.nearest(&face, 5);
    assert_eq!(found.len(), gallery.len().min(5));
    for one in &found {
        assert!(one.similarity.is_finite());
        assert_eq!(gallery.crowd(one, 2).is_some(), gallery.len() > 2);
    }
}
