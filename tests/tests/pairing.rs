//! A terminal is paired, renews its certificate, and is revoked.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rcgen::KeyPair;
use reqwest::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use sha2::{Digest, Sha256};
use tests::api::{Api, expect_status};
use tests::dir::TestDir;
use tests::hub::Hub;
use tests::mqtt_client::MqttClient;
use tests::simulated::Ca;
use tests::terminal::{Terminal, Walk};
use tests::{check_error, eventually};

const WALK: Walk<'_> = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };

#[tokio::test(flavor = "multi_thread")]
async fn a_new_terminal_is_accepted_with_its_code() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    hub.account("admin", "admin", None)?;
    let admin = Api::login(&hub, "admin").await?;
    let mut terminal = Terminal::unpaired(&dir, &hub, &WALK)?;
    terminal.start()?;
    let (device, code) = (terminal.wait_for_line("device ").await?, terminal.wait_for_line("code ").await?);
    ensure!(dir.join("terminal/claim.png").is_file(), "no QR image");
    eventually("the pairing request", async || {
        let claims = admin.list("/claims").await?;
        ensure!(
            claims.iter().any(|claim| claim["device"] == device && claim["state"] == "pending"),
            "{claims:?}"
        );
        Ok(())
    })
    .await?;
    ensure!(hub.must(&["terminal", "claims"])?.contains(&device));
    ensure!(
        !hub.logged().contains(&code.replace('-', "")) && !hub.logged().contains(&code),
        "the code is in the log"
    );

    // A wrong code is rejected.
    check_error(
        &hub.command(&["terminal", "accept", &device, "--code", "0000-0000", "--name", "Door"])?,
        "4 more attempts",
    )?;
    check_error(
        &hub.command(&["terminal", "accept", &"0".repeat(32), "--code", &code, "--name", "Door"])?,
        "no terminal",
    )?;
    let acceptance = json!({"code": "WRONG234", "name": "Door"});
    expect_status(403, admin.post(&format!("/claims/{device}/accept"), &acceptance).await?)?;
    let acceptance = json!({"code": code, "name": "Front door"});
    let anonymous = Api::anonymous(&hub)?;
    expect_status(401, anonymous.post(&format!("/claims/{device}/accept"), &acceptance).await?)?;

    expect_status(204, admin.post(&format!("/claims/{device}/accept"), &acceptance).await?)?;
    terminal.wait_for_line("accepted").await?;
    terminal.wait_until_durable(10).await?;
    terminal.wait_until_delivered(&hub).await?;
    check_error(
        &hub.command(&["terminal", "accept", &device, "--code", &code, "--name", "Door"])?,
        "was accepted already",
    )?;
    let audited = "select count(*) from audit where action in ('terminal.accept', 'claim.wrong-code')";
    ensure!(hub.cluster().number(audited).await? == 3);

    // It executes a command once.
    let done = || terminal.logged().matches("command of the hub kind=Identify").count();
    expect_status(
        202,
        admin.post(&format!("/terminals/{device}/commands"), &json!({"kind": "identify"})).await?,
    )?;
    expect_status(
        400,
        admin.post(&format!("/terminals/{device}/commands"), &json!({"kind": "explode"})).await?,
    )?;
    eventually("the command", async || {
        ensure!(done() == 1, "{} times", done());
        ensure!(hub.cluster().number("select count(*) from commands where done_at is not null").await? == 1);
        Ok(())
    })
    .await?;
    // With another key the gallery can't be decrypted: the hub sends it again.
    terminal.kill()?;
    std::fs::write(dir.join("identity/roster.key"), "5c".repeat(32))?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    ensure!(terminal.logged().contains("ALARM: the gallery can't be opened"), "{}", terminal.logged());
    ensure!(terminal.logged().matches("command of the hub kind=Identify").count() == 1, "done twice");

    // Once revoked, it is disconnected within a second and does not connect again.
    let revoked = Instant::now();
    expect_status(204, admin.post(&format!("/terminals/{device}/revoke"), &json!({})).await?)?;
    while !hub.logged().contains("its certificate does not count any more") {
        ensure!(revoked.elapsed() < Duration::from_secs(1), "it was not sent away within a second");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eventually("the rejection", async || {
        ensure!(hub.logged().contains(&format!("terminal {device} is revoked")));
        Ok(())
    })
    .await?;
    let rejections = admin.list("/terminals/refusals").await?;
    let counted =
        |kind: &str| rejections.iter().any(|row| row["kind"] == kind && row["count"].as_u64() > Some(0));
    ensure!(counted("revoked") && counted("code"), "{rejections:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_may_be_known_by_an_ipv6_address_alone() -> Result<()> {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return Ok(());
    }
    let dir = TestDir::new()?;
    let mut hub = Hub::configure(&dir, "hub", "names = [\"::1\"]")?;
    let text = std::fs::read_to_string(&hub.config)?;
    std::fs::write(&hub.config, text.replace("127.0.0.1", "[::1]"))?;
    hub.mqtt.set_ip(Ipv6Addr::LOCALHOST.into());
    hub.https.set_ip(Ipv6Addr::LOCALHOST.into());
    hub.start()?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::unpaired(&dir, &hub, &WALK)?;
    let text = std::fs::read_to_string(&terminal.config)?;
    std::fs::write(&terminal.config, text.replace("\"localhost\"", "\"[::1]\""))?;
    terminal.start()?;
    let (device, code) = (terminal.wait_for_line("device ").await?, terminal.wait_for_line("code ").await?);
    eventually("the pairing request", async || {
        ensure!(hub.must(&["terminal", "claims"])?.contains(&device), "{}", terminal.logged());
        Ok(())
    })
    .await?;
    hub.must(&["terminal", "accept", &device, "--code", &code, "--name", "Door"])?;
    terminal.wait_until_durable(3).await?;
    terminal.wait_until_delivered(&hub).await
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_cannot_be_guessed_nor_device_ids_taken() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let mut terminal = Terminal::unpaired(&dir, &hub, &WALK)?;
    terminal.start()?;
    let (device, code) = (terminal.wait_for_line("device ").await?, terminal.wait_for_line("code ").await?);
    eventually("the pairing request", async || {
        ensure!(hub.must(&["terminal", "claims"])?.contains(&device));
        Ok(())
    })
    .await?;
    // Another device with the id of this one: the id is not derived from its key.
    let anonymous = Api::anonymous(&hub)?;
    let key = KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(rcgen::DnType::CommonName, device.as_str());
    let request = params.serialize_request(&key)?.pem()?;
    let claim = json!({"request": request, "code": "ABCD2345"});
    let said = expect_status(400, anonymous.post("/claims", &claim).await?)?;
    ensure!(said["error"].as_str().is_some_and(|text| text.contains("does not come from its key")), "{said}");
    for body in [
        json!({"request": "rubbish", "code": "ABCD2345"}),
        json!({"request": "x".repeat(70_000), "code": "A"}),
    ] {
        let (status, said) = anonymous.send(Method::POST, "/claims", &body).await?;
        ensure!(status.is_client_error(), "{status}: {said}");
    }
    for attempt in 1..=5 {
        let guess = format!("0000-000{attempt}");
        let output = hub.command(&["terminal", "accept", &device, "--code", &guess, "--name", "Door"])?;
        check_error(&output, "that is not the code")?;
    }
    check_error(
        &hub.command(&["terminal", "accept", &device, "--code", &code, "--name", "Door"])?,
        "rejected",
    )?;
    eventually("the terminal to give up", async || {
        ensure!(!dir.join("terminal/claim.code").exists(), "it keeps its code");
        Ok(())
    })
    .await?;
    ensure!(hub.logged().contains("rejected who="), "nothing was logged");
    // Restarted, as by systemd, it asks with another code.
    terminal.start()?;
    eventually("another code", async || {
        let fresh = terminal.wait_for_line("code ").await?;
        ensure!(fresh != code, "the same code");
        let output = hub.command(&["terminal", "accept", &device, "--code", &fresh, "--name", "Door"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_while_punches_flow() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    let folder = terminal.folder.clone();
    let file = |name: &str| folder.join(name);
    // A valid certificate with less than a third of its validity left.
    let key = KeyPair::from_pem(&std::fs::read_to_string(file("terminal.key"))?)?;
    let next_year = 1 + time_now_year()?;
    let old = Ca::of(&hub.state)?.certificate(&terminal.device, &key, 2020, next_year)?;
    std::fs::write(file("terminal.pem"), &old)?;
    let hash = |pem: &str| -> Result<String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(hex::encode(Sha256::digest(der)))
    };
    let set = format!("update terminals set certificate_sha256 = '\\x{}'", hash(&old)?);
    hub.cluster().execute(&set).await?;
    terminal.start()?;
    eventually("another certificate", async || {
        ensure!(std::fs::read_to_string(file("terminal.pem"))? != old, "{}", terminal.logged());
        Ok(())
    })
    .await?;
    terminal.wait_until_durable(10).await?;
    // The connection with the old certificate stays; the next uses the new one, and the old one is invalid.
    let renewed = "select count(*) from terminals where renewed_sha256 is not null";
    ensure!(hub.cluster().number(renewed).await? == 1, "not renewed");
    terminal.kill()?;
    terminal.start()?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    terminal.wait_until_delivered(&hub).await?;
    let current = hash(&std::fs::read_to_string(file("terminal.pem"))?)?;
    let promoted = format!(
        "select count(*) from terminals where certificate_sha256 = '\\x{current}' and renewed_sha256 is null"
    );
    ensure!(hub.cluster().number(&promoted).await? == 1, "the new certificate is not the one that counts");
    terminal.kill()?;
    std::fs::write(file("terminal.pem"), &old)?;
    let attacker = MqttClient { identity: Some(&terminal.folder), client_id: &terminal.device, will: false };
    ensure!(attacker.connect(&hub).await.is_err(), "the old certificate was let in");
    eventually("the reason in the log", async || {
        ensure!(hub.logged().contains("came with a replaced certificate"), "{}", hub.logged());
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_with_a_long_expired_certificate_punches_and_is_paired_again() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
    let mut terminal = Terminal::new(&dir, &hub, &WALK)?;
    let text = std::fs::read_to_string(&terminal.config)?;
    let ports = format!("https_port = {}\nport =", hub.https.port());
    std::fs::write(&terminal.config, text.replacen("port =", &ports, 1))?;
    terminal.start()?;
    terminal.wait_until_durable(3).await?;
    terminal.kill()?;
    let file = |name: &str| terminal.folder.join(name);
    let key = KeyPair::from_pem(&std::fs::read_to_string(file("terminal.key"))?)?;
    let ended = Ca::of(&hub.state)?.certificate(&terminal.device, &key, 2020, 2022)?;
    std::fs::write(file("terminal.pem"), &ended)?;
    let der = CertificateDer::from_pem_slice(ended.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
    let set = format!(
        "update terminals set expires_at = '2022-01-01', certificate_sha256 = '\\x{}'",
        hex::encode(Sha256::digest(der))
    );
    hub.cluster().execute(&set).await?;
    terminal.start()?;
    let code = terminal.wait_for_line("code ").await?;
    let before = terminal.durable().len();
    terminal.wait_until_durable(before + 10).await?;
    hub.must(&["terminal", "accept", &terminal.device, "--code", &code, "--name", "Door"])?;
    eventually("another certificate", async || {
        ensure!(std::fs::read_to_string(terminal.folder.join("terminal.pem"))? != ended);
        ensure!(hub.logged().matches("terminal connected").count() > 1, "{}", terminal.logged());
        Ok(())
    })
    .await?;
    terminal.wait_until_delivered(&hub).await
}

fn time_now_year() -> Result<i32> {
    let output = std::process::Command::new("date").arg("+%Y").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
