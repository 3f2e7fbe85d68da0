//! Files that hold secrets: made once, durable, readable by their owner alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file that must not be there yet, with mode 0600. A power cut leaves it whole or not there.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    // The name is durable only with its folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let linked = fs::hard_link(&fresh, path); // which replaces nothing
        fs::remove_file(&fresh)?;
        linked?;
        folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("cannot make {}", path.display()))
}

/// Reads a text file.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
