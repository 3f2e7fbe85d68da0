//! Everything between this terminal and its hub: the MQTT client, hellos and heartbeats, batches until a
//! Receipt covers them, commands.

pub mod commands;
pub mod deliver;
pub mod link;
pub mod session;
