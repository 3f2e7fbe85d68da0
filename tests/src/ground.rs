//! A folder for one test, which PostgreSQL's user may enter, gone at the end.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::database::stop_clusters;

/// The folder.
pub struct Ground(TempDir);

impl Ground {
    /// Makes it.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-").tempdir_in("/tmp")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        stop_clusters(self.path());
    }
}

/// A port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
