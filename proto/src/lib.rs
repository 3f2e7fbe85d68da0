//! The messages between a Rollcall terminal and its hub, and their topics.
//!
//! It knows neither cameras nor databases.
#![warn(missing_docs)]

mod device;
pub mod seal;
pub mod sign;
pub mod topic;

/// The messages, generated from `rollcall.proto`.
#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/rollcall.v1.rs"));
}

pub use device::{DeviceId, NotADevice};
pub use topic::Topic;
pub use wire::*;

/// The version of this release's messages. A message with a higher one is rejected, and its punches stay in the terminal
/// until the hub is updated; a punch with a higher one becomes a dead letter.
pub const VERSION: u32 = 1;
/// Punches in a batch, at most.
pub const BATCH_PUNCHES: usize = 100;
/// Bytes of a batch, about.
pub const BATCH_BYTES: usize = 64 << 10;
/// People in one gallery update, at most: about 105 KiB with 256 numbers each.
pub const GALLERY_ENTRIES: usize = 100;
/// Bytes of an MQTT packet, at most, on both sides.
pub const PACKET_BYTES: usize = 256 << 10;
