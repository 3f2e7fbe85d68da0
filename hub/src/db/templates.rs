//! Sealed templates, one a photo.

use futures_util::stream::BoxStream;
use sqlx::{PgConnection, Result};
use uuid::Uuid;

use crate::person::PersonId;

/// A sealed template.
pub struct Sealed {
    /// Its row.
    pub id: Uuid,
    /// Whose it is.
    pub person: PersonId,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

/// Adds a template.
pub async fn insert(conn: &mut PgConnection, template: &Sealed, embedder: &str, key_id: &str) -> Result<()> {
    sqlx::query!(
        "insert into templates (id, person, embedder, key_id, sealed) values ($1, $2, $3, $4, $5)",
        template.id as Uuid,
        template.person,
        embedder,
        key_id,
        template.bytes
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The templates of some people for one embedder.
pub async fn of(conn: &mut PgConnection, people: &[PersonId], embedder: &str) -> Result<Vec<Sealed>> {
    sqlx::query_as!(
        Sealed,
        "select id, person, sealed as bytes from templates where person = any($1) and embedder = $2 order by created_at, id",
        people,
        embedder
    )
    .fetch_all(conn)
    .await
}

/// The templates of everybody but one person for one embedder, each person's together.
pub fn of_others<'a>(
    conn: &'a mut PgConnection,
    person: PersonId,
    embedder: &'a str,
) -> BoxStream<'a, Result<Sealed>> {
    sqlx::query_as!(
        Sealed,
        "select id, person, sealed as bytes from templates where person <> $1 and embedder = $2 order by person, id",
        person,
        embedder
    )
    .fetch(conn)
}

/// Deletes a person's templates and says how many there were.
pub async fn delete_of(conn: &mut PgConnection, person: PersonId) -> Result<u64> {
    let done = sqlx::query!("delete from templates where person = $1", person).execute(conn).await?;
    Ok(done.rows_affected())
}

/// How many templates were sealed with another key.
pub async fn with_other_key(conn: &mut PgConnection, key_id: &str) -> Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from templates where key_id <> $1"#, key_id)
        .fetch_one(conn)
        .await
}
