//! Corrections: times that people ask to be laid over the punches.

use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp, ToSqlx};
use serde_json::Value;
use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// A request, decided or not.
#[derive(Clone, Debug)]
pub struct Correction {
    /// Its row.
    pub id: i64,
    /// Whose day.
    pub person: Uuid,
    /// Their number.
    pub number: String,
    /// Their name.
    pub name: String,
    /// Which day.
    pub date: SqlDate,
    /// Punches to be added: a list of {at, direction}.
    pub adds: Value,
    /// Punches that shall not count.
    pub ignores: Vec<Uuid>,
    /// Why.
    pub reason: String,
    /// requested, approved or rejected.
    pub state: String,
    /// An approved correction that shall count no longer.
    pub revokes: Option<i64>,
    /// Which account asked.
    pub requested_by: String,
    /// Whose account that was.
    pub requested_person: Option<Uuid>,
    /// When.
    pub requested_at: Timestamp,
    /// Which account decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// What they said.
    pub note: Option<String>,
    /// The workdays of the date before the decision.
    pub before: Option<Value>,
    /// And after.
    pub after: Option<Value>,
}

/// What a request asks for.
pub struct NewCorrection<'a> {
    /// Whose day.
    pub person: Uuid,
    /// Which day.
    pub date: Date,
    /// Punches to be added.
    pub adds: &'a Value,
    /// Punches that shall not count.
    pub ignores: &'a [Uuid],
    /// An approved correction that shall count no longer.
    pub revokes: Option<i64>,
    /// Why.
    pub reason: &'a str,
}

/// What an approved correction lays over the punches.
pub struct Overlay {
    /// Whose.
    pub person: Uuid,
    /// Punches to be added.
    pub adds: Value,
    /// Punches that do not count.
    pub ignores: Vec<Uuid>,
}

/// A decision.
pub struct Decision<'a> {
    /// approved or rejected.
    pub state: &'a str,
    /// Which account.
    pub by: &'a str,
    /// When.
    pub at: jiff::Timestamp,
    /// What they said.
    pub note: Option<&'a str>,
}

/// A workday where a punch is missing.
pub struct Gap {
    /// Whose day.
    pub number: String,
    /// Their name.
    pub name: String,
    /// The zone of their site.
    pub zone: String,
    /// Which day.
    pub date: SqlDate,
    /// The shift's name; empty on an unscheduled day.
    pub shift: String,
    /// As the law calls it.
    pub status: String,
    /// When they came.
    pub first_in: Option<Timestamp>,
    /// When they went.
    pub last_out: Option<Timestamp>,
    /// Until when punches may still fill it.
    pub closes_at: Option<Timestamp>,
}

/// Adds a request of an account, which may belong to a person.
pub async fn request(
    conn: &mut PgConnection,
    wish: &NewCorrection<'_>,
    (by, whose): (&str, Option<Uuid>),
    at: jiff::Timestamp,
) -> Result<i64> {
    sqlx::query_scalar!(
        "insert into corrections
            (person, date, adds, ignores, reason, requested_by, requested_at, requested_person, revokes)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning id",
        wish.person,
        wish.date.to_sqlx() as _,
        wish.adds,
        wish.ignores,
        wish.reason,
        by,
        at.to_sqlx() as _,
        whose,
        wish.revokes
    )
    .fetch_one(conn)
    .await
}

