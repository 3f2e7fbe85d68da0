//! Photos in a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use models::Frame;

/// All JPEG and PNG files below `folder`, in the order of their names.
#[allow(dead_code, reason = "each example uses a part of this file")]
pub fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|e| ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a photo.
pub fn open(path: &Path) -> Result<Frame> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Frame::decode(&bytes).with_context(|| path.display().to_string())
}
