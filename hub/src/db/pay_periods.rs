//! Periods that are open, approved or locked, and what facts say against locked days.

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::{Date, Timestamp};
use crate::person::{PersonId, PersonNumber};
use crate::text::words;

words! {
    /// Where a period stands.
    pub enum PeriodState { Open = "open", Approved = "approved", Locked = "locked" }
}

words! {
    /// Whether an adjustment has been dealt with.
    pub enum AdjustmentState { Pending = "pending", Settled = "settled" }
}

/// A period.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Period {
    pub id: i64,
    /// Of which site; of all where there is none.
    pub site: Option<String>,
    /// First date.
    pub from: Date,
    /// Last date.
    pub to: Date,
    pub state: PeriodState,
    /// Which account moved it there.
    pub changed_by: String,
    pub changed_at: Timestamp,
}

/// What facts say of a day in a locked period, against what stands there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Adjustment {
    pub id: i64,
    /// The number of the person.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    pub name: String,
    pub date: Date,
    /// The workdays that stand.
    pub before: Value,
    /// What the facts say.
    pub after: Value,
    pub state: AdjustmentState,
    /// When the facts last changed it.
    pub changed_at: Timestamp,
    /// Which account settled it.
    pub settled_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
}

/// All periods, the latest first; or one.
pub async fn list(conn: &mut PgConnection, id: Option<i64>) -> Result<Vec<Period>> {
    sqlx::query_as!(
        Period,
        r#"select p.id, s.name as "site?", p.from_date as "from", p.to_date as "to", p.state, p.changed_by, p.changed_at
        from periods p left join sites s on s.id = p.site
        where $1::bigint is null or p.id = $1 order by p.from_date desc, p.id desc"#,
        id
    )
    .fetch_all(conn)
    .await
}

/// What writers of workdays share, and changes of periods have alone ("PERI").
const LOCK: i64 = 0x5045_5249;

/// Keeps others from changing periods, and from writing workdays, until the transaction ends.
pub async fn alone(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(conn).await.map(drop)
}

/// Keeps others from changing periods until the transaction ends.
pub async fn steady(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock_shared($1)", LOCK).execute(conn).await.map(drop)
}

/// Opens a period. `None`: one that overlaps is there, or there is no such site.
pub async fn open(
    conn: &mut PgConnection,
    site: Option<&str>,
    (from, to): (Date, Date),
    by: &str,
    at: Timestamp,
) -> Result<Option<i64>> {
    alone(conn).await?;
    sqlx::query_scalar!(
        "insert into periods (site, from_date, to_date, changed_by, changed_at)
        select (select id from sites where name = $1), $2, $3, $4, $5
        where ($1::text is null or exists (select from sites where name = $1))
            and not exists (select from periods p where p.from_date <= $3 and p.to_date >= $2
                and ($1::text is null or p.site is null or p.site = (select id from sites where name = $1)))
        returning id",
        site,
        from,
        to,
        by,
        at
    )
    .fetch_optional(conn)
    .await
}

/// A period.
pub async fn find(conn: &mut PgConnection, id: i64) -> Result<Option<Period>> {
    Ok(list(conn, Some(id)).await?.pop())
}

/// Jobs of a period's people that may touch its days, or days so near to them.
pub async fn awaited(conn: &mut PgConnection, id: i64, near_days: i32) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from jobs j join people p on p.id = j.person, periods d
        where d.id = $1 and (d.site is null or d.site = p.site)
            and j.from_date <= d.to_date + $2::int and j.to_date >= d.from_date - $2::int"#,
        id,
        near_days
    )
    .fetch_one(conn)
    .await
}

/// Moves a period on.
pub async fn change(
    conn: &mut PgConnection,
    id: i64,
    state: PeriodState,
    by: &str,
    at: Timestamp,
) -> Result<()> {
    sqlx::query!(
        "update periods set state = $2, changed_by = $3, changed_at = $4 where id = $1",
        id,
        state as _,
        by,
        at
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Workdays of a period whose windows are still open.
pub async fn unclosed(conn: &mut PgConnection, id: i64, now: Timestamp) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from periods d join workdays w on w.date between d.from_date and d.to_date
            join people p on p.id = w.person
        where d.id = $1 and (d.site is null or d.site = p.site) and w.closes_at > $2"#,
        id,
        now
    )
    .fetch_one(conn)
    .await
}