/// Requests in a state (or all), the oldest first, after a row; of a manager's people, or of one
/// person alone, where those are given.
pub async fn list(
    conn: &mut PgConnection,
    state: Option<&str>,
    (manager, own): (Option<Uuid>, Option<Uuid>),
    after: i64,
    most: i64,
) -> Result<Vec<Correction>> {
    sqlx::query_as!(
        Correction,
        r#"select c.id, c.person, p.number, p.name, c.date as "date: SqlDate", c.adds, c.ignores, c.reason, c.state,
            c.revokes, c.requested_by, c.requested_person, c.requested_at as "requested_at: Timestamp", c.decided_by,
            c.decided_at as "decided_at: Timestamp", c.note, c.before, c.after
        from corrections c join people p on p.id = c.person
        where ($1::text is null or c.state = $1) and c.id > $4
            and ($2::uuid is null or p.manager = $2 or p.id = $2) and ($3::uuid is null or p.id = $3)
        order by c.id limit $5"#,
        state,
        manager,
        own,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// A request, locked until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: i64) -> Result<Option<Correction>> {
    sqlx::query_as!(
        Correction,
        r#"select c.id, c.person, p.number, p.name, c.date as "date: SqlDate", c.adds, c.ignores, c.reason, c.state,
            c.revokes, c.requested_by, c.requested_person, c.requested_at as "requested_at: Timestamp", c.decided_by,
            c.decided_at as "decided_at: Timestamp", c.note, c.before, c.after
        from corrections c join people p on p.id = c.person where c.id = $1 for update of c"#,
        id
    )
    .fetch_optional(conn)
    .await
}

/// Decides a request.
pub async fn decide(conn: &mut PgConnection, id: i64, decision: &Decision<'_>) -> Result<()> {
    sqlx::query!(
        "update corrections set state = $2, decided_by = $3, decided_at = $4, note = $5 where id = $1",
        id,
        decision.state,
        decision.by,
        decision.at.to_sqlx() as _,
        decision.note
    )
    .execute(conn)
    .await
    .map(drop)
}

/// How many requests about a person wait for a decision.
pub async fn open(conn: &mut PgConnection, person: Uuid) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from corrections where person = $1 and state = 'requested'"#,
        person
    )
    .fetch_one(conn)
    .await
}

/// Whether an approved correction has been revoked.
pub async fn revoked(conn: &mut PgConnection, id: i64) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from corrections where revokes = $1 and state = 'approved') as "revoked!""#,
        id
    )
    .fetch_one(conn)
    .await
}

/// Keeps the workdays of the date from before and after an approval, in its transaction.
pub async fn keep(conn: &mut PgConnection, id: i64, before: &Value, after: &Value) -> Result<()> {
    sqlx::query!("update corrections set before = $2, after = $3 where id = $1", id, before, after)
        .execute(conn)
        .await
        .map(drop)
}

/// When those of these punches were that are a person's.
pub async fn punches_of(conn: &mut PgConnection, person: Uuid, ids: &[Uuid]) -> Result<Vec<Timestamp>> {
    sqlx::query_scalar!(
        r#"select at as "at: Timestamp" from punches where person = $1 and id = any($2) order by at"#,
        person,
        ids
    )
    .fetch_all(conn)
    .await
}

/// Workdays with a flag between two dates as they are now, by date and number; of a manager's people, or of
/// one person alone, where those are given.
pub async fn gaps(
    conn: &mut PgConnection,
    flag: &str,
    (from, to): (Date, Date),
    (manager, own): (Option<Uuid>, Option<Uuid>),
    most: i64,
    now: jiff::Timestamp,
) -> Result<Vec<Gap>> {
    sqlx::query_as!(
        Gap,
        r#"select p.number, p.name, s.zone, w.date as "date!: SqlDate", w.shift as "shift!", w.status as "status!",
            w.first_in as "first_in: Timestamp", w.last_out as "last_out: Timestamp",
            w.closes_at as "closes_at: Timestamp"
        from workdays_at($7) w join people p on p.id = w.person join sites s on s.id = p.site
        where w.date between $2 and $3 and $1 = any(w.flags)
            and ($4::uuid is null or p.manager = $4 or p.id = $4) and ($5::uuid is null or p.id = $5)
        order by w.date, p.number, w.shift limit $6"#,
        flag,
        from.to_sqlx() as _,
        to.to_sqlx() as _,
        manager,
        own,
        most,
        now.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}

/// What was approved for people's days between two dates.
pub async fn overlays(
    conn: &mut PgConnection,
    people: &[Uuid],
    from: Date,
    to: Date,
) -> Result<Vec<Overlay>> {
    sqlx::query_as!(
        Overlay,
        "select person, adds, ignores from corrections c
        where state = 'approved' and person = any($1) and date between $2 and $3
            and not exists (select from corrections r where r.revokes = c.id and r.state = 'approved')",
        people,
        from.to_sqlx() as _,
        to.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}
