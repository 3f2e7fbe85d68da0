//! Workdays are computed from what terminals have reported, in any order and by any number of hubs.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::Connection;
use tests::api::{Api, contains_fields, expect_status};
use tests::company::{Company, DEVICE, TERMINAL};
use tests::dir::TestDir;
use tests::hub::Hub;

/// The only row of a daily report.
async fn daily_report(hr: &Api, date: &str) -> Result<Value> {
    let mut rows = hr.list(&format!("/reports/daily?from={date}")).await?;
    ensure!(rows.len() == 1, "{rows:?}");
    let row = rows.remove(0);
    contains_fields(&row, &json!({"date": date, "status": "absent"}))?;
    Ok(row)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_provisional_until_the_terminals_have_reported() -> Result<()> {
    let company = Company::open().await?;
    let (hub, hr) = (&company.hub, &company.hr);
    hub.cluster().execute("update terminals set reported_through = '2025-03-03 08:10+01'").await?;
    company.create_week_schedule().await?;
    company.add_people(&[("100", "Boss"), ("101", "Ada"), ("102", "Bob")]).await?;
    company.assign_week_schedule("101", "2025-03-03", "2025-03-03").await?;
    company.assign_week_schedule("102", "2025-03-04", "2025-03-04").await?;

    assert_eq!(daily_report(hr, "2025-03-03").await?["provisional"], true);
    let silence = "/reports/silence?from=2025-03-03&to=2025-03-03";
    let silent = hr.list(silence).await?;
    assert_eq!(silent.len(), 1, "{silent:?}");
    let expected = json!({"site": "Main", "terminal": "Front door", "absences": 1,
        "silent_since": "2025-03-03T08:10:00+01:00"});
    contains_fields(&silent[0], &expected)?;
    let notice = silent[0]["notice"].as_str().context("a notice")?;
    ensure!(notice.contains("Front door") && notice.contains("1 absence"), "{notice}");
    assert_eq!(hr.list("/reports/silence?from=2025-03-03&to=2025-03-04").await?[0]["absences"], 2);

    // The last second of the window still belongs to it.
    hub.cluster().execute("update terminals set reported_through = '2025-03-04 01:59:59+01'").await?;
    assert_eq!(daily_report(hr, "2025-03-03").await?["provisional"], true);
    hub.cluster().execute("update terminals set reported_through = '2025-03-04 03:00+01'").await?;
    assert_eq!(daily_report(hr, "2025-03-03").await?["provisional"], false);
    ensure!(hr.list(silence).await?.is_empty(), "no absence waits for the terminal");

    assert_eq!(daily_report(hr, "2025-03-04").await?["provisional"], true);
    expect_status(404, hr.post("/workdays/101/2025-03-04/finalise", &Value::Null).await?)?;
    expect_status(204, hr.post("/workdays/102/2025-03-04/finalise", &Value::Null).await?)?;
    assert_eq!(daily_report(hr, "2025-03-04").await?["provisional"], false);
    contains_fields(&hr.day("102", "2025-03-04").await?["workdays"][0], &json!({"finalised_by": "hr"}))?;
    ensure!(hr.list("/reports/silence?from=2025-03-03&to=2025-03-04").await?.is_empty(), "it is final");
    // A later punch makes another revision, which is not final.
    company.punches("102", &["2025-03-04 09:00", "2025-03-04 10:00"]).await?;
    assert_eq!(daily_report(hr, "2025-03-04").await?["provisional"], true);
    contains_fields(&hr.day("102", "2025-03-04").await?["workdays"][0], &json!({"finalised_by": null}))?;
    // A terminal that absences wait for is not deleted.
    let admin = company.login("admin", "admin", None).await?;
    expect_status(200, admin.put("/sites/Annex", &json!({"zone": "Europe/Berlin"})).await?)?;
    let device = "/terminals/0123456789abcdef0123456789abcdef";
    expect_status(409, admin.patch(device, &json!({"site": "Annex"})).await?)?;
    Ok(())
}

/// 300 people who work from Monday to Friday, without a terminal that has not reported.
const PEOPLE: [&str; 7] = [
    "update sites set swept_through = '2099-01-01'",
    TERMINAL,
    "insert into people (id, number, name)
        select md5(n::text)::uuid, n::text, 'Person ' || n from generate_series(1001, 1300) n",
    r#"insert into shifts (name, rules) values ('D', '{"start": "09:00", "end": "18:00"}')"#,
    "insert into schedules (name, anchor, cycle_days) values ('Week', '2025-03-03', 7)",
    "insert into schedule_days (schedule, day, shift)
        select s.id, d, h.id from schedules s, shifts h, generate_series(0, 4) d",
    "insert into assignments (person, schedule, from_date, to_date)
        select p.id, s.id, '2025-03-01', '2025-03-31' from people p, schedules s",
];

/// The punches of 15 days in batches: arrivals and departures, of which some are missing, some duplicated and some late.
const ARRIVALS: &str = "create temporary table arrivals as
    with planned as (
        select p.id as person, (day + case half when 0 then time '08:50' else time '17:50' end)
            at time zone 'Europe/Berlin'
            + (hashtext(p.number || day::text || half::text) & 2047) * interval '1 second' as moment
        from people p, generate_series(timestamp '2025-03-03', timestamp '2025-03-21', interval '1 day') day,
            generate_series(0, 1) half
        where extract(isodow from day) < 6
            and (hashtext('missing' || p.number || day::text || half::text) & 15) > 0
    ), seen as (
        select person, moment from planned
        union all
        select person, moment + interval '10 seconds' from planned
        where (hashtext('twice' || person::text || moment::text) & 7) = 0
    )
    select row_number() over (order by person, moment) as seq, person, moment,
        case when (hashtext('late' || person::text || moment::text) & 15) = 0 then 59
            else (hashtext('batch' || person::text || moment::text) & 2147483647) % 59 end as batch
    from seen";

/// Stores them in 60 transactions with their jobs. Returns their number.
async fn store_punches(hub: &Hub) -> Result<i64> {
    let mut database = hub.cluster().connect().await?;
    sqlx::query(ARRIVALS).execute(&mut database).await?;
    for batch in 0..60 {
        let mut transaction = database.begin().await?;
        sqlx::query(
            "insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), $1, 1, seq, person, moment, 'synchronised', 'unknown', 0, ''::bytea
            from arrivals where batch = $2",
        )
        .bind(DEVICE)
        .bind(batch)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "insert into jobs (person, from_date, to_date)
            select person, (moment at time zone 'UTC')::date - 1, (moment at time zone 'UTC')::date + 1
            from arrivals where batch = $1 order by seq",
        )
        .bind(batch)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("select pg_notify('rollcall_job', '')").execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(sqlx::query_scalar("select count(*) from arrivals").fetch_one(&mut database).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_compute_the_same_workdays_as_one() -> Result<()> {
    let dir = TestDir::new()?;
    let mut first = Hub::start_new(&dir)?;
    let mut second = first.second(&dir, "")?;
    for statement in PEOPLE {
        first.cluster().execute(statement).await?;
    }

    let arrived = store_punches(&first).await?;
    ensure!(arrived > 9000, "{arrived} punches");
    first.cluster().wait_until_computed().await?;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(first.cluster().number("select count(*) from jobs").await?, 0, "a job was left");
    for (name, hub) in [("first", &first), ("second", &second)] {
        ensure!(hub.logged().contains("workdays computed"), "the {name} hub did nothing");
    }
    let figures = "select row(person, date, shift, status, first_in, last_out, worked_s, late_s, early_s,
        overtime_s, balance_s, flags)::text from workdays order by person, date, shift";
    let together = first.cluster().column(figures).await?;
    assert_eq!(together.len(), 300 * 15);

    // Now with one process: no hub runs, only PostgreSQL.
    second.kill()?;
    first.kill()?;
    first.cluster().execute("delete from workdays").await?;
    first.must(&["recompute", "--from", "2025-03-03", "--to", "2025-03-21"])?;
    let alone = first.cluster().column(figures).await?;
    assert_eq!(together.len(), alone.len());
    for (two, one) in together.iter().zip(&alone) {
        assert_eq!(two, one);
    }
    Ok(())
}
