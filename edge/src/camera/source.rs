//! The trait of all cameras.

use anyhow::Result;
use models::Frame;

/// Damaged frames in a row that are tolerated; cameras send some after they start.
pub const DAMAGED: u32 = 30;

pub trait Camera {
    /// Waits for the next frame; `None` at the end. After an error the camera must be reopened. `spare` is a buffer to
    /// reuse.
    fn next(&mut self, spare: Vec<u8>) -> Result<Option<Frame>>;
}
