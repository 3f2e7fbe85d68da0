//! The console and the API over HTTPS, as a browser and a script use them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Certificate, Client, StatusCode, multipart, redirect};
use serde_json::{Value, json};
use tests::ground::Ground;
use tests::hub::Hub;
use tests::terminal::{Terminal, Walk};
use tests::{eventually, photo};

const PASSWORD: &str = "correct horse battery";

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

async fn token(hub: &Hub, client: &Client) -> Result<String> {
    let login = json!({"name": "hr", "password": PASSWORD});
    let answer = client.post(at(hub, "/api/v1/sessions")).json(&login).send().await?.error_for_status()?;
    Ok(answer.json::<Value>().await?["token"].as_str().context("a token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_anything_without_logging_in() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    hub.account("hr", PASSWORD)?;
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
    // A page of another site that posts here is turned away before anything is looked at.
    let form = [("name", "hr"), ("password", PASSWORD)];
    let strange = client.post(at(&hub, "/login")).header("origin", "https://elsewhere.example").form(&form);
    ensure!(strange.send().await?.status() == StatusCode::FORBIDDEN);
    // Guessing is slowed down.
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
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    hub.account("hr", PASSWORD)?;
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
    let mut terminal = Terminal::new(&ground, &hub, &walk)?;
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

    let api = client(&hub)?;
    let token = token(&hub, &api).await?;
    let get = async |path: &str| {
        anyhow::Ok(api.get(at(&hub, path)).bearer_auth(&token).send().await?.error_for_status()?)
    };
    let punches: Value = get("/api/v1/punches").await?.json().await?;
    ensure!(punches.as_array().map(Vec::len) == Some(1) && punches[0]["number"] == "1001", "{punches}");
    ensure!(punches[0]["terminal"] == "Test door" && punches[0]["clock"] == "synchronised", "{punches}");
    let timesheet: Value = get("/api/v1/timesheet").await?.json().await?;
    ensure!(
        timesheet[0]["status"] == "incomplete" && timesheet[0]["flags"] == json!(["missing_out"]),
        "{timesheet}"
    );
    ensure!(timesheet[0]["first_in"].as_str() == punches[0]["at"].as_str(), "{timesheet} {punches}");
    let csv = get("/api/v1/timesheet.csv").await?;
    ensure!(csv.headers()["content-disposition"].to_str()?.starts_with("attachment; filename=\"timesheet-"));
    let csv = csv.text().await?;
    ensure!(csv.starts_with("date,number,name,first_in,last_out,worked_s,status,flags\n"), "{csv}");
    ensure!(csv.lines().count() == 2 && csv.contains("Ångström"), "{csv}");
    for wrong in [
        "/api/v1/punches?date=yesterday",
        "/api/v1/timesheet?from=2026-02-30",
        "/api/v1/timesheet?from=2026-03-02&to=2026-03-01",
        "/api/v1/punches?dat=2026-01-01",
    ] {
        let answer = api.get(at(&hub, wrong)).bearer_auth(&token).send().await?;
        ensure!(answer.status() == StatusCode::BAD_REQUEST, "{wrong}: {}", answer.status());
    }
    eventually("the stranger's count", async || {
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
    // Logged out, the session is gone.
    ensure!(
        api.delete(at(&hub, "/api/v1/sessions")).bearer_auth(&token).send().await?.status()
            == StatusCode::NO_CONTENT
    );
    ensure!(
        api.get(at(&hub, "/api/v1/punches")).bearer_auth(&token).send().await?.status()
            == StatusCode::UNAUTHORIZED
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_enrolled_over_the_api() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    hub.account("hr", PASSWORD)?;
    let api = client(&hub)?;
    let token = token(&hub, &api).await?;
    let people = at(&hub, "/api/v1/people");
    let person = json!({"number": "42", "name": "Forty-two"});
    let add = api.post(&people).bearer_auth(&token).json(&person);
    ensure!(add.try_clone().context("clones")?.send().await?.status() == StatusCode::CREATED);
    ensure!(add.send().await?.status() == StatusCode::CONFLICT);
    let enrol = async || {
        let bytes = std::fs::read(photo("biden.jpg")?)?;
        let form = multipart::Form::new().part("photo", multipart::Part::bytes(bytes).file_name("biden.jpg"));
        anyhow::Ok(api.post(format!("{people}/42/photos")).bearer_auth(&token).multipart(form).send().await?)
    };
    let early = enrol().await?;
    ensure!(early.status() == StatusCode::CONFLICT && early.text().await?.contains("has not consented"));
    let consent = api.put(format!("{people}/42/consent")).bearer_auth(&token).send().await?;
    ensure!(consent.status() == StatusCode::NO_CONTENT, "{}", consent.status());
    let done = enrol().await?;
    ensure!(done.status() == StatusCode::OK, "{}", done.text().await?);
    let form =
        multipart::Form::new().part("photo", multipart::Part::bytes(b"rubbish".to_vec()).file_name("x.jpg"));
    let bad = api.post(format!("{people}/42/photos")).bearer_auth(&token).multipart(form).send().await?;
    ensure!(bad.status() == StatusCode::UNPROCESSABLE_ENTITY, "{}", bad.status());
    let list: Value = api.get(&people).bearer_auth(&token).send().await?.json().await?;
    ensure!(list[0]["consent"] == true && list[0]["photos"] == 1, "{list}");
    ensure!(
        api.delete(format!("{people}/42/consent")).bearer_auth(&token).send().await?.status()
            == StatusCode::NO_CONTENT
    );
    let list: Value = api.get(&people).bearer_auth(&token).send().await?.json().await?;
    ensure!(list[0]["consent"] == false && list[0]["photos"] == 0, "{list}");
    let document: Value = api.get(at(&hub, "/api/v1/openapi.json")).send().await?.json().await?;
    ensure!(document["paths"]["/api/v1/people/{number}/photos"]["post"].is_object(), "{document}");
    Ok(())
}
