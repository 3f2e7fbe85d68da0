//! From the plan to the workday, as those who plan, judge and are judged see it over the API.
//!
//! All dates are in March 2025: the 3rd is a Monday, and no clock is changed before the 30th.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use tests::api::{Api, answered, says, texts};
use tests::ground::Ground;
use tests::hub::Hub;
use uuid::Uuid;

/// The terminal of all punches. As long as no test says otherwise, it has reported everything.
const DEVICE: &str = "0123456789abcdef0123456789abcdef";
const TERMINAL: &str = "insert into terminals
    (device, name, state, certificate_sha256, expires_at, reported_through, created_at)
    values ('0123456789abcdef0123456789abcdef', 'Front door', 'accepted', ''::bytea,
        now() + interval '1 year', '2099-01-01', '2025-01-01')";

/// A pattern that holds the shift D from Monday to Friday.
fn week() -> Value {
    json!({"anchor": "2025-03-03", "cycle_days": 7, "days": [["D"], ["D"], ["D"], ["D"], ["D"], [], []]})
}

/// A hub with one terminal, and HR at work. Fields are dropped in this order.
struct Company {
    hr: Api,
    hub: Hub,
    _ground: Ground,
}

impl Company {
    async fn open() -> Result<Self> {
        let ground = Ground::new()?;
        let hub = Hub::start_new(&ground)?;
        hub.cluster().execute(TERMINAL).await?;
        hub.must(&["person", "add", "900", "Helen"])?;
        hub.account("hr", "hr", Some("900"))?;
        Ok(Self { hr: Api::open(&hub, "hr").await?, hub, _ground: ground })
    }

    /// Adds people, the first of whom is the manager of the second.
    async fn hire(&self, people: &[(&str, &str)]) -> Result<()> {
        for (number, name) in people {
            let person = json!({"number": number, "name": name});
            answered(201, self.hr.post("/people", &person).await?)?;
        }
        if let [(manager, _), (number, _), ..] = people {
            let setting = json!({"manager": manager});
            answered(200, self.hr.patch(&format!("/people/{number}"), &setting).await?)?;
        }
        Ok(())
    }

    /// Somebody who logs in to an account of their own.
    async fn login(&self, name: &str, role: &str, person: Option<&str>) -> Result<Api> {
        self.hub.account(name, role, person)?;
        Api::open(&self.hub, name).await
    }

    /// Makes the shift D, nine to six, and the schedule Week that holds it.
    async fn plan_a_week(&self) -> Result<()> {
        let shift = json!({"start": "09:00", "end": "18:00"});
        answered(200, self.hr.put("/shifts/D", &shift).await?)?;
        answered(200, self.hr.put("/schedules/Week", &week()).await?)?;
        Ok(())
    }

    /// Lets a person follow it for some days, and has these computed.
    async fn follow(&self, number: &str, from: &str, to: &str) -> Result<()> {
        let setting = json!({"schedule": "Week", "from": from, "to": to});
        answered(200, self.hr.put(&format!("/people/{number}/schedule"), &setting).await?)?;
        self.hub.must(&["recompute", "--from", from, "--to", to])?;
        Ok(())
    }

