//! Sequences of frames, rendered from a photo: somebody in front of the lens, or their picture held to it.

mod chance;
mod head;
mod scene;
mod sequence;

pub use sequence::{FRAMES, Kind, Sequence};
