//! What imports read and write at once.

use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx};
use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// Lets one import run at a time ("IMPO").
const LOCK: i64 = 0x494D_504F;

/// Whether no other import runs; then none begins before the transaction ends. Nobody waits for it:
/// whoever does keeps a connection from others.
pub async fn alone(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "alone!""#, LOCK).fetch_one(conn).await
}

/// A person with all that an import can say about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub id: Uuid,
    /// Their number.
    pub number: String,
    /// As written in reports.
    pub name: String,
    /// Where messages go.
    pub email: Option<String>,
    /// The department's name.
    pub department: Option<String>,
    /// The site's name.
    pub site: String,
    /// Their manager, with the number.
    pub manager: Option<(Uuid, String)>,
    /// Two letters.
    pub language: String,
    /// First day of employment, if known.
    pub employed_from: Option<Date>,
    /// Last one.
    pub employed_to: Option<Date>,
}

/// The people with these numbers.
pub async fn records(conn: &mut PgConnection, numbers: &[String]) -> Result<Vec<Record>> {
    let rows = sqlx::query!(
        r#"select p.id as "id!", p.number as "number!", p.name as "name!", p.email as "email?",
            d.name as "department?", s.name as "site!", m.id as "manager?", m.number as "manager_number?",
            p.language as "language!", p.employed_from as "from?: SqlDate", p.employed_to as "to?: SqlDate"
        from people p join sites s on s.id = p.site left join departments d on d.id = p.department
            left join people m on m.id = p.manager
        where p.number = any($1)"#,
        numbers
    )
    .fetch_all(conn)
    .await?;
    let record = rows.into_iter().map(|row| Record {
        id: row.id,
        number: row.number,
        name: row.name,
        email: row.email,
        department: row.department,
        site: row.site,
        manager: row.manager.zip(row.manager_number),
        language: row.language,
        employed_from: row.from.map(SqlDate::to_jiff),
        employed_to: row.to.map(SqlDate::to_jiff),
    });
    Ok(record.collect())
}

/// Records, column by column.
struct Columns {
    ids: Vec<Uuid>,
    names: Vec<String>,
    emails: Vec<Option<String>>,
    departments: Vec<Option<String>>,
    sites: Vec<String>,
    managers: Vec<Option<Uuid>>,
    languages: Vec<String>,
    from: Vec<Option<SqlDate>>,
    to: Vec<Option<SqlDate>>,
}

impl Columns {
    fn of(records: &[Record]) -> Self {
        let date = |date: Option<Date>| date.map(Date::to_sqlx);
        Self {
            ids: records.iter().map(|record| record.id).collect(),
            names: records.iter().map(|record| record.name.clone()).collect(),
            emails: records.iter().map(|record| record.email.clone()).collect(),
            departments: records.iter().map(|record| record.department.clone()).collect(),
            sites: records.iter().map(|record| record.site.clone()).collect(),
            managers: records.iter().map(|record| record.manager.as_ref().map(|(id, _)| *id)).collect(),
            languages: records.iter().map(|record| record.language.clone()).collect(),
            from: records.iter().map(|record| date(record.employed_from)).collect(),
            to: records.iter().map(|record| date(record.employed_to)).collect(),
        }
    }
}

