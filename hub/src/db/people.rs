//! People and their consent.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::Date;
use crate::db::channels::Kind;
use crate::i18n::Language;
use crate::person::{PersonId, PersonNumber};

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[sqlx(type_name = "person")]
pub struct Person {
    #[schema(value_type = Uuid)]
    pub id: PersonId,
    /// The number by which the company knows them.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    /// As written in reports.
    pub name: String,
    /// Whether consent to the use of their face stands.
    pub consent: bool,
    /// Photos that they were enrolled with. The photos themselves are not kept.
    pub photos: i64,
    /// The name of their site.
    pub site: String,
    pub department: Option<String>,
    /// The number of their manager.
    #[schema(value_type = Option<String>)]
    pub manager: Option<PersonNumber>,
    pub email: Option<String>,
    /// Of their messages.
    pub language: Language,
    /// First day of employment, if known.
    pub employed_from: Option<Date>,
    /// Last day of employment, if known.
    pub employed_to: Option<Date>,
    /// Kinds of messages that they do not want.
    pub muted: Vec<Kind>,
    #[serde(skip)]
    pub manager_id: Option<PersonId>,
    /// Of their site.
    #[serde(skip)]
    pub zone: String,
}

impl Person {
    /// Somebody new.
    pub fn new(number: PersonNumber, name: &str, site: &str) -> Self {
        Self {
            id: PersonId::new(),
            number,
            name: name.to_owned(),
            consent: false,
            photos: 0,
            site: site.to_owned(),
            department: None,
            manager: None,
            email: None,
            language: Language::English,
            employed_from: None,
            employed_to: None,
            muted: Vec::new(),
            manager_id: None,
            zone: String::new(),
        }
    }
}

/// Which people are looked for: all where nothing is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct PersonFilter<'a> {
    pub id: Option<PersonId>,
    /// Those with these numbers.
    pub numbers: Option<&'a [PersonNumber]>,
    pub department: Option<&'a str>,
    pub site: Option<&'a str>,
    /// Those of the manager with this number.
    pub manager: Option<&'a PersonNumber>,
    /// Those with this in their number or their name.
    pub text: Option<&'a str>,
    /// Those whose number comes after this one.
    pub after: Option<&'a PersonNumber>,
}

/// People by number, at most so many.
pub async fn search(conn: &mut PgConnection, filter: PersonFilter<'_>, most: i64) -> Result<Vec<Person>> {
    sqlx::query_as!(
        Person,
        r#"select p.id, p.number, p.name,
            c.person is not null as "consent!",
            case when c.person is null then 0 else (select count(*) from templates t where t.person = p.id) end as "photos!",
            s.name as site, d.name as "department?", m.number as "manager?", p.email, p.language,
            p.employed_from, p.employed_to, p.muted as "muted: Vec<Kind>", p.manager as manager_id, s.zone
        from people p join sites s on s.id = p.site
            left join departments d on d.id = p.department
            left join people m on m.id = p.manager
            left join consents c on c.person = p.id and c.withdrawn_at is null
        where ($1::text is null or d.name = $1) and ($2::text is null or s.name = $2)
            and ($3::text is null or m.number = $3)
            and ($4::text is null or position(lower($4) in lower(p.name)) > 0
                or position(lower($4) in lower(p.number)) > 0)
            and ($5::text is null or p.number > $5) and ($6::uuid is null or p.id = $6)
            and ($7::text[] is null or p.number = any($7))
        order by p.number limit $8"#,
        filter.department,
        filter.site,
        filter.manager.map(PersonNumber::as_str),
        filter.text,
        filter.after.map(PersonNumber::as_str),
        filter.id,
        filter.numbers as _,
        most
    )
    .fetch_all(conn)
    .await
}

/// One person.
pub async fn find(conn: &mut PgConnection, id: PersonId) -> Result<Option<Person>> {
    Ok(search(conn, PersonFilter { id: Some(id), ..PersonFilter::default() }, 1).await?.pop())
}

