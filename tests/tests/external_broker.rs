//! An external broker: two hubs share it, and messages on it are not trusted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost::Message;
use proto::sign::Signer;
use proto::{Answer, Command, DeviceId, PunchBatch, PunchRecord, Receipt, Sealed, Topic};
use rcgen::{KeyPair, PKCS_ED25519};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use serde_json::{Value, json};
use tests::dir::TestDir;
use tests::eventually;
use tests::hub::Hub;
use tests::mosquitto::{Certificates, Mosquitto};
use tests::mqtt_client::tls;
use tests::simulated::{self, Behaviour, Simulated, accept, add_people};
use tests::terminal::{Terminal, Walk};
use tokio::task::JoinSet;

/// An external broker with a hub.
struct BrokerSetup {
    hub: Hub,
    broker: Mosquitto,
    certificates: PathBuf,
    dir: TestDir,
}

impl BrokerSetup {
    fn new(clients: &[(&str, Value)]) -> Result<Self> {
        let dir = TestDir::new()?;
        let certificates = dir.join("certificates");
        let mut hub = Hub::configure(&dir, "hub", "")?;
        let folder = certificates.to_str().context("a path in UTF-8")?;
        hub.must(&["authority", "broker", "localhost", "127.0.0.1", "--out", folder])?;
        let certificate = certificates.join("broker.pem");
        let (authority, key) = (certificates.join("ca.pem"), certificates.join("broker.key"));
        let mut broker = Mosquitto::configure(
            &dir,
            &Certificates { authority: &authority, certificate: &certificate, key: &key },
        )?;
        broker.start()?; // creates the list of clients
        broker.kill()?;
        let mut list: Value = serde_json::from_slice(&std::fs::read(&broker.list)?)?;
        for (name, role) in clients {
            let rolename = role["rolename"].clone();
            let clients = list["clients"].as_array_mut().context("clients")?;
            clients.push(json!({"username": name, "roles": [{"rolename": rolename}]}));
            if role.get("acls").is_some() {
                list["roles"].as_array_mut().context("roles")?.push(role.clone());
            }
        }
        std::fs::write(&broker.list, serde_json::to_string_pretty(&list)? + "\n")?;
        broker.start()?;
        let broker_certificates = certificates.clone();
        configure_external(&hub, &broker, &broker_certificates, "hub")?;
        hub.start()?;
        Ok(Self { hub, broker, certificates, dir })
    }

    /// Starts another hub on the same broker and database.
    fn second(&self) -> Result<Hub> {
        let url = self.dir.join("url");
        std::fs::write(&url, self.hub.cluster().url())?;
        let more = format!("database_url_file = \"{}\"\n", url.display());
        let mut second = Hub::configure(&self.dir, "second", &more)?;
        std::fs::create_dir_all(second.state.join("pki"))?;
        for name in ["pki/ca.pem", "pki/ca.key", "pki/signing.key", "vault.key"] {
            std::fs::copy(self.hub.state.join(name), second.state.join(name))?;
        }
        configure_external(&second, &self.broker, &self.certificates, "hub-2")?;
        second.start()?;
        Ok(second)
    }

    /// A terminal that connects to the broker.
    fn terminal(&self) -> Result<Terminal> {
        self.hub.enrol("1001", "One", &["obama.jpg", "obama2.jpg"])?;
        let walk = Walk { photos: &[("obama3.jpg", false)], rate: 30, rearm_s: 0, for_ever: true };
        let terminal = Terminal::new(&self.dir, &self.hub, &walk)?;
        let text = std::fs::read_to_string(&terminal.config)?;
        let (from, to) = (self.hub.mqtt.port(), self.broker.address.port());
        std::fs::write(&terminal.config, text.replace(&format!("port = {from}"), &format!("port = {to}")))?;
        Ok(terminal)
    }
}

