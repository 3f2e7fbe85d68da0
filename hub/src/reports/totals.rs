//! Each person's totals over some dates: hours, overtime, balance. Absences that are provisional, or not due
//! yet, are counted in a column of their own, and nowhere else.

use anyhow::Result;
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::db::reports::{self, Filter, TotalRow};
use crate::reports::table::{Cell, Column, Cursor, Kind, Page, column};

/// The columns.
pub const COLUMNS: &[Column] = &[
    column("number", Kind::Text),
    column("name", Kind::Text),
    column("department", Kind::Text),
    column("days", Kind::Count),
    column("absent", Kind::Count),
    column("incomplete", Kind::Count),
    column("worked_s", Kind::Seconds),
    column("expected_s", Kind::Seconds),
    column("late_s", Kind::Seconds),
    column("overtime_s", Kind::Seconds),
    column("balance_s", Kind::Seconds),
    column("provisional", Kind::Count),
];

/// A page of people.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Cursor>,
    most: i64,
    now: Timestamp,
) -> Result<Page> {
    let after = after.and_then(|cursor| cursor.0.first()).map(String::as_str);
    let rows = reports::totals(conn, filter, after, most, now).await?;
    let next = rows.last().filter(|_| rows.len() as i64 == most).map(|row| Cursor(vec![row.number.clone()]));
    Ok(Page { rows: rows.into_iter().map(cells).collect(), next })
}

fn cells(row: TotalRow) -> Vec<Cell> {
    let mut cells = vec![Cell::Text(row.number), Cell::Text(row.name), Cell::text(row.department)];
    let counts = [
        row.days,
        row.absent,
        row.incomplete,
        row.worked_s,
        row.expected_s,
        row.late_s,
        row.overtime_s,
        row.balance_s,
        row.provisional,
    ];
    cells.extend(counts.map(Cell::Count));
    cells
}
