//! From schedules to workdays over the API, and the permissions of each role.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{Api, contains_fields, expect_status, texts};
use tests::company::{Company, DEVICE, week};

/// Creates a calendar, a site, two shifts (with a dry run first) and a weekly schedule.
async fn create_shifts(admin: &Api, hr: &Api) -> Result<()> {
    for name in ["Founder's Day", "Founders' Day"] {
        let holiday = json!({"name": name});
        expect_status(200, hr.put("/calendars/Berlin/holidays/2025-03-05", &holiday).await?)?;
    }
    let site = json!({"zone": "Europe/Berlin", "calendar": "Berlin"});
    expect_status(200, admin.put("/sites/Main", &site).await?)?;
    let sites = hr.list("/sites").await?;
    assert_eq!(sites, [json!({"name": "Main", "zone": "Europe/Berlin", "calendar": "Berlin"})]);

    let day = json!({"start": "09:00", "end": "18:00"});
    let effect = expect_status(200, hr.put("/shifts/D?dry_run=true", &day).await?)?;
    assert_eq!(effect, json!({"people": 0, "workdays_changed": 0, "adjustments": 0}));
    ensure!(hr.list("/shifts").await?.is_empty(), "a shift that was only tried is there");
    expect_status(200, hr.put("/shifts/D", &day).await?)?;
    let short = json!({"start": "12:00", "end": "16:00", "half_day_below_min": 180});
    expect_status(200, hr.put("/shifts/S", &short).await?)?;
    assert_eq!(texts(&hr.list("/shifts").await?, "name"), ["D", "S"]);

    let missing = json!({"anchor": "2025-03-03", "cycle_days": 1, "days": [["Nobody's"]]});
    expect_status(400, hr.put("/schedules/Week", &missing).await?)?;
    expect_status(200, hr.put("/schedules/Week", &week()).await?)?;
    assert_eq!(texts(&hr.list("/schedules").await?, "name"), ["Week"]);
    Ok(())
}

/// Assigns the schedule to a person for March, with overrides: a short Thursday and a free Friday.
async fn assign_march(hr: &Api) -> Result<()> {
    let about = json!({"department": "Kitchen", "email": "ada@example.org"});
    expect_status(200, hr.patch("/people/101", &about).await?)?;
    let person = expect_status(200, hr.get("/people/101").await?)?;
    contains_fields(
        &person,
        &json!({"manager": "100", "department": "Kitchen", "email": "ada@example.org"}),
    )?;
    assert_eq!(hr.list("/departments").await?, [json!("Kitchen")]);

    let month = json!({"schedule": "Week", "from": "2025-03-03", "to": "2025-03-28"});
    expect_status(200, hr.put("/people/101/schedule", &month).await?)?;
    expect_status(200, hr.put("/people/101/days/2025-03-06", &json!({"shifts": ["S"]})).await?)?;
    let plan = hr.get("/people/101/schedule?from=2025-03-03&to=2025-03-09").await?;
    let plan = expect_status(200, plan)?;
    assert_eq!(plan["days"].as_array().map(Vec::len), Some(5), "{plan}");
    contains_fields(&plan["days"][2], &json!({"date": "2025-03-05", "shifts": ["D"], "single": false}))?;
    contains_fields(&plan["days"][3], &json!({"date": "2025-03-06", "shifts": ["S"], "single": true}))?;

    let leave = json!({"from": "2025-03-07", "to": "2025-03-07", "reason": "Rome"});
    expect_status(200, hr.put("/people/101/leave", &leave).await?)?;
    let leave = hr.list("/people/101/leave?from=2025-03-01&to=2025-03-31").await?;
    assert_eq!(leave, [json!({"date": "2025-03-07", "half": false, "reason": "Rome"})]);
    Ok(())
}

