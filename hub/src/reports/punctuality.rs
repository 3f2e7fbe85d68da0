//! How punctual people are, and whether that changes.

use anyhow::Result;
use jiff::Timestamp;
use sqlx::PgConnection;

use crate::db::reports::{self, Filter, TrendRow};
use crate::reports::table::{Cell, Column, Kind, Page, column};

/// The columns.
pub const COLUMNS: &[Column] = &[
    column("begins", Kind::Date),
    column("arrivals", Kind::Count),
    column("late", Kind::Count),
    column("late_percent", Kind::Count),
    column("mean_late_s", Kind::Seconds),
    column("absent", Kind::Count),
    column("provisional", Kind::Count),
];

/// The whole trend.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    by: &'static str,
    now: Timestamp,
) -> Result<Page> {
    let rows = reports::trend(conn, filter, by, now).await?;
    Ok(Page { rows: rows.iter().map(cells).collect(), next: None })
}

fn cells(row: &TrendRow) -> Vec<Cell> {
    vec![
        Cell::Date(row.begins.to_jiff()),
        Cell::Count(row.arrivals),
        Cell::Count(row.late),
        percent(row.late, row.arrivals).map_or(Cell::Empty, Cell::Count),
        Cell::Count(row.mean_late_s),
        Cell::Count(row.absent),
        Cell::Count(row.provisional),
    ]
}

/// A share in whole percent, rounded as people round; none of nothing.
fn percent(part: i64, whole: i64) -> Option<i64> {
    (whole > 0).then(|| (200 * part + whole) / (2 * whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_are_rounded() {
        let shares =
            [(0, 3), (1, 3), (2, 3), (1, 8), (3, 3), (1, 0)].map(|(part, whole)| percent(part, whole));
        assert_eq!(shares, [Some(0), Some(33), Some(67), Some(13), Some(100), None]);
    }
}
