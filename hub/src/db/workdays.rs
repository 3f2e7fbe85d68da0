//! Workdays as they stand, with their revisions.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp as SqlTimestamp, ToSqlx};
use serde::Serialize;
use sqlx::{PgConnection, Result};
use uuid::Uuid;

use crate::db::WORKDAY_CHANNEL;

/// The status that is shown of an absence from a shift that is not due yet; never stored.
pub const EXPECTED: &str = "expected";

/// What a workday says; everything that a new revision can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// The date.
    pub date: Date,
    /// The shift's name; empty on an unscheduled day.
    pub shift: String,
    /// As the law calls it.
    pub status: String,
    /// When they came.
    pub first_in: Option<Timestamp>,
    /// When they went.
    pub last_out: Option<Timestamp>,
    /// Seconds worked.
    pub worked_s: Option<i32>,
    /// Seconds expected.
    pub expected_s: i32,
    /// Seconds late.
    pub late_s: i32,
    /// Seconds early.
    pub early_s: i32,
    /// Seconds of overtime.
    pub overtime_s: i32,
    /// Seconds more or less than expected.
    pub balance_s: Option<i32>,
    /// In the order of the alphabet.
    pub flags: Vec<String>,
    /// When the shift begins.
    pub starts_at: Option<Timestamp>,
    /// When its window closes.
    pub closes_at: Option<Timestamp>,
    /// Up to when nobody is absent from it; unknown of days that were computed before it was kept. What was
    /// noted of locked days does not hold it.
    #[serde(skip)]
    pub due_at: Option<Timestamp>,
}

impl Figures {
    /// Whether facts say nothing else than what stands.
    pub fn agrees(&self, facts: &Self) -> bool {
        *facts == Self { due_at: self.due_at.or(facts.due_at), ..self.clone() }
    }

    /// As they are to be shown: before a shift is due nobody is absent from it (rule 12). `workdays_at` does
    /// the same in SQL.
    #[must_use]
    pub fn shown_at(self, now: Timestamp) -> Self {
        let due = self.due_at.or(self.starts_at);
        if self.status == "absent" && due.is_some_and(|due| now <= due) {
            return Self { status: EXPECTED.into(), balance_s: None, ..self };
        }
        self
    }
}

/// One person's workday.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub person: Uuid,
    /// What it says.
    pub figures: Figures,
}

struct Row {
    person: Uuid,
    date: SqlDate,
    shift: String,
    status: String,
    first_in: Option<SqlTimestamp>,
    last_out: Option<SqlTimestamp>,
    worked_s: Option<i32>,
    expected_s: i32,
    late_s: i32,
    early_s: i32,
    overtime_s: i32,
    balance_s: Option<i32>,
    flags: Vec<String>,
    starts_at: Option<SqlTimestamp>,
    closes_at: Option<SqlTimestamp>,
    due_at: Option<SqlTimestamp>,
}

impl From<Row> for Standing {
    fn from(row: Row) -> Self {
        Self {
            person: row.person,
            figures: Figures {
                date: row.date.to_jiff(),
                shift: row.shift,
                status: row.status,
                first_in: row.first_in.map(SqlTimestamp::to_jiff),
                last_out: row.last_out.map(SqlTimestamp::to_jiff),
                worked_s: row.worked_s,
                expected_s: row.expected_s,
                late_s: row.late_s,
                early_s: row.early_s,
                overtime_s: row.overtime_s,
                balance_s: row.balance_s,
                flags: row.flags,
                starts_at: row.starts_at.map(SqlTimestamp::to_jiff),
                closes_at: row.closes_at.map(SqlTimestamp::to_jiff),
                due_at: row.due_at.map(SqlTimestamp::to_jiff),
            },
        }
    }
}

/// People's workdays between two dates, in order.
pub async fn standing(
    conn: &mut PgConnection,
    people: &[Uuid],
    from: Date,
    to: Date,
) -> Result<Vec<Standing>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select person, date as "date: SqlDate", shift, status, first_in as "first_in: SqlTimestamp",
            last_out as "last_out: SqlTimestamp", worked_s, expected_s, late_s, early_s, overtime_s, balance_s, flags,
            starts_at as "starts_at: SqlTimestamp", closes_at as "closes_at: SqlTimestamp",
            due_at as "due_at: SqlTimestamp"
        from workdays where person = any($1) and date between $2 and $3 order by person, date, shift"#,
        people,
        from.to_sqlx() as _,
        to.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Standing::from).collect())
}

