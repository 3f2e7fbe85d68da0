//! Leave, day by day.

use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::Date;
use crate::person::PersonId;

/// A day of leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeaveDay {
    #[serde(skip)]
    pub person: PersonId,
    pub date: Date,
    /// Whether only half of it.
    pub half: bool,
    /// Why, as people wrote it.
    pub reason: String,
}

/// People's leave between two dates.
pub async fn between(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Date,
) -> Result<Vec<LeaveDay>> {
    sqlx::query_as!(
        LeaveDay,
        "select person, date, half, reason from leave_days
        where person = any($1) and date between $2 and $3 order by person, date",
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await
}

/// Adds days, or changes those that are there.
pub async fn put(conn: &mut PgConnection, days: &[LeaveDay]) -> Result<()> {
    let people: Vec<PersonId> = days.iter().map(|day| day.person).collect();
    let dates: Vec<Date> = days.iter().map(|day| day.date).collect();
    let halves: Vec<bool> = days.iter().map(|day| day.half).collect();
    let reasons: Vec<String> = days.iter().map(|day| day.reason.clone()).collect();
    sqlx::query!(
        "insert into leave_days (person, date, half, reason)
        select * from unnest($1::uuid[], $2::date[], $3::bool[], $4::text[])
        on conflict (person, date) do update set half = excluded.half, reason = excluded.reason",
        &people,
        &dates,
        &halves,
        &reasons
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Removes a person's leave between two dates, and says how many days it was.
pub async fn remove(conn: &mut PgConnection, person: PersonId, from: Date, to: Date) -> Result<u64> {
    let done =
        sqlx::query!("delete from leave_days where person = $1 and date between $2 and $3", person, from, to)
            .execute(conn)
            .await?;
    Ok(done.rows_affected())
}
