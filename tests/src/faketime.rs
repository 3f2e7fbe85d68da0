//! A wall clock that a test sets, for a program of its own.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::ground::Ground;

/// The clock of one program, or of several that shall agree.
pub struct Faketime {
    file: PathBuf,
    library: PathBuf,
}

impl Faketime {
    /// Makes one that is right.
    pub fn new(ground: &Ground, name: &str) -> Result<Self> {
        let library = std::fs::read_dir("/usr/lib")?
            .flatten()
            .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
            .find(|path| path.is_file());
        let library = library.context("libfaketime is missing: run tests/setup.sh")?;
        let clock = Self { file: ground.join(name), library };
        clock.set(0)?;
        Ok(clock)
    }

    /// What the program must find in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// So many seconds off.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(fresh, &self.file)?)
    }
}
