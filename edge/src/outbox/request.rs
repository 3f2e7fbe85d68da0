//! What is asked of the store's thread, and what it answers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::oneshot;

/// Punches that one commit takes, at most.
pub const GROUP: usize = 256;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Another process has it.
    #[error("the outbox {0} is in use by another rollcall-edge: only one may run on a store")]
    InUse(PathBuf),
    /// The disk has no space, or the outbox holds as much as it may.
    #[error(
        "no room in the outbox {0} or on its disk: it takes no punch until the hub has taken some or somebody makes room"
    )]
    Full(PathBuf),
    /// The disk, mostly.
    #[error("the outbox {path}: {reason}")]
    Store {
        /// The folder.
        path: PathBuf,
        /// What sled or the kernel says.
        reason: String,
    },
    /// The thread is gone.
    #[error("the outbox has stopped")]
    Stopped,
}

/// Punches as they were read, with the epoch that their numbers belong to.
pub struct Batch {
    /// The store's epoch.
    pub epoch: u64,
    /// Numbers up to this one were used before the epoch was drawn.
    pub born: u64,
    /// Numbers and punches.
    pub records: Vec<(u64, Vec<u8>)>,
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, OutboxError>>;

/// What is asked of the writer.
pub enum Command {
    Append(Vec<u8>, Answer<u64>),
    Read { from: u64, count: usize, bytes: usize, answer: Answer<Batch> },
    Trim { epoch: u64, through: u64, answer: Answer<()> },
    Renew(Answer<()>),
}

/// How the outbox is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of punches that it holds, at most.
    pub limit_bytes: u64,
    /// Whether punches are made durable; `false` only to show what happens else.
    pub sync: bool,
}

impl Options {
    /// What a terminal uses.
    pub fn new(folder: &Path, limit_bytes: u64) -> Self {
        Self { folder: folder.to_owned(), limit_bytes, sync: true }
    }
}

/// What the store's thread tells everybody.
#[derive(Default)]
pub struct Shared {
    /// The store's epoch.
    pub epoch: AtomicU64,
    /// Punches without a Receipt.
    pub held: AtomicU64,
    /// Whether it takes no more.
    pub full: AtomicBool,
    /// What somebody should know about the store.
    pub alarm: Mutex<Option<String>>,
}
