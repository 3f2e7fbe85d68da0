//! `rollcall-edge outbox`, for support staff. Read-only.
//!
//! Status and export read the files without sled, so that they work while the daemon runs, and on a store that sled can't
//! open.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use prost::Message;
use proto::Punch;
use serde_json::json;
use uuid::Uuid;

use crate::outbox::layout::{Layout, Mark, files};
use crate::outbox::salvage::{Found, search};
use crate::outbox::store::{Failure, Store};
use crate::outbox::writer::complete;

#[derive(Subcommand)]
pub enum Action {
    /// Print how many punches wait, as the daemon last recorded it. Works while it runs.
    Status,
    /// Read and check every punch. Stop the daemon first. Exits with 1 if the outbox is damaged; the daemon repairs it when
    /// it starts.
    Verify,
    /// Print every waiting punch as a line of JSON: device time, person, id, and the encoded punch. Works while the daemon
    /// runs. The output is personal data.
    Export {
        /// Read this damaged store instead; `status` lists them.
        #[arg(long, value_name = "FOLDER")]
        store: Option<PathBuf>,
    },
}

/// Fails for a user who may not read the folder, instead of taking it for empty.
pub fn may_read(folder: &Path) -> Result<()> {
    let denied = |path: &Path| match std::fs::metadata(path) {
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
        Ok(found) if found.is_dir() => {
            std::fs::read_dir(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        }
        Ok(_) => File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied),
    };
    let shut = [folder.to_owned(), folder.join("mark")].into_iter().find(|path| denied(path));
    ensure!(
        shut.is_none(),
        "this user may not read {}: run as the daemon's user (sudo -u rollcall ...)",
        shut.unwrap_or_default().display()
    );
    Ok(())
}

/// The damaged stores of an outbox.
pub fn damaged(folder: &Path) -> Vec<PathBuf> {
    Layout(folder.to_owned()).damaged()
}

/// Whether a daemon has the outbox open.
pub fn is_open(folder: &Path) -> bool {
    folder.is_dir() && matches!(Layout(folder.to_owned()).lock(), Ok(None))
}

pub fn size_mb(folder: &Path) -> u64 {
    Layout(folder.to_owned()).size() >> 20
}

pub fn run(folder: &Path, action: &Action) -> Result<()> {
    may_read(folder)?;
    ensure!(folder.is_dir(), "there is no outbox in {}", folder.display());
    let layout = Layout(folder.to_owned());
    match action {
        Action::Status => status(&layout),
        Action::Verify => verify(&layout),
        Action::Export { store: Some(damaged) } => export(damaged, None),
        Action::Export { store: None } => export(&layout.store(), layout.marked()),
    }
}

fn status(layout: &Layout) -> Result<()> {
    let mark =
        layout.marked().context("the file mark is missing or damaged: stop the daemon and use verify")?;
    let damaged: Vec<String> = layout.damaged().iter().map(|path| path.display().to_string()).collect();
    let status = json!({
        "waiting": mark.held,
        "waiting_bytes": mark.bytes,
        "last": mark.last,
        "delivered_through": mark.through,
        "epoch": mark.epoch,
        "file_bytes": layout.size(),
        "reserve": layout.reserve().exists(),
        "damaged": damaged,
    });
    println!("{}", serde_json::to_string_pretty(&status)?);
    Ok(())
}

/// Checks a copy: sled may truncate what it can't read.
fn verify(layout: &Layout) -> Result<()> {
    ensure!(layout.store().join("db").is_file(), "there is no store in {}", layout.0.display());
    let lock = layout.lock().context("cannot lock the outbox")?;
    ensure!(lock.is_some(), "the daemon uses this outbox: stop it first (status works while it runs)");
    let copy = tempfile::tempdir().context("cannot create a temporary folder")?;
    for path in files(&layout.store()) {
        let target = copy.path().join("store").join(path.strip_prefix(layout.store())?);
        std::fs::create_dir_all(target.parent().context("a file stands in a folder")?)?;
        std::fs::copy(&path, target).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    let found = search(&layout.store(), layout.marked())?;
    let opened = Store::open(&copy.path().join("store"));
    match opened.and_then(|store| complete(store, &found, layout.marked())) {
        Ok(store) => {
            println!("{} punches wait, all intact; the last is number {}", store.mark.held, store.mark.last);
            Ok(())
        }
        Err(Failure::Damaged(_)) => bail!(
            "damaged: {} punches can be saved, {} are lost; start the daemon to salvage them",
            found.punches.len(),
            found.lost
        ),
        Err(failure) => bail!("{failure:?}"),
    }
}

fn export(store: &Path, mark: Option<Mark>) -> Result<()> {
    ensure!(store.is_dir(), "there is no store in {}", store.display());
    let Found { punches, lost, .. } = search(store, mark)?;
    let mut out = std::io::stdout().lock();
    for bytes in punches.iter().map(|held| &held.punch) {
        let punch = Punch::decode(bytes.as_slice()).unwrap_or_default();
        let uuid = |bytes: &[u8]| Uuid::from_slice(bytes).ok().map(|id| id.to_string());
        let line = json!({
            "id": uuid(&punch.id),
            "person": uuid(&punch.person),
            "at_us": punch.at_us,
            "synchronised": punch.synchronised,
            "boot": punch.boot,
            "monotonic_us": punch.monotonic_us,
            "punch": hex::encode(bytes),
        });
        writeln!(out, "{line}")?;
    }
    if lost > 0 {
        bail!("{lost} punches of this store are lost; all others were printed");
    }
    Ok(())
}
