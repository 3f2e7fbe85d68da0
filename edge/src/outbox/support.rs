//! `rollcall-edge outbox`: what support staff ask of an outbox, its daemon running or not.
//!
//! Status and export read the files' bytes without sled, so that they work beside a running daemon
//! and on a store that sled can't open. Nothing here changes anything.

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
use crate::outbox::writer::whole;

/// What is asked.
#[derive(Subcommand)]
pub enum Question {
    /// How many punches wait, as the daemon last wrote it down. Works while it runs; `verify` looks at
    /// the punches themselves.
    Status,
    /// Read every punch and check it. The daemon must not run. Ends with 1 where something is wrong;
    /// the daemon mends that by itself when it starts.
    Verify,
    /// Print every punch that waits as a line of JSON: device time, person, id, and the punch as the
    /// hub would get it. Works while the daemon runs, and for a damaged store with --store. These
    /// are personal data.
    Export {
        /// A damaged store instead, as `status` names them.
        #[arg(long, value_name = "FOLDER")]
        store: Option<PathBuf>,
    },
}

/// What is asked as another user than the daemon's gets this answer, and no wrong one.
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
        "{} is not for this user: ask as the daemon's (sudo -u rollcall ...)",
        shut.unwrap_or_default().display()
    );
    Ok(())
}

/// What is wrong with an outbox, as far as its files tell: those that were damaged.
pub fn damaged(folder: &Path) -> Vec<PathBuf> {
    Layout(folder.to_owned()).damaged()
}

/// Whether a daemon has the outbox in a folder open.
pub fn is_open(folder: &Path) -> bool {
    folder.is_dir() && matches!(Layout(folder.to_owned()).lock(), Ok(None))
}

/// Megabytes of an outbox's files.
pub fn size_mb(folder: &Path) -> u64 {
    Layout(folder.to_owned()).size() >> 20
}

/// Answers it for the outbox in a folder.
pub fn answer(folder: &Path, question: &Question) -> Result<()> {
    may_read(folder)?;
    ensure!(folder.is_dir(), "there is no outbox in {}", folder.display());
    let layout = Layout(folder.to_owned());
    match question {
        Question::Status => status(&layout),
        Question::Verify => verify(&layout),
        Question::Export { store: Some(damaged) } => export(damaged, None),
        Question::Export { store: None } => export(&layout.store(), layout.marked()),
    }
}

fn status(layout: &Layout) -> Result<()> {
    let mark = layout.marked().context("its mark is missing or damaged: stop the daemon and use verify")?;
    let damaged: Vec<String> = layout.damaged().iter().map(|path| path.display().to_string()).collect();
    let status = json!({
        "waiting": mark.held,
        "waiting_bytes": mark.bytes,
        "last": mark.last,
        "delivered_through": mark.through,
        "epoch": mark.epoch,
        "file_bytes": layout.size(),
        "ballast": layout.0.join("ballast").exists(),
        "damaged": damaged,
    });
    println!("{}", serde_json::to_string_pretty(&status)?);
    Ok(())
}

/// Looks at a copy: sled may cut off what it can't read, and here nothing may change.
fn verify(layout: &Layout) -> Result<()> {
    ensure!(layout.store().join("db").is_file(), "there is no store in {}", layout.0.display());
    let lock = layout.lock().context("cannot lock the outbox")?;
    ensure!(lock.is_some(), "the daemon has this outbox open: stop it first (status works meanwhile)");
    let copy = tempfile::tempdir().context("no room for a copy")?;
    for path in files(&layout.store()) {
        let target = copy.path().join("store").join(path.strip_prefix(layout.store())?);
        std::fs::create_dir_all(target.parent().context("a file stands in a folder")?)?;
        std::fs::copy(&path, target).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    let found = search(&layout.store(), layout.marked())?;
    let opened = Store::open(&copy.path().join("store"));
    match opened.and_then(|store| whole(store, &found, layout.marked())) {
        Ok(store) => {
            println!("{} punches wait, all whole; the last is number {}", store.mark.held, store.mark.last);
            Ok(())
        }
        Err(Failure::Damaged(_)) => bail!(
            "damaged: {} punches can be saved, {} can't; the daemon does that when it starts",
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
        bail!("{lost} punches of this store can't be read any more; all others were printed");
    }
    Ok(())
}
