//! The connection to the hub: the only file that knows the MQTT client.
//!
//! The client's own queue is never trusted: after a reconnect it is gone, and whoever sends
//! through here sends again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proto::{DeviceId, Topic};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Hub;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The waits between attempts to connect: doubled from the first to the last, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Packets that may be on their way without an acknowledgement.
const IN_FLIGHT: u16 = 16;

/// What the hub said.
pub enum Incoming {
    /// The connection stands, and the terminal is subscribed.
    Connected,
    /// It is gone.
    Disconnected,
    /// A message on one of the terminal's own topics.
    Message(Topic, Vec<u8>),
}

/// Publishes, cheap to clone.
#[derive(Clone)]
pub struct Sender {
    client: AsyncClient,
    device: DeviceId,
}

impl Sender {
    /// Hands a message to the client, or drops it when the client is busy: whether it arrives is
    /// not known in either case, and whoever needs that sends again. It never waits: waiting here
    /// while the connection waits for this task to take what came in would be for ever.
    pub fn publish(&self, topic: Topic, payload: Vec<u8>) {
        if let Err(error) = self.client.try_publish(topic.of(&self.device), QoS::AtLeastOnce, false, payload)
        {
            debug!(%error, ?topic, "not sent now");
        }
    }
}

/// The terminal's identity on the wire.
pub struct Identity {
    /// The common name of the certificate.
    pub device: DeviceId,
    tls: Arc<ClientConfig>,
}

impl Identity {
    /// Reads the certificates and the key that the configuration names.
    pub fn read(hub: &Hub) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&hub.ca)? {
            roots
                .add(authority)
                .with_context(|| format!("{} is no certificate authority", hub.ca.display()))?;
        }
        let chain = certificates(&hub.certificate)?;
        let device = common_name(&chain[0]).with_context(|| hub.certificate.display().to_string())?;
        let key = PrivateKeyDer::from_pem_file(&hub.key)
            .with_context(|| format!("cannot read the key {}", hub.key.display()))?;
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("hub.certificate and hub.key do not belong together")?;
        Ok(Self { device, tls: Arc::new(tls) })
    }
}

fn certificates(file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let found = read().with_context(|| format!("cannot read {}", file.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", file.display());
    Ok(found)
}

fn common_name(certificate: &CertificateDer<'_>) -> Result<DeviceId> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let name = parsed.subject().iter_common_name().next().context("the certificate names nobody")?;
    Ok(name.as_str()?.parse()?)
}

/// The connection itself.
pub struct Link {
    client: AsyncClient,
    events: EventLoop,
    device: DeviceId,
    incoming: mpsc::Sender<Incoming>,
}

impl Link {
    /// Prepares the connection; nothing happens before [`Link::run`].
    pub fn new(hub: &Hub, identity: &Identity) -> (Self, Sender, mpsc::Receiver<Incoming>) {
        let mut options = MqttOptions::new(identity.device.as_str(), &hub.host, hub.port);
        options
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(identity.tls.clone())))
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(proto::PACKET_BYTES, proto::PACKET_BYTES)
            .set_inflight(IN_FLIGHT);
        let (client, events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
        let (send, receive) = mpsc::channel(64);
        let device = identity.device.clone();
        let sender = Sender { client: client.clone(), device: device.clone() };
        (Self { client, events, device, incoming: send }, sender, receive)
    }

    /// Keeps the connection, for ever; ends when nobody listens any more.
    pub async fn run(mut self) {
        let mut wait = BACKOFF.0;
        let mut connected = false;
        loop {
            let told = match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    info!("connected to the hub");
                    (connected, wait) = (true, BACKOFF.0);
                    self.subscribe();
                    Ok(())
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => self.incoming.send(Incoming::Connected).await,
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    deliver(&self.incoming, &self.device, &message.topic, &message.payload).await
                }
                Ok(_) => Ok(()),
                Err(error) => {
                    if connected {
                        warn!(%error, "the hub is out of reach; punches are kept");
                    } else {
                        warn!(%error, retry_ms = wait.as_millis() as u64, "cannot connect to the hub");
                    }
                    let told = if std::mem::take(&mut connected) {
                        self.incoming.send(Incoming::Disconnected).await
                    } else {
                        Ok(())
                    };
                    tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
                    wait = (wait * 2).min(BACKOFF.1);
                    told
                }
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// Asks for the terminal's own topics, within the event loop's own turn: it must not wait.
    fn subscribe(&self) {
        let filters = [Topic::Receipt, Topic::Roster]
            .map(|topic| SubscribeFilter::new(topic.of(&self.device), QoS::AtMostOnce));
        if let Err(error) = self.client.try_subscribe_many(filters) {
            warn!(%error, "cannot subscribe");
        }
    }
}

async fn deliver(
    incoming: &mpsc::Sender<Incoming>,
    device: &DeviceId,
    topic: &str,
    payload: &[u8],
) -> Result<(), mpsc::error::SendError<Incoming>> {
    match Topic::parse(topic) {
        Some((addressee, topic)) if addressee == *device => {
            incoming.send(Incoming::Message(topic, payload.to_vec())).await
        }
        _ => {
            warn!(topic, "a message for somebody else");
            Ok(())
        }
    }
}
