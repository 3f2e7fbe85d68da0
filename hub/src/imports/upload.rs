//! The file of an import.

use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;

/// Bytes of a file, at most.
pub const FILE_BYTES: usize = 16 << 20;

/// A file that somebody chose.
#[derive(Clone)]
pub struct Upload {
    /// What they call it.
    pub name: String,
    /// What it holds.
    pub bytes: Bytes,
}

impl Upload {
    /// Reads a file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {shown}"))?.len();
        ensure!(size <= FILE_BYTES as u64, "{shown} is larger than {} MiB: divide it", FILE_BYTES >> 20);
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self { name: name.chars().take(100).collect(), bytes: bytes.into() })
    }
}
