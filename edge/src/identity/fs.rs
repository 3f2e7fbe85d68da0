//! Atomic, durable writes: after a power cut a file is complete or absent.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Creates a file that must not exist yet.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let fresh = write_beside(path, bytes, mode)?;
        let linked = fs::hard_link(&fresh, path); // fails where the file exists
        fs::remove_file(&fresh)?;
        linked?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot create {}", path.display()))
}

/// Creates or replaces a file.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        fs::rename(write_beside(path, bytes, mode)?, path)?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the temporary file that is then linked or renamed.
fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<PathBuf> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fresh)
}

/// Makes a file's name durable: it is an entry of its folder.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
