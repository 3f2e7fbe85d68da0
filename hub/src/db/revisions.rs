//! Which revision of a workday stands, and whether somebody made it final.

use jiff::civil::Date;
use jiff_sqlx::{Timestamp, ToSqlx};
use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// A workday's revision.
pub struct Revision {
    /// The shift's name; empty on an unscheduled day.
    pub shift: String,
    /// How often it was written.
    pub count: i32,
    /// When it was written last.
    pub computed_at: Timestamp,
    /// Which account made it final.
    pub finalised_by: Option<String>,
    /// When.
    pub finalised_at: Option<Timestamp>,
    /// When its window closes.
    pub closes_at: Option<Timestamp>,
    /// Whether it is an absence that punches may still undo.
    pub provisional: bool,
}

/// The revisions of a person's workdays of a date, as they are now.
pub async fn of_day(
    conn: &mut PgConnection,
    person: Uuid,
    date: Date,
    now: jiff::Timestamp,
) -> Result<Vec<Revision>> {
    sqlx::query_as!(
        Revision,
        r#"select shift as "shift!", revision as "count!", computed_at as "computed_at!: Timestamp", finalised_by,
            finalised_at as "finalised_at: Timestamp", closes_at as "closes_at: Timestamp",
            provisional as "provisional!"
        from workdays_at($3) where person = $1 and date = $2 order by shift"#,
        person,
        date.to_sqlx() as _,
        now.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}

/// Whether days of a person wait to be computed.
pub async fn waiting(conn: &mut PgConnection, person: Uuid) -> Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from jobs where person = $1) as "waiting!""#, person)
        .fetch_one(conn)
        .await
}
