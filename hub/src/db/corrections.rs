//! Corrections: times that people ask to be laid over the punches.

use attendance::Direction;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::date::{Date, Timestamp, Zoned};
use crate::db::workdays::Status;
use crate::person::{PersonId, PersonNumber};
use crate::text::{RemarkText, words};

words! {
    /// What became of a request.
    pub enum CorrectionState { Requested = "requested", Approved = "approved", Rejected = "rejected" }
}

/// A time to be laid over the punches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddedTime {
    /// With its offset.
    #[schema(example = "2025-03-03T09:00:00+01:00")]
    pub at: Timestamp,
    #[serde(default)]
    pub direction: Direction,
}

/// A request, decided or not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Correction {
    pub id: i64,
    #[serde(skip)]
    pub person: PersonId,
    /// The number of the person.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    pub name: String,
    /// The workday's date.
    pub date: Date,
    /// Times to be added.
    #[schema(value_type = Vec<AddedTime>)]
    pub adds: Json<Vec<AddedTime>>,
    /// The ids of punches that shall not count.
    pub ignores: Vec<Uuid>,
    /// An approved correction that shall count no longer.
    pub revokes: Option<i64>,
    pub reason: String,
    pub state: CorrectionState,
    /// Which account asked.
    pub requested_by: String,
    /// Whose account that was.
    #[serde(skip)]
    pub requested_person: Option<PersonId>,
    pub requested_at: Timestamp,
    /// Which account decided.
    pub decided_by: Option<String>,
    pub decided_at: Option<Timestamp>,
    /// What they said.
    pub note: Option<String>,
    /// The workdays of the date before an approval.
    pub before: Option<Value>,
    /// And after it.
    pub after: Option<Value>,
}

/// What somebody asks for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CorrectionRequest)]
pub struct Request {
    /// The number of the person.
    pub number: PersonNumber,
    /// The workday's date.
    pub date: Date,
    /// Times to be added, at most 10, at most two days from the date.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub adds: Vec<AddedTime>,
    /// The ids of the person's punches that shall not count, at most 20.
    #[serde(default)]
    #[schema(max_items = 20)]
    pub ignores: Vec<Uuid>,
    /// The id of an approved correction of that day that shall count no longer.
    pub revokes: Option<i64>,
    /// Why.
    #[schema(value_type = RemarkText)]
    pub reason: String,
}

/// What an approved correction lays over the punches.
pub struct Overlay {
    pub person: PersonId,
    pub adds: Json<Vec<AddedTime>>,
    /// Punches that do not count.
    pub ignores: Vec<Uuid>,
}

/// A decision.
pub struct Decision<'a> {
    pub state: CorrectionState,
    /// Which account.
    pub by: &'a str,
    pub at: Timestamp,
    /// What they said.
    pub note: Option<&'a str>,
}

/// A workday where a punch is missing. Times are local, with their offset.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Missing)]
pub struct Gap {
    /// The number of the person.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    pub name: String,
    /// The workday's date.
    pub date: Date,
    /// Its shift; null on an unscheduled day.
    pub shift: Option<String>,
    /// What the day was.
    pub status: Status,
    /// When they came.
    pub first_in: Option<Zoned>,
    /// When they went.
    pub last_out: Option<Zoned>,
    /// Whether the shift's window is still open, so that they may yet punch.
    pub open: bool,
}

/// Adds a request of an account, which may belong to a person.
pub async fn request(
    conn: &mut PgConnection,
    person: PersonId,
    wish: &Request,
    (by, whose): (&str, Option<PersonId>),
    at: Timestamp,
) -> Result<i64> {
    sqlx::query_scalar!(
        "insert into corrections
            (person, date, adds, ignores, reason, requested_by, requested_at, requested_person, revokes)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning id",
        person,
        wish.date,
        Json(&wish.adds) as _,
        &wish.ignores as &[Uuid],
        wish.reason,
        by,
        at,
        whose,
        wish.revokes
    )
    .fetch_one(conn)
    .await
}

/// Requests in a state (or all), or one of them, the oldest first, after a row; of a manager's people, or of one
/// person alone, where those are given.
pub async fn list(
    conn: &mut PgConnection,
    id: Option<i64>,
    state: Option<CorrectionState>,
    (manager, own): (Option<PersonId>, Option<PersonId>),
    after: i64,
    most: i64,
) -> Result<Vec<Correction>> {
    sqlx::query_as!(
        Correction,
        r#"select c.id, c.person, p.number, p.name, c.date, c.adds as "adds: Json<Vec<AddedTime>>", c.ignores, c.reason,
            c.state, c.revokes, c.requested_by, c.requested_person, c.requested_at, c.decided_by, c.decided_at, c.note,
            c.before, c.after
        from corrections c join people p on p.id = c.person
        where ($1::text is null or c.state = $1) and c.id > $4 and ($6::bigint is null or c.id = $6)
            and ($2::uuid is null or p.manager = $2 or p.id = $2) and ($3::uuid is null or p.id = $3)
        order by c.id limit $5"#,
        state as _,
        manager,
        own,
        after,
        most,
        id
    )
    .fetch_all(conn)
    .await
}

/// A request, locked until the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: i64) -> Result<Option<Correction>> {
    sqlx::query!("select id from corrections where id = $1 for update", id)
        .fetch_optional(&mut *conn)
        .await?;
    Ok(list(conn, Some(id), None, (None, None), i64::MIN, 1).await?.pop())
}

/// Decides a request.
pub async fn decide(conn: &mut PgConnection, id: i64, decision: &Decision<'_>) -> Result<()> {
    sqlx::query!(
        "update corrections set state = $2, decided_by = $3, decided_at = $4, note = $5 where id = $1",
        id,
        decision.state as _,
        decision.by,
        decision.at,
        decision.note
    )
    .execute(conn)
    .await
    .map(drop)
}

/// How many requests about a person wait for a decision.
pub async fn open(conn: &mut PgConnection, person: PersonId) -> Result<i64> {
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
pub async fn punches_of(conn: &mut PgConnection, person: PersonId, ids: &[Uuid]) -> Result<Vec<Timestamp>> {
    sqlx::query_scalar!(
        r#"select at from punches where person = $1 and id = any($2) order by at"#,
        person,
        ids as &[Uuid]
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
    (manager, own): (Option<PersonId>, Option<PersonId>),
    most: i64,
    now: Timestamp,
) -> Result<Vec<Gap>> {
    sqlx::query_as!(
        Gap,
        r#"select p.number, p.name, w.date as "date!", nullif(w.shift, '') as shift, w.status as "status!: Status",
            zoned(w.first_in, s.zone) as first_in, zoned(w.last_out, s.zone) as last_out,
            coalesce(w.closes_at >= $7, false) as "open!"
        from workdays_at($7) w join people p on p.id = w.person join sites s on s.id = p.site
        where w.date between $2 and $3 and $1 = any(w.flags)
            and ($4::uuid is null or p.manager = $4 or p.id = $4) and ($5::uuid is null or p.id = $5)
        order by w.date, p.number, w.shift limit $6"#,
        flag,
        from,
        to,
        manager,
        own,
        most,
        now
    )
    .fetch_all(conn)
    .await
}

/// What was approved for people's days between two dates.
pub async fn overlays(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Date,
) -> Result<Vec<Overlay>> {
    sqlx::query_as!(
        Overlay,
        r#"select person, adds as "adds: Json<Vec<AddedTime>>", ignores from corrections c
        where state = 'approved' and person = any($1) and date between $2 and $3
            and not exists (select from corrections r where r.revokes = c.id and r.state = 'approved')"#,
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await
}
