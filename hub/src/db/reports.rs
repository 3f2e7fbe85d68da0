//! What reports read. The conditions differ from question to question, so these queries are put
//! together here; every value is bound.

use sqlx::postgres::{PgRow, Postgres};
use sqlx::{FromRow, PgConnection, QueryBuilder, Result};

use crate::date::{Date, Timestamp};
use crate::error::Problem;
use crate::person::{PersonId, PersonNumber};

/// What a question is answered with: the room that asks knows which columns it wants.
pub trait Row: Send + Unpin + for<'r> FromRow<'r, PgRow> {}

impl<T: Send + Unpin + for<'r> FromRow<'r, PgRow>> Row for T {}

/// Whose rows, and of which dates.
#[derive(Clone, Debug)]
pub struct Filter {
    pub from: Date,
    pub to: Date,
    /// One person's.
    pub number: Option<PersonNumber>,
    pub department: Option<String>,
    pub site: Option<String>,
    /// Only of people of this manager, and of the manager.
    pub manager: Option<PersonId>,
    /// Only of this person.
    pub own: Option<PersonId>,
}

impl Filter {
    /// Everybody's rows between two dates.
    pub fn between(from: Date, to: Date) -> Self {
        Self { from, to, number: None, department: None, site: None, manager: None, own: None }
    }
}

/// Which workdays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those who came late or went early.
    Late,
    /// Absences.
    Absent,
}

/// Whose rows: joined to `p`, people. Names become rows first, so that the indexes on them serve.
fn narrow(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(number) = &filter.number {
        query.push(" and p.number = ").push_bind(number.clone());
    }
    if let Some(department) = &filter.department {
        query
            .push(" and p.department = (select id from departments where name = ")
            .push_bind(department.clone());
        query.push(")");
    }
    if let Some(site) = &filter.site {
        query.push(" and p.site = (select id from sites where name = ").push_bind(site.clone()).push(")");
    }
    if let Some(manager) = filter.manager {
        query.push(" and (p.manager = ").push_bind(manager).push(" or p.id = ").push_bind(manager).push(")");
    }
    if let Some(own) = filter.own {
        query.push(" and p.id = ").push_bind(own);
    }
}

/// What a filter names and is not there: what that should be, and its name.
pub async fn unknown(conn: &mut PgConnection, filter: &Filter) -> Result<Option<Problem>> {
    let there = sqlx::query!(
        r#"select exists (select from departments where name = $1) as "department!",
            exists (select from sites where name = $2) as "site!""#,
        filter.department,
        filter.site
    );
    let there = there.fetch_one(conn).await?;
    let department = filter.department.as_ref().filter(|_| !there.department);
    let site = filter.site.as_ref().filter(|_| !there.site);
    Ok(department
        .map(|department| Problem::DepartmentUnknown { department: department.clone() })
        .or_else(|| site.map(|site| Problem::SiteUnknown { site: site.clone() })))
}

fn dates(query: &mut QueryBuilder<Postgres>, column: &str, filter: &Filter) {
    query.push(" ").push(column).push(" between ").push_bind(filter.from);
    query.push(" and ").push_bind(filter.to);
}

/// Where a page begins: behind this (date, number, shift).
pub type DayCursor = (Date, PersonNumber, String);

