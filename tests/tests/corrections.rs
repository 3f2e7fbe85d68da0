//! What was recorded wrongly is corrected by two, never by one.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::{Api, answered, says, texts};
use tests::company::Company;
use uuid::Uuid;

/// A request of somebody to let a time of leaving count.
fn wish(at: &str) -> Value {
    json!({"number": "101", "date": "2025-03-03", "reason": "forgot to punch",
        "adds": [{"at": at, "direction": "out"}]})
}

/// Requests that make no sense, or that are none of hers.
async fn nonsense_is_not_stored(company: &Company, ada: &Api, punch_of_another: Uuid) -> Result<()> {
    let with = |key: &str, value: Value| {
        let mut wish = wish("2025-03-03T18:05:00+01:00");
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
        answered(status, answer).with_context(|| request.to_string())?;
    }
    assert_eq!(company.hub.cluster().number("select count(*) from corrections").await?, 0);
    Ok(())
}

/// HR asks for something else, may not decide that alone, and is turned down.
async fn a_rejected_wish_changes_nothing(company: &Company, boss: &Api) -> Result<()> {
    let hr = &company.hr;
    let before = hr.day("101", "2025-03-03").await?;
    let asked = answered(201, hr.post("/corrections", &wish("2025-03-03T17:00:00+01:00")).await?)?;
    answered(403, hr.post(&format!("/corrections/{}/approve", asked["id"]), &Value::Null).await?)?;
    let verdict = json!({"note": "she stayed longer"});
    let rejected =
        answered(200, boss.post(&format!("/corrections/{}/reject", asked["id"]), &verdict).await?)?;
    let expected = json!({"state": "rejected", "requested_by": "hr", "decided_by": "boss",
        "note": "she stayed longer", "before": null, "after": null});
    says(&rejected, &expected)?;
    company.hub.cluster().settled().await?;
    assert_eq!(hr.day("101", "2025-03-03").await?["workdays"], before["workdays"]);
    Ok(())
}

/// What was approved by mistake is revoked by another request, once.
async fn an_approval_can_be_revoked(company: &Company, boss: &Api, approved: &Value) -> Result<()> {
    let revoke =
        json!({"number": "101", "date": "2025-03-03", "reason": "a mistake", "revokes": approved["id"]});
    let mut wrong = revoke.clone();
    wrong["revokes"] = json!(999);
    answered(400, company.hr.post("/corrections", &wrong).await?)?;
    let asked = answered(201, company.hr.post("/corrections", &revoke).await?)?;
    let twin = answered(201, company.hr.post("/corrections", &revoke).await?)?;
    let done = boss.post(&format!("/corrections/{}/approve", asked["id"]), &Value::Null).await?;
    says(&answered(200, done)?["after"][0], &json!({"status": "incomplete", "last_out": null}))?;
    answered(409, boss.post(&format!("/corrections/{}/approve", twin["id"]), &Value::Null).await?)?;
    answered(409, company.hr.post("/corrections", &revoke).await?)?;
    says(&company.hr.day("101", "2025-03-03").await?["workdays"][0], &json!({"status": "incomplete"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_needs_four_eyes_and_changes_the_day() -> Result<()> {
    let company = Company::open().await?;
    company.plan_a_week().await?;
    company.hire(&[("100", "Boss"), ("101", "Ada"), ("102", "Bob")]).await?;
    company.follow("101", "2025-03-03", "2025-03-03").await?;
    company.punch("101", "2025-03-03 08:58").await?;
    let punch_of_another = company.punch("102", "2025-03-03 09:00").await?;
    company.hub.cluster().settled().await?;
    let boss = company.login("boss", "manager", Some("100")).await?;
    let ada = company.login("ada", "employee", Some("101")).await?;

    let worklist = "/worklists/missing_out?from=2025-03-03&to=2025-03-03";
    for (api, expected) in [(&ada, vec!["101"]), (&boss, vec!["101"]), (&company.hr, vec!["101", "102"])] {
        assert_eq!(texts(&api.list(worklist).await?, "number"), expected);
    }
    let expected = json!({"status": "incomplete", "first_in": "2025-03-03T08:58:00+01:00", "open": false});
    says(&ada.list(worklist).await?[0], &expected)?;
    nonsense_is_not_stored(&company, &ada, punch_of_another).await?;
    a_rejected_wish_changes_nothing(&company, &boss).await?;

    let asked = answered(201, ada.post("/corrections", &wish("2025-03-03T18:05:00+01:00")).await?)?;
    let (approve, reject) =
        (format!("/corrections/{}/approve", asked["id"]), format!("/corrections/{}/reject", asked["id"]));
    answered(403, ada.post(&approve, &Value::Null).await?)?;
    let approved = answered(200, boss.post(&approve, &Value::Null).await?)?;
    says(&approved, &json!({"state": "approved", "requested_by": "ada", "decided_by": "boss"}))?;
    for path in [&approve, &reject] {
        answered(409, boss.post(path, &Value::Null).await?)?;
        answered(409, company.hr.post(path, &Value::Null).await?)?;
    }

    let day = ada.day("101", "2025-03-03").await?;
    let expected = json!({"status": "present", "worked_s": 32_820, "balance_s": 300, "overtime_s": 0,
        "flags": [], "last_out": "2025-03-03T18:05:00+01:00"});
    says(&day["workdays"][0], &expected)?;
    assert_eq!(day["differs"], false, "{day}");
    ensure!(ada.list(worklist).await?.is_empty(), "there is nothing left to do");
    let kept = ada.list("/corrections?state=approved").await?;
    assert_eq!(kept, [approved]);
    says(&kept[0]["before"][0], &json!({"status": "incomplete", "worked_s": null}))?;
    says(&kept[0]["after"][0], &json!({"status": "present", "worked_s": 32_820}))?;
    let audited = "select count(*) from audit where action in ('correction.approve', 'correction.reject')";
    assert_eq!(company.hub.cluster().number(audited).await?, 2);
    an_approval_can_be_revoked(&company, &boss, &kept[0]).await
}
