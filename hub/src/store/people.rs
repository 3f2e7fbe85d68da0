//! People and their consent.

use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// A person as lists show them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Never changes, and names nobody.
    pub id: Uuid,
    /// The number by which the company knows them.
    pub number: String,
    /// As written in reports.
    pub name: String,
    /// Whether consent to the use of their face stands.
    pub consent: bool,
    /// Photos that templates were made of.
    pub photos: i64,
}

/// Adds a person. A number that is taken is a unique violation.
pub async fn insert(conn: &mut PgConnection, id: Uuid, number: &str, name: &str) -> Result<()> {
    sqlx::query!("insert into people (id, number, name) values ($1, $2, $3)", id, number, name)
        .execute(conn)
        .await
        .map(drop)
}

/// Everybody, by number.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Person>> {
    sqlx::query_as!(
        Person,
        r#"select id, number, name,
            exists (select from consents c where c.person = p.id and c.withdrawn_at is null) as "consent!",
            (select count(*) from templates t where t.person = p.id) as "photos!"
        from people p order by number"#
    )
    .fetch_all(conn)
    .await
}

/// The person with a number, locked against changes until the transaction ends.
pub async fn lock(conn: &mut PgConnection, number: &str) -> Result<Option<Person>> {
    // A statement of its own: one that waited for the lock would see consent as it was before.
    let id = sqlx::query_scalar!("select id from people where number = $1 for update", number)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(id) = id else { return Ok(None) };
    sqlx::query_as!(
        Person,
        r#"select id, number, name,
            exists (select from consents c where c.person = p.id and c.withdrawn_at is null) as "consent!",
            (select count(*) from templates t where t.person = p.id) as "photos!"
        from people p where id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await
}

/// Those of `ids` that exist.
pub async fn existing(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    sqlx::query_scalar!("select id from people where id = any($1)", ids).fetch_all(conn).await
}

/// Records consent; nothing changes where it stands already.
pub async fn give_consent(conn: &mut PgConnection, person: Uuid, recorded_by: &str) -> Result<()> {
    sqlx::query!(
        "insert into consents (person, recorded_by) values ($1, $2)
        on conflict (person) where withdrawn_at is null do nothing",
        person,
        recorded_by
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Ends consent.
pub async fn withdraw_consent(conn: &mut PgConnection, person: Uuid) -> Result<()> {
    sqlx::query!(
        "update consents set withdrawn_at = now() where person = $1 and withdrawn_at is null",
        person
    )
    .execute(conn)
    .await
    .map(drop)
}

/// What the law must know of a person.
pub struct Terms {
    /// Who.
    pub person: Uuid,
    /// Where they work.
    pub site: i64,
    /// Its zone.
    pub zone: String,
    /// First day of employment, if known.
    pub employed_from: Option<jiff_sqlx::Date>,
    /// Last one.
    pub employed_to: Option<jiff_sqlx::Date>,
}

/// The terms of people.
pub async fn terms(conn: &mut PgConnection, people: &[Uuid]) -> Result<Vec<Terms>> {
    sqlx::query_as!(
        Terms,
        r#"select p.id as person, p.site, s.zone, p.employed_from as "employed_from: jiff_sqlx::Date",
            p.employed_to as "employed_to: jiff_sqlx::Date"
        from people p join sites s on s.id = p.site where p.id = any($1) order by p.id"#,
        people
    )
    .fetch_all(conn)
    .await
}
