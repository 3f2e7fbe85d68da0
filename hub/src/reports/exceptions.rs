//! What somebody must look at: flags of workdays, and punches that belong to none.

use anyhow::{Context, Result};
use sqlx::PgConnection;

use crate::date::{Date, Zoned};
use crate::db::reports::{self, Filter};
use crate::person::PersonNumber;
use crate::reports::table::{Cursor, Page, Row, row};

row! {
    /// Something that somebody must look at.
    pub struct Exception {
        date: Date,
        number: PersonNumber,
        name: String,
        department: Option<String>,
        shift: Option<String>,
        /// A flag of a workday, or `unassigned`.
        exception: String,
        /// The punch that belongs to no day.
        at: Option<Zoned>,
    }
}

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
    let rows: Vec<Exception> = reports::exceptions(conn, filter, skip, most).await?;
    let next = (rows.len() as i64 == most).then(|| Cursor(vec![(skip + most).to_string()]));
    Ok(Page { rows: rows.into_iter().map(Exception::cells).collect(), next })
}
