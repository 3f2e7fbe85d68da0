//! A temporary folder for one test, which PostgreSQL's user may enter.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::database::stop_clusters;

/// Stops the PostgreSQL clusters in it and deletes it when dropped.
pub struct TestDir(TempDir);

impl TestDir {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-").tempdir_in("/tmp")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        stop_clusters(self.path());
    }
}

pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
