//! A correction needs two people: one requests it, another decides.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::{Api, contains_fields, expect_status, texts};
use tests::company::Company;
use uuid::Uuid;

/// Requests a correction of the time of leaving.
fn correction(at: &str) -> Value {
    json!({"number": "101", "date": "2025-03-03", "reason": "forgot to punch",
        "adds": [{"at": at, "direction": "out"}]})
}

/// Invalid requests, and requests about others.
async fn invalid_requests_are_rejected(company: &Company, ada: &Api, punch_of_another: Uuid) -> Result<()> {
    let with = |key: &str, value: Value| {
        let mut wish = correction("2025-03-03T18:05:00+01:00");
        wish[key] = value;
        wish
    };
    for (status, request) in [
        (400, with("adds", json!([]))),
        (400, with("adds", json!([{"at": "2025-03-20T18:00:00+01:00"}]))),
        (400, with("adds", json!([{"at": "2199-03-03T18:00:00+01:00"}]))),
        (400, with("ignores", json!([punch_of_another]))),
        (400, with("reason", json!(""))),
        (403, with("number", json!("102"))),
    ] {
        let answer = ada.post("/corrections", &request).await?;
        expect_status(status, answer).with_context(|| request.to_string())?;
    }
    assert_eq!(company.hub.cluster().number("select count(*) from corrections").await?, 0);
    Ok(())
}

/// HR requests a correction, may not approve it, and the manager rejects it.
async fn a_rejected_correction_changes_nothing(company: &Company, boss: &Api) -> Result<()> {
    let hr = &company.hr;
    let before = hr.day("101", "2025-03-03").await?;
    let asked = expect_status(201, hr.post("/corrections", &correction("2025-03-03T17:00:00+01:00")).await?)?;
    expect_status(403, hr.post(&format!("/corrections/{}/approve", asked["id"]), &Value::Null).await?)?;
    let verdict = json!({"note": "she stayed longer"});
    let rejected =
        expect_status(200, boss.post(&format!("/corrections/{}/reject", asked["id"]), &verdict).await?)?;
    let expected = json!({"state": "rejected", "requested_by": "hr", "decided_by": "boss",
        "note": "she stayed longer", "before": null, "after": null});
    contains_fields(&rejected, &expected)?;
    company.hub.cluster().wait_until_computed().await?;
    assert_eq!(hr.day("101", "2025-03-03").await?["workdays"], before["workdays"]);
    Ok(())
}

/// An approved correction is revoked by another request, once.
async fn an_approval_can_be_revoked(company: &Company, boss: &Api, approved: &Value) -> Result<()> {
    let revoke =
        json!({"number": "101", "date": "2025-03-03", "reason": "a mistake", "revokes": approved["id"]});
    let mut wrong = revoke.clone();
    wrong["revokes"] = json!(999);
    expect_status(400, company.hr.post("/corrections", &wrong).await?)?;
    let asked = expect_status(201, company.hr.post("/corrections", &revoke).await?)?;
    let twin = expect_status(201, company.hr.post("/corrections", &revoke).await?)?;
    let done = boss.post(&format!("/corrections/{}/approve", asked["id"]), &Value::Null).await?;
    contains_fields(
        &expect_status(200, done)?["after"][0],
        &json!({"status": "incomplete", "last_out": null}),
    )?;
    expect_status(409, boss.post(&format!("/corrections/{}/approve", twin["id"]), &Value::Null).await?)?;
    expect_status(409, company.hr.post("/corrections", &revoke).await?)?;
    contains_fields(
        &company.hr.day("101", "2025-03-03").await?["workdays"][0],
        &json!({"status": "incomplete"}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_needs_two_people_and_changes_the_day() -> Result<()> {
    let company = Company::open().await?;
    company.create_week_schedule().await?;
    company.add_people(&[("100", "Boss"), ("101", "Ada"), ("102", "Bob")]).await?;
    company.assign_week_schedule("101", "2025-03-03", "2025-03-03").await?;
    company.punch("101", "2025-03-03 08:58").await?;
    let punch_of_another = company.punch("102", "2025-03-03 09:00").await?;
    company.hub.cluster().wait_until_computed().await?;
    let boss = company.login("boss", "manager", Some("100")).await?;
    let ada = company.login("ada", "employee", Some("101")).await?;

    let worklist = "/worklists/missing_out?from=2025-03-03&to=2025-03-03";
    for (api, expected) in [(&ada, vec!["101"]), (&boss, vec!["101"]), (&company.hr, vec!["101", "102"])] {
        assert_eq!(texts(&api.list(worklist).await?, "number"), expected);
    }
    let expected = json!({"status": "incomplete", "first_in": "2025-03-03T08:58:00+01:00", "open": false});
    contains_fields(&ada.list(worklist).await?[0], &expected)?;
    invalid_requests_are_rejected(&company, &ada, punch_of_another).await?;
    a_rejected_correction_changes_nothing(&company, &boss).await?;

    let asked =
        expect_status(201, ada.post("/corrections", &correction("2025-03-03T18:05:00+01:00")).await?)?;
    let (approve, reject) =
        (format!("/corrections/{}/approve", asked["id"]), format!("/corrections/{}/reject", asked["id"]));
    expect_status(403, ada.post(&approve, &Value::Null).await?)?;
    let approved = expect_status(200, boss.post(&approve, &Value::Null).await?)?;
    contains_fields(&approved, &json!({"state": "approved", "requested_by": "ada", "decided_by": "boss"}))?;
    for path in [&approve, &reject] {
        expect_status(409, boss.post(path, &Value::Null).await?)?;
        expect_status(409, company.hr.post(path, &Value::Null).await?)?;
    }

    let day = ada.day("101", "2025-03-03").await?;
    let expected = json!({"status": "present", "worked_s": 32_820, "balance_s": 300, "overtime_s": 0,
        "flags": [], "last_out": "2025-03-03T18:05:00+01:00"});
    contains_fields(&day["workdays"][0], &expected)?;
    assert_eq!(day["differs"], false, "{day}");
    ensure!(ada.list(worklist).await?.is_empty(), "the list is not empty");
    let kept = ada.list("/corrections?state=approved").await?;
    assert_eq!(kept, [approved]);
    contains_fields(&kept[0]["before"][0], &json!({"status": "incomplete", "worked_s": null}))?;
    contains_fields(&kept[0]["after"][0], &json!({"status": "present", "worked_s": 32_820}))?;
    let audited = "select count(*) from audit where action in ('correction.approve', 'correction.reject')";
    assert_eq!(company.hub.cluster().number(audited).await?, 2);
    an_approval_can_be_revoked(&company, &boss, &kept[0]).await
}
