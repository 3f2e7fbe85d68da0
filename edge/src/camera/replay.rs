//! Recorded frames: a folder of JPEG or PNG files, in the order of their names.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use models::Frame;

use crate::camera::source::Camera;

/// Keeps a steady rate: frame `n` is due `n / rate` seconds after the first.
pub struct Pace {
    rate: u32,
    start: Instant,
    frames: u64,
}

impl Pace {
    pub fn new(rate: u32) -> Self {
        Self { rate, start: Instant::now(), frames: 0 }
    }

    /// Sleeps until the next frame is due; returns its time since the first.
    pub fn wait(&mut self) -> Duration {
        let due = Duration::from_secs_f64(self.frames as f64 / f64::from(self.rate));
        self.frames += 1;
        std::thread::sleep(due.saturating_sub(self.start.elapsed()));
        due
    }
}

pub struct Replay {
    files: Vec<PathBuf>,
    next: usize,
    repeat: bool,
    pace: Option<Pace>,
    shown: u32,
}

impl Replay {
    /// Without a rate, frames come as fast as they are taken.
    pub fn open(folder: &Path, rate: Option<u32>, repeat: bool) -> Result<Self> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let known =
                |e: &std::ffi::OsStr| ["jpg", "jpeg", "png"].iter().any(|k| e.eq_ignore_ascii_case(k));
            if path.extension().is_some_and(known) {
                files.push(path);
            }
        }
        ensure!(!files.is_empty(), "{} contains no JPEG or PNG files", folder.display());
        files.sort();
        Ok(Self { files, next: 0, repeat, pace: rate.map(Pace::new), shown: 0 })
    }
}

impl Camera for Replay {
    fn next(&mut self, _spare: Vec<u8>) -> Result<Option<Frame>> {
        if self.next == self.files.len() {
            if !self.repeat {
                return Ok(None);
            }
            self.next = 0;
        }
        let file = &self.files[self.next];
        self.next += 1;
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut frame = Frame::decode(&bytes).with_context(|| file.display().to_string())?;
        frame.at = match &mut self.pace {
            Some(pace) => pace.wait(),
            None => Duration::from_secs_f64(f64::from(self.shown) / 15.0),
        };
        self.shown += 1;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(count: u8) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for n in 0..count {
            let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([n * 20; 3]));
            picture.save(folder.path().join(format!("{n:03}.png"))).expect("saved");
        }
        folder
    }

    #[test]
    fn frames_come_in_order_and_end_or_start_again() {
        let folder = folder(3);
        let mut once = Replay::open(folder.path(), None, false).expect("opens");
        let values: Vec<u8> = std::iter::from_fn(|| once.next(Vec::new()).expect("reads"))
            .map(|frame| frame.rgb()[0])
            .collect();
        assert_eq!(values, [0, 20, 40]);
        let mut again = Replay::open(folder.path(), None, true).expect("opens");
        assert!((0..7).all(|_| again.next(Vec::new()).expect("reads").is_some()));
    }

    #[test]
    fn an_empty_folder_is_refused() {
        assert!(Replay::open(folder(0).path(), None, false).is_err());
    }
}
