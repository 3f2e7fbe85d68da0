//! Sites with their zones, departments, and calendars of holidays.

use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::Date;

/// A place with doors.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Site {
    pub name: String,
    /// The IANA time zone in which its days begin.
    pub zone: String,
    /// The calendar of its holidays.
    pub calendar: Option<String>,
}

/// A holiday.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Holiday {
    pub date: Date,
    /// What it is called.
    pub name: String,
}

/// A site whose days are asked for.
pub struct Swept {
    pub id: i64,
    pub name: String,
    pub zone: String,
    /// Up to when they have been.
    pub through: Option<Date>,
}

/// The first site follows the hub's own zone until somebody sets it. Returns its name if that changed.
pub async fn follow(conn: &mut PgConnection, zone: &str) -> Result<Option<String>> {
    sqlx::query_scalar!(
        "update sites set zone = $1, swept_through = null where not zone_set and zone <> $1 returning name",
        zone
    )
    .fetch_optional(conn)
    .await
}

/// All sites, by name.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Site>> {
    sqlx::query_as!(
        Site,
        "select s.name, s.zone, c.name as \"calendar?\"
        from sites s left join calendars c on c.id = s.calendar order by s.name"
    )
    .fetch_all(conn)
    .await
}

/// Makes or changes a site. `false`: there is no such calendar.
pub async fn put(conn: &mut PgConnection, name: &str, zone: &str, calendar: Option<&str>) -> Result<bool> {
    let done = sqlx::query!(
        "insert into sites (name, zone, calendar)
        select $1, $2, (select id from calendars where name = $3)
        where $3::text is null or exists (select from calendars where name = $3)
        on conflict (name) do update set zone = excluded.zone, calendar = excluded.calendar, zone_set = true,
            -- In another zone it may be yesterday again: the day is asked for anew.
            swept_through = case when sites.zone = excluded.zone then sites.swept_through end",
        name,
        zone,
        calendar
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the first site another name.
pub async fn rename(conn: &mut PgConnection, name: &str, new: &str) -> Result<bool> {
    let done = sqlx::query!("update sites set name = $2 where name = $1", name, new).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Locks the sites whose local date has moved on since their days were asked for; others' locks
/// are stepped over. `today` is asked for each site.
pub async fn behind(conn: &mut PgConnection) -> Result<Vec<Swept>> {
    sqlx::query_as!(
        Swept,
        "select id, name, zone, swept_through as through from sites order by id for update skip locked"
    )
    .fetch_all(conn)
    .await
}

/// Notes up to which date everybody's days have been asked for.
pub async fn swept(conn: &mut PgConnection, site: i64, through: Date) -> Result<()> {
    sqlx::query!("update sites set swept_through = $2 where id = $1", site, through)
        .execute(conn)
        .await
        .map(drop)
}

/// All departments, by name.
pub async fn departments(conn: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar!("select name from departments order by name").fetch_all(conn).await
}

/// Makes departments where they are not there.
pub async fn put_departments(conn: &mut PgConnection, names: &[String]) -> Result<()> {
    sqlx::query!("insert into departments (name) select unnest($1::text[]) on conflict do nothing", names)
        .execute(conn)
        .await
        .map(drop)
}

/// The holidays of a calendar, by date.
pub async fn holidays(conn: &mut PgConnection, calendar: &str) -> Result<Vec<Holiday>> {
    sqlx::query_as!(
        Holiday,
        "select h.date, h.name from holidays h join calendars c on c.id = h.calendar
        where c.name = $1 order by h.date",
        calendar
    )
    .fetch_all(conn)
    .await
}

/// All calendars, by name.
pub async fn calendars(conn: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar!("select name from calendars order by name").fetch_all(conn).await
}

/// Makes a date a holiday of a calendar, which is made if it is not there. Returns what the holiday
/// was called before.
pub async fn put_holiday(
    conn: &mut PgConnection,
    calendar: &str,
    date: Date,
    name: &str,
) -> Result<Option<String>> {
    sqlx::query!("insert into calendars (name) values ($1) on conflict do nothing", calendar)
        .execute(&mut *conn)
        .await?;
    let before = drop_holiday(conn, calendar, date).await?;
    sqlx::query!(
        "insert into holidays (calendar, date, name) select id, $2, $3 from calendars where name = $1
        on conflict (calendar, date) do update set name = excluded.name",
        calendar,
        date,
        name
    )
    .execute(conn)
    .await?;
    Ok(before)
}

/// Removes a holiday and returns what it was called. `None`: there was none.
pub async fn drop_holiday(conn: &mut PgConnection, calendar: &str, date: Date) -> Result<Option<String>> {
    sqlx::query_scalar!(
        "delete from holidays h using calendars c where c.id = h.calendar and c.name = $1 and h.date = $2
        returning h.name",
        calendar,
        date
    )
    .fetch_optional(conn)
    .await
}

/// The holidays of each site between two dates.
pub async fn holidays_of_sites(conn: &mut PgConnection, from: Date, to: Date) -> Result<Vec<(i64, Date)>> {
    let rows = sqlx::query!(
        r#"select s.id, h.date from sites s join holidays h on h.calendar = s.calendar
        where h.date between $1 and $2"#,
        from,
        to
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.date)).collect())
}

/// The site of people who are added without one.
pub async fn default(conn: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar!("select name from sites order by id limit 1").fetch_one(conn).await
}
