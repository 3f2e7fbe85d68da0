//! Nobody is absent before their shift begins, and no absence counts before it is final.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::api::{Api, contains_fields, expect_status, texts};
use tests::company::Company;

/// A time zone in which it is after three in the morning.
const ZONE: &str = "select 'Etc/GMT' || case when west < 0 then '' else '+' end || west
    from (select (extract(hour from now() at time zone 'UTC')::int + 9) % 24 - 12) as h (west)";

/// Adds a site in that zone with two people who work from nine on. Returns the date there.
async fn add_people_before_their_shift(company: &Company) -> Result<String> {
    let cluster = company.hub.cluster();
    let zone = cluster.column(ZONE).await?.remove(0);
    let admin = company.login("admin", "admin", None).await?;
    expect_status(200, admin.put("/sites/Main", &json!({"zone": zone})).await?)?;
    let hr = &company.hr;
    let (plain, flexible) = (
        json!({"start": "09:00", "end": "18:00"}),
        json!({"start": "09:00", "end": "18:00", "core_start": "10:00", "grace_late_min": 20}),
    );
    company.add_people(&[("101", "Ada"), ("102", "Bob")]).await?;
    let today = "select (now() at time zone zone)::date::text from sites";
    let date = cluster.column(today).await?.remove(0);
    for (number, name, shift) in [("101", "D", plain), ("102", "Flexible", flexible)] {
        expect_status(200, hr.put(&format!("/shifts/{name}"), &shift).await?)?;
        let pattern = json!({"anchor": "2025-03-03", "cycle_days": 1, "days": [[name]]});
        expect_status(200, hr.put(&format!("/schedules/{name}"), &pattern).await?)?;
        let setting = json!({"schedule": name, "from": date, "to": date});
        expect_status(200, hr.put(&format!("/people/{number}/schedule"), &setting).await?)?;
    }
    company.hub.must(&["recompute", "--from", &date, "--to", &date])?;
    Ok(date)
}

/// Ada's row of a report.
async fn row_of_ada(hr: &Api, report: &str, date: &str) -> Result<Value> {
    let rows = hr.list(&format!("{report}?from={date}&to={date}")).await?;
    let row = rows.iter().find(|row| row["number"] == "101");
    row.cloned().ok_or_else(|| anyhow::anyhow!("{report}: {rows:?}"))
}

/// Checks every report of Ada's day before it is final.
async fn check_absence_is_not_counted(hr: &Api, date: &str) -> Result<()> {
    let totals = json!({"days": 0, "absent": 0, "expected_s": 0, "balance_s": 0, "provisional": 1});
    contains_fields(&row_of_ada(hr, "/reports/overtime", date).await?, &totals)?;
    let trend = hr.list(&format!("/reports/punctuality?from={date}&to={date}")).await?;
    contains_fields(&trend[0], &json!({"absent": 0, "provisional": 2, "late_percent": null}))?;
    for report in ["lateness", "exceptions", "silence"] {
        let rows = hr.list(&format!("/reports/{report}?from={date}&to={date}")).await?;
        ensure!(rows.is_empty(), "{report}: {rows:?}");
    }
    expect_status(409, hr.post(&format!("/workdays/101/{date}/finalise"), &Value::Null).await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_absent_before_their_shift_begins() -> Result<()> {
    let company = Company::open().await?;
    let date = add_people_before_their_shift(&company).await?;
    let (hr, cluster) = (&company.hr, company.hub.cluster());
    let absences = format!("/reports/absence?from={date}&to={date}");

    let expected =
        json!({"status": "expected", "provisional": true, "balance_s": null, "expected_s": 32_400});
    for report in ["/reports/daily", "/reports/timesheet"] {
        contains_fields(&row_of_ada(hr, report, &date).await?, &expected)?;
    }
    contains_fields(
        &row_of_ada(hr, "/timesheet", &date).await?,
        &json!({"status": "expected", "flags": []}),
    )?;
    let day = hr.day("101", &date).await?;
    contains_fields(&day["workdays"][0], &expected)?;
    contains_fields(&day, &json!({"differs": false}))?;
    contains_fields(&day["facts"][0], &json!({"status": "expected", "balance_s": null}))?;
    ensure!(day["facts"][0]["why"].to_string().contains("09:10:00"), "{day}");
    ensure!(hr.list(&absences).await?.is_empty(), "an absence before the shift");
    check_absence_is_not_counted(hr, &date).await?;
    let due = "select p.number || ' ' || (due_at - starts_at)::text from workdays w join people p on p.id = w.person
        order by p.number";
    assert_eq!(cluster.column(due).await?, ["101 00:10:00", "102 01:20:00"]);

    // A workday stored before this column existed: the start of its shift counts, and there is no new revision.
    cluster.execute("update workdays set due_at = null").await?;
    contains_fields(&row_of_ada(hr, "/reports/daily", &date).await?, &expected)?;
    contains_fields(&hr.day("101", &date).await?, &json!({"differs": false}))?;
    company.hub.must(&["recompute", "--from", &date, "--to", &date])?;
    assert_eq!(cluster.number("select max(revision)::bigint from workdays").await?, 1);

    // The grace period has ended, the window has not.
    cluster.execute("update workdays set due_at = now() - interval '1 second'").await?;
    let provisional = json!({"status": "absent", "provisional": true, "balance_s": -32_400});
    contains_fields(&row_of_ada(hr, "/reports/absence", &date).await?, &provisional)?;
    contains_fields(&hr.day("101", &date).await?["workdays"][0], &provisional)?;
    let marked = json!({"status": "absent", "flags": ["provisional"]});
    contains_fields(&row_of_ada(hr, "/timesheet", &date).await?, &marked)?;
    check_absence_is_not_counted(hr, &date).await?;

    // The window has closed and the terminal has reported.
    cluster.execute("update workdays set closes_at = now() - interval '1 second'").await?;
    assert_eq!(texts(&hr.list(&absences).await?, "number"), ["101", "102"]);
    let totals =
        json!({"days": 1, "absent": 1, "expected_s": 32_400, "balance_s": -32_400, "provisional": 0});
    contains_fields(&row_of_ada(hr, "/reports/overtime", &date).await?, &totals)?;
    contains_fields(&row_of_ada(hr, "/timesheet", &date).await?, &json!({"status": "absent", "flags": []}))?;
    let trend = hr.list(&format!("/reports/punctuality?from={date}&to={date}")).await?;
    contains_fields(&trend[0], &json!({"absent": 2, "provisional": 0}))?;
    expect_status(204, hr.post(&format!("/workdays/101/{date}/finalise"), &Value::Null).await?)?;
    Ok(())
}
