//! The embedded broker: rumqttd behind a front of our own.
//!
//! rumqttd routes; the front owns the listener: it demands a certificate within a deadline, one
//! task a connection, takes the terminal's name from the certificate alone, and ends the connection
//! of a terminal that is revoked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use proto::sign::Signer;
use proto::{DeviceId, Topic, topic};
use rumqttd::local::{LinkBuilder, LinkRx};
use rumqttd::{Notification, Router, RouterConfig, SegmentConfig};
use rustls::ServerConfig;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::db;
use crate::limits::{KeyedLimit, network};
use crate::mqtt::connection::{Attach, Incoming};
use crate::mqtt::rejections::{RejectionKind, Rejections, reject};
use crate::mqtt::sessions::Sessions;
use crate::mqtt::{Message, Publisher, Route};

/// Memory of one topic's log in the router; many terminals have many topics.
const SEGMENT_BYTES: usize = 1 << 20;
const SEGMENTS: usize = 4;
/// Memory of the log of one terminal's topic downwards: a few galleries.
const DOWN_SEGMENT: SegmentConfig = SegmentConfig { max_segment_size: 256 << 10, max_segment_count: 1 };
/// Connections of one address that have not shown who they are, at once. Many terminals may share an
/// address, and come back at the same moment.
const UNAUTHENTICATED: usize = 2000;
/// After the database could not say who is revoked.
const RETRY: Duration = Duration::from_millis(500);

/// The broker.
pub struct Embedded {
    attach: Attach,
    listener: TcpListener,
    tls: TlsAcceptor,
    /// At once, at most, those that have not shown a certificate included.
    connections: usize,
    pool: PgPool,
    rejections: Arc<Rejections>,
    sessions: Sessions,
}

impl Embedded {
    /// Starts the router and binds the listener, for at most so many connections.
    pub async fn bind(
        address: SocketAddr,
        tls: ServerConfig,
        connections: usize,
        pool: PgPool,
        rejections: Arc<Rejections>,
    ) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("mqtt: cannot listen on {address}"))?;
        let config = RouterConfig {
            max_connections: connections + 16,
            max_outgoing_packet_count: 200,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            // A publish that nobody has subscribed to yet would be acknowledged and dropped.
            initialized_filters: Some(vec![topic::ALL_UP.into()]),
            custom_segment: Some(HashMap::from([(topic::ALL_DOWN.into(), DOWN_SEGMENT)])),
            ..RouterConfig::default()
        };
        let router = Router::new(0, config).spawn();
        let attach: Attach =
            Arc::new(move |name| Ok(LinkBuilder::new(name, router.clone()).clean_session(true).build()?));
        let (tls, sessions) = (TlsAcceptor::from(Arc::new(tls)), Sessions::default());
        Ok(Self { attach, listener, tls, connections, pool, rejections, sessions })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The hub's own link: all that terminals publish, and a way to publish to them. `None` from
    /// the receiver means that the router died.
    pub fn link(&self, signer: Arc<Signer>) -> Result<(Publisher, mpsc::Receiver<Message>)> {
        let (mut listen, received, _) = (self.attach)("hub")?;
        listen.subscribe(topic::ALL_UP)?;
        let (publish, mut unread, _) = (self.attach)("hub-publisher")?;
        let (send, receive) = mpsc::channel(1024);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("broker-up").spawn(move || {
            forward(received, &send);
            drop(listen);
        })?;
        thread("broker-down").spawn(move || while unread.recv().is_ok() {})?;
        let route = Route::Embedded(Arc::new(Mutex::new(publish)));
        Ok((Publisher { route, signer }, receive))
    }

    /// Serves terminals until told to stop. `changed` names those of which something changed in the
    /// database, `None` all of them.
    pub async fn serve(
        self,
        mut changed: broadcast::Receiver<Option<DeviceId>>,
        stop: CancellationToken,
    ) -> Result<()> {
        let places = Arc::new(Semaphore::new(self.connections));
        let unauthenticated = KeyedLimit::new(UNAUTHENTICATED.min(self.connections / 2));
        let mut connections = JoinSet::new();
        let mut doubt = false;
        let mut again = tokio::time::interval(RETRY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (socket, peer) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of descriptors, mostly: the next one may work.
                        warn!(%error, "mqtt: cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                Some(_) = connections.join_next() => continue,
                changed = changed.recv() => {
                    let device = changed.unwrap_or(None); // whoever lagged behind looks at all
                    doubt |= !self.review(device).await;
                    continue;
                }
                _ = again.tick(), if doubt => {
                    doubt = !self.review(None).await;
                    continue;
                }
                () = stop.cancelled() => break,
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                self.rejections.note(&peer, &reject(RejectionKind::TooMany, "too many connections"));
                continue;
            };
            let Some(permit) = unauthenticated.take(network(peer.ip())) else {
                self.rejections.note(
                    &peer,
                    &reject(RejectionKind::TooMany, "too many connections of one address that say nothing"),
                );
                continue;
            };
            let incoming = Incoming {
                attach: self.attach.clone(),
                tls: self.tls.clone(),
                pool: self.pool.clone(),
                rejections: self.rejections.clone(),
                sessions: self.sessions.clone(),
                peer,
            };
            connections.spawn(async move {
                incoming.receive(socket, permit).await;
                drop(place);
            });
        }
        connections.shutdown().await;
        Ok(())
    }

    /// Ends connections of terminals that may not be connected any more. `false`: the database did
    /// not answer.
    async fn review(&self, device: Option<DeviceId>) -> bool {
        let mut connected = self.sessions.connected();
        connected.retain(|(connected, _)| device.as_ref().is_none_or(|device| device == connected));
        for (connected, certificate) in connected {
            let admission = async {
                let mut conn = self.pool.acquire().await?;
                db::terminals::admission(&mut conn, &connected).await
            };
            match admission.await {
                Ok(Some(admission)) if admission.admits(&certificate) => {}
                Ok(_) => {
                    let reason = anyhow!("its certificate does not count any more");
                    info!(device.id = %connected, %reason, "terminal sent away");
                    self.rejections.note(&connected, &reject(RejectionKind::Revoked, reason));
                    self.sessions.kick(&connected);
                }
                Err(error) => {
                    warn!(%error, "cannot tell who is revoked; trying again");
                    return false;
                }
            }
        }
        true
    }
}

fn forward(mut link: LinkRx, send: &mpsc::Sender<Message>) {
    loop {
        let publish = match link.recv() {
            Ok(Some(Notification::Forward(forward))) => forward.publish,
            Ok(Some(Notification::Unschedule)) => {
                if link.ready().is_err() {
                    return;
                }
                continue;
            }
            Ok(_) => continue,
            Err(_) => return,
        };
        let Some((device, topic)) = std::str::from_utf8(&publish.topic).ok().and_then(Topic::parse) else {
            continue;
        };
        if send.blocking_send(Message { device, topic, payload: publish.payload.to_vec() }).is_err() {
            return;
        }
    }
}
