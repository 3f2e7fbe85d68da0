//! How fast workdays are: 10,000 people, 31 days, 620,000 punches, in a private PostgreSQL and the
//! real hub. Prints one object of JSON: seconds and milliseconds (medians), with `--behind N`
//! million older punches in the same tables.
//!
//! The reports are fetched over HTTPS, whole. `late_punch_ms` is from a punch's commit until another
//! connection sees the new workday.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::statistics::median;
use reqwest::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tests::api::Api;
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::program;

const PEOPLE: i64 = 10_000;
/// The month that is measured: 31 days that have passed whenever this runs.
const MONTH: &str = "2025-03";
const REPEATS: usize = 9;

#[tokio::main]
async fn main() -> Result<()> {
    let behind = behind()?;
    let dir = TestDir::new()?;
    let mut hub = Hub::configure(&dir, "hub", "")?;
    hub.account("hr", "hr", None)?;
    hub.start()?; // makes the cluster and keeps it running
    let mut database = hub.cluster().connect().await?;
    eprintln!("filling in {PEOPLE} people and a month of punches");
    for statement in fill(behind) {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await?;
    }
    if behind > 0 {
        eprintln!("computing what lies behind");
        recompute(&hub, &format!("{MONTH}-01"), "2024-01-01")?;
        // What grew in a year has been looked after; here that would fall into the measurement.
        sqlx::query("vacuum analyze").execute(&mut database).await?;
    }
    let first = recompute(&hub, &format!("{MONTH}-31"), &format!("{MONTH}-01"))?;
    let again = recompute(&hub, &format!("{MONTH}-31"), &format!("{MONTH}-01"))?;
    sqlx::query("analyze").execute(&mut database).await?;
    let days: i64 =
        sqlx::query_scalar("select count(*) from workdays where date between '2025-03-01' and '2025-03-31'")
            .fetch_one(&mut database)
            .await?;
    ensure!(days >= PEOPLE * 21, "{days} workdays");
    let late_ms = late_punches(&mut database).await?;
    let hr = Api::login(&hub, "hr").await?;
    let month = format!("from={MONTH}-01&to={MONTH}-31");
    let timesheet = fetch(&hr, &format!("/reports/timesheet?{month}&department=D7")).await?;
    let workbook = fetch(&hr, &format!("/reports/timesheet?{month}&department=D7&format=xlsx")).await?;
    let presence = {
        sqlx::query("insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), md5('1'), 3, row_number() over (), id, now() - interval '1 hour', 'synchronised',
                'unknown', 0, ''::bytea from people")
            .execute(&mut database)
            .await?;
        fetch(&hr, "/reports/presence").await?
    };
    let daily = fetch(&hr, &format!("/reports/daily?from={MONTH}-12")).await?;
    let report = json!({
        "people": PEOPLE, "punches": 62 * PEOPLE, "punches_behind": behind * 1_000_000, "workdays": days,
        "recompute_first_s": first, "recompute_again_s": again, "late_punch_ms": late_ms,
        "timesheet_200_json_ms": timesheet, "timesheet_200_xlsx_ms": workbook, "presence_ms": presence, "daily_10000_json_ms": daily,
    });
    println!("{report}");
    Ok(())
}

fn behind() -> Result<i64> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => Ok(0),
        [flag, millions] if flag == "--behind" => {
            millions.parse().context("--behind takes millions of punches")
        }
        _ => anyhow::bail!("usage: month [--behind MILLIONS]"),
    }
}

