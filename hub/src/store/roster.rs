//! What changed in the roster, and when: versions in the order in which they are committed.

use sqlx::{PgConnection, Result};
use uuid::Uuid;

use crate::store::ROSTER_CHANNEL;

/// Guards the giving out of versions ("ROST").
const LOCK: i64 = 0x524F_5354;

/// The latest change of a person.
pub struct Change {
    /// Who.
    pub person: Uuid,
    /// Its version.
    pub version: i64,
}

/// Marks a person as changed. Until the transaction ends nobody else can: a terminal that read
/// version 6 must never find a version 5 later.
pub async fn touch(conn: &mut PgConnection, person: Uuid) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *conn).await?;
    sqlx::query!(
        "insert into roster (person, version) values ($1, nextval('roster_version'))
        on conflict (person) do update set version = excluded.version",
        person
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("select pg_notify($1, '')", ROSTER_CHANNEL).execute(conn).await.map(drop)
}

/// The latest version; 0 for none.
pub async fn version(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(r#"select coalesce(max(version), 0) as "version!" from roster"#).fetch_one(conn).await
}

/// The changes after a version, the oldest first, `limit` at most.
pub async fn changes(conn: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Change>> {
    sqlx::query_as!(
        Change,
        "select person, version from roster where version > $1 order by version limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await
}
