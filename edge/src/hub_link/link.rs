//! The connection to the hub: the only file that knows the MQTT client.
//!
//! The client's own queue is never trusted: after a reconnect it is gone, and whoever sends
//! through here sends again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use proto::Topic;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter, SubscribeReasonCode,
    TlsConfiguration, Transport,
};
use rustls::AlertDescription;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

use crate::config::Hub;
use crate::identity::Identity;

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
    identity: Arc<Identity>,
}

impl Sender {
    /// Signs a message and hands it to the client, or drops it when the client is busy: whether it
    /// arrives is not known in either case, and whoever needs that sends again. It never waits:
    /// waiting here while the connection waits for this task to take what came in would be for ever.
    pub fn publish(&self, topic: Topic, body: Vec<u8>) {
        let device = &self.identity.device;
        let message = self.identity.signer.sign(topic, device, body);
        if let Err(error) = self.client.try_publish(topic.of(device), QoS::AtLeastOnce, false, message) {
            debug!(%error, ?topic, "not sent now");
        }
    }
}

/// Waits before the next attempt, and returns the wait for the one after that.
async fn pause(wait: Duration) -> Duration {
    tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
    (wait * 2).min(BACKOFF.1)
}

/// The connection itself.
pub struct Link {
    client: AsyncClient,
    events: EventLoop,
    identity: Arc<Identity>,
    incoming: mpsc::Sender<Incoming>,
    ended: Arc<Notify>,
}

/// Whether the other side says that this terminal's certificate has ended.
fn says_ended(error: &(dyn Error + 'static)) -> bool {
    let ended = |error: &rustls::Error| {
        matches!(error, rustls::Error::AlertReceived(AlertDescription::CertificateExpired))
    };
    let mut next = Some(error);
    while let Some(error) = next {
        // What TLS says comes inside an error of the connection, which hides it from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inside = inner.and_then(|inner| inner.downcast_ref());
        if error.downcast_ref().or(inside).is_some_and(ended) {
            return true;
        }
        next = error.source();
    }
    false
}

impl Link {
    /// Prepares the connection; nothing happens before [`Link::run`].
    pub fn new(hub: &Hub, identity: Arc<Identity>) -> Result<(Self, Sender, mpsc::Receiver<Incoming>)> {
        let mut options = MqttOptions::new(identity.device.as_str(), hub.host.to_string(), hub.port);
        let tls = TlsConfiguration::Rustls(Arc::new(identity.tls()?));
        options
            .set_transport(Transport::tls_with_config(tls))
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(proto::PACKET_BYTES, proto::PACKET_BYTES)
            .set_inflight(IN_FLIGHT);
        let (client, events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
        let (send, receive) = mpsc::channel(64);
        let sender = Sender { client: client.clone(), identity: identity.clone() };
        let ended = Arc::default();
        Ok((Self { client, events, identity, incoming: send, ended }, sender, receive))
    }

    /// Told whenever the hub says that this terminal's certificate has ended.
    pub fn ended(&self) -> Arc<Notify> {
        self.ended.clone()
    }

    /// Connects once and says goodbye: whether the hub takes this terminal. Only where no daemon is
    /// connected: the hub knows one connection of a terminal.
    pub async fn visit(mut self) -> Result<()> {
        while !matches!(self.events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        self.client.disconnect().await?;
        while self.events.poll().await.is_ok() {} // until it is said
        Ok(())
    }

    /// Keeps the connection, for ever; ends when nobody listens any more.
    pub async fn run(mut self) {
        let mut wait = BACKOFF.0;
        let mut connected = false;
        loop {
            let told = match self.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    info!("connected to the hub");
                    connected = true;
                    if !self.subscribe() {
                        self.events.clean();
                        connected = false;
                        wait = pause(wait).await;
                    }
                    Ok(())
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                        // A broker that has not heard of this terminal yet, or no more.
                        warn!(
                            retry_ms = wait.as_millis() as u64,
                            "the broker lets this terminal hear nothing"
                        );
                        self.events.clean();
                        connected = false;
                        wait = pause(wait).await;
                        Ok(())
                    } else {
                        wait = BACKOFF.0;
                        self.incoming.send(Incoming::Connected).await
                    }
                }
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    match self.believe(&message.topic, &message.payload) {
                        Some(believed) => self.incoming.send(believed).await,
                        None => Ok(()),
                    }
                }
                Ok(_) => Ok(()),
                Err(error) => {
                    if says_ended(&error) {
                        self.ended.notify_one();
                    }
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
                    wait = pause(wait).await;
                    told
                }
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// Asks for the terminal's own topics, within the event loop's own turn: it must not wait.
    /// `false`: it can't, and without it the terminal would hear nothing.
    fn subscribe(&self) -> bool {
        let filters =
            Topic::DOWN.map(|topic| SubscribeFilter::new(topic.of(&self.identity.device), QoS::AtMostOnce));
        let asked = self.client.try_subscribe_many(filters);
        asked.inspect_err(|error| warn!(%error, "cannot subscribe")).is_ok()
    }

    /// What the hub signed for this terminal. Whoever else may publish on the broker is not
    /// believed.
    fn believe(&self, topic: &str, message: &[u8]) -> Option<Incoming> {
        let device = &self.identity.device;
        let topic = match Topic::parse(topic) {
            Some((addressee, topic)) if addressee == *device => topic,
            _ => {
                warn!(topic, "REFUSED: a message for somebody else");
                return None;
            }
        };
        match self.identity.pinned.hub.verify(topic, device, message) {
            Ok(body) => Some(Incoming::Message(topic, body)),
            Err(reason) => {
                warn!(?topic, %reason, "REFUSED: a message that the hub did not sign");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{ConnectionError, StateError, TlsError};

    use super::*;

    #[test]
    fn the_alert_is_found_wherever_it_comes() {
        let io = |alert| std::io::Error::other(rustls::Error::AlertReceived(alert));
        let ended = AlertDescription::CertificateExpired;
        assert!(says_ended(&ConnectionError::Io(io(ended))));
        assert!(says_ended(&ConnectionError::MqttState(StateError::Io(io(ended)))));
        assert!(says_ended(&ConnectionError::Tls(TlsError::Io(io(ended)))));
        assert!(says_ended(&ConnectionError::Tls(TlsError::TLS(rustls::Error::AlertReceived(ended)))));
        assert!(!says_ended(&ConnectionError::Io(io(AlertDescription::CertificateRevoked))));
        assert!(!says_ended(&ConnectionError::NetworkTimeout));
    }
}
