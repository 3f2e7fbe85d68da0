//! Requests to the store's thread, and their results.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Punches in one commit, at most.
pub const GROUP: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox {0} is in use by another rollcall-edge: stop it first")]
    InUse(PathBuf),
    /// The disk is full, or the outbox holds as much as configured.
    #[error("the outbox {0} or its disk is full: connect the hub or free space")]
    Full(PathBuf),
    #[error("the outbox {path}: {reason}")]
    Store { path: PathBuf, reason: String },
    #[error("the outbox has stopped")]
    Stopped,
}

/// Punches with their numbers.
pub struct Batch {
    pub epoch: u64,
    /// Numbers up to this one were used before the epoch was drawn.
    pub born: u64,
    pub records: Vec<(u64, Vec<u8>)>,
}

pub type Answer<T> = oneshot::Sender<Result<T, OutboxError>>;

pub enum Command {
    Append(Vec<u8>, Answer<u64>),
    Read { from: u64, count: usize, bytes: usize, answer: Answer<Batch> },
    Trim { epoch: u64, through: u64, answer: Answer<()> },
    Renew(Answer<()>),
}

#[derive(Clone, Debug)]
pub struct Options {
    pub folder: PathBuf,
    /// Bytes of punches, at most.
    pub limit_bytes: u64,
    /// `false` only in tests that show what happens without `fdatasync`.
    pub sync: bool,
}

impl Options {
    pub fn new(folder: &Path, limit_bytes: u64) -> Self {
        Self { folder: folder.to_owned(), limit_bytes, sync: true }
    }
}

/// State that the store's thread publishes.
#[derive(Default)]
pub struct Shared {
    pub epoch: AtomicU64,
    /// Punches without a Receipt.
    pub held: AtomicU64,
    pub full: AtomicBool,
    pub alarm: Mutex<Option<String>>,
}
