//! What imports read and write at once.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, Result};

use crate::date::Date;
use crate::person::PersonId;

/// Lets one import run at a time ("IMPO").
const LOCK: i64 = 0x494D_504F;

/// Whether no other import runs; then none begins before the transaction ends. Nobody waits for it:
/// whoever does keeps a connection from others.
pub async fn alone(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "alone!""#, LOCK).fetch_one(conn).await
}

/// All patterns, with their rows.
pub async fn schedules(conn: &mut PgConnection) -> Result<HashMap<String, i64>> {
    let rows = sqlx::query!("select name, id from schedules order by name").fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.id)).collect())
}

/// Somebody follows a pattern for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// None if it is new.
    pub id: Option<i64>,
    pub person: PersonId,
    pub schedule: i64,
    pub from: Date,
    pub to: Option<Date>,
}

/// All assignments of people.
pub async fn pieces(conn: &mut PgConnection, people: &[PersonId]) -> Result<Vec<Piece>> {
    sqlx::query_as!(
        Piece,
        r#"select id as "id?", person, schedule, from_date as "from", to_date as "to"
        from assignments where person = any($1) order by person, from_date, id"#,
        people
    )
    .fetch_all(conn)
    .await
}

/// Removes assignments.
pub async fn drop_pieces(conn: &mut PgConnection, ids: &[i64]) -> Result<()> {
    sqlx::query!("delete from assignments where id = any($1)", ids).execute(conn).await.map(drop)
}

/// Writes assignments: those with a row get other dates, the others are added.
pub async fn put_pieces(conn: &mut PgConnection, pieces: &[Piece]) -> Result<()> {
    let (known, new): (Vec<Piece>, Vec<Piece>) = pieces.iter().partition(|piece| piece.id.is_some());
    sqlx::query!(
        "update assignments a set from_date = g.from, to_date = g.to
        from jsonb_to_recordset($1) as g (id bigint, \"from\" date, \"to\" date) where a.id = g.id",
        Json(known) as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into assignments (person, schedule, from_date, to_date)
        select * from jsonb_to_recordset($1) as g (person uuid, schedule bigint, \"from\" date, \"to\" date)",
        Json(new) as _
    )
    .execute(conn)
    .await
    .map(drop)
}
