//! What every camera is.

use anyhow::Result;
use models::Frame;

/// Damaged frames in a row that are passed over; cameras send some after they start.
pub const DAMAGED: u32 = 30;

/// A source of frames.
pub trait Camera {
    /// Waits for the next frame. `None`: there are no more. After an error the camera must be
    /// opened anew. `spare` is memory to use again.
    fn next(&mut self, spare: Vec<u8>) -> Result<Option<Frame>>;
}
