//! Reports of workdays: daily attendance, timesheet, lateness, absence.

use anyhow::{Context, Result};
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::db::reports::{self, DayCursor, DayRow, Filter, Which};
use crate::reports::table::{Cell, Column, Cursor, Kind, Page, Zones, column};

/// The columns of each.
pub const COLUMNS: &[Column] = &[
    column("date", Kind::Date),
    column("number", Kind::Text),
    column("name", Kind::Text),
    column("first_in", Kind::Time),
    column("last_out", Kind::Time),
    column("worked_s", Kind::Seconds),
    column("status", Kind::Text),
    column("flags", Kind::List),
    column("shift", Kind::Text),
    column("expected_s", Kind::Seconds),
    column("late_s", Kind::Seconds),
    column("early_s", Kind::Seconds),
    column("overtime_s", Kind::Seconds),
    column("balance_s", Kind::Seconds),
    column("provisional", Kind::Truth),
    column("revision", Kind::Count),
    column("department", Kind::Text),
    column("site", Kind::Text),
];

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
    let rows = reports::days(conn, filter, which, after.as_ref(), most, now).await?;
    let last = rows.last().filter(|_| rows.len() as i64 == most);
    let next =
        last.map(|row| Cursor(vec![row.date.to_jiff().to_string(), row.number.clone(), row.shift.clone()]));
    let mut zones = Zones::default();
    let rows = rows.into_iter().map(|row| cells(row, &mut zones)).collect::<Result<_>>()?;
    Ok(Page { rows, next })
}

fn place(cursor: &Cursor) -> Result<DayCursor> {
    let [date, number, shift] = &cursor.0[..] else { anyhow::bail!("after: it belongs to another report") };
    Ok((date.parse().ok().context("after: it belongs to another report")?, number.clone(), shift.clone()))
}

fn cells(row: DayRow, zones: &mut Zones) -> Result<Vec<Cell>> {
    Ok(vec![
        Cell::Date(row.date.to_jiff()),
        Cell::Text(row.number),
        Cell::Text(row.name),
        zones.cell(row.first_in.map(jiff_sqlx::Timestamp::to_jiff), &row.zone)?,
        zones.cell(row.last_out.map(jiff_sqlx::Timestamp::to_jiff), &row.zone)?,
        Cell::count(row.worked_s),
        Cell::Text(row.status),
        Cell::List(row.flags),
        Cell::text(Some(row.shift)),
        Cell::count(Some(row.expected_s)),
        Cell::count(Some(row.late_s)),
        Cell::count(Some(row.early_s)),
        Cell::count(Some(row.overtime_s)),
        Cell::count(row.balance_s),
        Cell::Truth(row.provisional),
        Cell::count(Some(row.revision)),
        Cell::text(row.department),
        Cell::Text(row.site),
    ])
}
