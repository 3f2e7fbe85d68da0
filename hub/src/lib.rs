//! The server's parts. `main.rs` reads the command line; what is public is for it and for `bench`.

mod access;
mod accounts;
pub mod cli;
mod clock;
mod console;
mod crypto;
mod date;
pub mod db;
mod error;
mod i18n;
mod imports;
mod limits;
mod mqtt;
mod notifications;
mod people;
mod person;
mod punches;
mod reports;
mod schedules;
mod server;
mod terminals;
mod text;
mod web;
mod workdays;

pub use punches::{Batch, ingest};
pub use server::postgres::Cluster;
