//! Reports of workdays: daily attendance, timesheet, lateness, absence.

use anyhow::{Context, Result};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::date::{Date, Timestamp, Zoned};
use crate::db::reports::{self, DayCursor, Filter, Which};
use crate::db::workdays::Status;
use crate::person::PersonNumber;
use crate::reports::table::{Cursor, Page, Row, row};

row! {
    /// A workday with whose it is.
    #[derive(Clone, Debug, Serialize, ToSchema)]
    #[schema(as = Workday)]
    pub struct Day {
        /// The local date, `YYYY-MM-DD`.
        pub date: Date,
        /// The person's number.
        #[schema(value_type = String)]
        pub number: PersonNumber,
        /// The person's name.
        pub name: String,
        /// When they came: local time with its offset.
        pub first_in: Option<Zoned>,
        /// When they went: local time with its offset.
        pub last_out: Option<Zoned>,
        /// Seconds between; null where nothing closed.
        pub worked_s: Option<i32>,
        pub status: Status,
        /// What somebody should know: `clock_estimated`, `half_leave`, `long_span`, `missing_in`, `missing_out`,
        /// provisional (an absence that punches may still undo), `worked_on_leave`.
        pub flags: Vec<String>,
        shift: Option<String>,
        expected_s: i32,
        late_s: i32,
        early_s: i32,
        overtime_s: i32,
        balance_s: Option<i32>,
        /// Whether it is an absence that punches may still undo.
        pub provisional: bool,
        /// How often it was computed otherwise.
        revision: i32,
        department: Option<String>,
        site: String,
    }
}

/// A page of workdays.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    which: Which,
    after: Option<&Cursor>,
    most: i64,
    now: Timestamp,
) -> Result<Page> {
    let after = after.map(place).transpose()?;
    let rows: Vec<Day> = reports::days(conn, filter, which, after.as_ref(), most, now).await?;
    let last = rows.last().filter(|_| rows.len() as i64 == most);
    let place =
        |row: &Day| vec![row.date.to_string(), row.number.to_string(), row.shift.clone().unwrap_or_default()];
    let next = last.map(|row| Cursor(place(row)));
    Ok(Page { rows: rows.into_iter().map(Day::cells).collect(), next })
}

fn place(cursor: &Cursor) -> Result<DayCursor> {
    let [date, number, shift] = &cursor.0[..] else { anyhow::bail!("after: it belongs to another report") };
    Ok((
        date.parse().ok().context("after: it belongs to another report")?,
        number.clone().into(),
        shift.clone(),
    ))
}
