//! The conversation with terminals: batches in, Receipts out, hellos answered, galleries down,
//! heartbeats kept; pairing, commands, revoking.

pub mod commands;
mod held;
mod hello;
pub mod http;
pub mod pairing;
pub mod signing;
mod worker;

pub use worker::Fleet;
