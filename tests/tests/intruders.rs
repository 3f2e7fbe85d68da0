//! Who may not get in, does not, and the hub says why.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc::QoS;
use tests::eventually;
use tests::ground::Ground;
use tests::hub::Hub;
use tests::intruder::{Intruder, acknowledged};

async fn hub_says(hub: &Hub, expected: &str) -> Result<()> {
    eventually(expected, async || {
        ensure!(hub.logged().contains(expected), "{}", hub.logged());
        Ok(())
    })
    .await
}

/// A key and a certificate for `device`, signed by an authority that the hub does not know.
fn foreign(ground: &Ground, device: &str) -> Result<std::path::PathBuf> {
    let folder = ground.join("foreign");
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
async fn only_accepted_terminals_connect_as_themselves() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    let (one, other) = (ground.join("one"), ground.join("other"));
    let (device, neighbour) = (hub.sign(&one, "One")?, hub.sign(&other, "Other")?);
    let foreign = foreign(&ground, &device)?;
    let honest = Intruder { identity: Some(&one), client_id: &device, will: false };
    drop(honest.connect(&hub).await?);

    let attempts = [
        ("no certificate", Intruder { identity: None, ..honest }, "peer sent no certificates"),
        (
            "a foreign certificate",
            Intruder { identity: Some(&foreign), ..honest },
            "invalid peer certificate",
        ),
        ("another's name", Intruder { client_id: &neighbour, ..honest }, "is not"),
        ("a last will", Intruder { will: true, ..honest }, "a last will is not allowed"),
    ];
    for (what, intruder, reason) in attempts {
        ensure!(intruder.connect(&hub).await.is_err(), "{what} was let in");
        hub_says(&hub, reason).await?;
    }
    // A certificate of the right authority whose terminal was revoked, or signed anew.
    hub.must(&["terminal", "revoke", &device])?;
    ensure!(honest.connect(&hub).await.is_err(), "a revoked terminal was let in");
    hub_says(&hub, "is revoked").await?;
    let request = other.join("terminal.csr").display().to_string();
    let elsewhere = ground.join("elsewhere").display().to_string();
    let refused = hub.command(&["terminal", "sign", &request, "--name", "Thief", "--out", &elsewhere])?;
    tests::refused(&refused, "is known already")?;
    hub.must(&["terminal", "sign", &request, "--name", "Other", "--out", &elsewhere, "--replace"])?;
    let replaced = Intruder { identity: Some(&other), client_id: &neighbour, will: false };
    ensure!(replaced.connect(&hub).await.is_err(), "a replaced certificate was let in");
    hub_says(&hub, "came with a replaced certificate").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_speaks_and_hears_for_itself_alone() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    let (one, other) = (ground.join("one"), ground.join("other"));
    let (device, neighbour) = (hub.sign(&one, "One")?, hub.sign(&other, "Other")?);
    let me = Intruder { identity: Some(&one), client_id: &device, will: false };

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
        hub_says(&hub, &format!("it may not publish to {topic}")).await?;
    }
    let (client, mut events) = me.connect(&hub).await?;
    client.publish(format!("/tenants/{device}/up/hello"), QoS::AtLeastOnce, true, "x").await?;
    ensure!(!acknowledged(&mut events).await?, "it retained a message");
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
        hub_says(&hub, &format!("it may not subscribe to {filter}")).await?;
    }
    let (client, mut events) = me.connect(&hub).await?;
    client.subscribe(format!("/tenants/{device}/down/receipt"), QoS::AtMostOnce).await?;
    ensure!(acknowledged(&mut events).await?, "its own topics were refused");
    // Larger than any packet may be: cut off, and the hub lives.
    client
        .publish(format!("/tenants/{device}/up/punches"), QoS::AtLeastOnce, false, vec![0; 400 << 10])
        .await?;
    ensure!(!acknowledged(&mut events).await?, "it sent 400 KiB");
    ensure!(hub.cluster().number("select count(*) from punches").await? == 0);
    drop(me.connect(&hub).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_idle_sockets_delay_nobody() -> Result<()> {
    let ground = Ground::new()?;
    let hub = Hub::start_new(&ground)?;
    let one = ground.join("one");
    let device = hub.sign(&one, "One")?;
    let mut idle = Vec::new();
    for number in 0..50 {
        let mut socket = TcpStream::connect(hub.mqtt)?;
        if number % 2 == 0 {
            socket.write_all(&[22, 3, 1])?; // the beginning of a handshake that never goes on
        }
        idle.push(socket);
    }
    let begun = Instant::now();
    let honest = Intruder { identity: Some(&one), client_id: &device, will: false };
    drop(honest.connect(&hub).await?);
    // Far less than the five seconds that a handshake may take: nobody waited for an idle one.
    ensure!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
    hub_says(&hub, "no handshake in time").await?;
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
