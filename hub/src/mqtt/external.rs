//! An MQTT broker that is not the hub's own: any with shared subscriptions. Several hubs on one
//! broker and one database share what terminals publish among them.
//!
//! The hub is a client with a certificate, with clean sessions: what it was sent and did not store
//! the terminals send again, to whichever hub is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::sign::Signer;
use proto::{DeviceId, Topic, topic};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::{broadcast, mpsc};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::mqtt::mosquitto_acl::{self, AccessList};
use crate::mqtt::{Message, Publisher, Route};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The waits between attempts to connect: doubled from the first to the last, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Messages that wait for the connection, at most: they are Receipts and answers, and lost ones are
/// asked for again.
const WAITING: usize = 4096;
/// Messages in flight that want an acknowledgement.
const IN_FLIGHT: u16 = 1000;

/// How the hub reaches the broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name, as in its certificate.
    pub host: String,
    /// Its port, MQTT over TLS.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Who signed its certificate (PEM).
    pub ca: PathBuf,
    /// The hub's certificate for it (PEM).
    pub certificate: PathBuf,
    /// The hub's key for it (PEM, mode 0600).
    pub key: PathBuf,
    /// Hubs with the same name share the messages.
    #[serde(default = "default_share")]
    pub share: String,
    /// Who keeps the broker's list of terminals.
    #[serde(default, alias = "guests")]
    pub access_list: AccessListKeeper,
}

/// Who keeps the broker's list of those who may connect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AccessListKeeper {
    /// The hub, with Mosquitto's dynamic-security plugin.
    #[default]
    DynamicSecurity,
    /// Somebody else, by other means.
    Elsewhere,
}

fn default_port() -> u16 {
    8883
}
fn default_share() -> String {
    "hub".into()
}

impl Settings {
    /// TLS towards the broker; an error names the file.
    pub fn tls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let read = || CertificateDer::pem_file_iter(&self.ca)?.collect::<Result<Vec<_>, _>>();
        for authority in read().with_context(|| format!("cannot read {}", self.ca.display()))? {
            roots.add(authority).with_context(|| self.ca.display().to_string())?;
        }
        ensure!(!roots.is_empty(), "{} holds no certificate", self.ca.display());
        let read = || CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<Vec<_>, _>>();
        let chain = read().with_context(|| format!("cannot read {}", self.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("cannot read the key {}", self.key.display()))?;
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("external.certificate and external.key do not belong together")
    }
}

/// The connection to it.
pub struct External {
    client: AsyncClient,
    events: EventLoop,
    filter: String,
    send: mpsc::Sender<Message>,
    access_list: Option<AccessListEvents>,
    /// Whether the connection connected: what is published meanwhile would only be old when it does.
    connected: Arc<AtomicBool>,
}

/// What the keeper of the access list is told.
struct AccessListEvents {
    answers: mpsc::Sender<Vec<u8>>,
    connected: mpsc::Sender<()>,
}

impl External {
    /// Prepares the connection; nothing happens before [`External::serve`].
    pub fn new(
        settings: &Settings,
        signer: Arc<Signer>,
    ) -> Result<(Self, Publisher, mpsc::Receiver<Message>)> {
        // A name of its own for each connection of each hub, unless the broker takes it from the
        // certificate.
        let mut options =
            MqttOptions::new(format!("hub-{}", Uuid::new_v4().simple()), &settings.host, settings.port);
        options
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(settings.tls()?))))
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(proto::PACKET_BYTES, proto::PACKET_BYTES)
            .set_inflight(IN_FLIGHT);
        let (client, events) = AsyncClient::new(options, WAITING);
        let (send, receive) = mpsc::channel(1024);
        let filter = format!("$share/{}/{}", settings.share, topic::ALL_UP);
        let connected = Arc::new(AtomicBool::new(false));
        let publisher = Publisher { route: Route::External(client.clone(), connected.clone()), signer };
        Ok((Self { client, events, filter, send, access_list: None, connected }, publisher, receive))
    }

    /// Whoever keeps the broker's list of terminals, to be served beside the connection.
    pub fn access_list(
        &mut self,
        pool: PgPool,
        changed: broadcast::Receiver<Option<DeviceId>>,
    ) -> AccessList {
        let (answers, answered) = mpsc::channel(64);
        let (connected, connections) = mpsc::channel(4);
        self.access_list = Some(AccessListEvents { answers, connected });
        AccessList { client: self.client.clone(), answers: answered, connected: connections, pool, changed }
    }

    /// Keeps the connection until nobody listens any more.
    pub async fn serve(mut self) -> Result<()> {
        let mut wait = BACKOFF.0;
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    info!("connected to the broker");
                    if let Err(error) = self.subscribe() {
                        warn!(%error, "cannot subscribe; connecting again");
                        wait = self.start_again(wait).await;
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    if let Some(desk) = &self.access_list {
                        let _ = desk.connected.try_send(()); // it is told already
                    }
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                        error!(filter = self.filter, "ALARM: the broker lets the hub hear nothing");
                        wait = self.start_again(wait).await;
                        continue;
                    }
                    wait = BACKOFF.0;
                    self.connected.store(true, Ordering::Release);
                }
                Ok(Event::Incoming(Packet::Publish(message))) if message.topic == mosquitto_acl::ANSWERS => {
                    if let Some(desk) = &self.access_list {
                        let _ = desk.answers.try_send(message.payload.to_vec()); // nobody waits
                    }
                }
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    let Some((device, topic)) = Topic::parse(&message.topic) else { continue };
                    let message = Message { device, topic, payload: message.payload.to_vec() };
                    if self.send.send(message).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, retry_ms = wait.as_millis() as u64, "no connection to the broker");
                    wait = self.start_again(wait).await;
                }
            }
        }
    }

    fn subscribe(&self) -> Result<()> {
        self.client.try_subscribe(&self.filter, QoS::AtLeastOnce)?;
        if self.access_list.is_some() {
            self.client.try_subscribe(mosquitto_acl::ANSWERS, QoS::AtMostOnce)?;
        }
        Ok(())
    }

    /// Lets go of the connection and of what waited for it, and returns the next wait.
    async fn start_again(&mut self, wait: Duration) -> Duration {
        self.connected.store(false, Ordering::Release);
        self.events.clean();
        tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        (wait * 2).min(BACKOFF.1)
    }
}
