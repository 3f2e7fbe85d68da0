//! The punches of a day, as they came.

use anyhow::Result;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::date::{local, time_of_day};
use crate::db::{self, punches};

/// A punch.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Punch)]
pub struct Row {
    /// Its id, as the terminal printed it.
    pub id: Uuid,
    /// Local time with its offset.
    pub at: String,
    /// The person's number.
    pub number: String,
    /// The person's name.
    pub name: String,
    /// Where the terminal hangs.
    pub terminal: String,
    /// in, out or unknown.
    pub direction: String,
    /// synchronised or estimated.
    pub clock: String,
}

impl Row {
    /// The time of day alone, for a page that says the date.
    pub fn time(&self) -> &str {
        time_of_day(&self.at)
    }

    /// As the site's clock shows it.
    pub fn new(punch: punches::Punch, zone: &TimeZone) -> Self {
        Self {
            id: punch.id,
            at: local(punch.at.to_jiff(), zone),
            number: punch.number,
            name: punch.name,
            terminal: punch.terminal,
            direction: punch.direction,
            clock: punch.clock,
        }
    }
}

/// The punches of a date, the latest first. The look is audited.
pub async fn of_date(pool: &PgPool, zone: &TimeZone, date: Date, actor: &str) -> Result<Vec<Row>> {
    let mut transaction = pool.begin().await?;
    let rows = unaudited(&mut transaction, zone, date).await?;
    let detail = json!({"date": date.to_string()});
    db::audit::record(&mut transaction, actor, "report.punches", "punches", detail).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// For somebody whose look has been audited already.
pub async fn unaudited(conn: &mut PgConnection, zone: &TimeZone, date: Date) -> Result<Vec<Row>> {
    let begin = |date: Date| date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
    let (from, until) = (begin(date)?, begin(date.tomorrow()?)?);
    let punches = punches::between(conn, from, until).await?;
    Ok(punches.into_iter().rev().map(|punch| Row::new(punch, zone)).collect())
}
