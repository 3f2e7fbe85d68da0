//! What is done with terminals that were accepted: revoking them, having them do something.

use jiff::ToSpan;
use proto::DeviceId;
use serde_json::json;
use sqlx::PgPool;

use crate::denial::Denial;
use crate::{clock, store};

/// Minutes within which a command must reach its terminal.
const EXPIRES_MIN: i64 = 5;
/// What a terminal can be asked for.
pub const COMMANDS: [&str; 2] = ["identify", "resync"];

/// Revokes a terminal. Every hub hears of it, ends its connection and hears it no more.
pub async fn revoke(pool: &PgPool, actor: &str, device: &DeviceId) -> Result<(), Denial> {
    let mut transaction = pool.begin().await?;
    if !store::terminals::revoke(&mut transaction, device).await? {
        return Err(Denial::missing(format!("there is no terminal {device}")));
    }
    store::audit::record(&mut transaction, actor, "terminal.revoke", device.as_str(), json!({})).await?;
    Ok(transaction.commit().await?)
}

/// Asks a terminal for something.
pub async fn command(pool: &PgPool, actor: &str, device: &DeviceId, kind: &str) -> Result<(), Denial> {
    if !COMMANDS.contains(&kind) {
        return Err(Denial::senseless(format!("a terminal can {}, not {kind:?}", COMMANDS.join(" or "))));
    }
    let expires = clock::now().saturating_add(EXPIRES_MIN.minutes()).map_err(anyhow::Error::from)?;
    let mut transaction = pool.begin().await?;
    if !store::commands::ask(&mut transaction, device, kind, actor, expires).await? {
        return Err(Denial::missing(format!("there is no accepted terminal {device}")));
    }
    store::audit::record(&mut transaction, actor, "terminal.command", device.as_str(), json!({"kind": kind}))
        .await?;
    store::terminals::announce(&mut transaction, device).await?;
    Ok(transaction.commit().await?)
}
