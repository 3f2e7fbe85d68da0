//! What somebody must look at: flags of workdays, and punches that belong to none.

use anyhow::{Context, Result};
use sqlx::PgConnection;

use crate::db::reports::{self, ExceptionRow, Filter};
use crate::reports::table::{Cell, Column, Cursor, Kind, Page, Zones, column};

/// The columns.
pub const COLUMNS: &[Column] = &[
    column("date", Kind::Date),
    column("number", Kind::Text),
    column("name", Kind::Text),
    column("department", Kind::Text),
    column("shift", Kind::Text),
    column("exception", Kind::Text),
    column("at", Kind::Time),
];

/// A page. Exceptions are few, so that a cursor is a number of rows.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Cursor>,
    most: i64,
) -> Result<Page> {
    let skip: i64 = match after {
        Some(Cursor(place)) => {
            let place = place.first().and_then(|place| place.parse().ok());
            place.filter(|place| *place >= 0).context("after: it belongs to another report")?
        }
        None => 0,
    };
    let rows = reports::exceptions(conn, filter, skip, most).await?;
    let next = (rows.len() as i64 == most).then(|| Cursor(vec![(skip + most).to_string()]));
    let mut zones = Zones::default();
    let rows = rows.into_iter().map(|row| cells(row, &mut zones)).collect::<Result<_>>()?;
    Ok(Page { rows, next })
}

fn cells(row: ExceptionRow, zones: &mut Zones) -> Result<Vec<Cell>> {
    Ok(vec![
        Cell::Date(row.date.to_jiff()),
        Cell::Text(row.number),
        Cell::Text(row.name),
        Cell::text(row.department),
        Cell::text(Some(row.shift)),
        Cell::Text(row.exception),
        zones.cell(row.at.map(jiff_sqlx::Timestamp::to_jiff), &row.zone)?,
    ])
}
