//! The door terminal's parts. `main.rs` reads the command line; `examples/` measure some of them.

mod attend;
mod camera;
pub mod clock;
pub mod config;
mod converse;
pub mod daemon;
mod decide;
mod deliver;
mod door;
mod health;
pub mod identity;
mod link;
pub mod observe;
pub mod outbox;
mod roster;
mod vision;
mod wire;
