//! What travels between a Rollcall terminal and its hub, and on which topics.
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

/// The version that every message of this release carries. A message with a higher one is
/// refused, and its punches stay in the terminal until the hub understands them; a punch with a
/// higher one becomes a dead letter, never lost.
pub const VERSION: u32 = 1;
/// Punches in a batch, at most.
pub const BATCH_PUNCHES: usize = 100;
/// Bytes of a batch, about.
pub const BATCH_BYTES: usize = 64 << 10;
/// People in one roster message, at most: about 105 KiB with 256 numbers each.
pub const ROSTER_ENTRIES: usize = 100;
/// Bytes of an MQTT packet, at most, on both sides.
pub const PACKET_BYTES: usize = 256 << 10;
