//! Workdays as they stand, with their revisions.

use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::{Date, Timestamp, Zoned};
use crate::db::WORKDAY_CHANNEL;
use crate::person::PersonId;
use crate::text::words;

words! {
    /// What a day was.
    pub enum Status {
        /// The shift is not due yet. Never stored.
        Expected = "expected",
        Holiday = "holiday",
        Leave = "leave",
        Incomplete = "incomplete",
        Unscheduled = "unscheduled",
        Absent = "absent",
        HalfDay = "half_day",
        Present = "present",
    }
}

impl From<attendance::Status> for Status {
    fn from(status: attendance::Status) -> Self {
        match status {
            attendance::Status::Holiday => Self::Holiday,
            attendance::Status::Leave => Self::Leave,
            attendance::Status::Incomplete => Self::Incomplete,
            attendance::Status::Unscheduled => Self::Unscheduled,
            attendance::Status::Absent => Self::Absent,
            attendance::Status::HalfDay => Self::HalfDay,
            attendance::Status::Present => Self::Present,
        }
    }
}

/// One person's workday. It is written in the audit and in adjustments as it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "workday")]
pub struct Workday {
    #[serde(skip)]
    pub person: PersonId,
    pub date: Date,
    /// The shift's name; empty on an unscheduled day.
    pub shift: String,
    pub status: Status,
    pub first_in: Option<Timestamp>,
    pub last_out: Option<Timestamp>,
    pub worked_s: Option<i32>,
    pub expected_s: i32,
    pub late_s: i32,
    pub early_s: i32,
    pub overtime_s: i32,
    pub balance_s: Option<i32>,
    /// In the order of the alphabet.
    pub flags: Vec<String>,
    pub starts_at: Option<Timestamp>,
    /// When its window closes.
    pub closes_at: Option<Timestamp>,
    /// Up to when nobody is absent from it; unknown of days that were computed before it was kept. What was
    /// noted of locked days does not hold it.
    #[serde(skip)]
    pub due_at: Option<Timestamp>,
}

impl Workday {
    /// Whether facts say nothing else than what stands.
    pub fn agrees(&self, facts: &Self) -> bool {
        *facts == Self { due_at: self.due_at.or(facts.due_at), ..self.clone() }
    }

    /// As it is to be shown: before a shift is due nobody is absent from it (rule 12). `workdays_at` does
    /// the same in SQL.
    #[must_use]
    pub fn shown_at(self, now: Timestamp) -> Self {
        let due = self.due_at.or(self.starts_at);
        if self.status == Status::Absent && due.is_some_and(|due| now <= due) {
            return Self { status: Status::Expected, balance_s: None, ..self };
        }
        self
    }
}

/// People's workdays between two dates, in order.
pub async fn standing(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Date,
) -> Result<Vec<Workday>> {
    sqlx::query_as!(
        Workday,
        "select person, date, shift, status, first_in, last_out, worked_s, expected_s, late_s, early_s, overtime_s,
            balance_s, flags, starts_at, closes_at, due_at
        from workdays where person = any($1) and date between $2 and $3 order by person, date, shift",
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await
}

/// Writes workdays: new ones as revision 1, others as their next revision.
pub async fn put(conn: &mut PgConnection, days: &[Workday], now: Timestamp) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into workdays as w (person, date, shift, status, first_in, last_out, worked_s, expected_s, late_s,
            early_s, overtime_s, balance_s, flags, starts_at, closes_at, due_at, computed_at)
        select *, $2 from unnest($1::workday[])
        on conflict (person, date, shift) do update set (status, first_in, last_out, worked_s, expected_s, late_s,
            early_s, overtime_s, balance_s, flags, starts_at, closes_at, due_at, computed_at, revision)
            = (excluded.status, excluded.first_in, excluded.last_out, excluded.worked_s, excluded.expected_s,
            excluded.late_s, excluded.early_s, excluded.overtime_s, excluded.balance_s, excluded.flags,
            excluded.starts_at, excluded.closes_at, excluded.due_at, excluded.computed_at, w.revision + 1),
            -- Who said that the day stands said it of the revision before.
            finalised_by = null, finalised_at = null",
        days as _,
        now
    )
    .execute(&mut *conn)
    .await?;
    announce(conn).await
}

