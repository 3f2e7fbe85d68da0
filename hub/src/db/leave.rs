//! Leave, day by day.

use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx};
use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// A day of leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveDay {
    /// Whose.
    pub person: Uuid,
    /// When.
    pub date: Date,
    /// Whether only half of it.
    pub half: bool,
    /// Why, as people wrote it.
    pub reason: String,
}

/// People's leave between two dates.
pub async fn between(
    conn: &mut PgConnection,
    people: &[Uuid],
    from: Date,
    to: Date,
) -> Result<Vec<LeaveDay>> {
    let rows = sqlx::query!(
        r#"select person, date as "date: SqlDate", half, reason from leave_days
        where person = any($1) and date between $2 and $3 order by person, date"#,
        people,
        from.to_sqlx() as _,
        to.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    let day = rows.into_iter().map(|row| LeaveDay {
        person: row.person,
        date: row.date.to_jiff(),
        half: row.half,
        reason: row.reason,
    });
    Ok(day.collect())
}

/// Adds days, or changes those that are there.
pub async fn put(conn: &mut PgConnection, days: &[LeaveDay]) -> Result<()> {
    let people: Vec<Uuid> = days.iter().map(|day| day.person).collect();
    let dates: Vec<SqlDate> = days.iter().map(|day| day.date.to_sqlx()).collect();
    let halves: Vec<bool> = days.iter().map(|day| day.half).collect();
    let reasons: Vec<String> = days.iter().map(|day| day.reason.clone()).collect();
    sqlx::query!(
        "insert into leave_days (person, date, half, reason)
        select * from unnest($1::uuid[], $2::date[], $3::bool[], $4::text[])
        on conflict (person, date) do update set half = excluded.half, reason = excluded.reason",
        &people,
        &dates as _,
        &halves,
        &reasons
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Removes a person's leave between two dates, and says how many days it was.
pub async fn remove(conn: &mut PgConnection, person: Uuid, from: Date, to: Date) -> Result<u64> {
    let done = sqlx::query!(
        "delete from leave_days where person = $1 and date between $2 and $3",
        person,
        from.to_sqlx() as _,
        to.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
