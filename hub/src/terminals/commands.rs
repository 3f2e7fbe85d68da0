//! What is done with terminals that were accepted: revoking them, having them do something.

use proto::DeviceId;
use serde_json::json;
use sqlx::PgPool;

use crate::db;
use crate::error::Denial;

/// What a terminal can be asked for.
pub const COMMANDS: [&str; 4] = ["identify", "resync", "open", "restart"];

/// Seconds within which a command must be carried out. A terminal adds up to the half minute between
/// two of its hellos, as it can't know how long the answer took.
fn expires_s(kind: &str) -> i64 {
    match kind {
        // Nobody may be at the door any more.
        "open" => 40,
        _ => 300,
    }
}

/// Revokes a terminal. Every hub hears of it, ends its connection and hears it no more.
pub async fn revoke(pool: &PgPool, actor: &str, device: &DeviceId) -> Result<(), Denial> {
    let mut transaction = pool.begin().await?;
    if !db::terminals::revoke(&mut transaction, device).await? {
        return Err(Denial::missing(format!("there is no terminal {device}")));
    }
    db::audit::record(&mut transaction, actor, "terminal.revoke", device.as_str(), json!({})).await?;
    Ok(transaction.commit().await?)
}

/// Asks a terminal for something.
pub async fn command(pool: &PgPool, actor: &str, device: &DeviceId, kind: &str) -> Result<(), Denial> {
    if !COMMANDS.contains(&kind) {
        return Err(Denial::senseless(format!("a terminal can {}, not {kind:?}", COMMANDS.join(", "))));
    }
    let mut transaction = pool.begin().await?;
    if kind == "open" && !db::terminals::has_relay(&mut transaction, device).await? {
        return Err(Denial::conflict(format!(
            "terminal {device} has no relay to open a door with (door.relay)"
        )));
    }
    if !db::commands::ask(&mut transaction, device, kind, actor, expires_s(kind)).await? {
        return Err(Denial::missing(format!("there is no accepted terminal {device}")));
    }
    db::audit::record(&mut transaction, actor, "terminal.command", device.as_str(), json!({"kind": kind}))
        .await?;
    db::terminals::announce(&mut transaction, device).await?;
    Ok(transaction.commit().await?)
}