/// Adds people, whose managers may be among them. Returns how many; fewer than asked for where a
/// site has gone. A number that is taken is a unique violation.
pub async fn add_people(conn: &mut PgConnection, records: &[Record]) -> Result<u64> {
    let columns = Columns::of(records);
    let numbers: Vec<String> = records.iter().map(|record| record.number.clone()).collect();
    let done = sqlx::query!(
        "insert into people (id, number, name, email, department, site, manager, language, employed_from, employed_to)
        select g.id, g.number, g.name, g.email, d.id, s.id, g.manager, g.language, g.employed_from, g.employed_to
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[],
            $9::date[], $10::date[])
            as g (id, number, name, email, department, site, manager, language, employed_from, employed_to)
        join sites s on s.name = g.site left join departments d on d.name = g.department",
        &columns.ids,
        &numbers,
        &columns.names,
        &columns.emails as _,
        &columns.departments as _,
        &columns.sites,
        &columns.managers as _,
        &columns.languages,
        &columns.from as _,
        &columns.to as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Changes people. Returns how many; fewer than asked for where somebody or a site has gone.
pub async fn change_people(conn: &mut PgConnection, records: &[Record]) -> Result<u64> {
    let columns = Columns::of(records);
    let done = sqlx::query!(
        "update people p set name = g.name, email = g.email, department = d.id, site = s.id, manager = g.manager,
            language = g.language, employed_from = g.employed_from, employed_to = g.employed_to
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::date[],
            $9::date[])
            as g (id, name, email, department, site, manager, language, employed_from, employed_to)
        join sites s on s.name = g.site left join departments d on d.name = g.department
        where p.id = g.id",
        &columns.ids,
        &columns.names,
        &columns.emails as _,
        &columns.departments as _,
        &columns.sites,
        &columns.managers as _,
        &columns.languages,
        &columns.from as _,
        &columns.to as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The site of people who are added without one.
pub async fn default_site(conn: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar!("select name from sites order by id limit 1").fetch_one(conn).await
}

/// Who has which of the numbers.
pub async fn people(conn: &mut PgConnection, numbers: &[String]) -> Result<Vec<(String, Uuid)>> {
    let rows =
        sqlx::query!("select number, id from people where number = any($1)", numbers).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.number, row.id)).collect())
}

/// All patterns, with their rows.
pub async fn schedules(conn: &mut PgConnection) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!("select name, id from schedules order by name").fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.id)).collect())
}

/// Somebody follows a pattern for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The assignment's row; none if it is new.
    pub id: Option<i64>,
    /// Who.
    pub person: Uuid,
    /// The pattern's row.
    pub schedule: i64,
    /// First date.
    pub from: Date,
    /// Last one, if it ends.
    pub to: Option<Date>,
}

/// All assignments of people.
pub async fn pieces(conn: &mut PgConnection, people: &[Uuid]) -> Result<Vec<Piece>> {
    let rows = sqlx::query!(
        r#"select id, person, schedule, from_date as "from: SqlDate", to_date as "to: SqlDate"
        from assignments where person = any($1) order by person, from_date, id"#,
        people
    )
    .fetch_all(conn)
    .await?;
    let piece = rows.into_iter().map(|row| Piece {
        id: Some(row.id),
        person: row.person,
        schedule: row.schedule,
        from: row.from.to_jiff(),
        to: row.to.map(SqlDate::to_jiff),
    });
    Ok(piece.collect())
}

/// Removes assignments.
pub async fn drop_pieces(conn: &mut PgConnection, ids: &[i64]) -> Result<()> {
    sqlx::query!("delete from assignments where id = any($1)", ids).execute(conn).await.map(drop)
}

/// Writes assignments: those with a row get other dates, the others are added.
pub async fn put_pieces(conn: &mut PgConnection, pieces: &[Piece]) -> Result<()> {
    let (known, new): (Vec<Piece>, Vec<Piece>) = pieces.iter().partition(|piece| piece.id.is_some());
    let ids: Vec<i64> = known.iter().filter_map(|piece| piece.id).collect();
    sqlx::query!(
        "update assignments a set from_date = g.from_date, to_date = g.to_date
        from unnest($1::bigint[], $2::date[], $3::date[]) as g (id, from_date, to_date) where a.id = g.id",
        &ids,
        &begins(&known) as _,
        &ends(&known) as _
    )
    .execute(&mut *conn)
    .await?;
    let people: Vec<Uuid> = new.iter().map(|piece| piece.person).collect();
    let schedules: Vec<i64> = new.iter().map(|piece| piece.schedule).collect();
    sqlx::query!(
        "insert into assignments (person, schedule, from_date, to_date)
        select * from unnest($1::uuid[], $2::bigint[], $3::date[], $4::date[])",
        &people,
        &schedules,
        &begins(&new) as _,
        &ends(&new) as _
    )
    .execute(conn)
    .await
    .map(drop)
}

fn begins(pieces: &[Piece]) -> Vec<SqlDate> {
    pieces.iter().map(|piece| piece.from.to_sqlx()).collect()
}

fn ends(pieces: &[Piece]) -> Vec<Option<SqlDate>> {
    pieces.iter().map(|piece| piece.to.map(Date::to_sqlx)).collect()
}
