//! Changes the wall clock of a program, with libfaketime.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::dir::TestDir;

/// The clock of one or several programs.
pub struct Faketime {
    file: PathBuf,
    library: PathBuf,
}

impl Faketime {
    pub fn new(dir: &TestDir, name: &str) -> Result<Self> {
        let library = std::fs::read_dir("/usr/lib")?
            .flatten()
            .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
            .find(|path| path.is_file());
        let library = library.context("libfaketime is missing: run tests/setup.sh")?;
        let clock = Self { file: dir.join(name), library };
        clock.set(0)?;
        Ok(clock)
    }

    /// The program's environment variables.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Sets the offset from the real time.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(fresh, &self.file)?)
    }
}
