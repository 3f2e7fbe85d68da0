//! Periods that are open, approved or locked, and what facts say against locked days.

use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, Timestamp, ToSqlx};
use serde_json::Value;
use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// A period.
#[derive(Clone, Debug)]
pub struct Period {
    /// Its row.
    pub id: i64,
    /// Of which site; of all where there is none.
    pub site: Option<String>,
    /// First date.
    pub from: SqlDate,
    /// Last date.
    pub to: SqlDate,
    /// open, approved or locked.
    pub state: String,
    /// By whom.
    pub changed_by: String,
    /// When.
    pub changed_at: Timestamp,
}

/// An adjustment.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// Its row.
    pub id: i64,
    /// Whose day.
    pub number: String,
    /// Their name.
    pub name: String,
    /// Which day.
    pub date: SqlDate,
    /// The workdays that stand.
    pub before: Value,
    /// What the facts say now.
    pub after: Value,
    /// pending or settled.
    pub state: String,
    /// When the facts last changed it.
    pub changed_at: Timestamp,
    /// Who settled it.
    pub settled_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
}

/// All periods, the latest first.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Period>> {
    sqlx::query_as!(
        Period,
        r#"select p.id, s.name as "site?", p.from_date as "from: SqlDate", p.to_date as "to: SqlDate", p.state,
            p.changed_by, p.changed_at as "changed_at: Timestamp"
        from periods p left join sites s on s.id = p.site order by p.from_date desc, p.id desc"#
    )
    .fetch_all(conn)
    .await
}

/// Keeps others from changing periods, and hubs from reading them to write workdays, until the
/// transaction ends.
pub async fn lock_all(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("lock table periods in access exclusive mode").execute(conn).await.map(drop)
}

/// Opens a period. `None`: one that overlaps is there, or there is no such site.
pub async fn open(
    conn: &mut PgConnection,
    site: Option<&str>,
    (from, to): (Date, Date),
    by: &str,
    at: jiff::Timestamp,
) -> Result<Option<i64>> {
    lock_all(conn).await?;
    sqlx::query_scalar!(
        "insert into periods (site, from_date, to_date, changed_by, changed_at)
        select (select id from sites where name = $1), $2, $3, $4, $5
        where ($1::text is null or exists (select from sites where name = $1))
            and not exists (select from periods p where p.from_date <= $3 and p.to_date >= $2
                and ($1::text is null or p.site is null or p.site = (select id from sites where name = $1)))
        returning id",
        site,
        from.to_sqlx() as _,
        to.to_sqlx() as _,
        by,
        at.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await
}

/// A period.
pub async fn find(conn: &mut PgConnection, id: i64) -> Result<Option<Period>> {
    sqlx::query_as!(
        Period,
        r#"select p.id, s.name as "site?", p.from_date as "from: SqlDate", p.to_date as "to: SqlDate", p.state,
            p.changed_by, p.changed_at as "changed_at: Timestamp"
        from periods p left join sites s on s.id = p.site where p.id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await
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
    state: &str,
    by: &str,
    at: jiff::Timestamp,
) -> Result<()> {
    sqlx::query!(
        "update periods set state = $2, changed_by = $3, changed_at = $4 where id = $1",
        id,
        state,
        by,
        at.to_sqlx() as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Locked dates that meet a range: (site or all, from, to).
pub async fn locked(conn: &mut PgConnection, from: Date, to: Date) -> Result<Vec<(Option<i64>, Date, Date)>> {
    let rows = sqlx::query!(
        r#"select site, from_date as "from: SqlDate", to_date as "to: SqlDate" from periods
        where state = 'locked' and from_date <= $2 and to_date >= $1"#,
        from.to_sqlx() as _,
        to.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.site, row.from.to_jiff(), row.to.to_jiff())).collect())
}

/// Notes what the facts say of a locked day; one pending adjustment a day.
pub async fn adjust(
    conn: &mut PgConnection,
    (person, date): (Uuid, Date),
    before: &Value,
    after: &Value,
    at: jiff::Timestamp,
) -> Result<()> {
    sqlx::query!(
        "insert into adjustments (person, date, before, after, changed_at) values ($1, $2, $3, $4, $5)
        on conflict (person, date) where state = 'pending'
        do update set before = excluded.before, after = excluded.after, changed_at = excluded.changed_at
        where adjustments.after <> excluded.after",
        person,
        date.to_sqlx() as _,
        before,
        after,
        at.to_sqlx() as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Whether what the facts say of a locked day has been settled already.
pub async fn settled(conn: &mut PgConnection, (person, date): (Uuid, Date), after: &Value) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from adjustments where person = $1 and date = $2 and state = 'settled'
            and after = $3) as "settled!""#,
        person,
        date.to_sqlx() as _,
        after
    )
    .fetch_one(conn)
    .await
}

/// Facts and locked day agree again.
pub async fn forget_adjustment(conn: &mut PgConnection, people: &[Uuid], dates: &[Date]) -> Result<()> {
    let dates: Vec<SqlDate> = dates.iter().map(|date| date.to_sqlx()).collect();
    sqlx::query!(
        "delete from adjustments where state = 'pending'
            and (person, date) in (select * from unnest($1::uuid[], $2::date[]))",
        people,
        &dates as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Adjustments in a state (or all) after a row, the oldest first.
pub async fn adjustments(
    conn: &mut PgConnection,
    state: Option<&str>,
    after: i64,
    most: i64,
) -> Result<Vec<Adjustment>> {
    sqlx::query_as!(
        Adjustment,
        r#"select a.id, p.number, p.name, a.date as "date: SqlDate", a.before, a.after, a.state,
            a.changed_at as "changed_at: Timestamp", a.settled_by, a.note
        from adjustments a join people p on p.id = a.person
        where ($1::text is null or a.state = $1) and a.id > $2 order by a.id limit $3"#,
        state,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// The state of an adjustment.
pub async fn adjustment_state(conn: &mut PgConnection, id: i64) -> Result<Option<String>> {
    sqlx::query_scalar!("select state from adjustments where id = $1", id).fetch_optional(conn).await
}

/// Settles an adjustment. `false`: none of that row is pending.
pub async fn settle(conn: &mut PgConnection, id: i64, by: &str, note: &str) -> Result<bool> {
    let done = sqlx::query!(
        "update adjustments set state = 'settled', settled_by = $2, note = $3 where id = $1 and state = 'pending'",
        id,
        by,
        note
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
