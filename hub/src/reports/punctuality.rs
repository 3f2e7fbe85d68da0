//! How punctual people are, and whether that changes.

use anyhow::Result;
use sqlx::PgConnection;

use crate::reports::table::{Cell, Column, Kind, Page, column};
use crate::store::reports::{self, Filter, TrendRow};

/// The columns.
pub const COLUMNS: &[Column] = &[
    column("begins", Kind::Date),
    column("arrivals", Kind::Count),
    column("late", Kind::Count),
    column("late_percent", Kind::Count),
    column("mean_late_s", Kind::Seconds),
    column("absent", Kind::Count),
];

/// The whole trend.
pub async fn page(conn: &mut PgConnection, filter: &Filter, by: &'static str) -> Result<Page> {
    let rows = reports::trend(conn, filter, by).await?;
    Ok(Page { rows: rows.iter().map(cells).collect(), next: None })
}

fn cells(row: &TrendRow) -> Vec<Cell> {
    let percent = if row.arrivals > 0 { Cell::Count(row.late * 100 / row.arrivals) } else { Cell::Empty };
    vec![
        Cell::Date(row.begins.to_jiff()),
        Cell::Count(row.arrivals),
        Cell::Count(row.late),
        percent,
        Cell::Count(row.mean_late_s),
        Cell::Count(row.absent),
    ]
}