/// Checks the first week: a long Monday, an absence, a holiday, a short Thursday, leave.
async fn check_first_week(hr: &Api) -> Result<()> {
    let monday = hr.day("101", "2025-03-03").await?;
    let expected = json!({"shift": "D", "status": "present", "worked_s": 33_900, "expected_s": 32_400,
        "late_s": 0, "early_s": 0, "overtime_s": 1200, "balance_s": 1200, "flags": [],
        "first_in": "2025-03-03T08:55:00+01:00", "last_out": "2025-03-03T18:20:00+01:00"});
    contains_fields(&monday["workdays"][0], &expected)?;
    contains_fields(&monday["facts"][0], &expected)?;
    contains_fields(&monday, &json!({"number": "101", "differs": false, "locked": false, "waiting": false}))?;
    ensure!(monday["workdays"][0]["revision"].as_i64() >= Some(1), "{monday}");
    ensure!(monday["facts"][0]["why"].to_string().contains("overtime 1200 s"), "{monday}");
    assert_eq!(monday["punches"].as_array().map(Vec::len), Some(2), "{monday}");
    contains_fields(
        &monday["punches"][0],
        &json!({"device": DEVICE, "clock": "synchronised", "ignored": false}),
    )?;

    let week = hr.list("/reports/timesheet?from=2025-03-03&to=2025-03-07").await?;
    assert_eq!(texts(&week, "status"), ["present", "absent", "holiday", "present", "leave"]);
    assert_eq!(texts(&week, "shift"), ["D", "D", "D", "S", "D"]);
    contains_fields(&week[1], &json!({"balance_s": -32_400, "provisional": false, "department": "Kitchen"}))?;
    contains_fields(&week[3], &json!({"worked_s": 14_100, "late_s": 0, "balance_s": -300}))?;
    Ok(())
}

