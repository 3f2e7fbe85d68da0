//! Simulated terminals without a camera and a disk: they sign, send, resend and wait for Receipts as real ones do.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prost::Message;
use proto::sign::Signer;
use proto::{DeviceId, Heartbeat, Hello, Punch, PunchBatch, PunchRecord, Receipt, Signed, Topic};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, PublicKeyData, date_time_ymd,
};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::time::sleep_until;
use uuid::Uuid;

use crate::database::Cluster;

/// Punches without a Receipt are sent again after this time.
const RESEND_AFTER: Duration = Duration::from_secs(6);

/// The CA of a hub, to sign certificates without the hub.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

pub struct Simulated {
    pub device: DeviceId,
    pub certificate: CertificateDer<'static>,
    signer: Signer,
    tls: Arc<ClientConfig>,
}

impl Ca {
    pub fn of(state: &Path) -> Result<Self> {
        let read = |name: &str| std::fs::read_to_string(state.join("pki").join(name));
        let root =
            CertificateDer::from_pem_slice(read("ca.pem")?.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
        let issuer = Issuer::from_ca_cert_der(&root, KeyPair::from_pem(&read("ca.key")?)?)?;
        Ok(Self { issuer, root })
    }

    /// A certificate (PEM) as the hub signs them, valid from the beginning of one year to that of another.
    pub fn certificate(&self, device: &str, key: &KeyPair, from: i32, until: i32) -> Result<String> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, device);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    pub fn terminal(&self) -> Result<Simulated> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = KeyPair::generate()?;
        let hash = Sha256::digest(key.subject_public_key_info());
        let device = DeviceId::from_random(hash[..16].try_into()?);
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, device.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.clone()], der)?;
        let signer = Signer::terminal(&key.serialize_der())?;
        Ok(Simulated { device, certificate, signer, tls: Arc::new(tls) })
    }
}

/// Inserts terminals as accepted.
pub async fn accept(cluster: &Cluster, terminals: &[Simulated]) -> Result<()> {
    let devices: Vec<String> = terminals.iter().map(|t| t.device.as_str().to_owned()).collect();
    let hashes: Vec<Vec<u8>> = terminals.iter().map(|t| Sha256::digest(&t.certificate).to_vec()).collect();
    let keys: Vec<Vec<u8>> = terminals.iter().map(|t| t.signer.author().bytes().to_vec()).collect();
    sqlx::query(
        "insert into terminals (device, name, state, certificate_sha256, expires_at, public_key)
        select device, 'Door', 'accepted', hash, now() + interval '1 year', key
        from unnest($1::text[], $2::bytea[], $3::bytea[]) as t (device, hash, key)",
    )
    .bind(&devices)
    .bind(&hashes)
    .bind(&keys)
    .execute(&mut cluster.connect().await?)
    .await?;
    Ok(())
}

#[derive(Default)]
pub struct Record {
    /// The time of its first connection.
    pub connected: Option<Instant>,
    pub punches: Vec<Uuid>,
    /// From publishing a punch to its Receipt.
    pub latencies: Vec<Duration>,
    pub connections: u32,
}

#[derive(Clone)]
pub struct Behaviour {
    pub port: u16,
    pub until: Instant,
    pub every: Duration,
    pub first: Instant,
    pub people: Arc<Vec<Uuid>>,
}

/// A punch without a Receipt.
struct Waiting {
    seq: u64,
    bytes: Vec<u8>,
    sent: Instant,
}

impl Simulated {
    /// Connects, publishes messages in order, and disconnects once the broker has acknowledged all.
    pub async fn publish(&self, port: u16, messages: &[(Topic, Vec<u8>)]) -> Result<()> {
        let (client, mut events) = self.client(port);
        for (topic, body) in messages {
            let message = self.signer.sign(*topic, &self.device, body.clone());
            client.publish(topic.of(&self.device), QoS::AtLeastOnce, false, message).await?;
        }
        let mut left = messages.len();
        while left > 0 {
            if let Event::Incoming(Packet::PubAck(_)) =
                tokio::time::timeout(RESEND_AFTER, events.poll()).await??
            {
                left -= 1;
            }
        }
        Ok(())
    }

    fn client(&self, port: u16) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(self.device.as_str(), "localhost", port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(self.tls.clone())));
        options.set_clean_session(true).set_max_packet_size(proto::PACKET_BYTES, proto::PACKET_BYTES);
        options.set_keep_alive(Duration::from_secs(30));
        AsyncClient::new(options, 64)
    }

    /// Connects, sends punches, and returns once all have their Receipts.
    pub async fn run(self, behaviour: Behaviour) -> Result<Record> {
        let (client, events) = self.client(behaviour.port);
        let mut session = Session {
            terminal: self,
            client,
            epoch: u64::from(rand::random::<u32>()),
            waiting: VecDeque::new(),
            sent: Instant::now(),
            record: Record::default(),
            connected: false,
        };
        session.run(events, &behaviour).await?;
        Ok(session.record)
    }
}

struct Session {
    terminal: Simulated,
    client: AsyncClient,
    epoch: u64,
    waiting: VecDeque<Waiting>,
    /// When all waiting punches were last sent.
    sent: Instant,
    record: Record,
    connected: bool,
}

