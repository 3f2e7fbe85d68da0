//! The MQTT connection to the hub; the only file that knows the client library.
//!
//! The client's own queue does not survive a reconnect: callers send again.

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
use crate::identity::tls::find_tls_error;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The waits between attempts to connect: doubled from the first to the last, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Packets that may be on their way without an acknowledgement.
const IN_FLIGHT: u16 = 16;

pub enum Incoming {
    /// Connected and subscribed.
    Connected,
    Disconnected,
    /// A message on one of the terminal's own topics.
    Message(Topic, Vec<u8>),
}

/// Signs and publishes messages; cheap to clone.
#[derive(Clone)]
pub struct Sender {
    client: AsyncClient,
    identity: Arc<Identity>,
}

impl Sender {
    /// Signs and enqueues a message, or drops it when the queue is full: callers that need delivery send again. It
    /// never blocks, since the event loop may be waiting for the caller: that would deadlock.
    pub fn publish(&self, topic: Topic, body: Vec<u8>) {
        let device = &self.identity.device;
        let message = self.identity.signer.sign(topic, device, body);
        if let Err(error) = self.client.try_publish(topic.of(device), QoS::AtLeastOnce, false, message) {
            debug!(%error, ?topic, "queue full; message dropped");
        }
    }
}

/// Waits before the next attempt, and returns the wait for the one after that.
async fn pause(wait: Duration) -> Duration {
    tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
    (wait * 2).min(BACKOFF.1)
}

pub struct Link {
    client: AsyncClient,
    events: EventLoop,
    identity: Arc<Identity>,
    incoming: mpsc::Sender<Incoming>,
    expired: Arc<Notify>,
}

/// Whether the hub rejected this terminal's certificate as expired.
fn is_expired_alert(error: &(dyn Error + 'static)) -> bool {
    let expired = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
    find_tls_error(error) == Some(&expired)
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
        let expired = Arc::default();
        Ok((Self { client, events, identity, incoming: send, expired }, sender, receive))
    }

    /// Notified whenever the hub rejects this terminal's certificate as expired.
    pub fn expired(&self) -> Arc<Notify> {
        self.expired.clone()
    }

    /// Connects once and disconnects, to see whether the hub accepts this terminal. Not while the daemon is
    /// connected: the hub keeps one connection a terminal.
    pub async fn probe(mut self) -> Result<()> {
        while !matches!(self.events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        self.client.disconnect().await?;
        while self.events.poll().await.is_ok() {} // flushes the DISCONNECT
        Ok(())
    }

    /// Keeps the connection up until the receiver of incoming messages is dropped.
    pub async fn run(mut self) {
        let mut wait = BACKOFF.0;
        let mut connected = false;
        loop {
            let sent = match self.events.poll().await {
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
                        // The broker does not know this terminal yet, or no longer.
                        warn!(
                            retry_ms = wait.as_millis() as u64,
                            "the broker refuses this terminal's subscriptions; retrying (is it revoked? rollcall-hub terminal list)"
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
                    match self.verify(&message.topic, &message.payload) {
                        Some(message) => self.incoming.send(message).await,
                        None => Ok(()),
                    }
                }
                Ok(_) => Ok(()),
                Err(error) => {
                    if is_expired_alert(&error) {
                        self.expired.notify_one();
                    }
                    if connected {
                        warn!(%error, "connection to the hub lost; punches are kept");
                    } else {
                        warn!(%error, retry_ms = wait.as_millis() as u64, "cannot connect to the hub; retrying");
                    }
                    let sent = if std::mem::take(&mut connected) {
                        self.incoming.send(Incoming::Disconnected).await
                    } else {
                        Ok(())
                    };
                    wait = pause(wait).await;
                    sent
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Subscribes to the terminal's own topics. Must not block: it runs inside the event loop.
    fn subscribe(&self) -> bool {
        let filters =
            Topic::DOWN.map(|topic| SubscribeFilter::new(topic.of(&self.identity.device), QoS::AtMostOnce));
        let asked = self.client.try_subscribe_many(filters);
        asked.inspect_err(|error| warn!(%error, "cannot subscribe; reconnecting")).is_ok()
    }

    /// Accepts only messages that the hub signed for this terminal: others may publish on the broker.
    fn verify(&self, topic: &str, message: &[u8]) -> Option<Incoming> {
        let device = &self.identity.device;
        let topic = match Topic::parse(topic) {
            Some((addressee, topic)) if addressee == *device => topic,
            _ => {
                warn!(topic, "rejected: a message for another terminal");
                return None;
            }
        };
        match self.identity.pinned.hub.verify(topic, device, message) {
            Ok(body) => Some(Incoming::Message(topic, body)),
            Err(reason) => {
                warn!(?topic, %reason, "rejected: a message that the hub did not sign");
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
        assert!(is_expired_alert(&ConnectionError::Io(io(ended))));
        assert!(is_expired_alert(&ConnectionError::MqttState(StateError::Io(io(ended)))));
        assert!(is_expired_alert(&ConnectionError::Tls(TlsError::Io(io(ended)))));
        assert!(is_expired_alert(&ConnectionError::Tls(TlsError::TLS(rustls::Error::AlertReceived(ended)))));
        assert!(!is_expired_alert(&ConnectionError::Io(io(AlertDescription::CertificateRevoked))));
        assert!(!is_expired_alert(&ConnectionError::NetworkTimeout));
    }
}
