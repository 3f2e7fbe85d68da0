//! What changed in the roster, and when: versions in the order in which they are committed.

use sqlx::{PgConnection, Result};

use crate::db::GALLERY_CHANNEL;
use crate::person::PersonId;

/// Guards the giving out of versions ("ROST").
const LOCK: i64 = 0x524F_5354;

/// The latest change of a person.
pub struct Change {
    /// Who.
    pub person: PersonId,
    /// Its version.
    pub version: i64,
    /// Whether their employment has ended: terminals are to forget them.
    pub ended: bool,
}

/// Marks a person as changed. Until the transaction ends nobody else can: a terminal that read
/// version 6 must never find a version 5 later.
pub async fn touch(conn: &mut PgConnection, person: PersonId) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *conn).await?;
    sqlx::query!(
        "insert into roster (person, version, ended)
        values ($1, nextval('roster_version'), employment_ended($1, now()))
        on conflict (person) do update set version = excluded.version, ended = excluded.ended",
        person
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("select pg_notify($1, '')", GALLERY_CHANNEL).execute(conn).await.map(drop)
}

/// People whom terminals know although their employment has ended, or have forgotten although it
/// goes on.
pub async fn outdated(conn: &mut PgConnection) -> Result<Vec<PersonId>> {
    sqlx::query_scalar!(
        "select r.person from roster r join people p on p.id = r.person join sites s on s.id = p.site
        where r.ended is distinct from employment_over(p.employed_to, s.zone, now())
        order by r.person"
    )
    .fetch_all(conn)
    .await
}

/// The latest version; 0 for none.
pub async fn version(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(r#"select coalesce(max(version), 0) as "version!" from roster"#).fetch_one(conn).await
}

/// The changes after a version, the oldest first, `limit` at most.
pub async fn changes(conn: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Change>> {
    sqlx::query_as!(
        Change,
        "select person, version, ended from roster where version > $1 order by version limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await
}
