//! The door terminal. `main.rs` reads the command line; `bench` measures parts of it.

mod camera;
pub mod clock;
mod clock_samples;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod door;
mod gallery;
mod health;
mod hub_link;
pub mod identity;
mod machine;
mod metrics;
pub mod observe;
pub mod outbox;
mod punching;
mod service;
mod vision;
