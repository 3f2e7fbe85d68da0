//! Shifts, the patterns that they make, who follows which pattern, and dates that differ.

use attendance::Rules;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::Date;
use crate::person::PersonId;

/// A shift.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = NamedShift)]
pub struct Shift {
    #[serde(skip)]
    pub id: i64,
    pub name: String,
    /// What it is.
    #[schema(value_type = Rules)]
    pub rules: Json<Rules>,
}

/// A pattern of days that repeats.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Schedule {
    pub name: String,
    /// The date of its first day, or of any later beginning of the cycle.
    pub anchor: Date,
    /// After so many days it begins again.
    pub cycle_days: i32,
    /// The shifts of each day.
    #[schema(value_type = Vec<Vec<String>>)]
    pub days: Json<Vec<Vec<String>>>,
}

/// Somebody follows a pattern for some time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Followed)]
pub struct Assignment {
    #[serde(skip)]
    pub person: PersonId,
    #[serde(skip)]
    pub schedule: i64,
    /// The name of the pattern.
    #[serde(rename = "schedule")]
    pub name: String,
    /// First date.
    pub from: Date,
    /// Last date, if it ends.
    pub to: Option<Date>,
    #[serde(skip)]
    pub anchor: Date,
    #[serde(skip)]
    pub cycle_days: i32,
}

impl Assignment {
    /// Which day of the pattern's cycle a date is.
    pub fn day(&self, date: Date) -> i32 {
        self.anchor.days_until(date).rem_euclid(self.cycle_days)
    }
}