/// Writes workdays: new ones as revision 1, others as their next revision.
pub async fn put(conn: &mut PgConnection, days: &[Standing], now: Timestamp) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Figures) -> Option<Timestamp>| -> Vec<Option<SqlTimestamp>> {
        days.iter().map(|day| of(&day.figures).map(Timestamp::to_sqlx)).collect()
    };
    let number = |of: fn(&Figures) -> i32| -> Vec<i32> { days.iter().map(|day| of(&day.figures)).collect() };
    let perhaps = |of: fn(&Figures) -> Option<i32>| -> Vec<Option<i32>> {
        days.iter().map(|day| of(&day.figures)).collect()
    };
    let people: Vec<Uuid> = days.iter().map(|day| day.person).collect();
    let dates: Vec<SqlDate> = days.iter().map(|day| day.figures.date.to_sqlx()).collect();
    let shifts: Vec<String> = days.iter().map(|day| day.figures.shift.clone()).collect();
    let statuses: Vec<String> = days.iter().map(|day| day.figures.status.clone()).collect();
    let flags: Vec<String> = days.iter().map(|day| day.figures.flags.join(",")).collect();
    sqlx::query!(
        "insert into workdays (person, date, shift, status, first_in, last_out, worked_s, expected_s, late_s, early_s,
            overtime_s, balance_s, flags, starts_at, closes_at, due_at, computed_at)
        select person, date, shift, status, first_in, last_out, worked_s, expected_s, late_s, early_s, overtime_s,
            balance_s, string_to_array(flags, ','), starts_at, closes_at, due_at, $17
        from unnest($1::uuid[], $2::date[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::int[],
            $8::int[], $9::int[], $10::int[], $11::int[], $12::int[], $13::text[], $14::timestamptz[],
            $15::timestamptz[], $16::timestamptz[])
            as g (person, date, shift, status, first_in, last_out, worked_s, expected_s, late_s, early_s, overtime_s,
                balance_s, flags, starts_at, closes_at, due_at)
        on conflict (person, date, shift) do update set status = excluded.status, first_in = excluded.first_in,
            last_out = excluded.last_out, worked_s = excluded.worked_s, expected_s = excluded.expected_s,
            late_s = excluded.late_s, early_s = excluded.early_s, overtime_s = excluded.overtime_s,
            balance_s = excluded.balance_s, flags = excluded.flags, starts_at = excluded.starts_at,
            closes_at = excluded.closes_at, due_at = excluded.due_at, computed_at = excluded.computed_at,
            revision = workdays.revision + 1,
            -- Who said that the day stands said it of the revision before.
            finalised_by = null, finalised_at = null",
        &people,
        &dates as _,
        &shifts,
        &statuses,
        &column(|f| f.first_in) as _,
        &column(|f| f.last_out) as _,
        &perhaps(|f| f.worked_s) as _,
        &number(|f| f.expected_s),
        &number(|f| f.late_s),
        &number(|f| f.early_s),
        &number(|f| f.overtime_s),
        &perhaps(|f| f.balance_s) as _,
        &flags,
        &column(|f| f.starts_at) as _,
        &column(|f| f.closes_at) as _,
        &column(|f| f.due_at) as _,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    announce(conn).await
}

/// Removes workdays that are none any more.
pub async fn remove(conn: &mut PgConnection, days: &[Standing]) -> Result<()> {
    if days.is_empty() {
        return Ok(());
    }
    let people: Vec<Uuid> = days.iter().map(|day| day.person).collect();
    let dates: Vec<SqlDate> = days.iter().map(|day| day.figures.date.to_sqlx()).collect();
    let shifts: Vec<String> = days.iter().map(|day| day.figures.shift.clone()).collect();
    sqlx::query!(
        "delete from workdays where (person, date, shift) in
            (select * from unnest($1::uuid[], $2::date[], $3::text[]))",
        &people,
        &dates as _,
        &shifts
    )
    .execute(&mut *conn)
    .await?;
    announce(conn).await
}

/// Wakes pages that show workdays, once a transaction.
async fn announce(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify($1, '')", WORKDAY_CHANNEL).execute(conn).await.map(drop)
}

/// Replaces the loose punches of people between two dates.
pub async fn put_unassigned(
    conn: &mut PgConnection,
    people: &[Uuid],
    (from, to): (Date, Date),
    punches: &[(Uuid, Date, Timestamp)],
) -> Result<()> {
    sqlx::query!(
        "delete from unassigned_punches where person = any($1) and date between $2 and $3",
        people,
        from.to_sqlx() as _,
        to.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    if punches.is_empty() {
        return Ok(());
    }
    let whose: Vec<Uuid> = punches.iter().map(|(person, ..)| *person).collect();
    let dates: Vec<SqlDate> = punches.iter().map(|(_, date, _)| date.to_sqlx()).collect();
    let times: Vec<SqlTimestamp> = punches.iter().map(|(.., at)| at.to_sqlx()).collect();
    sqlx::query!(
        "insert into unassigned_punches (person, date, at)
        select * from unnest($1::uuid[], $2::date[], $3::timestamptz[]) on conflict do nothing",
        &whose,
        &dates as _,
        &times as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Says that a person's day stands as it is, whatever terminals still have to report. Returns how
/// many workdays that were.
pub async fn finalise(
    conn: &mut PgConnection,
    person: Uuid,
    date: Date,
    by: &str,
    at: Timestamp,
) -> Result<u64> {
    let done = sqlx::query!(
        "update workdays set finalised_by = $3, finalised_at = $4
        where person = $1 and date = $2 and finalised_at is null",
        person,
        date.to_sqlx() as _,
        by,
        at.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The first and last date on which anything happened.
pub async fn extent(conn: &mut PgConnection) -> Result<Option<(Date, Date)>> {
    let row = sqlx::query!(
        r#"select least((select min(at) from punches)::date, (select min(date) from workdays)) as "from: SqlDate",
            greatest((select max(at) from punches)::date, (select max(date) from workdays)) as "to: SqlDate""#
    )
    .fetch_one(conn)
    .await?;
    Ok(row.from.zip(row.to).map(|(from, to)| (from.to_jiff(), to.to_jiff())))
}
