//! The embedded MQTT broker behind a front of our own.
//!
//! rumqttd routes; the front owns the listener: it demands a certificate within a deadline, one
//! task a connection, takes the terminal's name from the certificate alone, and lets a terminal
//! publish below its own `up/` and subscribe below its own `down/`, nothing else. Nothing relies
//! on the broker's memory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use proto::{DeviceId, Topic, topic};
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Error as ProtocolError, Packet, Protocol, QoS};
use rumqttd::{Notification, Router, RouterConfig, SegmentConfig};
use rustls::ServerConfig;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{pki, store};

/// Connections at once, those that have not shown a certificate included.
const CONNECTIONS: usize = 4096;
/// How long a handshake, and the wait for CONNECT after it, may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The longest silence that a terminal may ask for.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_mins(2);
/// Memory of one topic's log in the router; many terminals have many topics.
const SEGMENT_BYTES: usize = 1 << 20;
const SEGMENTS: usize = 4;

/// Memory of the log of one terminal's topic downwards: a few rosters.
const DOWN_SEGMENT: SegmentConfig = SegmentConfig { max_segment_size: 256 << 10, max_segment_count: 1 };
/// What a terminal publishes to.
const UP: [Topic; 3] = [Topic::Punches, Topic::Hello, Topic::Heartbeat];
/// What a terminal subscribes to.
const DOWN: [Topic; 2] = [Topic::Receipt, Topic::Roster];

/// A message that a terminal published.
pub struct Message {
    /// By its certificate.
    pub device: DeviceId,
    /// On which of its topics.
    pub topic: Topic,
    /// What it says.
    pub payload: Vec<u8>,
}

/// Attaches a client to the router (whose own handle has a type that rumqttd does not name).
type Attach = Arc<dyn Fn(&str) -> Result<(LinkTx, LinkRx, Notification)> + Send + Sync>;

/// Publishes to terminals.
pub struct Publisher(LinkTx);

impl Publisher {
    /// Hands a message to the router; whether it arrives is not known.
    pub fn publish(&mut self, device: &DeviceId, topic: Topic, payload: Vec<u8>) -> Result<()> {
        self.0.publish(topic.of(device), payload).context("the broker's router is gone")?;
        Ok(())
    }
}

/// The broker.
pub struct Broker {
    attach: Attach,
    listener: TcpListener,
    tls: TlsAcceptor,
    pool: PgPool,
}

impl Broker {
    /// Starts the router and binds the listener.
    pub async fn bind(address: SocketAddr, tls: ServerConfig, pool: PgPool) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("mqtt: cannot listen on {address}"))?;
        let config = RouterConfig {
            max_connections: CONNECTIONS + 16,
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
        Ok(Self { attach, listener, tls: TlsAcceptor::from(Arc::new(tls)), pool })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The hub's own link: all that terminals publish, and a way to publish to them. `None` from
    /// the receiver means that the router died.
    pub fn link(&self) -> Result<(Publisher, mpsc::Receiver<Message>)> {
        let (mut listen, received, _) = (self.attach)("hub")?;
        listen.subscribe(topic::ALL_UP)?;
        let (publish, mut unread, _) = (self.attach)("hub-publisher")?;
        let (send, receive) = mpsc::channel(256);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("broker-up").spawn(move || {
            forward(received, &send);
            drop(listen);
        })?;
        thread("broker-down").spawn(move || while unread.recv().is_ok() {})?;
        Ok((Publisher(publish), receive))
    }

    /// Serves terminals until told to stop.
    pub async fn serve(self, stop: CancellationToken) -> Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
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
                () = stop.cancelled() => break,
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                warn!(%peer, "refused: too many connections");
                continue;
            };
            let visit =
                Visit { attach: self.attach.clone(), tls: self.tls.clone(), pool: self.pool.clone(), peer };
            connections.spawn(async move {
                visit.receive(socket).await;
                drop(place);
            });
        }
        connections.shutdown().await;
        Ok(())
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

/// One connection.
struct Visit {
    attach: Attach,
    tls: TlsAcceptor,
    pool: PgPool,
    peer: SocketAddr,
}

impl Visit {
    /// Sees the connection to its end and says why it ended.
    async fn receive(self, socket: TcpStream) {
        let peer = self.peer;
        let admitted = match timeout(HANDSHAKE * 2, self.admit(socket)).await {
            Ok(admitted) => admitted,
            Err(_) => Err(anyhow::anyhow!("too slow")),
        };
        let (connection, device) = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => return warn!(%peer, reason = format!("{reason:#}"), "terminal refused"),
        };
        info!(%peer, device.id = %device, "terminal connected");
        let reason = connection.converse().await;
        info!(%peer, device.id = %device, reason = format!("{:#}", reason.err().unwrap_or_else(|| anyhow::anyhow!("end"))),
            "terminal disconnected");
    }

    /// Handshake, certificate, CONNECT: who it is, and whether they may.
    async fn admit(self, socket: TcpStream) -> Result<(Connection, DeviceId)> {
        socket.set_nodelay(true)?;
        let stream = timeout(HANDSHAKE, self.tls.accept(socket))
            .await
            .context("no handshake in time")?
            .context("TLS")?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let (device, sha256) = pki::identify(certificate.context("no certificate")?)?;
        let mut conn = self.pool.acquire().await.context("the database is away")?;
        let admission = store::terminals::admission(&mut conn, &device).await?;
        drop(conn);
        let admission = admission.with_context(|| format!("terminal {device} is unknown"))?;
        ensure!(admission.state == "accepted", "terminal {device} is {}", admission.state);
        ensure!(admission.certificate_sha256 == sha256, "terminal {device} came with a replaced certificate");
        let mut wire =
            Wire { stream, protocol: V4, read: BytesMut::with_capacity(4096), write: BytesMut::new() };
        let connect = timeout(HANDSHAKE, wire.next()).await.context("no CONNECT in time")??;
        let Packet::Connect(connect, _, will, _, _) = connect else {
            bail!("the first packet is no CONNECT")
        };
        ensure!(connect.client_id == device.as_str(), "client id {:?} is not {device}", connect.client_id);
        ensure!(will.is_none(), "a last will is not allowed");
        ensure!(connect.clean_session, "sessions are not kept: the clean session flag must be set");
        let (tx, rx, acknowledgement) = (self.attach)(device.as_str())?;
        let asked = Duration::from_secs(u64::from(connect.keep_alive).max(5));
        let silence = asked.min(LONGEST_KEEP_ALIVE).mul_f32(1.5);
        let connection = Connection {
            wire,
            tx,
            rx,
            device: device.clone(),
            silence,
            acknowledgement: Some(acknowledgement),
        };
        Ok((connection, device))
    }
}

