//! Each person's totals over some dates: hours, overtime, balance. Absences that are provisional, or not due
//! yet, are counted in a column of their own, and nowhere else.

use anyhow::Result;
use sqlx::PgConnection;

use crate::date::Timestamp;
use crate::db::reports::{self, Filter};
use crate::person::PersonNumber;
use crate::reports::table::{Cursor, Page, Row, row};

row! {
    /// A person's totals of the days that are not provisional.
    pub struct Totals {
        number: PersonNumber,
        name: String,
        department: Option<String>,
        days: i64,
        absent: i64,
        /// Their hours are missing in the sums.
        incomplete: i64,
        worked_s: i64,
        expected_s: i64,
        late_s: i64,
        overtime_s: i64,
        balance_s: i64,
        provisional: i64,
    }
}

/// A page of people.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Cursor>,
    most: i64,
    now: Timestamp,
) -> Result<Page> {
    let after = after.and_then(|cursor| cursor.0.first()).map(|number| number.as_str().into());
    let rows: Vec<Totals> = reports::totals(conn, filter, after, most, now).await?;
    let next =
        rows.last().filter(|_| rows.len() as i64 == most).map(|row| Cursor(vec![row.number.to_string()]));
    Ok(Page { rows: rows.into_iter().map(Totals::cells).collect(), next })
}
