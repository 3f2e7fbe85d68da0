//! The timesheet: a row for each person and day.

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::accounts::Scope;
use crate::date::{self, Day, local, time_of_day};
use crate::db;
use crate::db::reports::{self, DayRow, Filter, Which};
use crate::db::workdays::EXPECTED;
use crate::error::{Error, Problem};

/// Days of one timesheet, at most.
const DAYS: i32 = 366;
/// Rows that are read at once, at most.
const ROWS: i64 = 100_000;

/// One person's day.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Workday)]
pub struct Row {
    /// The local date, `YYYY-MM-DD`.
    pub date: String,
    /// The person's number.
    pub number: String,
    /// The person's name.
    pub name: String,
    /// When they came: local time with its offset.
    pub first_in: Option<String>,
    /// When they went: local time with its offset.
    pub last_out: Option<String>,
    /// Seconds between; null where nothing closed.
    pub worked_s: Option<i64>,
    /// expected (the shift is not due yet), holiday, leave, incomplete, unscheduled, absent, `half_day` or
    /// present.
    pub status: String,
    /// What somebody should know: `clock_estimated`, `half_leave`, `long_span`, `missing_in`, `missing_out`,
    /// provisional (an absence that punches may still undo), `worked_on_leave`.
    pub flags: Vec<String>,
}

impl Row {
    fn read(day: DayRow) -> Result<Self> {
        let zone =
            TimeZone::get(&day.zone).with_context(|| format!("there is no time zone {:?}", day.zone))?;
        let mut flags = day.flags;
        if day.provisional && day.status != EXPECTED {
            flags.push("provisional".to_owned());
            flags.sort_unstable();
        }
        Ok(Self {
            date: day.date.to_jiff().to_string(),
            number: day.number,
            name: day.name,
            first_in: day.first_in.map(|at| local(at.to_jiff(), &zone)),
            last_out: day.last_out.map(|at| local(at.to_jiff(), &zone)),
            worked_s: day.worked_s.map(i64::from),
            status: day.status,
            flags,
        })
    }

    /// The time of day of the first in, for a page that says the date; empty if there is none.
    pub fn came(&self) -> &str {
        self.first_in.as_deref().map_or("", time_of_day)
    }

    /// The time of day of the last out.
    pub fn went(&self) -> &str {
        self.last_out.as_deref().map_or("", time_of_day)
    }
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
    pub fn asked(from: Option<Day>, to: Option<Day>, today: Date) -> Result<Self, Error> {
        let from = from.unwrap_or(Day(today));
        let (from, to) = date::range(from, to.unwrap_or(from), DAYS)?;
        Ok(Self { from, to })
    }
}

/// The timesheet of a period, by date and number. The look is audited.
pub async fn timesheet(
    pool: &PgPool,
    period: Period,
    (actor, scope): (&str, Scope),
    now: Timestamp,
) -> Result<Vec<Row>, Error> {
    let mut transaction = pool.begin().await?;
    let rows = unaudited(&mut transaction, period, scope, now).await?;
    let detail = json!({"from": period.from.to_string(), "to": period.to.to_string()});
    db::audit::record(&mut transaction, actor, "report.timesheet", "timesheet", detail).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// For somebody whose look has been audited already.
pub async fn unaudited(
    conn: &mut PgConnection,
    period: Period,
    scope: Scope,
    now: Timestamp,
) -> Result<Vec<Row>, Error> {
    let whole = Filter::between(period.from, period.to);
    let filter = Filter { manager: scope.manager, own: scope.own, ..whole };
    let days = reports::days(conn, &filter, Which::All, None, ROWS + 1, now).await?;
    if days.len() as i64 > ROWS {
        return Err(Problem::TooManyRows { rows: ROWS }.into());
    }
    Ok(days.into_iter().map(Row::read).collect::<Result<_>>()?)
}
