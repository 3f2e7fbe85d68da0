//! What a change that is only tried has asked for.

use jiff_sqlx::Date as SqlDate;
use sqlx::{PgConnection, Result};

use crate::db::recompute_queue::Job;

/// The jobs that this very transaction wrote, by person.
pub async fn asked(conn: &mut PgConnection) -> Result<Vec<Job>> {
    let rows = sqlx::query!(
        r#"select person, from_date as "from: SqlDate", to_date as "to: SqlDate" from jobs
        where xmin = pg_current_xact_id()::xid order by person, id"#
    )
    .fetch_all(conn)
    .await?;
    let jobs = rows.into_iter();
    Ok(jobs.map(|row| Job { person: row.person, from: row.from.to_jiff(), to: row.to.to_jiff() }).collect())
}