    /// A punch at a local time, stored as ingest does it: with its job, in one transaction.
    async fn punch(&self, number: &str, local: &str) -> Result<Uuid> {
        let mut database = self.hub.cluster().connect().await?;
        let mut transaction = database.begin().await?;
        let id: Uuid = sqlx::query_scalar(
            "insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), $1, 1, (select count(*) + 1 from punches), p.id,
                $3::timestamp at time zone 'Europe/Berlin', 'synchronised', 'unknown', 0, ''::bytea
            from people p where p.number = $2 returning id",
        )
        .bind(DEVICE)
        .bind(number)
        .bind(local)
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query(
            "insert into jobs (person, from_date, to_date)
            select p.person, (p.at at time zone 'UTC')::date - 1, (p.at at time zone 'UTC')::date + 1
            from punches p where p.id = $1",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("select pg_notify('rollcall_job', '')").execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Punches of one person, and the days that they make.
    async fn punches(&self, number: &str, times: &[&str]) -> Result<()> {
        for time in times {
            self.punch(number, time).await?;
        }
        self.hub.cluster().settled().await
    }
}

/// A calendar, a site that follows it, two shifts (tried first) and a week of one of them.
async fn lay_down_rules(admin: &Api, hr: &Api) -> Result<()> {
    for name in ["Founder's Day", "Founders' Day"] {
        let holiday = json!({"name": name});
        answered(200, hr.put("/calendars/Berlin/holidays/2025-03-05", &holiday).await?)?;
    }
    let site = json!({"zone": "Europe/Berlin", "calendar": "Berlin"});
    answered(200, admin.put("/sites/Main", &site).await?)?;
    let sites = hr.list("/sites").await?;
    assert_eq!(sites, [json!({"name": "Main", "zone": "Europe/Berlin", "calendar": "Berlin"})]);

    let day = json!({"start": "09:00", "end": "18:00"});
    let effect = answered(200, hr.put("/shifts/D?dry_run=true", &day).await?)?;
    assert_eq!(effect, json!({"people": 0, "workdays_changed": 0, "adjustments": 0}));
    ensure!(hr.list("/shifts").await?.is_empty(), "a shift that was only tried is there");
    answered(200, hr.put("/shifts/D", &day).await?)?;
    let short = json!({"start": "12:00", "end": "16:00", "half_day_below_min": 180});
    answered(200, hr.put("/shifts/S", &short).await?)?;
    assert_eq!(texts(&hr.list("/shifts").await?, "name"), ["D", "S"]);

    let missing = json!({"anchor": "2025-03-03", "cycle_days": 1, "days": [["Nobody's"]]});
    answered(400, hr.put("/schedules/Week", &missing).await?)?;
    answered(200, hr.put("/schedules/Week", &week()).await?)?;
    assert_eq!(texts(&hr.list("/schedules").await?, "name"), ["Week"]);
    Ok(())
}

/// What one person is to work in March: the week, but a short Thursday and a free Friday at first.
async fn plan_march(hr: &Api) -> Result<()> {
    let about = json!({"department": "Kitchen", "email": "ada@example.org"});
    answered(200, hr.patch("/people/101", &about).await?)?;
    let person = answered(200, hr.get("/people/101").await?)?;
    says(&person, &json!({"manager": "100", "department": "Kitchen", "email": "ada@example.org"}))?;
    assert_eq!(hr.list("/departments").await?, [json!("Kitchen")]);

    let month = json!({"schedule": "Week", "from": "2025-03-03", "to": "2025-03-28"});
    answered(200, hr.put("/people/101/schedule", &month).await?)?;
    answered(200, hr.put("/people/101/days/2025-03-06", &json!({"shifts": ["S"]})).await?)?;
    let plan = hr.get("/people/101/schedule?from=2025-03-03&to=2025-03-09").await?;
    let plan = answered(200, plan)?;
    assert_eq!(plan["days"].as_array().map(Vec::len), Some(5), "{plan}");
    says(&plan["days"][2], &json!({"date": "2025-03-05", "shifts": ["D"], "single": false}))?;
    says(&plan["days"][3], &json!({"date": "2025-03-06", "shifts": ["S"], "single": true}))?;

    let leave = json!({"from": "2025-03-07", "to": "2025-03-07", "reason": "Rome"});
    answered(200, hr.put("/people/101/leave", &leave).await?)?;
    let leave = hr.list("/people/101/leave?from=2025-03-01&to=2025-03-31").await?;
    assert_eq!(leave, [json!({"date": "2025-03-07", "half": false, "reason": "Rome"})]);
    Ok(())
}

/// The first week: a long Monday, an absence, a holiday, a short Thursday, leave.
async fn the_first_week_stands(hr: &Api) -> Result<()> {
    let monday = hr.day("101", "2025-03-03").await?;
    let expected = json!({"shift": "D", "status": "present", "worked_s": 33_900, "expected_s": 32_400,
        "late_s": 0, "early_s": 0, "overtime_s": 1200, "balance_s": 1200, "flags": [],
        "first_in": "2025-03-03T08:55:00+01:00", "last_out": "2025-03-03T18:20:00+01:00"});
    says(&monday["workdays"][0], &expected)?;
    says(&monday["facts"][0], &expected)?;
    says(&monday, &json!({"number": "101", "differs": false, "locked": false, "waiting": false}))?;
    ensure!(monday["workdays"][0]["revision"].as_i64() >= Some(1), "{monday}");
    ensure!(monday["facts"][0]["why"].to_string().contains("overtime 1200 s"), "{monday}");
    assert_eq!(monday["punches"].as_array().map(Vec::len), Some(2), "{monday}");
    says(&monday["punches"][0], &json!({"device": DEVICE, "clock": "synchronised", "ignored": false}))?;

    let week = hr.list("/reports/timesheet?from=2025-03-03&to=2025-03-07").await?;
    assert_eq!(texts(&week, "status"), ["present", "absent", "holiday", "present", "leave"]);
    assert_eq!(texts(&week, "shift"), ["D", "D", "D", "S", "D"]);
    says(&week[1], &json!({"balance_s": -32_400, "provisional": false, "department": "Kitchen"}))?;
    says(&week[3], &json!({"worked_s": 14_100, "late_s": 0, "balance_s": -300}))?;
    Ok(())
}

/// Another start of the shift: tried, nothing changes; made, each day has a new revision.
async fn the_shift_begins_earlier(company: &Company) -> Result<()> {
    let hr = &company.hr;
    let before = hr.day("101", "2025-03-03").await?;
    let earlier = json!({"start": "08:30", "end": "18:00"});
    // Twenty days of the schedule, less the one that holds another shift.
    let effect = answered(200, hr.put("/shifts/D?dry_run=true", &earlier).await?)?;
    assert_eq!(effect, json!({"people": 1, "workdays_changed": 19, "adjustments": 0}));
    assert_eq!(hr.day("101", "2025-03-03").await?["workdays"], before["workdays"]);
    assert_eq!(hr.list("/shifts").await?[0]["rules"]["start"], "09:00");

    answered(200, hr.put("/shifts/D", &earlier).await?)?;
    company.hub.cluster().settled().await?;
    let after = hr.day("101", "2025-03-03").await?;
    let revision = before["workdays"][0]["revision"].as_i64().context("a revision")?;
    let expected = json!({"late_s": 1500, "overtime_s": 0, "balance_s": -300, "revision": revision + 1});
    says(&after["workdays"][0], &expected)?;
    ensure!(after["facts"][0]["why"].to_string().contains("late 1500 s"), "{after}");
    let audited = "select count(*) from audit where action = 'workday.revise'
        and detail #>> '{before,0,date}' = '2025-03-03' and detail #>> '{before,0,late_s}' = '0'
        and detail #>> '{after,0,date}' = '2025-03-03' and detail #>> '{after,0,late_s}' = '1500'";
    assert_eq!(company.hub.cluster().number(audited).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_becomes_workdays_and_each_says_why() -> Result<()> {
    let company = Company::open().await?;
    let (hub, hr) = (&company.hub, &company.hr);
    let admin = company.login("admin", "admin", None).await?;
    lay_down_rules(&admin, hr).await?;
    let renamed = "select count(*) from audit where action = 'holiday.put' and subject = 'Berlin'
        and detail->>'before' = 'Founder''s Day' and detail->>'name' = 'Founders'' Day'";
    assert_eq!(hub.cluster().number(renamed).await?, 1);
    company.hire(&[("100", "Boss"), ("101", "Ada")]).await?;
    plan_march(hr).await?;
    let times = ["2025-03-03 08:55", "2025-03-03 18:20", "2025-03-06 12:05", "2025-03-06 16:00"];
    company.punches("101", &times).await?;
    let march = json!({"from": "2025-03-01", "to": "2025-03-31"});
    answered(200, hr.post("/recompute", &march).await?)?;
    hub.cluster().settled().await?;
    assert_eq!(hub.cluster().number("select count(*) from workdays").await?, 20);
    the_first_week_stands(hr).await?;
    the_shift_begins_earlier(&company).await?;

    let revisions = "select row(person, date, shift, revision)::text from workdays order by 1";
    let before = hub.cluster().column(revisions).await?;
    answered(200, hr.post("/recompute", &march).await?)?;
    hub.cluster().settled().await?;
    assert_eq!(
        hub.cluster().column(revisions).await?,
        before,
        "nothing changed, and yet there are new revisions"
    );

    // The pattern holds again on Thursday: the short shift's day makes way for the long one's.
    answered(200, hr.delete("/people/101/days/2025-03-06").await?)?;
    answered(404, hr.delete("/people/101/days/2025-03-06").await?)?;
    hub.cluster().settled().await?;
    let thursday = hr.day("101", "2025-03-06").await?;
    assert_eq!(thursday["workdays"].as_array().map(Vec::len), Some(1), "{thursday}");
    let expected = json!({"shift": "D", "status": "half_day", "late_s": 12_900, "early_s": 7200});
    says(&thursday["workdays"][0], &expected)
}

/// A request, and what admin, hr, manager and employee are told.
type Rule = (Method, &'static str, Value, [u16; 4]);

/// What everybody may look at, each within their scope. 100 manages 101; nobody manages 102.
fn looks() -> Vec<Rule> {
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

/// What changes something. Each can be done twice.
fn changes() -> Vec<Rule> {
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
        // Nobody changes their own days; admin is not Helen.
        (
            Method::PUT,
            "/people/900/leave",
            json!({"from": "2025-03-03", "to": "2025-03-03"}),
            [200, 403, 403, 403],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_see_and_do_what_they_may() -> Result<()> {
    let company = Company::open().await?;
    company.hire(&[("100", "Boss"), ("101", "Ada"), ("102", "Bob")]).await?;
    for number in ["100", "101", "102"] {
        company.punches(number, &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    }
    let stranger = Api::stranger(&company.hub)?;
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
    ensure!(boss.list("/reports/timesheet?from=2025-03-03&number=102").await?.is_empty(), "Bob is seen");

    for (method, path, body, told) in looks().into_iter().chain(changes()) {
        let answer = stranger.send(method.clone(), path, &body).await?;
        answered(401, answer).with_context(|| format!("{method} {path} for a stranger"))?;
        for ((role, api), status) in everybody.into_iter().zip(told) {
            let answer = api.send(method.clone(), path, &body).await?;
            answered(status, answer).with_context(|| format!("{method} {path} for {role}"))?;
        }
    }
    assert_eq!(company.hr.list("/terminals").await?[0]["name"], "Back door");
    let wish = json!({"number": "102", "date": "2025-03-03", "reason": "forgot to punch",
        "adds": [{"at": "2025-03-03T19:00:00+01:00"}]});
    answered(201, company.hr.post("/corrections", &wish).await?)?;
    for ((role, api), expected) in everybody.into_iter().zip([vec!["102"], vec!["102"], vec![], vec![]]) {
        assert_eq!(texts(&api.list("/corrections").await?, "number"), expected, "{role}");
    }
    for (status, answer) in [
        (404, company.hr.get("/nosuch").await?),
        (422, company.hr.post("/corrections", &json!({"number": 1})).await?),
        (400, company.hr.get("/worklists/missing_out").await?),
        (400, company.hr.get("/reports/timesheet?number=%00").await?),
        (403, company.hr.patch("/people/900", &json!({"manager": "100"})).await?),
    ] {
        let refusal = answered(status, answer)?;
        ensure!(refusal["error"].is_string(), "a refusal without a reason: {refusal}");
    }
    // An account that nobody belongs to decides nothing.
    answered(403, admin.post("/corrections/1/approve", &Value::Null).await?)?;
    answered(204, ada.delete("/sessions").await?)?;
    answered(401, ada.get("/workdays/101/2025-03-03").await?)?;
    Ok(())
}

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

/// Opens March and takes it to where nothing changes it any more.
async fn lock_march(hr: &Api) -> Result<()> {
    let march = json!({"from": "2025-03-01", "to": "2025-03-31"});
    let period = answered(201, hr.post("/periods", &march).await?)?;
    says(&period, &json!({"state": "open", "site": null, "from": "2025-03-01", "changed_by": "hr"}))?;
    let overlapping = json!({"from": "2025-03-31", "to": "2025-04-30", "site": "Main"});
    answered(409, hr.post("/periods", &overlapping).await?)?;
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
        answered(status, answer).with_context(|| step.to_owned())?;
    }
    assert_eq!(texts(&hr.list("/periods").await?, "state"), ["locked"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_period_takes_no_change() -> Result<()> {
    let company = Company::open().await?;
    let hr = &company.hr;
    company.plan_a_week().await?;
    company.hire(&[("101", "Ada")]).await?;
    company.follow("101", "2025-03-03", "2025-03-07").await?;
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
        says(&pending[0], &json!({"number": "101", "date": "2025-03-03", "settled_by": null}))?;
        says(&pending[0]["before"][0], &json!({"last_out": "2025-03-03T17:00:00Z", "overtime_s": 0}))?;
        assert_eq!(pending[0]["after"][0]["last_out"], last_out);
        assert_eq!(hr.list(timesheet).await?, before);
        ids.push(pending[0]["id"].clone());
    }
    assert_eq!(ids[0], ids[1], "the second late punch belongs to the same adjustment");
    let day = hr.day("101", "2025-03-03").await?;
    says(&day, &json!({"locked": true, "differs": true, "waiting": false}))?;

    let settle = format!("/adjustments/{}/settle", ids[0]);
    let pending = hr.list("/adjustments?state=pending").await?;
    let stale = json!({"note": "paid in April", "changed_at": "2025-04-01T00:00:00Z"});
    answered(409, hr.post(&settle, &stale).await?)?;
    let note = json!({"note": "paid in April", "changed_at": pending[0]["changed_at"]});
    answered(204, hr.post(&settle, &note).await?)?;
    answered(409, hr.post(&settle, &note).await?)?;
    // It changes no figure.
    answered(204, hr.post("/workdays/101/2025-03-03/finalise", &Value::Null).await?)?;
    // What has been settled does not come back.
    company.hub.must(&["recompute", "--from", "2025-03-03", "--to", "2025-03-07"])?;
    ensure!(hr.list("/adjustments?state=pending").await?.is_empty(), "it is pending again");
    let done = hr.list("/adjustments").await?;
    assert_eq!(done.len(), 1, "{done:?}");
    says(&done[0], &json!({"state": "settled", "settled_by": "hr", "note": "paid in April"}))?;
    // Facts that come after that are held against what was settled, not against the locked day.
    company.punches("101", &["2025-03-03 21:00"]).await?;
    let pending = hr.list("/adjustments?state=pending").await?;
    assert_eq!(pending.len(), 1, "{pending:?}");
    says(&pending[0]["before"][0], &json!({"last_out": "2025-03-03T19:00:00Z"}))?;
    says(&pending[0]["after"][0], &json!({"last_out": "2025-03-03T20:00:00Z"}))?;
    assert_eq!(hr.list(timesheet).await?, before);
    let noted = "select count(*) from audit where action = 'adjustment.note'";
    assert_eq!(company.hub.cluster().number(noted).await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_takes_no_locked_day_along() -> Result<()> {
    let company = Company::open().await?;
    let hr = &company.hr;
    let admin = company.login("admin", "admin", None).await?;
    answered(200, admin.put("/sites/Tokyo", &json!({"zone": "Asia/Tokyo"})).await?)?;
    company.plan_a_week().await?;
    company.hire(&[("101", "Ada")]).await?;
    company.follow("101", "2025-03-03", "2025-03-04").await?;
    company.punches("101", &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    let period = json!({"from": "2025-03-03", "to": "2025-03-03", "site": "Main"});
    let id = answered(201, hr.post("/periods", &period).await?)?["id"].clone();
    for step in ["approve", "lock"] {
        answered(200, hr.post(&format!("/periods/{id}/{step}"), &Value::Null).await?)?;
    }
    let today = json!({"from": "2199-01-01", "to": "2199-01-02"});
    let future = answered(201, hr.post("/periods", &today).await?)?["id"].clone();
    answered(200, hr.post(&format!("/periods/{future}/approve"), &Value::Null).await?)?;
    answered(409, hr.post(&format!("/periods/{future}/lock"), &Value::Null).await?)?;

    let timesheet = "/reports/timesheet?from=2025-03-03&to=2025-03-03";
    let before = hr.list(timesheet).await?;
    let trial = answered(200, hr.patch("/people/101?dry_run=true", &json!({"site": "Tokyo"})).await?)?;
    ensure!(trial["workdays_changed"].as_u64() > Some(0), "{trial}");
    company.hub.cluster().settled().await?;
    assert_eq!(hr.list(timesheet).await?, before, "it was only tried");
    answered(200, hr.patch("/people/101", &json!({"site": "Tokyo"})).await?)?;
    company.hub.cluster().settled().await?;
    let after = hr.list(timesheet).await?;
    for key in ["status", "worked_s", "late_s", "revision"] {
        assert_eq!(after[0][key], before[0][key], "{key} of a locked day");
    }
    assert_eq!(hr.list("/adjustments?state=pending").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_schedule_changes_what_other_days_are_worth() -> Result<()> {
    let company = Company::open().await?;
    company.plan_a_week().await?;
    company.hire(&[("101", "Ada")]).await?;
    company.punches("101", &["2025-03-03 09:00", "2025-03-03 18:00"]).await?;
    let unscheduled = json!({"status": "unscheduled", "worked_s": 32_400, "overtime_s": 0});
    says(&company.hr.day("101", "2025-03-03").await?["workdays"][0], &unscheduled)?;
    let setting = json!({"schedule": "Week", "from": "2030-01-01"});
    answered(200, company.hr.put("/people/101/schedule", &setting).await?)?;
    company.hub.cluster().settled().await?;
    let overtime = json!({"status": "unscheduled", "worked_s": 32_400, "overtime_s": 32_400});
    says(&company.hr.day("101", "2025-03-03").await?["workdays"][0], &overtime)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn computing_again_reaches_no_further() -> Result<()> {
    let company = Company::open().await?;
    company.plan_a_week().await?;
    let every_day = json!({"anchor": "2025-03-03", "cycle_days": 1, "days": [["D"]]});
    answered(200, company.hr.put("/schedules/Daily", &every_day).await?)?;
    company.hire(&[("101", "Ada")]).await?;
    company.punches("101", &["2025-03-05 09:00", "2025-03-05 18:00"]).await?;
    let setting = json!({"schedule": "Daily", "from": "2020-01-01"});
    answered(200, company.hr.put("/people/101/schedule", &setting).await?)?;
    company.hub.cluster().settled().await?;
    let first = "select min(date)::text from workdays";
    let before = company.hub.cluster().column(first).await?;
    for _ in 0..2 {
        company.hub.must(&["recompute"])?;
        assert_eq!(company.hub.cluster().column(first).await?, before);
    }
    let trial = company.hub.must(&["recompute", "--dry-run"])?;
    ensure!(trial.starts_with("0 workdays would change"), "{trial}");
    Ok(())
}

/// The only row of a date's daily report.
async fn absence(hr: &Api, date: &str) -> Result<Value> {
    let mut rows = hr.list(&format!("/reports/daily?from={date}")).await?;
    ensure!(rows.len() == 1, "{rows:?}");
    let row = rows.remove(0);
    says(&row, &json!({"date": date, "status": "absent"}))?;
    Ok(row)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_provisional_until_the_terminals_have_reported() -> Result<()> {
    let company = Company::open().await?;
    let (hub, hr) = (&company.hub, &company.hr);
    hub.cluster().execute("update terminals set reported_through = '2025-03-03 08:10+01'").await?;
    company.plan_a_week().await?;
    company.hire(&[("100", "Boss"), ("101", "Ada"), ("102", "Bob")]).await?;
    company.follow("101", "2025-03-03", "2025-03-03").await?;
    company.follow("102", "2025-03-04", "2025-03-04").await?;

    assert_eq!(absence(hr, "2025-03-03").await?["provisional"], true);
    let silence = "/reports/silence?from=2025-03-03&to=2025-03-03";
    let silent = hr.list(silence).await?;
    assert_eq!(silent.len(), 1, "{silent:?}");
    let expected = json!({"site": "Main", "terminal": "Front door", "absences": 1,
        "silent_since": "2025-03-03T08:10:00+01:00"});
    says(&silent[0], &expected)?;
    let notice = silent[0]["notice"].as_str().context("a notice")?;
    ensure!(notice.contains("Front door") && notice.contains("1 absence"), "{notice}");
    assert_eq!(hr.list("/reports/silence?from=2025-03-03&to=2025-03-04").await?[0]["absences"], 2);

    // Up to the window's last second is not past it.
    hub.cluster().execute("update terminals set reported_through = '2025-03-04 01:59:59+01'").await?;
    assert_eq!(absence(hr, "2025-03-03").await?["provisional"], true);
    hub.cluster().execute("update terminals set reported_through = '2025-03-04 03:00+01'").await?;
    assert_eq!(absence(hr, "2025-03-03").await?["provisional"], false);
    ensure!(hr.list(silence).await?.is_empty(), "no absence waits for the terminal");

    assert_eq!(absence(hr, "2025-03-04").await?["provisional"], true);
    answered(404, hr.post("/workdays/101/2025-03-04/finalise", &Value::Null).await?)?;
    answered(204, hr.post("/workdays/102/2025-03-04/finalise", &Value::Null).await?)?;
    assert_eq!(absence(hr, "2025-03-04").await?["provisional"], false);
    says(&hr.day("102", "2025-03-04").await?["workdays"][0], &json!({"finalised_by": "hr"}))?;
    ensure!(hr.list("/reports/silence?from=2025-03-03&to=2025-03-04").await?.is_empty(), "it is final");
    // What arrives afterwards is another revision, of which nobody has said that it stands.
    company.punches("102", &["2025-03-04 09:00", "2025-03-04 10:00"]).await?;
    assert_eq!(absence(hr, "2025-03-04").await?["provisional"], true);
    says(&hr.day("102", "2025-03-04").await?["workdays"][0], &json!({"finalised_by": null}))?;
    // A terminal that absences wait for stays where it is.
    let admin = company.login("admin", "admin", None).await?;
    answered(200, admin.put("/sites/Annex", &json!({"zone": "Europe/Berlin"})).await?)?;
    let device = "/terminals/0123456789abcdef0123456789abcdef";
    answered(409, admin.patch(device, &json!({"site": "Annex"})).await?)?;
    Ok(())
}

/// 300 people who work from Monday to Friday, and nothing that their days could wait for.
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

/// The punches of 15 days in the batches in which they arrive: each person's come and go, of which
/// some are missing, some stand twice, and some come last, whatever their time.
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

/// Lets them arrive in 60 transactions, each with its jobs. Returns how many there are.
async fn arrive(hub: &Hub) -> Result<i64> {
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
async fn two_hubs_end_where_one_does() -> Result<()> {
    let ground = Ground::new()?;
    let mut first = Hub::start_new(&ground)?;
    let url = ground.join("url");
    std::fs::write(&url, first.cluster().url())?;
    let more = format!("database_url_file = \"{}\"", url.display());
    let mut second = Hub::configure(&ground, "second", &more)?;
    second.start()?;
    for statement in PEOPLE {
        first.cluster().execute(statement).await?;
    }

    let arrived = arrive(&first).await?;
    ensure!(arrived > 9000, "{arrived} punches");
    first.cluster().settled().await?;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(first.cluster().number("select count(*) from jobs").await?, 0, "somebody asked again");
    for (name, hub) in [("first", &first), ("second", &second)] {
        ensure!(hub.logged().contains("workdays computed"), "the {name} hub did nothing");
    }
    let figures = "select row(person, date, shift, status, first_in, last_out, worked_s, late_s, early_s,
        overtime_s, balance_s, flags)::text from workdays order by person, date, shift";
    let together = first.cluster().column(figures).await?;
    assert_eq!(together.len(), 300 * 15);

    // Now one process alone: neither hub runs, their PostgreSQL does.
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
