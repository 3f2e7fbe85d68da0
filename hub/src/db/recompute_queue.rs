//! Days that wait to be computed again.
//!
//! Whoever takes a job holds the person's row until the transaction ends, so that two hubs never
//! compute the same person at once, and the later one sees all that the earlier one wrote.

use sqlx::{PgConnection, Result};

use crate::date::Date;
use crate::db::JOB_CHANNEL;
use crate::person::PersonId;

/// Days of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    pub person: PersonId,
    /// First date that something happened on.
    pub from: Date,
    pub to: Date,
}

/// Asks for days; in the transaction of what touches them.
pub async fn ask(conn: &mut PgConnection, jobs: &[Job]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let people: Vec<PersonId> = jobs.iter().map(|job| job.person).collect();
    let from: Vec<Date> = jobs.iter().map(|job| job.from).collect();
    let to: Vec<Date> = jobs.iter().map(|job| job.to).collect();
    sqlx::query!(
        "insert into jobs (person, from_date, to_date) select * from unnest($1::uuid[], $2::date[], $3::date[])",
        &people,
        &from,
        &to
    )
    .execute(&mut *conn)
    .await?;
    announce(conn).await
}

/// Asks for days of everybody, or of those at a site, with an assignment to a schedule, or with a
/// shift in their schedule.
pub async fn ask_many(conn: &mut PgConnection, whose: Whose<'_>, from: Date, to: Date) -> Result<u64> {
    let (site, schedule, shift, calendar) = match whose {
        Whose::Everybody => (None, None, None, None),
        Whose::Site(name) => (Some(name), None, None, None),
        Whose::Schedule(name) => (None, Some(name), None, None),
        Whose::Shift(name) => (None, None, Some(name), None),
        Whose::Calendar(name) => (None, None, None, Some(name)),
    };
    let asked = sqlx::query!(
        "insert into jobs (person, from_date, to_date)
        select p.id, $1, $2 from people p join sites s on s.id = p.site
        where ($3::text is null or s.name = $3)
            and ($4::text is null or exists (select from assignments a join schedules c on c.id = a.schedule
                where a.person = p.id and c.name = $4))
            and ($5::text is null
                or exists (select from assignments a join schedule_days d on d.schedule = a.schedule
                    join shifts h on h.id = d.shift where a.person = p.id and h.name = $5)
                or exists (select from single_days d join shifts h on h.id = d.shift
                    where d.person = p.id and h.name = $5))
            and ($6::text is null or exists (select from calendars c where c.id = s.calendar and c.name = $6))
        order by p.id",
        from,
        to,
        site,
        schedule,
        shift,
        calendar
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    announce(conn).await?;
    Ok(asked)
}

/// Whose days.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// All people.
    Everybody,
    /// Those at a site.
    Site(&'a str),
    /// Those who work or worked to a schedule.
    Schedule(&'a str),
    /// Those whose schedule holds a shift.
    Shift(&'a str),
    /// Those whose site has a calendar of holidays.
    Calendar(&'a str),
}

async fn announce(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify($1, '')", JOB_CHANNEL).execute(conn).await.map(drop)
}

/// Takes jobs of at most so many rows, the oldest first; all those of a person that stand now.
pub async fn take(conn: &mut PgConnection, most: i64) -> Result<Vec<Job>> {
    // A statement of its own for the deletion: jobs of these people that others added meanwhile
    // are done with the rest.
    let people = sqlx::query_scalar!(
        "select p.id from jobs j join people p on p.id = j.person order by j.id limit $1
        for no key update of p skip locked",
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query_as!(
        Job,
        r#"delete from jobs where person = any($1) returning person, from_date as "from", to_date as "to""#,
        &people
    )
    .fetch_all(conn)
    .await
}

/// Those who have jobs, the longest waiting first, at most so many.
pub async fn people(conn: &mut PgConnection, most: i64) -> Result<Vec<PersonId>> {
    sqlx::query_scalar!("select person from jobs group by person order by min(id) limit $1", most)
        .fetch_all(conn)
        .await
}

/// Takes the jobs of one person; none where somebody else holds them.
pub async fn take_of(conn: &mut PgConnection, person: PersonId) -> Result<Vec<Job>> {
    let held =
        sqlx::query_scalar!("select id from people where id = $1 for no key update skip locked", person)
            .fetch_optional(&mut *conn)
            .await?;
    sqlx::query_as!(
        Job,
        r#"delete from jobs where person = $1 returning person, from_date as "from", to_date as "to""#,
        held
    )
    .fetch_all(conn)
    .await
}

/// Holds people's rows until the transaction ends, as [`take`] does.
pub async fn hold(conn: &mut PgConnection, people: &[PersonId]) -> Result<()> {
    sqlx::query!("select id from people where id = any($1) order by id for no key update", people)
        .fetch_all(conn)
        .await
        .map(drop)
}

/// How many wait.
pub async fn waiting(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from jobs"#).fetch_one(conn).await
}

/// The jobs that this very transaction wrote, by person: what a change that is only tried has asked for.
pub async fn asked(conn: &mut PgConnection) -> Result<Vec<Job>> {
    sqlx::query_as!(
        Job,
        r#"select person, from_date as "from", to_date as "to" from jobs
        where xmin = pg_current_xact_id()::xid order by person, id"#
    )
    .fetch_all(conn)
    .await
}