/// All shifts, by name.
pub async fn shifts(conn: &mut PgConnection) -> Result<Vec<Shift>> {
    sqlx::query_as!(Shift, r#"select id, name, rules as "rules: Json<Rules>" from shifts order by name"#)
        .fetch_all(conn)
        .await
}

/// Makes or changes a shift.
pub async fn put_shift(conn: &mut PgConnection, name: &str, rules: &Rules) -> Result<()> {
    sqlx::query!(
        "insert into shifts (name, rules) values ($1, $2) on conflict (name) do update set rules = excluded.rules",
        name,
        Json(rules) as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// All patterns, by name.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Schedule>> {
    sqlx::query_as!(
        Schedule,
        r#"select s.name, s.anchor, s.cycle_days, (
            select json_agg(coalesce(shifts, '{}') order by n)
            from generate_series(0, s.cycle_days - 1) n left join (
                select d.day, array_agg(h.name order by h.name) as shifts
                from schedule_days d join shifts h on h.id = d.shift where d.schedule = s.id group by d.day) d on d.day = n
            ) as "days!: Json<Vec<Vec<String>>>"
        from schedules s order by s.name"#
    )
    .fetch_all(conn)
    .await
}

/// Makes or replaces a pattern with its days, each a day of the cycle and the name of a shift.
/// Returns how many of the shifts exist.
pub async fn put(
    conn: &mut PgConnection,
    name: &str,
    anchor: Date,
    cycle_days: i32,
    days: &[(i32, String)],
) -> Result<u64> {
    let id = sqlx::query_scalar!(
        "insert into schedules (name, anchor, cycle_days) values ($1, $2, $3)
        on conflict (name) do update set anchor = excluded.anchor, cycle_days = excluded.cycle_days returning id",
        name,
        anchor,
        cycle_days
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!("delete from schedule_days where schedule = $1", id).execute(&mut *conn).await?;
    let (numbers, shifts): (Vec<i32>, Vec<String>) = days.iter().cloned().unzip();
    let done = sqlx::query!(
        "insert into schedule_days (schedule, day, shift)
        select $1, g.day, h.id from unnest($2::int[], $3::text[]) as g (day, shift) join shifts h on h.name = g.shift",
        id,
        &numbers,
        &shifts
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// What the days of patterns hold: (pattern, day, shift), by row.
pub async fn days(conn: &mut PgConnection, schedules: &[i64]) -> Result<Vec<(i64, i32, i64)>> {
    let rows =
        sqlx::query!("select schedule, day, shift from schedule_days where schedule = any($1)", schedules)
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|row| (row.schedule, row.day, row.shift)).collect())
}

/// Who follows what between two dates.
pub async fn assignments(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Date,
) -> Result<Vec<Assignment>> {
    sqlx::query_as!(
        Assignment,
        r#"select a.person, a.schedule, s.name, a.from_date as "from", a.to_date as "to", s.anchor, s.cycle_days
        from assignments a join schedules s on s.id = a.schedule
        where a.person = any($1) and a.from_date <= $3 and (a.to_date is null or a.to_date >= $2)
        order by a.from_date"#,
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await
}

/// From a date on (and up to another) people follow one pattern and no other.
pub async fn assign(
    conn: &mut PgConnection,
    people: &[PersonId],
    schedule: i64,
    from: Date,
    to: Option<Date>,
) -> Result<()> {
    unassign(conn, people, from, to).await?;
    sqlx::query!(
        "insert into assignments (person, schedule, from_date, to_date) select unnest($1::uuid[]), $2, $3, $4",
        people,
        schedule,
        from,
        to
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Cuts what stands in a range of dates out of people's assignments.
pub async fn unassign(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Option<Date>,
) -> Result<()> {
    // What goes on behind the range begins again after it.
    sqlx::query!(
        "insert into assignments (person, schedule, from_date, to_date)
        select person, schedule, $3::date + 1, to_date from assignments
        where person = any($1) and from_date < $2 and $3::date is not null and (to_date is null or to_date > $3)",
        people,
        from,
        to
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update assignments set to_date = $2::date - 1
        where person = any($1) and from_date < $2 and (to_date is null or to_date >= $2)",
        people,
        from
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "delete from assignments where person = any($1) and from_date >= $2
            and ($3::date is null or (to_date is not null and to_date <= $3))",
        people,
        from,
        to
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update assignments set from_date = $3::date + 1
        where person = any($1) and from_date >= $2 and from_date <= $3",
        people,
        from,
        to
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The row of a pattern.
pub async fn id_of(conn: &mut PgConnection, name: &str) -> Result<Option<i64>> {
    sqlx::query_scalar!("select id from schedules where name = $1", name).fetch_optional(conn).await
}

/// Dates that differ from the patterns: (person, date, shift; none is a day off).
pub async fn single_days(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Date,
    to: Date,
) -> Result<Vec<(PersonId, Date, Option<i64>)>> {
    let rows = sqlx::query!(
        r#"select person, date, shift from single_days
        where person = any($1) and date between $2 and $3"#,
        people,
        from,
        to
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.person, row.date, row.shift)).collect())
}

/// Replaces what a person's date holds by these shifts; none at all is a day off. Returns how many
/// of the shifts exist.
pub async fn put_single_day(
    conn: &mut PgConnection,
    person: PersonId,
    date: Date,
    shifts: &[String],
) -> Result<u64> {
    drop_single_day(conn, person, date).await?;
    if shifts.is_empty() {
        sqlx::query!("insert into single_days (person, date) values ($1, $2)", person, date)
            .execute(conn)
            .await?;
        return Ok(0);
    }
    let done = sqlx::query!(
        "insert into single_days (person, date, shift) select $1, $2, id from shifts where name = any($3)",
        person,
        date,
        shifts
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Lets the pattern hold again on a date. `false`: it did.
pub async fn drop_single_day(conn: &mut PgConnection, person: PersonId, date: Date) -> Result<bool> {
    let done = sqlx::query!("delete from single_days where person = $1 and date = $2", person, date)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Those of the people for whom there is any schedule within their employment.
pub async fn scheduled(conn: &mut PgConnection, people: &[PersonId]) -> Result<Vec<PersonId>> {
    sqlx::query_scalar!(
        "select p.id from people p where p.id = any($1) and (
            exists (select from assignments a where a.person = p.id
                and exists (select from schedule_days d where d.schedule = a.schedule)
                and (p.employed_to is null or a.from_date <= p.employed_to)
                and (p.employed_from is null or a.to_date is null or a.to_date >= p.employed_from))
            or exists (select from single_days d where d.person = p.id and d.shift is not null
                and (p.employed_to is null or d.date <= p.employed_to)
                and (p.employed_from is null or d.date >= p.employed_from)))",
        people
    )
    .fetch_all(conn)
    .await
}
