//! A locked pay period does not change, whatever arrives later.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::{Api, contains_fields, expect_status, texts};
use tests::company::Company;

/// Creates the period of March and locks it.
async fn lock_march(hr: &Api) -> Result<()> {
    let march = json!({"from": "2025-03-01", "to": "2025-03-31"});
    let period = expect_status(201, hr.post("/periods", &march).await?)?;
    contains_fields(
        &period,
        &json!({"state": "open", "site": null, "from": "2025-03-01", "changed_by": "hr"}),
    )?;
    let overlapping = json!({"from": "2025-03-31", "to": "2025-04-30", "site": "Main"});
    expect_status(409, hr.post("/periods", &overlapping).await?)?;
    for (step, status) in [
        ("lock", 409),
        ("reopen", 409),
        ("approve", 200),
        ("approve", 409),
        ("reopen", 409),
        ("lock", 200),
        ("lock", 409),
        ("reopen", 409),
    ] {
        let answer = hr.post(&format!("/periods/{}/{step}", period["id"]), &Value::Null).await?;
        expect_status(status, answer).with_context(|| step.to_owned())?;
    }
    assert_eq!(texts(&hr.list("/periods").await?, "state"), ["locked"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_period_does_not_change() -> Result<()> {
    let company = Company::open().await?;
    let hr = &company.hr;
    company.create_week_schedule().await?;
    company.add_people(&[("101", "Ada")]).await?;
    company.assign_week_schedule("101", "2025-03-03", "2025-03-07").await?;
    company.punches("101", &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    lock_march(hr).await?;
    let timesheet = "/reports/timesheet?from=2025-03-01&to=2025-03-31";
    let before = hr.list(timesheet).await?;
    assert_eq!(texts(&before, "status"), ["present", "absent", "absent", "absent", "absent"]);

    let mut ids = Vec::new();
    for (local, last_out) in
        [("2025-03-03 19:30", "2025-03-03T18:30:00Z"), ("2025-03-03 20:00", "2025-03-03T19:00:00Z")]
    {
        company.punches("101", &[local]).await?;
        let pending = hr.list("/adjustments?state=pending").await?;
        assert_eq!(pending.len(), 1, "{pending:?}");
        contains_fields(&pending[0], &json!({"number": "101", "date": "2025-03-03", "settled_by": null}))?;
        contains_fields(
            &pending[0]["before"][0],
            &json!({"last_out": "2025-03-03T17:00:00Z", "overtime_s": 0}),
        )?;
        assert_eq!(pending[0]["after"][0]["last_out"], last_out);
        assert_eq!(hr.list(timesheet).await?, before);
        ids.push(pending[0]["id"].clone());
    }
    assert_eq!(ids[0], ids[1], "the second late punch belongs to the same adjustment");
    let day = hr.day("101", "2025-03-03").await?;
    contains_fields(&day, &json!({"locked": true, "differs": true, "waiting": false}))?;

    let settle = format!("/adjustments/{}/settle", ids[0]);
    let pending = hr.list("/adjustments?state=pending").await?;
    let stale = json!({"note": "paid in April", "changed_at": "2025-04-01T00:00:00Z"});
    expect_status(409, hr.post(&settle, &stale).await?)?;
    let note = json!({"note": "paid in April", "changed_at": pending[0]["changed_at"]});
    // Ada works in HR, too: she may not settle her own adjustment, nor may an account without a person.
    for (name, role, number, code) in
        [("ada", "hr", Some("101"), "own-decision"), ("root", "admin", None, "account-without-person")]
    {
        let rejection = company.login(name, role, number).await?.post(&settle, &note).await?;
        let rejection = expect_status(403, rejection)?;
        ensure!(rejection["code"] == code, "{rejection}");
    }
    assert_eq!(hr.list("/adjustments?state=pending").await?.len(), 1);
    expect_status(204, hr.post(&settle, &note).await?)?;
    expect_status(409, hr.post(&settle, &note).await?)?;
    // It changes no workday.
    expect_status(204, hr.post("/workdays/101/2025-03-03/finalise", &Value::Null).await?)?;
    // A settled adjustment does not reappear.
    company.hub.must(&["recompute", "--from", "2025-03-03", "--to", "2025-03-07"])?;
    ensure!(hr.list("/adjustments?state=pending").await?.is_empty(), "it is pending again");
    let done = hr.list("/adjustments").await?;
    assert_eq!(done.len(), 1, "{done:?}");
    contains_fields(&done[0], &json!({"state": "settled", "settled_by": "hr", "note": "paid in April"}))?;
    // Later facts are compared with what was settled, not with the locked day.
    company.punches("101", &["2025-03-03 21:00"]).await?;
    let pending = hr.list("/adjustments?state=pending").await?;
    assert_eq!(pending.len(), 1, "{pending:?}");
    contains_fields(&pending[0]["before"][0], &json!({"last_out": "2025-03-03T19:00:00Z"}))?;
    contains_fields(&pending[0]["after"][0], &json!({"last_out": "2025-03-03T20:00:00Z"}))?;
    assert_eq!(hr.list(timesheet).await?, before);
    let noted = "select count(*) from audit where action = 'adjustment.note'";
    assert_eq!(company.hub.cluster().number(noted).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn locking_makes_absences_final() -> Result<()> {
    let company = Company::open().await?;
    let (hr, cluster) = (&company.hr, company.hub.cluster());
    company.create_week_schedule().await?;
    company.add_people(&[("101", "Ada")]).await?;
    company.assign_week_schedule("101", "2025-03-03", "2025-03-07").await?;
    company.punches("101", &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    let silent = "update terminals set created_at = '2025-01-01', reported_through = '2025-03-05 12:00'";
    cluster.execute(silent).await?;
    let overtime = async || {
        Ok::<_, anyhow::Error>(hr.list("/reports/overtime?from=2025-03-01&to=2025-03-31").await?.remove(0))
    };
    contains_fields(&overtime().await?, &json!({"absent": 1, "provisional": 3}))?;
    lock_march(hr).await?;
    let locked = overtime().await?;
    contains_fields(&locked, &json!({"absent": 4, "provisional": 0}))?;
    let audited =
        "select detail ->> 'absences_finalised' from audit where action = 'period.lock' order by id limit 1";
    assert_eq!(cluster.column(audited).await?, ["4"]);
    for change in [
        "update terminals set reported_through = now()",
        "update terminals set reported_through = '2025-03-03'",
    ] {
        cluster.execute(change).await?;
        assert_eq!(overtime().await?, locked, "{change}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_to_another_site_changes_no_locked_day() -> Result<()> {
    let company = Company::open().await?;
    let hr = &company.hr;
    let admin = company.login("admin", "admin", None).await?;
    expect_status(200, admin.put("/sites/Tokyo", &json!({"zone": "Asia/Tokyo"})).await?)?;
    company.create_week_schedule().await?;
    company.add_people(&[("101", "Ada")]).await?;
    company.assign_week_schedule("101", "2025-03-03", "2025-03-04").await?;
    company.punches("101", &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    let period = json!({"from": "2025-03-03", "to": "2025-03-03", "site": "Main"});
    let id = expect_status(201, hr.post("/periods", &period).await?)?["id"].clone();
    for step in ["approve", "lock"] {
        expect_status(200, hr.post(&format!("/periods/{id}/{step}"), &Value::Null).await?)?;
    }
    let today = json!({"from": "2199-01-01", "to": "2199-01-02"});
    let future = expect_status(201, hr.post("/periods", &today).await?)?["id"].clone();
    expect_status(200, hr.post(&format!("/periods/{future}/approve"), &Value::Null).await?)?;
    expect_status(409, hr.post(&format!("/periods/{future}/lock"), &Value::Null).await?)?;

    let timesheet = "/reports/timesheet?from=2025-03-03&to=2025-03-03";
    let before = hr.list(timesheet).await?;
    let preview = expect_status(200, hr.patch("/people/101?dry_run=true", &json!({"site": "Tokyo"})).await?)?;
    ensure!(preview["workdays_changed"].as_u64() > Some(0), "{preview}");
    company.hub.cluster().wait_until_computed().await?;
    assert_eq!(hr.list(timesheet).await?, before, "it was only tried");
    expect_status(200, hr.patch("/people/101", &json!({"site": "Tokyo"})).await?)?;
    company.hub.cluster().wait_until_computed().await?;
    let after = hr.list(timesheet).await?;
    for key in ["status", "worked_s", "late_s", "revision"] {
        assert_eq!(after[0][key], before[0][key], "{key} of a locked day");
    }
    assert_eq!(hr.list("/adjustments?state=pending").await?.len(), 1);
    Ok(())
}
