//! How punctual people are, and whether that changes.

use anyhow::Result;
use sqlx::PgConnection;

use crate::date::{Date, Timestamp};
use crate::db::reports::{self, Filter};
use crate::reports::table::{Page, row, whole};

row! {
    /// How punctual people were in some days.
    pub struct Trend {
        begins: Date,
        /// Workdays with a shift on which somebody came.
        arrivals: i64,
        late: i64,
        late_percent: Option<i64> = None,
        mean_late_s: i64,
        absent: i64,
        provisional: i64,
    }
}

/// The whole trend.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    by: &'static str,
    now: Timestamp,
) -> Result<Page> {
    let mut rows: Vec<Trend> = reports::trend(conn, filter, by, now).await?;
    for row in &mut rows {
        row.late_percent = percent(row.late, row.arrivals);
    }
    Ok(whole(rows))
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
