//! Which dates may have workdays, and how far one date's punches reach.

use jiff::tz::TimeZone;
use sqlx::PgConnection;

use crate::date::{Date, Timestamp};
use crate::db;

/// How far a shift's window may reach beyond its date, in days: a week, and a shift ends on the next day.
pub const REACH: i32 = 8;
/// Days that may have workdays before they come: punches of clocks that are ahead.
pub const AHEAD: i32 = 8;

/// The dates that may have workdays now: see [`horizon_of`].
pub async fn horizon(conn: &mut PgConnection, now: Timestamp) -> sqlx::Result<(Date, Date)> {
    Ok(horizon_of(db::workdays::extent(conn).await?, now))
}

/// From the first date on which anything happened to tomorrow, or to the last, some days away at
/// most: a punch from a clock that is years ahead makes nobody compute years. A day is added at both
/// ends: what is today, and on which date a punch fell, differs between zones.
pub fn horizon_of(happened: Option<(Date, Date)>, now: Timestamp) -> (Date, Date) {
    let today = now.date_in(&TimeZone::UTC);
    let (from, to) = happened.unwrap_or((today, today));
    let last = to.max(today).plus(1);
    (from.min(today).plus(-1), last.min(today.plus(AHEAD)))
}
