//! Limits per client, account and session, and accounts of people who have left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};
use reqwest::{Method, Response};
use serde_json::json;
use sha2::{Digest, Sha256};
use tests::api::{Api, expect_status};
use tests::company::Company;
use tests::eventually;
use tests::hub::PASSWORD;
use tests::mqtt_client::{silent, tls};
use tokio::io::AsyncReadExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed() -> Result<()> {
    let company = Company::open().await?;
    let tls = Arc::new(tls(&company.hub.authority(), None)?);
    let mut silent = silent(company.hub.https, [127, 0, 0, 1].into(), tls).await?;
    let since = Instant::now();
    let mut byte = [0];
    let ended = tokio::time::timeout(Duration::from_secs(40), silent.read(&mut byte)).await;
    ensure!(matches!(ended, Ok(Ok(0) | Err(_))), "it still stands after {:?}", since.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_a_json_body() -> Result<()> {
    let company = Company::open().await?;
    let (status, body) = company.hr.send(Method::DELETE, "/punches", &json!(null)).await?;
    ensure!(status == 405 && body["error"].as_str().is_some_and(|text| text.contains("DELETE")), "{body}");
    let document = company.hr.send(Method::DELETE, "/openapi.json", &json!(null)).await?;
    ensure!(document.0 == 405 && document.1["error"].is_string(), "{document:?}");
    let page = company.hr.console(Method::DELETE, "/login").send().await?;
    ensure!(page.status() == 405 && page.text().await?.contains("DELETE"));
    let anonymous = Api::anonymous(&company.hub)?;
    let login = json!({"name": "hr", "password": "not the password"});
    for _ in 0..20 {
        let answer = anonymous.request(Method::POST, "/sessions").json(&login).send().await?;
        if answer.status() == 429 {
            let seconds = answer.headers().get("retry-after").context("no Retry-After")?.to_str()?.to_owned();
            ensure!(seconds.parse::<u32>()? >= 1, "{seconds}");
            let body: serde_json::Value = answer.json().await?;
            ensure!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
            return Ok(());
        }
    }
    anyhow::bail!("twenty logins without a limit")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_at_most_two_reports_running() -> Result<()> {
    let company = Company::open().await?;
    // Larger than the buffers of a connection that nobody reads.
    let long = "insert into people (id, number, name) select gen_random_uuid(), 'L' || n, repeat('x', 200)
        from generate_series(1, 60000) n";
    company.hub.cluster().execute(long).await?;
    let workdays =
        "insert into workdays (person, date, shift, status, expected_s, late_s, early_s, overtime_s,
            flags, computed_at, closes_at)
        select id, '2025-03-03', '', 'absent', 0, 0, 0, 0, '{}', now(), '2025-03-04' from people";
    company.hub.cluster().execute(workdays).await?;
    let path = "/reports/timesheet?from=2025-03-03";
    let ask = || async { anyhow::Ok(company.hr.request(Method::GET, path).send().await?) };
    let (first, second) = (ask().await?, ask().await?);
    ensure!(first.status() == 200 && second.status() == 200);
    let third = ask().await?;
    ensure!(third.status() == 429 && third.headers().contains_key("retry-after"), "{}", third.status());
    // Another account is not affected.
    let other = company.login("other", "hr", None).await?;
    expect_status(200, other.get("/reports/overtime?from=2025-03-03").await?)?;
    drop(third);
    ensure!(first.bytes().await?.len() > 10_000_000, "too short to be a test");
    eventually("a turn", async || {
        ensure!(ask().await?.status() == 200);
        Ok(())
    })
    .await
}

async fn live(api: &Api) -> Result<Response> {
    Ok(api.console(Method::GET, "/live").send().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_holds_its_slot_until_postgresql_is_done() -> Result<()> {
    let company = Company::open().await?;
    let cluster = company.hub.cluster();
    let trial = || async {
        let path = "/shifts/D?dry_run=true";
        let sent = company.hr.request(Method::PUT, path).json(&json!({"start": "09:00", "end": "17:00"}));
        anyhow::Ok(sent.timeout(Duration::from_secs(1)).send().await?)
    };
    let held = cluster.execute("begin; lock table shifts; select pg_sleep(8); commit");
    let hung_up = async {
        eventually("the lock", async || {
            let granted = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
                where c.relname = 'shifts' and l.mode = 'AccessExclusiveLock' and l.granted";
            ensure!(cluster.number(granted).await? == 1);
            Ok(())
        })
        .await?;
        let (one, other) = tokio::join!(trial(), trial());
        ensure!(one.is_err() && other.is_err(), "they did not wait for the lock");
        ensure!(trial().await?.status() == 429, "who hangs up has a turn again");
        anyhow::Ok(())
    };
    let (held, hung_up) = tokio::join!(held, hung_up);
    held.and(hung_up)?;
    eventually("a turn", async || {
        ensure!(trial().await?.status() == 200);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_at_most_three_live_pages_which_end_with_it() -> Result<()> {
    let company = Company::open().await?;
    let mut pages = Vec::new();
    for _ in 0..3 {
        pages.push(live(&company.hr).await?);
    }
    ensure!(pages.iter().all(|page| page.status() == 200));
    ensure!(live(&company.hr).await?.status() == 429);
    pages.pop();
    let page = eventually("a place", async || {
        let page = live(&company.hr).await?;
        ensure!(page.status() == 200);
        Ok(page)
    })
    .await?;
    pages.push(page);
    expect_status(204, company.hr.delete("/sessions").await?)?;
    for mut page in pages {
        let end = async { while let Ok(Some(_)) = page.chunk().await {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.context("it outlives its session")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_have_left_have_no_session_and_are_in_no_gallery() -> Result<()> {
    let company = Company::open().await?;
    company.add_people(&[("1", "Boss"), ("2", "Ann")]).await?;
    company.hub.must(&["person", "consent", "2"])?;
    let photo = tests::photo("biden.jpg")?;
    company.hub.must(&["person", "enrol", "2", photo.to_str().context("a path in UTF-8")?])?;
    let ann = company.login("ann", "employee", Some("2")).await?;
    expect_status(200, ann.get("/timesheet").await?)?;
    let cluster = company.hub.cluster();
    let known =
        "select count(*) from roster r join people p on p.id = r.person where number = '2' and not ended";
    ensure!(cluster.number(known).await? == 1);

    let left = json!({"employed_to": "2025-03-03"});
    expect_status(200, company.hr.patch("/people/2", &left).await?)?;
    expect_status(401, ann.get("/timesheet").await?)?;
    let login = json!({"name": "ann", "password": PASSWORD});
    expect_status(401, Api::anonymous(&company.hub)?.post("/sessions", &login).await?)?;
    eventually("terminals to forget her", async || {
        ensure!(cluster.number(known).await? == 0);
        Ok(())
    })
    .await?;

    // Her leaving is cancelled.
    expect_status(200, company.hr.patch("/people/2", &json!({"employed_to": null})).await?)?;
    expect_status(200, ann.get("/timesheet").await?)?;
    eventually("terminals to know her again", async || {
        ensure!(cluster.number(known).await? == 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_supported_languages_are_accepted() -> Result<()> {
    let company = Company::open().await?;
    company.add_people(&[("1", "Boss")]).await?;
    let rejected = expect_status(400, company.hr.patch("/people/1", &json!({"language": "fr"})).await?)?;
    let problem = &rejected["errors"][0];
    ensure!(problem["field"] == "language", "{rejected}");
    ensure!(problem["detail"].as_str().is_some_and(|text| text.contains("en, de")), "{rejected}");
    expect_status(200, company.hr.patch("/people/1", &json!({"language": "de"})).await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_device_that_asks_again_counts_towards_the_limit() -> Result<()> {
    let company = Company::open().await?;
    let key = KeyPair::generate()?;
    let device = hex::encode(&Sha256::digest(key.subject_public_key_info())[..16]);
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    let request = params.serialize_request(&key)?.pem()?;
    let cluster = company.hub.cluster();
    let full = format!(
        "insert into claims (device, request, code_sha256, address, state)
        select md5(n::text), '', ''::bytea, '127.0.0.1', 'pending' from generate_series(1, 200) n
        union all select '{device}', '', ''::bytea, '127.0.0.1', 'rejected'"
    );
    cluster.execute(&full).await?;
    let anonymous = Api::anonymous(&company.hub)?;
    let ask = json!({"request": request, "code": "ABCD2345"});
    expect_status(409, anonymous.post("/claims", &ask).await?)?;
    cluster.execute("delete from claims where state = 'pending'").await?;
    expect_status(202, anonymous.post("/claims", &ask).await?)?;
    Ok(())
}
