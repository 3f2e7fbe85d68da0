//! The connection to the hub: the MQTT client, hellos and heartbeats, delivery of punches, commands.

pub mod commands;
pub mod deliver;
pub mod link;
pub mod session;