struct Wire {
    stream: TlsStream<TcpStream>,
    protocol: V4,
    read: BytesMut,
    write: BytesMut,
}

impl Wire {
    /// A packet that is in the buffer already.
    fn buffered(&mut self) -> Result<Option<Packet>> {
        match self.protocol.read_mut(&mut self.read, proto::PACKET_BYTES) {
            Ok(packet) => Ok(Some(packet)),
            Err(ProtocolError::InsufficientBytes(_)) => Ok(None),
            Err(error) => bail!("not MQTT: {error:?}"),
        }
    }

    async fn fill(&mut self) -> Result<()> {
        ensure!(self.stream.read_buf(&mut self.read).await? > 0, "closed by the terminal");
        Ok(())
    }

    async fn next(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            self.fill().await?;
        }
    }
}

/// An admitted terminal.
struct Connection {
    wire: Wire,
    tx: LinkTx,
    rx: LinkRx,
    device: DeviceId,
    silence: Duration,
    /// The answer to CONNECT, until it is sent.
    acknowledgement: Option<Notification>,
}

impl Connection {
    /// Carries packets both ways until something ends it.
    async fn converse(mut self) -> Result<()> {
        let reason = self.carry().await;
        // Without this the router never lets go of the link.
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let _ = self.tx.send(Packet::Disconnect(disconnect, None)).await;
        reason
    }

    async fn carry(&mut self) -> Result<()> {
        if let Some(acknowledgement) = self.acknowledgement.take() {
            self.send(acknowledgement).await?;
        }
        loop {
            tokio::select! {
                filled = timeout(self.silence, self.wire.fill()) => {
                    filled.context("silent for too long")??;
                    while let Some(packet) = self.wire.buffered()? {
                        self.allow(&packet)?;
                        let last = matches!(packet, Packet::Disconnect(..));
                        self.tx.send(packet).await.context("the router is gone")?;
                        if last {
                            return Ok(());
                        }
                    }
                }
                notification = self.rx.next() => {
                    let notification = notification.context("the router closed the link")?;
                    let pause = matches!(notification, Some(Notification::Unschedule));
                    if !pause && let Some(notification) = notification {
                        self.send(notification).await?;
                    }
                    if pause {
                        self.rx.wake().await.context("the router is gone")?;
                    }
                }
            }
        }
    }

    /// A terminal speaks and hears for itself alone, and says nothing that it need not say: the
    /// router keeps every topic and filter for ever, and trusts what it is told about
    /// acknowledgements.
    fn allow(&self, packet: &Packet) -> Result<()> {
        match packet {
            Packet::Publish(publish, _) => {
                let name = std::str::from_utf8(&publish.topic).context("a topic that is no text")?;
                let own = UP.iter().any(|topic| topic.of(&self.device) == name);
                ensure!(own, "it may not publish to {}", shortened(name));
                ensure!(!publish.retain, "it may not retain messages");
            }
            Packet::Subscribe(subscribe, _) => {
                for filter in &subscribe.filters {
                    let own = DOWN.iter().any(|topic| topic.of(&self.device) == filter.path);
                    ensure!(own, "it may not subscribe to {}", shortened(&filter.path));
                    ensure!(filter.qos == QoS::AtMostOnce, "it may subscribe with QoS 0 alone");
                }
            }
            Packet::PingReq(_) | Packet::Disconnect(..) => {}
            _ => bail!("it sent a packet that no terminal sends"),
        }
        Ok(())
    }

    async fn send(&mut self, notification: Notification) -> Result<()> {
        if let Some(packet) = Option::<Packet>::from(notification) {
            let written = self.wire.protocol.write(packet, &mut self.wire.write);
            written.map_err(|error| anyhow::anyhow!("a packet that can't be sent: {error:?}"))?;
            let sent = async {
                self.wire.stream.write_all_buf(&mut self.wire.write).await?;
                self.wire.stream.flush().await
            };
            timeout(self.silence, sent).await.context("it does not take what is sent")??;
        }
        Ok(())
    }
}

/// As much of a name as a log line needs.
fn shortened(name: &str) -> String {
    name.chars().take(100).collect()
}