/// Says that the absences of a period stand as they are, whatever terminals still have to report: what is
/// locked changes no more by itself. Returns how many that were.
pub async fn finalise(conn: &mut PgConnection, id: i64, by: &str, at: Timestamp) -> Result<u64> {
    let done = sqlx::query!(
        "update workdays w set finalised_by = $2, finalised_at = $3
        from periods d, people p
        where d.id = $1 and p.id = w.person and w.date between d.from_date and d.to_date
            and (d.site is null or d.site = p.site
                or exists (select from period_people m where m.period = d.id and m.person = p.id))
            and w.status = 'absent' and w.finalised_at is null",
        id,
        by,
        at
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Notes that people who leave a site leave its locked days there.
pub async fn note_leaving(conn: &mut PgConnection, people: &[PersonId]) -> Result<()> {
    sqlx::query!(
        "insert into period_people select d.id, p.id from people p join periods d on d.site = p.site
        where d.state = 'locked' and p.id = any($1) on conflict do nothing",
        people
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Notes who belongs to a period's site as it is locked.
pub async fn note_people(conn: &mut PgConnection, id: i64) -> Result<()> {
    sqlx::query!(
        "insert into period_people select d.id, p.id from periods d join people p on p.site = d.site where d.id = $1
        on conflict do nothing",
        id
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Locked dates that meet a range, for each of these people: (who, from, to). They are those of the
/// site where somebody is now, and of that where they were when it was locked.
pub async fn locked(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Date,
) -> Result<Vec<(PersonId, Date, Date)>> {
    let rows = sqlx::query!(
        r#"select p.id, d.from_date as "from", d.to_date as "to"
        from periods d join people p on d.site is null or d.site = p.site
            or exists (select from period_people m where m.period = d.id and m.person = p.id)
        where d.state = 'locked' and d.from_date <= $3 and d.to_date >= $2 and p.id = any($1)"#,
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.from, row.to)).collect())
}

/// Notes what the facts say of a locked day; one pending adjustment a day.
pub async fn adjust(
    conn: &mut PgConnection,
    (person, date): (PersonId, Date),
    before: &Value,
    after: &Value,
    at: Timestamp,
) -> Result<()> {
    sqlx::query!(
        "insert into adjustments (person, date, before, after, changed_at) values ($1, $2, $3, $4, $5)
        on conflict (person, date) where state = 'pending'
        do update set before = excluded.before, after = excluded.after, changed_at = excluded.changed_at",
        person,
        date,
        before,
        after,
        at
    )
    .execute(conn)
    .await
    .map(drop)
}

/// What was noted of a locked day.
pub struct Noted {
    pub person: PersonId,
    pub date: Date,
    /// Of those that were settled it is the last.
    pub state: AdjustmentState,
    pub before: Value,
    pub after: Value,
}

/// The pending adjustments of people's days, and of each day the last that was settled.
pub async fn noted(conn: &mut PgConnection, people: &[PersonId], from: Date, to: Date) -> Result<Vec<Noted>> {
    sqlx::query_as!(
        Noted,
        "select distinct on (person, date, state) person, date, state, before, after
        from adjustments where person = any($1) and date between $2 and $3
        order by person, date, state, id desc",
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await
}

/// Facts and locked days agree again.
pub async fn withdraw(conn: &mut PgConnection, days: &[(PersonId, Date)]) -> Result<()> {
    let people: Vec<PersonId> = days.iter().map(|(person, _)| *person).collect();
    let dates: Vec<Date> = days.iter().map(|(_, date)| *date).collect();
    sqlx::query!(
        "delete from adjustments where state = 'pending'
            and (person, date) in (select * from unnest($1::uuid[], $2::date[]))",
        &people,
        &dates
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Adjustments in a state (or all) after a row, the oldest first.
pub async fn adjustments(
    conn: &mut PgConnection,
    state: Option<AdjustmentState>,
    after: i64,
    most: i64,
) -> Result<Vec<Adjustment>> {
    sqlx::query_as!(
        Adjustment,
        r#"select a.id, p.number, p.name, a.date, a.before, a.after, a.state, a.changed_at, a.settled_by,
            a.note
        from adjustments a join people p on p.id = a.person
        where ($1::text is null or a.state = $1) and a.id > $2 order by a.id limit $3"#,
        state as _,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Whose day an adjustment is about.
pub async fn whose(conn: &mut PgConnection, id: i64) -> Result<Option<PersonId>> {
    sqlx::query_scalar!("select person from adjustments where id = $1", id).fetch_optional(conn).await
}

/// The state of an adjustment.
pub async fn adjustment_state(conn: &mut PgConnection, id: i64) -> Result<Option<AdjustmentState>> {
    sqlx::query_scalar!("select state from adjustments where id = $1", id).fetch_optional(conn).await
}

/// Settles an adjustment as it was at some time. `false`: none of that row and time is pending.
pub async fn settle(
    conn: &mut PgConnection,
    id: i64,
    changed_at: Timestamp,
    by: &str,
    note: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "update adjustments set state = 'settled', settled_by = $3, note = $4
        where id = $1 and state = 'pending' and changed_at = $2",
        id,
        changed_at,
        by,
        note
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
