//! Who may connect to the broker and use which topics; what the hub logs of rejections.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc::QoS;
use rustls_pki_types::ServerName;
use tests::dir::TestDir;
use tests::eventually;
use tests::hub::Hub;
use tests::mqtt_client::{MqttClient, acknowledged, tls};
use tests::simulated::Ca;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

/// Idle sockets, some in the middle of a handshake.
const IDLE: usize = 1000;

async fn wait_for_log(hub: &Hub, expected: &str) -> Result<()> {
    eventually(expected, async || {
        ensure!(hub.logged().contains(expected), "{}", hub.logged());
        Ok(())
    })
    .await
}

/// Raises the limit of open files: both ends of the sockets are on this machine.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A key and a certificate for `device`, signed by an unknown CA.
fn sign_with_unknown_ca(dir: &TestDir, device: &str) -> Result<std::path::PathBuf> {
    let folder = dir.join("foreign");
    std::fs::create_dir(&folder)?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Rollcall authority");
    let issuer = Issuer::new(authority, KeyPair::generate()?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, device);
    std::fs::write(folder.join("terminal.pem"), params.signed_by(&key, &issuer)?.pem())?;
    std::fs::write(folder.join("terminal.key"), key.serialize_pem())?;
    Ok(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_accepted_terminals_connect_and_only_as_themselves() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let (one, other) = (dir.join("one"), dir.join("other"));
    let (device, neighbour) = (hub.sign(&one, "One")?, hub.sign(&other, "Other")?);
    let foreign = sign_with_unknown_ca(&dir, &device)?;
    let honest = MqttClient { identity: Some(&one), client_id: &device, will: false };
    drop(honest.connect(&hub).await?);

    let attempts = [
        ("no certificate", MqttClient { identity: None, ..honest }, "peer sent no certificates"),
        (
            "a foreign certificate",
            MqttClient { identity: Some(&foreign), ..honest },
            "invalid peer certificate",
        ),
        ("another's name", MqttClient { client_id: &neighbour, ..honest }, "is not"),
        ("a last will", MqttClient { will: true, ..honest }, "a last will is not allowed"),
    ];
    for (what, mqtt_client, reason) in attempts {
        ensure!(mqtt_client.connect(&hub).await.is_err(), "{what} was let in");
        wait_for_log(&hub, reason).await?;
    }
    // Certificates of the hub's CA: of a revoked terminal, and one that was replaced.
    hub.must(&["terminal", "revoke", &device])?;
    ensure!(honest.connect(&hub).await.is_err(), "a revoked terminal was let in");
    wait_for_log(&hub, "is revoked").await?;
    let request = other.join("terminal.csr").display().to_string();
    let elsewhere = dir.join("elsewhere").display().to_string();
    let refused = hub.command(&["terminal", "sign", &request, "--name", "Thief", "--out", &elsewhere])?;
    tests::check_error(&refused, "is known already")?;
    hub.must(&["terminal", "sign", &request, "--name", "Other", "--out", &elsewhere, "--replace"])?;
    let replaced = MqttClient { identity: Some(&other), client_id: &neighbour, will: false };
    ensure!(replaced.connect(&hub).await.is_err(), "a replaced certificate was let in");
    wait_for_log(&hub, "came with a replaced certificate").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_uses_only_its_own_topics() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let (one, other) = (dir.join("one"), dir.join("other"));
    let (device, neighbour) = (hub.sign(&one, "One")?, hub.sign(&other, "Other")?);
    let me = MqttClient { identity: Some(&one), client_id: &device, will: false };

    let (client, mut events) = me.connect(&hub).await?;
    client.publish(format!("/tenants/{device}/up/hello"), QoS::AtLeastOnce, false, "x").await?;
    ensure!(acknowledged(&mut events).await?, "its own topic was refused");
    let foreign = [
        format!("/tenants/{neighbour}/up/punches"),
        format!("/tenants/{neighbour}/down/receipt"),
        format!("/tenants/{device}/down/receipt"),
        format!("/tenants/{device}/up/other"),
        "/elsewhere".to_owned(),
    ];
    for topic in foreign {
        let (client, mut events) = me.connect(&hub).await?;
        client.publish(&topic, QoS::AtLeastOnce, false, "x").await?;
        ensure!(!acknowledged(&mut events).await?, "it published to {topic}");
        wait_for_log(&hub, &format!("it may not publish to {topic}")).await?;
    }
    let (client, mut events) = me.connect(&hub).await?;
    client.publish(format!("/tenants/{device}/up/hello"), QoS::AtLeastOnce, true, "x").await?;
    ensure!(!acknowledged(&mut events).await?, "it retained a message");
    // QoS 2: kept until it is released, which never happens.
    let (client, mut events) = me.connect(&hub).await?;
    client.publish(format!("/tenants/{device}/up/hello"), QoS::ExactlyOnce, false, "x").await?;
    ensure!(!acknowledged(&mut events).await?, "it published with QoS 2");
    wait_for_log(&hub, "it may not publish with QoS 2").await?;
    let foreign = [
        "#".to_owned(),
        "/tenants/+/down/#".to_owned(),
        format!("/tenants/{device}/down/#"),
        format!("/tenants/{neighbour}/down/receipt"),
        format!("/tenants/{device}/up/hello"),
    ];
    for filter in &foreign {
        let (client, mut events) = me.connect(&hub).await?;
        client.subscribe(filter, QoS::AtMostOnce).await?;
        ensure!(!acknowledged(&mut events).await?, "it subscribed to {filter}");
        wait_for_log(&hub, &format!("it may not subscribe to {filter}")).await?;
    }
    let (client, mut events) = me.connect(&hub).await?;
    client.subscribe(format!("/tenants/{device}/down/receipt"), QoS::AtMostOnce).await?;
    ensure!(acknowledged(&mut events).await?, "its own topics were refused");
    // A packet above the limit closes the connection; the hub continues.
    client
        .publish(format!("/tenants/{device}/up/punches"), QoS::AtLeastOnce, false, vec![0; 400 << 10])
        .await?;
    ensure!(!acknowledged(&mut events).await?, "it sent 400 KiB");
    wait_for_log(&hub, "kind=\"too-large\"").await?;
    ensure!(hub.cluster().number("select count(*) from punches").await? == 0);
    drop(me.connect(&hub).await?);
    Ok(())
}

/// Random bytes that begin like MQTT; the seed is printed.
fn malformed_packet(chance: &mut StdRng) -> Vec<u8> {
    let kind = chance.random_range(0..16_u8) << 4;
    let length = chance.random_range(0..200_usize);
    let mut bytes = vec![kind | chance.random_range(0..16_u8)];
    match chance.random_range(0..4) {
        0 => bytes.extend([0xff; 4]),          // an endless length
        1 => bytes.extend([0xff, 0xff, 0x7f]), // two megabytes
        2 => bytes.push(chance.random_range(0..128)),
        _ => bytes.push(length.min(127) as u8),
    }
    bytes.extend((0..length).map(|_| chance.random::<u8>()));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_packets_end_only_their_own_connection() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let (one, other) = (dir.join("one"), dir.join("other"));
    let (device, neighbour) = (hub.sign(&one, "One")?, hub.sign(&other, "Other")?);
    // Other terminals stay connected meanwhile.
    let honest = MqttClient { identity: Some(&other), client_id: &neighbour, will: false };
    let (client, mut events) = honest.connect(&hub).await?;
    let seed = rand::random::<u32>();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed.into());
    let connector = TlsConnector::from(Arc::new(tls(&hub.authority(), Some(&one))?));
    let name = ServerName::try_from("localhost")?;
    let connect = [&[0x10, 44, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, 32], device.as_bytes()].concat();
    for round in 0..40 {
        // The limit is 30 connections at once, then one per second.
        if round >= 25 {
            tokio::time::sleep(Duration::from_millis(1050)).await;
        }
        let socket = tokio::net::TcpStream::connect(hub.mqtt).await?;
        let mut stream = connector
            .connect(name.clone(), socket)
            .await
            .with_context(|| format!("seed {seed}, round {round}"))?;
        if round % 3 > 0 {
            stream.write_all(&connect).await?;
        }
        for _ in 0..20 {
            if stream.write_all(&malformed_packet(&mut chance)).await.is_err() {
                break;
            }
        }
        let _ = stream.shutdown().await;
    }
    wait_for_log(&hub, "kind=\"not-mqtt\"").await?;
    client.publish(format!("/tenants/{neighbour}/up/hello"), QoS::AtLeastOnce, false, "x").await?;
    ensure!(acknowledged(&mut events).await?, "a neighbour lost its connection");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_future_and_revoked_certificates_are_rejected() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let one = dir.join("one");
    let device = hub.sign(&one, "One")?;
    let honest = MqttClient { identity: Some(&one), client_id: &device, will: false };
    let (_client, mut events) = honest.connect(&hub).await?;
    // Signed by the hub's CA for the right key, but expired, not valid yet, or of an unknown device.
    let key = KeyPair::from_pem(&std::fs::read_to_string(one.join("terminal.key"))?)?;
    let ca = Ca::of(&hub.state)?;
    let unknown = "f".repeat(32);
    let wrong = [
        ("expired", &device, 2001, 2002, "expired"),
        ("not yet valid", &device, 2090, 2091, "not valid yet"),
        ("of nobody", &unknown, 2020, 2090, "is unknown"),
        ("not the one that was signed", &device, 2020, 2090, "came with a replaced certificate"),
    ];
    for (number, (what, name, from, until, reason)) in wrong.into_iter().enumerate() {
        let folder = dir.join(&format!("wrong-{number}"));
        std::fs::create_dir(&folder)?;
        std::fs::copy(one.join("terminal.key"), folder.join("terminal.key"))?;
        std::fs::write(folder.join("terminal.pem"), ca.certificate(name, &key, from, until)?)?;
        let mqtt_client = MqttClient { identity: Some(&folder), client_id: name, will: false };
        ensure!(mqtt_client.connect(&hub).await.is_err(), "a certificate {what} was let in");
        wait_for_log(&hub, reason).await?;
    }
    // The valid connection stays and ends within a second of being revoked.
    let revoked = Instant::now();
    hub.must(&["terminal", "revoke", &device])?;
    let command = revoked.elapsed();
    while tokio::time::timeout(Duration::from_secs(5), events.poll()).await.context("it stands")?.is_ok() {}
    ensure!(revoked.elapsed() < command + Duration::from_secs(1), "it took {:?}", revoked.elapsed());
    ensure!(honest.connect(&hub).await.is_err(), "it came again");
    wait_for_log(&hub, "is revoked").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_sockets_do_not_delay_a_terminal() -> Result<()> {
    let dir = TestDir::new()?;
    let hub = Hub::start_new(&dir)?;
    let one = dir.join("one");
    let device = hub.sign(&one, "One")?;
    raise_file_limit();
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut socket = TcpStream::connect(hub.mqtt)?;
        if number % 2 == 0 {
            socket.write_all(&[22, 3, 1])?; // an unfinished handshake
        }
        idle.push(socket);
    }
    let begun = Instant::now();
    let honest = MqttClient { identity: Some(&one), client_id: &device, will: false };
    drop(honest.connect(&hub).await?);
    // Far less than the timeout of a handshake, five seconds.
    ensure!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    wait_for_log(&hub, "no handshake in time").await?;
    for mut socket in idle {
        use std::io::Read;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        match socket.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => bail!("an idle socket was kept: {error}"),
        }
    }
    Ok(())
}
