//! The timesheet: a row for each person and day.

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::accounts::{Actor, Scope};
use crate::date::{self, Date, Timestamp};
use crate::db;
use crate::db::reports::{self, Filter, Which};
use crate::db::workdays::Status;
use crate::error::{Error, Problem};
use crate::reports::csv;
use crate::reports::days::Day;
use crate::reports::table::Row;

/// Days of one timesheet, at most.
const DAYS: i32 = 366;
/// Rows that are read at once, at most.
const ROWS: i64 = 100_000;

/// Columns of the CSV.
const COLUMNS: usize = 8;

/// The timesheet as CSV, UTF-8, with a header.
pub fn csv(days: Vec<Day>) -> String {
    let cells = |day: Day| day.cells().into_iter().take(COLUMNS).collect();
    csv::header(&Day::COLUMNS[..COLUMNS]) + &csv::rows(&days.into_iter().map(cells).collect::<Vec<_>>())
}

/// Local dates, both inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// First.
    pub from: Date,
    /// Last.
    pub to: Date,
}

impl Period {
    /// One day.
    pub fn of(date: Date) -> Self {
        Self { from: date, to: date }
    }

    /// What somebody asked for: today, where nothing is said, and one day, where no last one is.
    pub fn asked(from: Option<Date>, to: Option<Date>, today: Date) -> Result<Self, Error> {
        let from = from.unwrap_or(today);
        let (from, to) = date::range(from, to.unwrap_or(from), DAYS)?;
        Ok(Self { from, to })
    }
}

/// The timesheet of a period, by date and number. Access is audited.
pub async fn timesheet(
    pool: &PgPool,
    period: Period,
    actor: &Actor,
    now: Timestamp,
) -> Result<Vec<Day>, Error> {
    let mut transaction = pool.begin().await?;
    let rows = unaudited(&mut transaction, period, actor.scope(), now).await?;
    let detail = json!({"from": period.from.to_string(), "to": period.to.to_string()});
    db::audit::record(&mut transaction, actor, "report.timesheet", "timesheet", detail).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// For somebody whose access has been audited already.
pub async fn unaudited(
    conn: &mut PgConnection,
    period: Period,
    scope: Scope,
    now: Timestamp,
) -> Result<Vec<Day>, Error> {
    let whole = Filter::between(period.from, period.to);
    let filter = Filter { manager: scope.manager, own: scope.own, ..whole };
    let mut days: Vec<Day> = reports::days(conn, &filter, Which::All, None, ROWS + 1, now).await?;
    if days.len() as i64 > ROWS {
        return Err(Problem::TooManyRows { rows: ROWS }.into());
    }
    for day in days.iter_mut().filter(|day| day.provisional && day.status != Status::Expected) {
        day.flags.push("provisional".to_owned());
        day.flags.sort_unstable();
    }
    Ok(days)
}