/// Configures a hub for the broker, with its own certificate.
fn configure_external(hub: &Hub, broker: &Mosquitto, certificates: &Path, name: &str) -> Result<()> {
    let folder = certificates.join(name);
    hub.must(&["authority", "client", name, "--out", folder.to_str().context("a path in UTF-8")?])?;
    let text = std::fs::read_to_string(&hub.config)?;
    let external = format!(
        "broker = \"external\"\n{text}\n[external]\nhost = \"localhost\"\nport = {}\nca = \"{}\"\n\
        certificate = \"{}\"\nkey = \"{}\"\n",
        broker.address.port(),
        certificates.join("ca.pem").display(),
        folder.join("hub.pem").display(),
        folder.join("hub.key").display()
    );
    Ok(std::fs::write(&hub.config, external)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_on_one_broker_lose_no_punch_while_one_is_killed() -> Result<()> {
    let setup = BrokerSetup::new(&[("hub-2", json!({"rolename": "hub"}))])?;
    let mut second = setup.second()?;
    let ca = simulated::Ca::of(&setup.hub.state)?;
    let terminals: Vec<Simulated> = (0..40).map(|_| ca.terminal()).collect::<Result<_>>()?;
    let ids: Vec<DeviceId> = terminals.iter().map(|terminal| terminal.device.clone()).collect();
    accept(&setup.hub.cluster(), &terminals).await?;
    setup.hub.cluster().execute("select pg_notify('rollcall_terminal', '')").await?;
    eventually("the broker's list", async || {
        let known = setup.broker.known()?;
        ensure!(ids.iter().all(|id| known.iter().any(|name| name == id.as_str())), "{} known", known.len());
        Ok(())
    })
    .await?;
    let people = Arc::new(add_people(&setup.hub.cluster(), 50).await?);
    let first = Instant::now() + Duration::from_secs(1);
    let behaviour = Behaviour {
        port: setup.broker.address.port(),
        until: first + Duration::from_secs(15),
        every: Duration::from_millis(200),
        first,
        people,
    };
    let mut tasks = JoinSet::new();
    for terminal in terminals {
        tasks.spawn(terminal.run(behaviour.clone()));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        second.kill()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        second.start()?;
    }
    let mut sent = Vec::new();
    while let Some(done) = tasks.join_next().await {
        sent.extend(done??.punches);
    }
    let stored = setup.hub.cluster().punches().await?;
    ensure!(sent.len() > 1000, "only {} punches", sent.len());
    ensure!(sent.iter().all(|id| stored.get(id) == Some(&1)), "a punch is lost or doubled");
    ensure!(stored.len() == sent.len(), "{} stored of {}", stored.len(), sent.len());
    for (name, hub) in [("first", &setup.hub), ("second", &second)] {
        ensure!(hub.logged().contains("punches committed"), "the {name} hub had no share");
    }
    Ok(())
}

/// Published messages by topic.
type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A client that may publish and subscribe to everything on the broker.
struct Hostile {
    client: AsyncClient,
    heard: Heard,
    _task: JoinSet<()>,
}

impl Hostile {
    fn new(setup: &BrokerSetup) -> Result<Self> {
        let folder = setup.certificates.join("hostile");
        setup.hub.must(&["authority", "client", "hostile", "--out", folder.to_str().context("a path")?])?;
        std::fs::rename(folder.join("hub.pem"), folder.join("terminal.pem"))?;
        std::fs::rename(folder.join("hub.key"), folder.join("terminal.key"))?;
        let mut options = MqttOptions::new("hostile", "localhost", setup.broker.address.port());
        let tls = tls(&setup.certificates.join("ca.pem"), Some(&folder))?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
        options.set_clean_session(true).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::new(options, 64);
        let heard = Heard::default();
        let (inner, kept) = (client.clone(), heard.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        drop(inner.try_subscribe("/tenants/#", QoS::AtMostOnce));
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        if let Ok(mut kept) = kept.lock() {
                            kept.push((message.topic, message.payload.to_vec()));
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
        });
        Ok(Self { client, heard, _task: task })
    }

    async fn publish(&self, topic: Topic, device: &DeviceId, bytes: Vec<u8>) -> Result<()> {
        Ok(self.client.publish(topic.of(device), QoS::AtLeastOnce, false, bytes).await?)
    }

    /// The latest message that it received on a topic.
    async fn recorded(&self, topic: Topic, device: &DeviceId) -> Result<Vec<u8>> {
        let name = topic.of(device);
        eventually(&format!("{topic:?} on the broker"), async || {
            let heard = self.heard.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
            let found = heard.iter().rev().find(|(topic, _)| *topic == name).map(|(_, bytes)| bytes.clone());
            found.with_context(|| format!("nothing on {name}"))
        })
        .await
    }
}

fn count_rejections(text: &str, part: &str) -> usize {
    text.lines().filter(|line| line.contains("rejected") && line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_hostile_client_are_rejected() -> Result<()> {
    let everything = ["publishClientSend", "publishClientReceive", "subscribePattern"];
    let acls: Vec<Value> = everything
        .iter()
        .map(|kind| json!({"acltype": kind, "topic": "#", "priority": 0, "allow": true}))
        .collect();
    let setup = BrokerSetup::new(&[("hostile", json!({"rolename": "everything", "acls": acls}))])?;
    let hostile = Hostile::new(&setup)?;
    let mut terminal = setup.terminal()?;
    let device: DeviceId = terminal.device.parse()?;
    terminal.start()?;
    terminal.wait_until_durable(11).await?;
    let gallery = hostile.recorded(Topic::Gallery, &device).await?;
    let answer = hostile.recorded(Topic::Answer, &device).await?;
    let batch = hostile.recorded(Topic::Punches, &device).await?;

    // Messages of the hub, signed with another key.
    let own = Signer::hub(&KeyPair::generate_for(&PKCS_ED25519)?.serialize_der())?;
    let command = Command { id: vec![7; 16], kind: 1, expires_us: i64::MAX };
    let forged = [
        (Topic::Receipt, Receipt { version: 1, through: 1 << 40, ..Receipt::default() }.encode_to_vec()),
        (Topic::Gallery, Sealed { key: vec![1; 32], ..Sealed::default() }.encode_to_vec()),
        (Topic::Answer, Answer { version: 1, commands: vec![command], ..Answer::default() }.encode_to_vec()),
    ];
    for (topic, body) in forged {
        let rejected = count_rejections(&terminal.logged(), "did not sign");
        hostile.publish(topic, &device, body.clone()).await?; // unsigned
        hostile.publish(topic, &device, own.sign(topic, &device, body)).await?;
        eventually(&format!("{topic:?} rejected twice"), async || {
            ensure!(
                count_rejections(&terminal.logged(), "did not sign") >= rejected + 2,
                "{}",
                terminal.logged()
            );
            Ok(())
        })
        .await?;
    }
    // Messages of the hub to another terminal, or on another topic.
    let rejected = count_rejections(&terminal.logged(), "did not sign");
    hostile.publish(Topic::Answer, &device, gallery.clone()).await?;
    eventually("a message of another topic to be rejected", async || {
        ensure!(count_rejections(&terminal.logged(), "did not sign") > rejected);
        Ok(())
    })
    .await?;
    // A replayed message of the hub: it answers an earlier hello.
    terminal.kill()?;
    terminal.start()?;
    terminal.wait_until_durable(terminal.durable().len() + 11).await?;
    let rejected = count_rejections(&terminal.logged(), "answers no hello");
    hostile.publish(Topic::Gallery, &device, gallery).await?;
    hostile.publish(Topic::Answer, &device, answer).await?;
    eventually("an old gallery and answer to be rejected", async || {
        ensure!(
            count_rejections(&terminal.logged(), "answers no hello") >= rejected + 2,
            "{}",
            terminal.logged()
        );
        Ok(())
    })
    .await?;

    // Messages of the terminal.
    let record = PunchRecord { seq: 1, punch: vec![1, 2, 3] };
    let invented =
        PunchBatch { version: 1, epoch: 5, records: vec![record], ..PunchBatch::default() }.encode_to_vec();
    let other = Signer::terminal(&KeyPair::generate()?.serialize_der())?;
    hostile.publish(Topic::Punches, &device, invented.clone()).await?;
    hostile.publish(Topic::Punches, &device, other.sign(Topic::Punches, &device, invented)).await?;
    let unknown: DeviceId = "f".repeat(32).parse()?;
    hostile.publish(Topic::Hello, &unknown, batch.clone()).await?;
    for _ in 0..20 {
        hostile.publish(Topic::Punches, &device, batch.clone()).await?; // replayed
    }
    eventually("the hub to reject it", async || {
        let log = setup.hub.logged();
        ensure!(
            count_rejections(&log, "kind=\"signature\"") >= 2 && count_rejections(&log, "not accepted") >= 1,
            "{log}"
        );
        Ok(())
    })
    .await?;
    terminal.wait_until_delivered(&setup.hub).await?;
    ensure!(setup.hub.cluster().number("select count(*) from dead_letters").await? == 0);

    // Once revoked, it is disconnected by the broker and its messages are rejected.
    setup.hub.must(&["terminal", "revoke", device.as_str()])?;
    eventually("the broker to forget it", async || {
        ensure!(!setup.broker.known()?.iter().any(|name| name == device.as_str()));
        Ok(())
    })
    .await?;
    eventually("the terminal to be offline", async || {
        ensure!(terminal.logged().contains("refuses this terminal's subscriptions"), "{}", terminal.logged());
        Ok(())
    })
    .await
}