/// The person with a number.
pub async fn known(conn: &mut PgConnection, number: &PersonNumber) -> Result<Option<Person>> {
    let numbers = Some(std::slice::from_ref(number));
    Ok(search(conn, PersonFilter { numbers, ..PersonFilter::default() }, 1).await?.pop())
}

/// The person with a number, locked against changes until the transaction ends.
pub async fn lock(conn: &mut PgConnection, number: &PersonNumber) -> Result<Option<Person>> {
    // A statement of its own: one that waited for the lock would see consent as it was before.
    let id = sqlx::query_scalar!("select id from people where number = $1 for update", number.as_str())
        .fetch_optional(&mut *conn)
        .await?;
    let Some(id) = id else { return Ok(None) };
    find(conn, id).await
}

/// Adds people, whose managers may be among them. Returns how many; fewer than asked for where a
/// site has gone. A number that is taken is a unique violation.
pub async fn add(conn: &mut PgConnection, people: &[Person]) -> Result<u64> {
    let done = sqlx::query!(
        "with g as materialized (select * from unnest($1::person[]))
        insert into people (id, number, name, email, department, site, manager, language, employed_from, employed_to)
        select g.id, g.number, g.name, g.email, d.id, s.id, coalesce(m.id, n.id), g.language, g.employed_from,
            g.employed_to
        from g join sites s on s.name = g.site left join departments d on d.name = g.department
            left join people m on m.number = g.manager left join g n on n.number = g.manager",
        people as _
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Writes what people are, apart from numbers, consent and photos. Departments and managers must exist. Returns how
/// many; fewer than asked for where somebody or a site has gone.
pub async fn change(conn: &mut PgConnection, people: &[Person]) -> Result<u64> {
    let done = sqlx::query!(
        "update people p set name = g.name, email = g.email, department = d.id, site = s.id, manager = m.id,
            language = g.language, employed_from = g.employed_from, employed_to = g.employed_to, muted = g.muted
        from unnest($1::person[]) g join sites s on s.name = g.site left join departments d on d.name = g.department
            left join people m on m.number = g.manager
        where p.id = g.id",
        people as _
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Those of `ids` that exist.
pub async fn existing(conn: &mut PgConnection, ids: &[PersonId]) -> Result<Vec<PersonId>> {
    sqlx::query_scalar!("select id from people where id = any($1)", ids).fetch_all(conn).await
}

/// Records consent; nothing changes where it stands already.
pub async fn give_consent(conn: &mut PgConnection, person: PersonId, recorded_by: &str) -> Result<()> {
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
pub async fn withdraw_consent(conn: &mut PgConnection, person: PersonId) -> Result<()> {
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
    pub person: PersonId,
    /// Where they work, and in which zone.
    pub site: i64,
    pub zone: String,
    pub employed_from: Option<Date>,
    pub employed_to: Option<Date>,
}

/// The terms of people.
pub async fn terms(conn: &mut PgConnection, people: &[PersonId]) -> Result<Vec<Terms>> {
    sqlx::query_as!(
        Terms,
        r#"select p.id as person, p.site, s.zone, p.employed_from, p.employed_to
        from people p join sites s on s.id = p.site where p.id = any($1) order by p.id"#,
        people
    )
    .fetch_all(conn)
    .await
}

/// The row of the person with a number.
pub async fn id_of(conn: &mut PgConnection, number: &PersonNumber) -> Result<Option<PersonId>> {
    sqlx::query_scalar!("select id from people where number = $1", number.as_str()).fetch_optional(conn).await
}

/// Who has which of the numbers.
pub async fn ids(
    conn: &mut PgConnection,
    numbers: &[PersonNumber],
) -> Result<HashMap<PersonNumber, PersonId>> {
    let rows =
        sqlx::query!("select number, id from people where number = any($1)", numbers as &[PersonNumber])
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|row| (row.number, row.id)).collect())
}