/// Changes the start of the shift: a dry run changes nothing, the change gives each day a new revision.
async fn change_shift_start(company: &Company) -> Result<()> {
    let hr = &company.hr;
    let before = hr.day("101", "2025-03-03").await?;
    let earlier = json!({"start": "08:30", "end": "18:00"});
    // Twenty days of the schedule, less the one with another shift.
    let effect = expect_status(200, hr.put("/shifts/D?dry_run=true", &earlier).await?)?;
    assert_eq!(effect, json!({"people": 1, "workdays_changed": 19, "adjustments": 0}));
    assert_eq!(hr.day("101", "2025-03-03").await?["workdays"], before["workdays"]);
    assert_eq!(hr.list("/shifts").await?[0]["rules"]["start"], "09:00");

    expect_status(200, hr.put("/shifts/D", &earlier).await?)?;
    company.hub.cluster().wait_until_computed().await?;
    let after = hr.day("101", "2025-03-03").await?;
    let revision = before["workdays"][0]["revision"].as_i64().context("a revision")?;
    let expected = json!({"late_s": 1500, "overtime_s": 0, "balance_s": -300, "revision": revision + 1});
    contains_fields(&after["workdays"][0], &expected)?;
    ensure!(after["facts"][0]["why"].to_string().contains("late 1500 s"), "{after}");
    let audited = "select count(*) from audit where action = 'workday.revise'
        and detail #>> '{before,0,date}' = '2025-03-03' and detail #>> '{before,0,late_s}' = '0'
        and detail #>> '{after,0,date}' = '2025-03-03' and detail #>> '{after,0,late_s}' = '1500'";
    assert_eq!(company.hub.cluster().number(audited).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_become_workdays_with_reasons() -> Result<()> {
    let company = Company::open().await?;
    let (hub, hr) = (&company.hub, &company.hr);
    let admin = company.login("admin", "admin", None).await?;
    create_shifts(&admin, hr).await?;
    let renamed = "select count(*) from audit where action = 'holiday.put' and subject = 'Berlin'
        and detail->>'before' = 'Founder''s Day' and detail->>'name' = 'Founders'' Day'";
    assert_eq!(hub.cluster().number(renamed).await?, 1);
    company.add_people(&[("100", "Boss"), ("101", "Ada")]).await?;
    assign_march(hr).await?;
    let times = ["2025-03-03 08:55", "2025-03-03 18:20", "2025-03-06 12:05", "2025-03-06 16:00"];
    company.punches("101", &times).await?;
    let march = json!({"from": "2025-03-01", "to": "2025-03-31"});
    expect_status(200, hr.post("/recompute", &march).await?)?;
    hub.cluster().wait_until_computed().await?;
    assert_eq!(hub.cluster().number("select count(*) from workdays").await?, 20);
    check_first_week(hr).await?;
    change_shift_start(&company).await?;

    let revisions = "select row(person, date, shift, revision)::text from workdays order by 1";
    let before = hub.cluster().column(revisions).await?;
    expect_status(200, hr.post("/recompute", &march).await?)?;
    hub.cluster().wait_until_computed().await?;
    assert_eq!(hub.cluster().column(revisions).await?, before, "new revisions without a change");

    // Without the override the schedule applies on Thursday again: the workday of the short shift is replaced.
    expect_status(200, hr.delete("/people/101/days/2025-03-06").await?)?;
    expect_status(404, hr.delete("/people/101/days/2025-03-06").await?)?;
    hub.cluster().wait_until_computed().await?;
    let thursday = hr.day("101", "2025-03-06").await?;
    assert_eq!(thursday["workdays"].as_array().map(Vec::len), Some(1), "{thursday}");
    let expected = json!({"shift": "D", "status": "half_day", "late_s": 12_900, "early_s": 7200});
    contains_fields(&thursday["workdays"][0], &expected)
}

/// A request, and the status for admin, hr, manager and employee.
type Rule = (Method, &'static str, Value, [u16; 4]);

/// Reading. 100 manages 101; nobody manages 102.
fn reads() -> Vec<Rule> {
    let looks = [
        ("/workdays/101/2025-03-03", [200, 200, 200, 200]),
        ("/workdays/100/2025-03-03", [200, 200, 200, 403]),
        ("/workdays/102/2025-03-03", [200, 200, 403, 403]),
        ("/workdays/999/2025-03-03", [404, 404, 403, 403]),
        ("/people/101/schedule?from=2025-03-01&to=2025-03-31", [200, 200, 200, 200]),
        ("/people/102/schedule?from=2025-03-01&to=2025-03-31", [200, 200, 403, 403]),
        ("/people/101/leave?from=2025-03-01&to=2025-03-31", [200, 200, 200, 200]),
        ("/people/102/leave?from=2025-03-01&to=2025-03-31", [200, 200, 403, 403]),
        ("/reports/daily?from=2025-03-03", [200, 200, 200, 200]),
        ("/reports/silence?from=2025-03-03", [200, 200, 200, 200]),
        ("/worklists/missing_in?from=2025-03-01&to=2025-03-31", [200, 200, 200, 200]),
        ("/corrections", [200, 200, 200, 200]),
        ("/people", [200, 200, 403, 403]),
        ("/people/101", [200, 200, 403, 403]),
        ("/punches?date=2025-03-03", [200, 200, 403, 403]),
        ("/sites", [200, 200, 403, 403]),
        ("/departments", [200, 200, 403, 403]),
        ("/calendars", [200, 200, 403, 403]),
        ("/shifts", [200, 200, 403, 403]),
        ("/schedules", [200, 200, 403, 403]),
        ("/terminals", [200, 200, 403, 403]),
        ("/periods", [200, 200, 403, 403]),
        ("/adjustments", [200, 200, 403, 403]),
    ];
    looks.map(|(path, told)| (Method::GET, path, Value::Null, told)).into()
}

/// Writing. Each request can be repeated.
fn writes() -> Vec<Rule> {
    let (staff, nobody) = ([200, 200, 403, 403], Value::Null);
    let day = json!({"start": "09:00", "end": "18:00"});
    let week = json!({"anchor": "2025-03-03", "cycle_days": 1, "days": [["D"]]});
    let march = json!({"from": "2025-03-01", "to": "2025-03-31"});
    let backwards = json!({"from": "2025-03-31", "to": "2025-03-01"});
    let twice = json!({"number": "101", "name": "Twice"});
    let follow = json!({"schedule": "Daily", "from": "2025-03-03", "to": "2025-03-28"});
    let door = "/terminals/0123456789abcdef0123456789abcdef";
    vec![
        (Method::PUT, "/calendars/C/holidays/2025-03-05", json!({"name": "Free"}), staff),
        (Method::PUT, "/sites/Main", json!({"zone": "Europe/Berlin"}), [200, 403, 403, 403]),
        (Method::PATCH, door, json!({"name": "Back door"}), [204, 403, 403, 403]),
        (Method::PUT, "/shifts/D", day.clone(), staff),
        (Method::PUT, "/shifts/D?dry_run=true", day, staff),
        (Method::PUT, "/schedules/Daily", week, staff),
        (Method::POST, "/people", twice, [409, 409, 403, 403]),
        (Method::PATCH, "/people/101", json!({"department": "Kitchen"}), staff),
        (Method::PUT, "/people/101/schedule", follow, staff),
        (Method::PUT, "/people/101/days/2025-03-04", json!({"shifts": []}), staff),
        (Method::PUT, "/people/101/leave", march.clone(), staff),
        (Method::PUT, "/people/101/consent", nobody.clone(), [204, 204, 403, 403]),
        (
            Method::DELETE,
            "/people/102/leave?from=2025-03-01&to=2025-03-31",
            nobody.clone(),
            [404, 404, 403, 403],
        ),
        (Method::POST, "/workdays/101/2025-03-03/finalise", nobody.clone(), [204, 204, 403, 403]),
        (Method::POST, "/recompute", march, staff),
        (Method::POST, "/periods", backwards, [400, 400, 403, 403]),
        (Method::POST, "/periods/999/lock", nobody, [404, 404, 403, 403]),
        (
            Method::POST,
            "/adjustments/999/settle",
            json!({"note": "paid", "changed_at": "2025-04-01T00:00:00Z"}),
            [404, 404, 403, 403],
        ),
        // Nobody changes their own days; the account `admin` is not Helen's.
        (
            Method::PUT,
            "/people/900/leave",
            json!({"from": "2025-03-03", "to": "2025-03-03"}),
            [200, 403, 403, 403],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_has_its_permissions() -> Result<()> {
    let company = Company::open().await?;
    company.add_people(&[("100", "Boss"), ("101", "Ada"), ("102", "Bob")]).await?;
    for number in ["100", "101", "102"] {
        company.punches(number, &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    }
    let anonymous = Api::anonymous(&company.hub)?;
    let admin = company.login("admin", "admin", None).await?;
    let boss = company.login("boss", "manager", Some("100")).await?;
    let ada = company.login("ada", "employee", Some("101")).await?;
    let everybody = [("admin", &admin), ("hr", &company.hr), ("manager", &boss), ("employee", &ada)];

    let seen: [&[&str]; 4] = [&["100", "101", "102"], &["100", "101", "102"], &["100", "101"], &["101"]];
    for ((role, api), expected) in everybody.into_iter().zip(seen) {
        for path in ["/reports/timesheet", "/reports/daily", "/timesheet"] {
            let rows = api.list(&format!("{path}?from=2025-03-03")).await?;
            assert_eq!(texts(&rows, "number"), expected, "{path} for {role}");
        }
    }
    expect_status(403, boss.get("/reports/timesheet?from=2025-03-03&number=102").await?)
        .context("Bob is seen")?;

    for (method, path, body, told) in reads().into_iter().chain(writes()) {
        let answer = anonymous.send(method.clone(), path, &body).await?;
        expect_status(401, answer).with_context(|| format!("{method} {path} without a session"))?;
        for ((role, api), status) in everybody.into_iter().zip(told) {
            let answer = api.send(method.clone(), path, &body).await?;
            expect_status(status, answer).with_context(|| format!("{method} {path} for {role}"))?;
        }
    }
    assert_eq!(company.hr.list("/terminals").await?[0]["name"], "Back door");
    let wish = json!({"number": "102", "date": "2025-03-03", "reason": "forgot to punch",
        "adds": [{"at": "2025-03-03T19:00:00+01:00"}]});
    expect_status(201, company.hr.post("/corrections", &wish).await?)?;
    for ((role, api), expected) in everybody.into_iter().zip([vec!["102"], vec!["102"], vec![], vec![]]) {
        assert_eq!(texts(&api.list("/corrections").await?, "number"), expected, "{role}");
    }
    for (status, answer) in [
        (404, company.hr.get("/nosuch").await?),
        (400, company.hr.post("/corrections", &json!({"number": 1})).await?),
        (400, company.hr.get("/worklists/missing_out").await?),
        (400, company.hr.get("/reports/timesheet?number=%00").await?),
        (404, company.hr.get("/reports/timesheet?number=nobody").await?),
        (404, company.hr.get("/reports/overtime?department=Kitchn").await?),
        (404, boss.get("/reports/overtime?department=Kitchn&format=csv").await?),
        (404, company.hr.get("/reports/presence?site=Nowhere&format=xlsx").await?),
        (403, company.hr.patch("/people/900", &json!({"manager": "100"})).await?),
    ] {
        let rejection = expect_status(status, answer)?;
        ensure!(rejection["error"].is_string(), "an error without a reason: {rejection}");
    }
    // An account without a person decides nothing.
    expect_status(403, admin.post("/corrections/1/approve", &Value::Null).await?)?;
    expect_status(204, ada.delete("/sessions").await?)?;
    expect_status(401, ada.get("/workdays/101/2025-03-03").await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_schedule_turns_unscheduled_work_into_overtime() -> Result<()> {
    let company = Company::open().await?;
    company.create_week_schedule().await?;
    company.add_people(&[("101", "Ada")]).await?;
    company.punches("101", &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    let unscheduled = json!({"status": "unscheduled", "worked_s": 32_400, "overtime_s": 0});
    contains_fields(&company.hr.day("101", "2025-03-03").await?["workdays"][0], &unscheduled)?;
    let setting = json!({"schedule": "Week", "from": "2030-01-01"});
    expect_status(200, company.hr.put("/people/101/schedule", &setting).await?)?;
    company.hub.cluster().wait_until_computed().await?;
    let overtime = json!({"status": "unscheduled", "worked_s": 32_400, "overtime_s": 32_400});
    contains_fields(&company.hr.day("101", "2025-03-03").await?["workdays"][0], &overtime)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recompute_reaches_no_further_back() -> Result<()> {
    let company = Company::open().await?;
    company.create_week_schedule().await?;
    let every_day = json!({"anchor": "2025-03-03", "cycle_days": 1, "days": [["D"]]});
    expect_status(200, company.hr.put("/schedules/Daily", &every_day).await?)?;
    company.add_people(&[("101", "Ada")]).await?;
    company.punches("101", &["2025-03-05 09:00", "2025-03-05 18:00"]).await?;
    let setting = json!({"schedule": "Daily", "from": "2020-01-01"});
    expect_status(200, company.hr.put("/people/101/schedule", &setting).await?)?;
    company.hub.cluster().wait_until_computed().await?;
    let first = "select min(date)::text from workdays";
    let before = company.hub.cluster().column(first).await?;
    for _ in 0..2 {
        company.hub.must(&["recompute"])?;
        assert_eq!(company.hub.cluster().column(first).await?, before);
    }
    let preview = company.hub.must(&["recompute", "--dry-run"])?;
    ensure!(preview.starts_with("0 workdays would change"), "{preview}");
    Ok(())
}
