//! Files that are whole or not there, whenever the power fails.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a file that must not be there yet, durably, readable as `mode` says. A power cut leaves it
/// whole or not there.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let fresh = write_beside(path, bytes, mode)?;
        let linked = fs::hard_link(&fresh, path); // which replaces nothing
        fs::remove_file(&fresh)?;
        linked?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot make {}", path.display()))
}

/// Puts a file in the place of another, or where there is none: afterwards one of the two is there,
/// whole, whatever happens.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        fs::rename(write_beside(path, bytes, mode)?, path)?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes what is to become a file, whole and durable, beside it.
fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<PathBuf> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fresh)
}

/// Makes a file's name durable: it stands in its folder, which is written by itself.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
