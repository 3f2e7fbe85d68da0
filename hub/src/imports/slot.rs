//! One import at a time.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Problem;
use crate::imports::problem::ImportError;

/// A file takes much memory while it is read, and an import a connection: one at a time.
static TURNS: Semaphore = Semaphore::const_new(1);

/// The only import of this process, until it is dropped.
pub struct Slot(#[expect(dead_code, reason = "is held, not read")] SemaphorePermit<'static>);

impl Slot {
    /// Takes it, or says that another import is running. To be asked before a file is taken in.
    pub fn take() -> Result<Self, ImportError> {
        TURNS.try_acquire().map(Self).map_err(|_| Problem::ImportRunning.into())
    }
}
