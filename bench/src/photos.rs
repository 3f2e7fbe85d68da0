//! Photos in a folder, and the face that a photo is of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use models::geometry::Point;
use models::{Detection, Frame};

/// All JPEG and PNG files below `folder`, in the order of their names.
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

/// The face nearest to the middle, a larger one counting as nearer by a quarter of its width.
pub fn central(faces: &[Detection], photo: &Frame) -> Option<Detection> {
    let middle = Point { x: photo.width() as f32 / 2.0, y: photo.height() as f32 / 2.0 };
    let off = |face: &Detection| face.face.centre().distance(middle) - 0.25 * face.face.width();
    faces.iter().copied().min_by(|one, other| off(one).total_cmp(&off(other)))
}