/// People in 50 departments of 200, all on a weekly schedule, two punches a day.
fn fill(behind: i64) -> Vec<String> {
    let rules = r#"{"start": "09:00", "end": "18:00", "unpaid_break_min": 30}"#;
    // Enough days before the month for what shall lie behind, at two punches a day.
    let days_behind = behind * 1_000_000 / (2 * PEOPLE);
    vec![
        "update sites set zone = 'Europe/Berlin', zone_set = true, swept_through = '2099-01-01'".to_owned(),
        "insert into departments (name) select 'D' || n from generate_series(1, 50) n".to_owned(),
        format!("insert into people (id, number, name, department) select gen_random_uuid(), (100000 + n)::text,
            'Person ' || n, 1 + (n / 200) % 50 from generate_series(0, {PEOPLE} - 1) n"),
        "insert into terminals (device, name, state, certificate_sha256, expires_at, reported_through)
            select md5(n::text), 'Terminal ' || n, 'accepted', ''::bytea, now() + interval '1 year', now()
            from generate_series(1, 20) n"
            .to_owned(),
        format!("insert into shifts (name, rules) values ('D', '{rules}')"),
        "insert into schedules (name, anchor, cycle_days) values ('Week', '2024-01-01', 7)".to_owned(),
        "insert into schedule_days (schedule, day, shift) select s.id, d, h.id from schedules s, shifts h,
            generate_series(0, 4) d"
            .to_owned(),
        "insert into assignments (person, schedule, from_date) select p.id, s.id, '2020-01-01' from people p, schedules s"
            .to_owned(),
        format!("insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), md5((1 + n % 20)::text), 1, n, person, at, 'synchronised', 'unknown', 0, ''::bytea
            from (select row_number() over (order by day, half, id) as n, id as person,
                (day + case half when 0 then time '08:50' else time '18:00' end) at time zone 'Europe/Berlin'
                    + (abs(hashtext(id::text || day::text || half::text)) % 1800) * interval '1 second' as at
                from people, generate_series(timestamp '{MONTH}-01' - {days_behind} * interval '1 day', timestamp '{MONTH}-31', interval '1 day') day,
                    generate_series(0, 1) half) seen"),
        "analyze".to_owned(),
    ]
}

/// Seconds that `rollcall-hub recompute` takes, its start included.
fn recompute(hub: &Hub, to: &str, from: &str) -> Result<f64> {
    let start = Instant::now();
    let done = Command::new(program("rollcall-hub")?)
        .args(["recompute", "--from", from, "--to", to, "--config"])
        .arg(&hub.config)
        .output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    eprint!("{}", String::from_utf8_lossy(&done.stdout));
    Ok(round(start.elapsed()) / 1000.0)
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Milliseconds from the commit of a late punch to the new workday, seen from outside.
async fn late_punches(database: &mut PgConnection) -> Result<f64> {
    let mut times = Vec::new();
    for n in 0..20 {
        let person = format!("(select id from people where number = '{}')", 100_000 + n * 37);
        let at = format!("('{MONTH}-12 19:' || {})::timestamp at time zone 'Europe/Berlin'", 10 + n);
        let statements = format!(
            "insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
                values (gen_random_uuid(), md5('1'), 2, {}, {person}, {at}, 'synchronised', 'unknown', 0, '');
            insert into jobs (person, from_date, to_date) values ({person}, '{MONTH}-11', '{MONTH}-13');
            select pg_notify('rollcall_job', '')",
            n + 1
        );
        let mut transaction = sqlx::Connection::begin(&mut *database).await?;
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        let start = Instant::now();
        let there = format!(
            "select exists (select from workdays where person = {person} and date = '{MONTH}-12' and last_out = {at})"
        );
        loop {
            if sqlx::query_scalar(AssertSqlSafe(there.clone())).fetch_one(&mut *database).await? {
                break;
            }
            ensure!(start.elapsed() < Duration::from_secs(30), "the workday did not follow the punch");
        }
        times.push(round(start.elapsed()));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    median(&times).context("nothing was measured")
}

/// The median of milliseconds until the whole answer is here.
async fn fetch(hr: &Api, path: &str) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        let bytes = hr.request(Method::GET, path).send().await?.error_for_status()?.bytes().await?;
        ensure!(bytes.len() > 2, "{path} is empty");
        times.push(round(start.elapsed()));
    }
    median(&times).context("nothing was measured")
}
