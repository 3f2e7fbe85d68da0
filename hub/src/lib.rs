//! The server's parts. `main.rs` reads the command line; `examples/` measure some of them.

mod api;
mod app;
mod attendance;
mod broker;
mod claims;
mod clock;
pub mod cluster;
pub mod command;
mod config;
mod console;
mod corrections;
mod day;
mod demo;
mod denial;
mod enrolment;
mod fleet;
mod identity;
mod import;
pub mod ingest;
mod notify;
mod people;
mod periods;
mod pki;
mod planning;
mod reconcile;
mod reports;
mod revisions;
mod roster;
mod secret;
mod serve;
pub mod store;
mod terminals;
mod unplaced;
mod vault;
mod worklists;

pub use attendance::Refused;
