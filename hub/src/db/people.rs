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

/// Whom a number means.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who.
    pub id: Uuid,
    /// Their number.
    pub number: String,
    /// Their name.
    pub name: String,
    /// Their manager.
    pub manager: Option<Uuid>,
    /// The zone of their site.
    pub zone: String,
}

/// The person with a number.
pub async fn known(conn: &mut PgConnection, number: &str) -> Result<Option<Known>> {
    sqlx::query_as!(
        Known,
        "select p.id, p.number, p.name, p.manager, s.zone from people p join sites s on s.id = p.site
        where p.number = $1",
        number
    )
    .fetch_optional(conn)
    .await
}

/// The row of the person with a number.
pub async fn id_of(conn: &mut PgConnection, number: &str) -> Result<Option<Uuid>> {
    sqlx::query_scalar!("select id from people where number = $1", number).fetch_optional(conn).await
}

/// The manager of a person.
pub async fn manager_of(conn: &mut PgConnection, person: Uuid) -> Result<Option<Uuid>> {
    let found = sqlx::query_scalar!("select manager from people where id = $1", person);
    Ok(found.fetch_optional(conn).await?.flatten())
}

/// All that is kept of a person, apart from templates.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub id: Uuid,
    /// Their number.
    pub number: String,
    /// Their name.
    pub name: String,
    /// Whether consent to the use of their face stands.
    pub consent: bool,
    /// Photos that templates were made of.
    pub photos: i64,
    /// The name of their site.
    pub site: String,
    /// Their department.
    pub department: Option<String>,
    /// Their manager's number.
    pub manager: Option<String>,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// In which they read it.
    pub language: String,
    /// First day of employment, if known.
    pub employed_from: Option<jiff_sqlx::Date>,
    /// Last one.
    pub employed_to: Option<jiff_sqlx::Date>,
    /// Kinds of messages that they do not want.
    pub muted: Vec<String>,
}

/// Which people are looked for: all where nothing is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sought<'a> {
    /// That one.
    pub id: Option<Uuid>,
    /// Those of a department.
    pub department: Option<&'a str>,
    /// Those of a site.
    pub site: Option<&'a str>,
    /// Those of the manager with this number.
    pub manager: Option<&'a str>,
    /// Those with this in their number or their name.
    pub text: Option<&'a str>,
    /// Those whose number comes after this one.
    pub after: Option<&'a str>,
}

/// People by number, at most so many.
pub async fn search(conn: &mut PgConnection, sought: Sought<'_>, most: i64) -> Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"select p.id, p.number, p.name,
            exists (select from consents c where c.person = p.id and c.withdrawn_at is null) as "consent!",
            (select count(*) from templates t where t.person = p.id) as "photos!",
            s.name as site, d.name as "department?", m.number as "manager?", p.email, p.language,
            p.employed_from as "employed_from: jiff_sqlx::Date", p.employed_to as "employed_to: jiff_sqlx::Date",
            p.muted
        from people p join sites s on s.id = p.site
            left join departments d on d.id = p.department
            left join people m on m.id = p.manager
        where ($1::text is null or d.name = $1) and ($2::text is null or s.name = $2)
            and ($3::text is null or m.number = $3)
            and ($4::text is null or position(lower($4) in lower(p.name)) > 0
                or position(lower($4) in lower(p.number)) > 0)
            and ($5::text is null or p.number > $5) and ($6::uuid is null or p.id = $6)
        order by p.number limit $7"#,
        sought.department,
        sought.site,
        sought.manager,
        sought.text,
        sought.after,
        sought.id,
        most
    )
    .fetch_all(conn)
    .await
}

/// All that is kept of one person.
pub async fn entry(conn: &mut PgConnection, id: Uuid) -> Result<Option<Entry>> {
    let sought = Sought { id: Some(id), ..Sought::default() };
    Ok(search(conn, sought, 1).await?.pop())
}

/// Writes what an entry says, apart from number, consent and photos. Site, department and manager
/// must exist.
pub async fn change(conn: &mut PgConnection, entry: &Entry) -> Result<()> {
    sqlx::query!(
        "update people set name = $2, email = $3, language = $4, employed_from = $5, employed_to = $6, muted = $7,
            site = (select id from sites where name = $8),
            department = (select id from departments where name = $9),
            manager = (select m.id from people m where m.number = $10)
        where id = $1",
        entry.id,
        entry.name,
        entry.email,
        entry.language,
        entry.employed_from as _,
        entry.employed_to as _,
        &entry.muted,
        entry.site,
        entry.department,
        entry.manager
    )
    .execute(conn)
    .await
    .map(drop)
}
