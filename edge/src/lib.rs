//! The door terminal's parts. `main.rs` reads the command line; `examples/` measure some of them.

mod anchors;
mod attend;
mod camera;
mod claim;
pub mod clock;
pub mod config;
mod converse;
pub mod daemon;
mod decide;
mod deliver;
pub mod doctor;
pub mod door;
mod errands;
mod health;
pub mod identity;
mod link;
mod machine;
mod metrics;
pub mod observe;
pub mod outbox;
mod renew;
mod roster;
mod scenery;
mod service;
mod trust;
mod vision;
mod wire;
