//! The punches of a day, as they came.

use anyhow::Result;
use jiff::tz::TimeZone;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::accounts::Actor;
use crate::date::Date;
use crate::db;
use crate::db::punches::Punch;

/// The punches of a date, the latest first. Access is audited.
pub async fn of_date(pool: &PgPool, zone: &TimeZone, date: Date, actor: &Actor) -> Result<Vec<Punch>> {
    let mut transaction = pool.begin().await?;
    let punches = unaudited(&mut transaction, zone, date).await?;
    let detail = json!({"date": date});
    db::audit::record(&mut transaction, actor, "report.punches", "punches", detail).await?;
    transaction.commit().await?;
    Ok(punches)
}

/// For somebody whose access has been audited already.
pub async fn unaudited(conn: &mut PgConnection, zone: &TimeZone, date: Date) -> Result<Vec<Punch>> {
    let (from, until) = (date.begins(zone)?, date.plus(1).begins(zone)?);
    Ok(db::punches::between(conn, from, until, zone.iana_name().unwrap_or("UTC")).await?)
}