/// Workdays by date, number and shift, as they are now.
pub async fn days<R: Row>(
    conn: &mut PgConnection,
    filter: &Filter,
    which: Which,
    after: Option<&DayCursor>,
    most: i64,
    now: Timestamp,
) -> Result<Vec<R>> {
    let mut query = QueryBuilder::new(
        "select w.date, p.number, p.name, d.name as department, s.name as site, s.zone, nullif(w.shift, '') as shift,
            w.status, w.first_in, w.last_out, w.worked_s, w.expected_s, w.late_s, w.early_s, w.overtime_s, w.balance_s,
            w.flags, w.provisional, w.revision
        from workdays_at(",
    );
    query.push_bind(now).push(
        ") w join people p on p.id = w.person join sites s on s.id = p.site
            left join departments d on d.id = p.department
        where",
    );
    dates(&mut query, "w.date", filter);
    narrow(&mut query, filter);
    match which {
        Which::All => {}
        Which::Late => drop(query.push(" and (w.late_s > 0 or w.early_s > 0)")),
        Which::Absent => drop(query.push(" and w.status = 'absent'")),
    }
    if let Some((date, number, shift)) = after {
        // The index on dates serves this alone.
        query.push(" and w.date >= ").push_bind(*date);
        query.push(" and (w.date, p.number, w.shift) > (").push_bind(*date);
        query.push(", ").push_bind(number.clone()).push(", ").push_bind(shift.clone()).push(")");
    }
    query.push(" order by w.date, p.number, w.shift limit ").push_bind(most);
    query.build_query_as().fetch_all(conn).await
}

/// Totals by number, as they are now.
pub async fn totals<R: Row>(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<PersonNumber>,
    most: i64,
    now: Timestamp,
) -> Result<Vec<R>> {
    let mut query = QueryBuilder::new(
        "select p.number, p.name, d.name as department, count(*) filter (where not w.provisional) as days,
            count(*) filter (where w.status = 'absent' and not w.provisional) as absent,
            count(*) filter (where w.status = 'incomplete') as incomplete,
            coalesce(sum(w.worked_s) filter (where not w.provisional), 0)::bigint as worked_s,
            coalesce(sum(w.expected_s) filter (where not w.provisional), 0)::bigint as expected_s,
            coalesce(sum(w.late_s) filter (where not w.provisional), 0)::bigint as late_s,
            coalesce(sum(w.overtime_s) filter (where not w.provisional), 0)::bigint as overtime_s,
            coalesce(sum(w.balance_s) filter (where not w.provisional), 0)::bigint as balance_s,
            count(*) filter (where w.provisional) as provisional
        from workdays_at(",
    );
    query.push_bind(now);
    query.push(") w join people p on p.id = w.person left join departments d on d.id = p.department where");
    dates(&mut query, "w.date", filter);
    narrow(&mut query, filter);
    if let Some(number) = after {
        query.push(" and p.number > ").push_bind(number);
    }
    query.push(" group by p.id, d.name order by p.number limit ").push_bind(most);
    query.build_query_as().fetch_all(conn).await
}

/// Exceptions by date, number and what they are; from behind a place on.
pub async fn exceptions<R: Row>(
    conn: &mut PgConnection,
    filter: &Filter,
    skip: i64,
    most: i64,
) -> Result<Vec<R>> {
    let mut query = QueryBuilder::new(
        "select w.date, p.number, p.name, d.name as department, nullif(w.shift, '') as shift, f.flag as exception,
            null::timestamptz as at, s.zone
        from workdays w join people p on p.id = w.person join sites s on s.id = p.site
            left join departments d on d.id = p.department, unnest(w.flags) as f (flag)
        where f.flag <> 'half_leave' and",
    );
    dates(&mut query, "w.date", filter);
    narrow(&mut query, filter);
    query.push(
        " union all select u.date, p.number, p.name, d.name, null, 'unassigned', u.at, s.zone
        from unassigned_punches u join people p on p.id = u.person join sites s on s.id = p.site
            left join departments d on d.id = p.department
        where",
    );
    dates(&mut query, "u.date", filter);
    narrow(&mut query, filter);
    query.push(" order by 1, 2, 6, 7, 5 offset ").push_bind(skip).push(" limit ").push_bind(most);
    query.build_query_as().fetch_all(conn).await
}

/// Punches of a stretch of time, by person and time, wherever they were made. Its first instant is not in it.
pub async fn recent<R: Row>(
    conn: &mut PgConnection,
    filter: &Filter,
    (since, until): (Timestamp, Timestamp),
) -> Result<Vec<R>> {
    let mut query = QueryBuilder::new(
        "select p.number, p.name, d.name as department, s.name as site, s.zone, u.at, u.at as since, u.direction,
            t.name as terminal, place.name as place
        from punches u join people p on p.id = u.person join sites s on s.id = p.site
            join terminals t on t.device = u.device join sites place on place.id = t.site left join departments d on d.id = p.department
        where u.at > ",
    );
    query.push_bind(since).push(" and u.at <= ").push_bind(until);
    narrow(&mut query, &Filter { site: None, ..filter.clone() });
    query.push(" order by p.number, u.at");
    query.build_query_as().fetch_all(conn).await
}

/// The trend by day, week or month, as it is now.
pub async fn trend<R: Row>(
    conn: &mut PgConnection,
    filter: &Filter,
    by: &'static str,
    now: Timestamp,
) -> Result<Vec<R>> {
    let mut query = QueryBuilder::new("select date_trunc(");
    query.push_bind(by).push(
        ", w.date::timestamp)::date as begins,
            count(*) filter (where w.first_in is not null) as arrivals,
            count(*) filter (where w.late_s > 0) as late,
            coalesce(avg(w.late_s) filter (where w.late_s > 0), 0)::bigint as mean_late_s,
            count(*) filter (where w.status = 'absent' and not w.provisional) as absent,
            count(*) filter (where w.provisional) as provisional
        from workdays_at(",
    );
    query.push_bind(now).push(
        ") w join people p on p.id = w.person
        where w.shift <> '' and w.status not in ('holiday', 'leave') and",
    );
    dates(&mut query, "w.date", filter);
    narrow(&mut query, filter);
    query.push(" group by 1 order by 1");
    query.build_query_as().fetch_all(conn).await
}

/// Terminals that have not reported past the windows of absences, with how many those are.
pub async fn silent<R: Row>(conn: &mut PgConnection, filter: &Filter, now: Timestamp) -> Result<Vec<R>> {
    let mut query = QueryBuilder::new(
        "select s.name as site, s.zone, t.name as terminal, t.reported_through as silent_since,
            count(*) as absences
        from workdays_at(",
    );
    query.push_bind(now).push(
        ") w join people p on p.id = w.person join sites s on s.id = p.site
            join heard t on t.site = p.site and unreported(w.closes_at, t.through, ",
    );
    query.push_bind(now).push(") where w.provisional and w.closes_at <= ");
    query.push_bind(now).push(" and");
    dates(&mut query, "w.date", filter);
    narrow(&mut query, filter);
    query.push(" group by t.device, t.name, t.reported_through, s.id order by s.name, t.name");
    query.build_query_as().fetch_all(conn).await
}
