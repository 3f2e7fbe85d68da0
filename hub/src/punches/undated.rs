//! Punches of a clock that was never set: a worklist for HR.
//!
//! All punches of one start of a terminal hang together, for its monotonic clock ran: who knows the
//! time of one of them knows that of all.

use proto::DeviceId;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::accounts::Actor;
use crate::date::Timestamp;
use crate::db;
use crate::db::boots::{Source, Start, Waiting};
use crate::error::{Error, Problem};
use crate::punches::date_waiting;

/// The worklist. Whoever looks at it is audited.
pub async fn list(pool: &PgPool, actor: &Actor, zone: &str) -> Result<Vec<Waiting>, Error> {
    let mut transaction = pool.begin().await?;
    let waiting = db::boots::waiting(&mut transaction, zone).await?;
    let detail = json!({"punches": waiting.len()});
    db::audit::record(&mut transaction, actor, "punches.unplaced", "", detail).await?;
    transaction.commit().await?;
    Ok(waiting)
}

/// Somebody knows when a punch was made: it and all others of the same start are placed. Returns how
/// many. Whoever says it has none among them.
pub async fn place(
    pool: &PgPool,
    actor: &Actor,
    id: Uuid,
    at: Timestamp,
    now: Timestamp,
) -> Result<usize, Error> {
    if at > now {
        return Err(Problem::InFuture { at: at.0 }.of("at"));
    }
    let mut transaction = pool.begin().await?;
    let waiting = db::boots::waiting(&mut transaction, "UTC").await?;
    let Some(punch) = waiting.into_iter().find(|punch| punch.id == id) else {
        return Err(Problem::UndatedPunchUnknown { id }.into());
    };
    let (device, boot) = (&punch.device, &punch.boot);
    if db::boots::waits_for(&mut transaction, device, boot, actor.somebody()?).await? {
        return Err(Problem::OwnPunches.into());
    }
    let device: DeviceId = punch.device.parse().map_err(anyhow::Error::from)?;
    let start_us = at.as_microsecond() - punch.monotonic_us;
    let start = Start { boot: &punch.boot, start_us, source: Source::Person };
    db::boots::remember(&mut transaction, &device, &[start]).await?;
    let placed = date_waiting(&mut transaction, device.as_str()).await?;
    let detail = json!({"punch": id, "at": at.to_string(), "boot": punch.boot, "placed": placed});
    db::audit::record(&mut transaction, &actor.name, "punches.place", device.as_str(), detail).await?;
    transaction.commit().await?;
    Ok(placed)
}
