//! The console and the API over HTTPS.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Certificate, Client, Method, StatusCode, multipart, redirect};
use serde_json::{Value, json};
use tests::api::{Api, expect_status};
use tests::dir::TestDir;
use tests::hub::{Hub, PASSWORD};
use tests::terminal::{Terminal, Walk};
use tests::{eventually, photo};

fn client(hub: &Hub) -> Result<Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Certificate::from_pem(&std::fs::read(hub.authority())?)?;
    Ok(Client::builder()
        .tls_certs_only([authority])
        .cookie_store(true)
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_mins(1))
        .build()?)
}

fn at(hub: &Hub, path: &str) -> String {
    format!("https://localhost:{}{path}", hub.https.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_route_needs_a_login() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("hr", "hr", None)?;
    let client = client(&hub)?;
    for path in ["/", "/live"] {
        let answer = client.get(at(&hub, path)).send().await?;
        ensure!(
            answer.status() == StatusCode::SEE_OTHER && answer.headers()["location"] == "/login",
            "{path}"
        );
    }
    for path in [
        "/api/v1/punches",
        "/api/v1/timesheet",
        "/api/v1/timesheet.csv",
        "/api/v1/people",
        "/api/v1/terminals",
    ] {
        for request in [client.get(at(&hub, path)), client.get(at(&hub, path)).bearer_auth("guess")] {
            ensure!(request.send().await?.status() == StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    for (name, password) in [("hr", "wrong"), ("nobody", PASSWORD), ("", "")] {
        let form = [("name", name), ("password", password)];
        let answer = client.post(at(&hub, "/login")).form(&form).send().await?;
        ensure!(answer.status() == StatusCode::UNAUTHORIZED, "{name}/{password}");
        ensure!(answer.text().await?.contains("The name or the password is wrong"));
    }
    // A request from another origin is rejected first.
    let form = [("name", "hr"), ("password", PASSWORD)];
    let foreign = client.post(at(&hub, "/login")).header("origin", "https://elsewhere.example").form(&form);
    ensure!(foreign.send().await?.status() == StatusCode::FORBIDDEN);
    // Logins are rate-limited.
    let mut last = StatusCode::OK;
    for _ in 0..20 {
        let login = json!({"name": "hr", "password": "guess"});
        last = client.post(at(&hub, "/api/v1/sessions")).json(&login).send().await?.status();
        if last == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    ensure!(last == StatusCode::TOO_MANY_REQUESTS, "twenty guesses in a row, and still {last}");
    let refused = hub.cluster().number("select count(*) from audit where action = 'login.refused'").await?;
    ensure!(refused > 3, "guesses are not audited");
    ensure!(!hub.logged().contains(PASSWORD));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_punch_appears_on_the_page_as_it_is_committed() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("hr", "hr", None)?;
    hub.enrol("1001", "Ångström <b>=1+1</b>", &["obama.jpg", "obama2.jpg"])?;
    let browser = client(&hub)?;
    let form = [("name", "hr"), ("password", PASSWORD)];
    let answer = browser.post(at(&hub, "/login")).form(&form).send().await?;
    ensure!(answer.status() == StatusCode::SEE_OTHER, "{}", answer.status());
    let cookie = answer.headers()["set-cookie"].to_str()?.to_owned();
    for part in ["__Host-rollcall=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        ensure!(cookie.contains(part), "{cookie} lacks {part}");
    }
    let page = browser.get(at(&hub, "/")).send().await?.error_for_status()?;
    ensure!(page.headers()["content-security-policy"].to_str()?.contains("default-src 'self'"));
    ensure!(page.text().await?.contains("Nobody yet"));
    let mut live = browser.get(at(&hub, "/live")).send().await?.error_for_status()?;

    let walk = Walk {
        photos: &[("obama3.jpg", false), ("astronaut.png", false)],
        rate: 15,
        rearm_s: 60,
        for_ever: false,
    };
    let mut terminal = Terminal::new(&dir, &hub, &walk)?;
    terminal.start()?;
    let mut heard = String::new();
    while !heard.contains("1001") {
        let chunk = tokio::time::timeout(Duration::from_mins(1), live.chunk())
            .await??
            .context("the page went quiet")?;
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    ensure!(
        heard.contains("Ångström &#60;b&#62;") || heard.contains("Ångström &lt;b&gt;"),
        "not escaped: {heard}"
    );

    let hr = Api::login(&hub, "hr").await?;
    let punches = expect_status(200, hr.get("/punches").await?)?;
    ensure!(punches.as_array().map(Vec::len) == Some(1) && punches[0]["number"] == "1001", "{punches}");
    ensure!(punches[0]["terminal"] == "Test door" && punches[0]["clock"] == "synchronised", "{punches}");
    let timesheet = expect_status(200, hr.get("/timesheet").await?)?;
    ensure!(
        timesheet[0]["status"] == "incomplete" && timesheet[0]["flags"] == json!(["missing_out"]),
        "{timesheet}"
    );
    ensure!(timesheet[0]["first_in"].as_str() == punches[0]["at"].as_str(), "{timesheet} {punches}");
    let csv = hr.request(Method::GET, "/timesheet.csv").send().await?.error_for_status()?;
    ensure!(csv.headers()["content-disposition"].to_str()?.starts_with("attachment; filename=\"timesheet-"));
    let csv = csv.text().await?;
    ensure!(csv.starts_with("date,number,name,first_in,last_out,worked_s,status,flags\n"), "{csv}");
    ensure!(csv.lines().count() == 2 && csv.contains("Ångström"), "{csv}");
    for wrong in [
        "/punches?date=yesterday",
        "/timesheet?from=2026-02-30",
        "/timesheet?from=2026-03-02&to=2026-03-01",
        "/punches?dat=2026-01-01",
    ] {
        expect_status(400, hr.get(wrong).await?).context(wrong)?;
    }
    eventually("the count of unknown faces", async || {
        ensure!(
            hub.cluster().number("select coalesce(sum(count), 0)::bigint from stranger_hours").await? == 1
        );
        Ok(())
    })
    .await?;
    ensure!(
        hub.cluster()
            .number("select count(*) from audit where actor = 'hr' and action like 'report.%'")
            .await?
            >= 5
    );
    // Logging out ends the session.
    expect_status(204, hr.delete("/sessions").await?)?;
    expect_status(401, hr.get("/punches").await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_enrolled_over_the_api() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.account("hr", "hr", None)?;
    let hr = Api::login(&hub, "hr").await?;
    let person = json!({"number": "42", "name": "Forty-two"});
    expect_status(201, hr.post("/people", &person).await?)?;
    expect_status(409, hr.post("/people", &person).await?)?;
    let upload = async |number: &str, photos: Vec<Vec<u8>>| {
        let form = photos.into_iter().fold(multipart::Form::new(), |form, photo| {
            form.part("photo", multipart::Part::bytes(photo).file_name("photo.jpg"))
        });
        hr.upload(&format!("/people/{number}/photos"), form).await
    };
    let enrol = async |photo: Vec<u8>| upload("42", vec![photo]).await;
    let biden = std::fs::read(photo("biden.jpg")?)?;
    let early = expect_status(409, enrol(biden.clone()).await?)?;
    ensure!(early.to_string().contains("has not consented"), "{early}");
    expect_status(204, hr.put("/people/42/consent", &Value::Null).await?)?;
    let alone = expect_status(200, enrol(biden.clone()).await?)?;
    ensure!(alone["lookalike"].is_null() && alone["warning"].is_null(), "{alone}");
    expect_status(422, enrol(b"rubbish".to_vec()).await?)?;
    let obama = std::fs::read(photo("obama.jpg")?)?;
    for others in [vec![obama.clone()], vec![obama; 3]] {
        let other = expect_status(422, upload("42", others).await?)?;
        ensure!(other.to_string().contains("shows somebody else"), "{other}");
    }
    let list = hr.list("/people").await?;
    ensure!(list[0]["consent"] == true && list[0]["photos"] == 1, "{list:?}");
    // The same face under another number.
    expect_status(201, hr.post("/people", &json!({"number": "43", "name": "Forty-three"})).await?)?;
    expect_status(204, hr.put("/people/43/consent", &Value::Null).await?)?;
    let twice = expect_status(200, upload("43", vec![biden]).await?)?;
    ensure!(twice["lookalike"] == "42", "{twice}");
    ensure!(twice["warning"].as_str().is_some_and(|warning| warning.contains("42")), "{twice}");
    expect_status(204, hr.delete("/people/42/consent").await?)?;
    let list = hr.list("/people").await?;
    ensure!(list[0]["consent"] == false && list[0]["photos"] == 0, "{list:?}");
    let document = expect_status(200, Api::anonymous(&hub)?.get("/openapi.json").await?)?;
    ensure!(document["paths"]["/api/v1/people/{number}/photos"]["post"].is_object(), "{document}");
    Ok(())
}