/// Removes workdays that are none any more.
pub async fn remove(conn: &mut PgConnection, days: &[Workday]) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from workdays where (person, date, shift) in (select person, date, shift from unnest($1::workday[]))",
        days as _
    )
    .execute(&mut *conn)
    .await?;
    announce(conn).await
}

/// A workday's revision. Times are local, with their offset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Revision {
    #[serde(skip)]
    pub shift: String,
    /// Whether it is an absence, or may become one, that punches may still undo: totals leave it out.
    pub provisional: bool,
    /// How often it was written.
    pub revision: i32,
    /// When it was written last.
    pub computed_at: Zoned,
    /// Which account made it final.
    pub finalised_by: Option<String>,
    pub finalised_at: Option<Zoned>,
    #[serde(skip)]
    pub closes_at: Option<Zoned>,
}

/// The revisions of a person's workdays of a date, as they are now.
pub async fn revisions(
    conn: &mut PgConnection,
    person: PersonId,
    date: Date,
    now: Timestamp,
) -> Result<Vec<Revision>> {
    sqlx::query_as!(
        Revision,
        r#"select w.shift as "shift!", w.provisional as "provisional!", w.revision as "revision!",
            zoned(w.computed_at, s.zone) as "computed_at!", w.finalised_by,
            zoned(w.finalised_at, s.zone) as finalised_at, zoned(w.closes_at, s.zone) as closes_at
        from workdays_at($3) w join people p on p.id = w.person join sites s on s.id = p.site
        where w.person = $1 and w.date = $2 order by w.shift"#,
        person,
        date,
        now
    )
    .fetch_all(conn)
    .await
}

/// Whether days of a person wait to be computed.
pub async fn waiting(conn: &mut PgConnection, person: PersonId) -> Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from jobs where person = $1) as "waiting!""#, person)
        .fetch_one(conn)
        .await
}

/// Wakes pages that show workdays, once a transaction.
async fn announce(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify($1, '')", WORKDAY_CHANNEL).execute(conn).await.map(drop)
}

/// Replaces the loose punches of people between two dates.
pub async fn put_unassigned(
    conn: &mut PgConnection,
    people: &[PersonId],
    (from, to): (Date, Date),
    punches: &[(PersonId, Date, Timestamp)],
) -> Result<()> {
    sqlx::query!(
        "delete from unassigned_punches where person = any($1) and date between $2 and $3",
        people,
        from,
        to
    )
    .execute(&mut *conn)
    .await?;
    if punches.is_empty() {
        return Ok(());
    }
    let whose: Vec<PersonId> = punches.iter().map(|(person, ..)| *person).collect();
    let dates: Vec<Date> = punches.iter().map(|(_, date, _)| *date).collect();
    let times: Vec<Timestamp> = punches.iter().map(|(.., at)| *at).collect();
    sqlx::query!(
        "insert into unassigned_punches (person, date, at)
        select * from unnest($1::uuid[], $2::date[], $3::timestamptz[]) on conflict do nothing",
        &whose,
        &dates,
        &times
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Says that a person's day stands as it is, whatever terminals still have to report. Returns how
/// many workdays that were.
pub async fn finalise(
    conn: &mut PgConnection,
    person: PersonId,
    date: Date,
    by: &str,
    at: Timestamp,
) -> Result<u64> {
    let done = sqlx::query!(
        "update workdays set finalised_by = $3, finalised_at = $4
        where person = $1 and date = $2 and finalised_at is null",
        person,
        date,
        by,
        at
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The first and last date on which anything happened.
pub async fn extent(conn: &mut PgConnection) -> Result<Option<(Date, Date)>> {
    let row = sqlx::query!(
        r#"select least((select min(at) from punches)::date, (select min(date) from workdays)) as "from",
            greatest((select max(at) from punches)::date, (select max(date) from workdays)) as "to""#
    )
    .fetch_one(conn)
    .await?;
    Ok(row.from.zip(row.to))
}
