//! What is done with terminals that were accepted: revoking them, having them do something.

use proto::DeviceId;
use serde_json::json;
use sqlx::PgPool;

use crate::accounts::Actor;
use crate::db;
use crate::db::commands::CommandKind;
use crate::error::{Error, Problem};

/// Seconds within which a command must be carried out. A terminal adds up to the half minute between
/// two of its hellos, as it can't know how long the answer took.
fn expires_s(kind: CommandKind) -> i64 {
    match kind {
        // Nobody may be at the door any more.
        CommandKind::Open => 40,
        CommandKind::Identify | CommandKind::Resync | CommandKind::Restart => 300,
    }
}

/// As terminals are told.
pub fn on_the_wire(kind: CommandKind) -> proto::CommandKind {
    match kind {
        CommandKind::Identify => proto::CommandKind::Identify,
        CommandKind::Resync => proto::CommandKind::Resync,
        CommandKind::Open => proto::CommandKind::Open,
        CommandKind::Restart => proto::CommandKind::Restart,
    }
}

/// Revokes a terminal. Every hub hears of it, ends its connection and hears it no more.
pub async fn revoke(pool: &PgPool, actor: &Actor, device: &DeviceId) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    if !db::terminals::revoke(&mut transaction, device).await? {
        return Err(Problem::TerminalUnknown { terminal: device.to_string() }.into());
    }
    db::audit::record(&mut transaction, actor, "terminal.revoke", device.as_str(), json!({})).await?;
    Ok(transaction.commit().await?)
}

/// Asks a terminal for something.
pub async fn command(
    pool: &PgPool,
    actor: &Actor,
    device: &DeviceId,
    kind: CommandKind,
) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    if kind == CommandKind::Open && !db::terminals::has_relay(&mut transaction, device).await? {
        return Err(Problem::DoorMissing { terminal: device.to_string() }.into());
    }
    if !db::commands::ask(&mut transaction, device, kind, &actor.name, expires_s(kind)).await? {
        return Err(Problem::TerminalNotAccepted { terminal: device.to_string() }.into());
    }
    db::audit::record(&mut transaction, actor, "terminal.command", device.as_str(), json!({"kind": kind}))
        .await?;
    db::terminals::announce(&mut transaction, device).await?;
    Ok(transaction.commit().await?)
}