impl Session {
    async fn run(&mut self, mut events: EventLoop, behaviour: &Behaviour) -> Result<()> {
        let mut next = behaviour.first;
        let mut beat = behaviour.first + Duration::from_secs(30);
        loop {
            let now = Instant::now();
            if now >= behaviour.until && self.waiting.is_empty() {
                return Ok(());
            }
            let again = self.waiting.front().map(|first| first.sent.max(self.sent) + RESEND_AFTER);
            let wake = [again, Some(beat), (next < behaviour.until).then_some(next)];
            let wake = wake.into_iter().flatten().min().unwrap_or(beat);
            tokio::select! {
                event = events.poll() => self.handle(event).await,
                () = sleep_until(wake.into()) => {
                    let now = Instant::now();
                    if now >= next && next < behaviour.until {
                        self.punch(behaviour);
                        next += behaviour.every;
                    }
                    if now >= beat {
                        self.send_hello();
                        beat += Duration::from_secs(30);
                    }
                    if self.waiting.front().is_some_and(|first| first.sent.max(self.sent) + RESEND_AFTER <= now) {
                        self.resend();
                    }
                }
            }
        }
    }

    async fn handle(&mut self, event: Result<Event, rumqttc::ConnectionError>) {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let device = &self.terminal.device;
                let filters =
                    Topic::DOWN.map(|topic| SubscribeFilter::new(topic.of(device), QoS::AtMostOnce));
                let _ = self.client.try_subscribe_many(filters);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                self.connected = true;
                self.record.connections += 1;
                self.record.connected.get_or_insert_with(Instant::now);
                self.send_hello();
                self.resend();
            }
            Ok(Event::Incoming(Packet::Publish(message))) if message.topic.ends_with("/down/receipt") => {
                let signed = Signed::decode(message.payload).unwrap_or_default();
                let receipt = Receipt::decode(signed.body.as_slice()).unwrap_or_default();
                while self.waiting.front().is_some_and(|first| first.seq <= receipt.through) {
                    let first = self.waiting.pop_front();
                    self.record.latencies.extend(first.map(|first| first.sent.elapsed()));
                }
            }
            Ok(_) => {}
            Err(_) => {
                self.connected = false;
                tokio::time::sleep(Duration::from_millis(rand::random_range(200..2000))).await;
            }
        }
    }

    fn send_hello(&self) {
        let hello =
            Hello { version: proto::VERSION, epoch: self.epoch, embedder: "none".into(), ..Hello::default() };
        self.publish(Topic::Hello, hello.encode_to_vec());
        let run = Uuid::from_u64_pair(self.epoch, 1).as_bytes().to_vec();
        let beat = Heartbeat {
            version: proto::VERSION,
            run,
            queued: self.waiting.len() as u64,
            ..Heartbeat::default()
        };
        self.publish(Topic::Heartbeat, beat.encode_to_vec());
    }

    fn punch(&mut self, behaviour: &Behaviour) {
        let id = Uuid::now_v7();
        let seq = self.record.punches.len() as u64 + 1;
        let person = behaviour.people[rand::random_range(0..behaviour.people.len())];
        let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |at| at.to_unix());
        let punch = Punch {
            version: proto::VERSION,
            id: id.as_bytes().to_vec(),
            person: person.as_bytes().to_vec(),
            at_us: seconds as i64 * 1_000_000 + i64::from(nanoseconds / 1000),
            boot: "simulated".into(),
            synchronised: true,
            ..Punch::default()
        };
        let waiting = Waiting { seq, bytes: punch.encode_to_vec(), sent: Instant::now() };
        self.record.punches.push(id);
        if self.connected {
            self.batch(std::slice::from_ref(&waiting));
        }
        self.waiting.push_back(waiting);
    }

    fn resend(&mut self) {
        self.sent = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        let (first, second) = waiting.as_slices();
        for group in [first, second].into_iter().flat_map(|part| part.chunks(proto::BATCH_PUNCHES)) {
            self.batch(group);
        }
        self.waiting = waiting;
    }

    fn batch(&self, punches: &[Waiting]) {
        let record = |punch: &Waiting| PunchRecord { seq: punch.seq, punch: punch.bytes.clone() };
        let records = punches.iter().map(record).collect();
        let batch = PunchBatch {
            version: proto::VERSION,
            epoch: self.epoch,
            records,
            oldest: 1,
            ..PunchBatch::default()
        };
        self.publish(Topic::Punches, batch.encode_to_vec());
    }

    fn publish(&self, topic: Topic, body: Vec<u8>) {
        let message = self.terminal.signer.sign(topic, &self.terminal.device, body);
        let _ = self.client.try_publish(topic.of(&self.terminal.device), QoS::AtLeastOnce, false, message);
    }
}

/// Returns their ids.
pub async fn add_people(cluster: &Cluster, count: i64) -> Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "insert into people (id, number, name, site)
        select gen_random_uuid(), 'S' || n, 'Somebody', (select min(id) from sites) from generate_series(1, $1) n
        returning id",
    )
    .bind(count)
    .fetch_all(&mut cluster.connect().await?)
    .await
    .context("no people")
}
