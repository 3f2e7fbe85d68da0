//! One connection to the embedded broker, from its handshake to its end.
//!
//! A terminal publishes below its own `up/` and subscribes below its own `down/`, nothing else.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::BytesMut;
use proto::{DeviceId, Topic};
use rumqttd::Notification;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Error as ProtocolError, Packet, Protocol, QoS};
use rustls_pki_types::CertificateDer;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use crate::crypto::ca;
use crate::db;
use crate::db::terminals::TerminalState;
use crate::limits::Permit;
use crate::mqtt::rejections::{Rejection, RejectionKind, Rejections, reject};
use crate::mqtt::sessions::{Session, Sessions};

/// Attaches a client to the router (whose own handle has a type that rumqttd does not name).
pub type Attach = Arc<dyn Fn(&str) -> Result<(LinkTx, LinkRx, Notification)> + Send + Sync>;

/// How long a handshake, and the wait for CONNECT after it, may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The longest silence that a terminal may ask for.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_mins(2);

/// The kind of a PUBLISH in a packet's first byte, and the bit that says `QoS` 2.
const PUBLISH: u8 = 3;
const QOS_2: u8 = 0b100;

/// Refuses with a kind unless something holds.
macro_rules! require {
    ($holds:expr, $kind:ident, $($detail:tt)+) => {
        if !$holds {
            return Err(reject(RejectionKind::$kind, format!($($detail)+)));
        }
    };
}

/// One connection.
pub struct Incoming {
    /// Attaches the terminal to the router.
    pub attach: Attach,
    /// For the handshake.
    pub tls: TlsAcceptor,
    /// Who is accepted.
    pub pool: PgPool,
    /// Where rejections are counted.
    pub rejections: Arc<Rejections>,
    /// Who is connected.
    pub sessions: Sessions,
    /// From where it comes.
    pub peer: SocketAddr,
}

impl Incoming {
    /// Sees the connection to its end and says why it ended.
    pub async fn receive(self, socket: TcpStream, unauthenticated: Permit<IpAddr>) {
        let peer = self.peer;
        let admitted = match timeout(HANDSHAKE * 2, Box::pin(self.admit(socket))).await {
            Ok(admitted) => admitted,
            Err(_) => Err(reject(RejectionKind::TooSlow, "no CONNECT in time")),
        };
        let mut connection = match admitted {
            Ok(admitted) => admitted,
            // The terminal's doctor shows its certificate and goes, so as not to take the daemon's session.
            Err(reason) if reason.is::<Closed>() => return debug!(%peer, "left without a word"),
            Err(reason) => return self.rejections.note(&peer, &reason),
        };
        drop(unauthenticated);
        let (device, leave) = (connection.device.clone(), connection.session.leave.clone());
        info!(%peer, device.id = %device, "terminal connected");
        let ended = tokio::select! {
            ended = connection.carry() => ended,
            () = leave.cancelled() => Err(anyhow::anyhow!("it was sent away, or came again")),
        };
        connection.part().await;
        let Err(reason) = ended else { return info!(%peer, device.id = %device, "terminal disconnected") };
        if reason.downcast_ref::<Rejection>().is_some() {
            self.rejections.note(&device, &reason);
        }
        info!(%peer, device.id = %device, reason = format!("{reason:#}"), "terminal disconnected");
    }

    /// Handshake, certificate, CONNECT: who it is, and whether they may.
    async fn admit(&self, socket: TcpStream) -> Result<Connection> {
        socket.set_nodelay(true)?;
        let stream = match timeout(HANDSHAKE, self.tls.accept(socket)).await {
            Err(_) => return Err(reject(RejectionKind::TooSlow, "no handshake in time")),
            Ok(Err(error)) => return Err(reject(RejectionKind::Tls, format!("TLS: {error}"))),
            Ok(Ok(stream)) => stream,
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = &certificate.context("no certificate")?.clone().into_owned();
        let (device, sha256) = ca::identify(certificate)
            .map_err(|error| reject(RejectionKind::Certificate, format!("{error:#}")))?;
        self.check(&device, &sha256, certificate).await?;
        let mut wire =
            Wire { stream, protocol: V4, read: BytesMut::with_capacity(4096), write: BytesMut::new() };
        let Ok(first) = timeout(HANDSHAKE, wire.next()).await else {
            return Err(reject(RejectionKind::TooSlow, "no CONNECT in time"));
        };
        let Packet::Connect(connect, _, will, _, _) = first? else {
            return Err(reject(RejectionKind::NotMqtt, "the first packet is no CONNECT"));
        };
        require!(
            connect.client_id == device.as_str(),
            ClientId,
            "client id {:?} is not {device}",
            shortened(&connect.client_id)
        );
        require!(will.is_none(), Will, "terminal {device}: a last will is not allowed");
        require!(
            connect.clean_session,
            Session,
            "terminal {device}: sessions are not kept: the clean session flag must be set"
        );
        let session = self.sessions.open(&device, &sha256)?;
        // Whoever was revoked between the look before and the session would not be sent away.
        self.check(&device, &sha256, certificate).await?;
        let (tx, rx, acknowledgement) = (self.attach)(device.as_str())?;
        let asked = Duration::from_secs(u64::from(connect.keep_alive).max(5));
        let silence = asked.min(LONGEST_KEEP_ALIVE).mul_f32(1.5);
        Ok(Connection { wire, tx, rx, device, session, silence, acknowledgement: Some(acknowledgement) })
    }

    /// Whether a terminal with this certificate is let in now.
    async fn check(&self, device: &DeviceId, sha256: &[u8], certificate: &CertificateDer<'_>) -> Result<()> {
        let mut conn = self.pool.acquire().await.context("the database is away")?;
        let Some(admission) = db::terminals::admission(&mut conn, device).await? else {
            return Err(reject(RejectionKind::Unknown, format!("terminal {device} is unknown")));
        };
        require!(
            admission.state == TerminalState::Accepted,
            Revoked,
            "terminal {device} is {}",
            admission.state
        );
        require!(admission.admits(sha256), Replaced, "terminal {device} came with a replaced certificate");
        if !admission.has_key {
            // It was accepted by a release that did not keep keys.
            db::terminals::learn_key(&mut conn, device, &ca::public_key(certificate)?).await?;
        }
        if admission.renewed_sha256.as_deref() == Some(sha256) {
            db::terminals::follow(&mut conn, device, sha256).await?;
        }
        Ok(())
    }
}

/// The terminal closed the connection.
#[derive(Debug, thiserror::Error)]
#[error("closed by the terminal")]
struct Closed;

struct Wire {
    stream: TlsStream<TcpStream>,
    protocol: V4,
    read: BytesMut,
    write: BytesMut,
}

impl Wire {
    /// A packet that is in the buffer already, with its length.
    fn buffered(&mut self) -> Result<Option<(Packet, usize)>> {
        let before = self.read.len();
        // The router keeps a message of QoS 2 until it is released, which no terminal ever does; what
        // it reads does not say which one is.
        let twice = self.read.first().is_some_and(|head| head >> 4 == PUBLISH && head & QOS_2 != 0);
        require!(!twice, Publish, "it may not publish with QoS 2");
        let read = || self.protocol.read_mut(&mut self.read, proto::PACKET_BYTES);
        // rumqttd's reader was written for clients that mean well: a panic is malformed input.
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(packet)) => Ok(Some((packet, before - self.read.len()))),
            Ok(Err(ProtocolError::InsufficientBytes(_))) => Ok(None),
            Ok(Err(ProtocolError::PayloadSizeLimitExceeded(size))) => {
                Err(reject(RejectionKind::TooLarge, format!("a packet of {size} bytes")))
            }
            Ok(Err(error)) => Err(reject(RejectionKind::NotMqtt, format!("not MQTT: {error:?}"))),
            Err(_) => Err(reject(RejectionKind::NotMqtt, "not MQTT")),
        }
    }

    async fn fill(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.read).await?;
        if read == 0 { Err(Closed.into()) } else { Ok(()) }
    }

    async fn next(&mut self) -> Result<Packet> {
        loop {
            if let Some((packet, _)) = self.buffered()? {
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
    session: Session,
    silence: Duration,
    /// The answer to CONNECT, until it is sent.
    acknowledgement: Option<Notification>,
}

impl Connection {
    /// Without this the router never lets go of the link.
    async fn part(&mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let _ = self.tx.send(Packet::Disconnect(disconnect, None)).await;
        let _ = timeout(Duration::from_millis(100), self.wire.stream.shutdown()).await;
    }

    /// Carries packets both ways until something ends it.
    async fn carry(&mut self) -> Result<()> {
        if let Some(acknowledgement) = self.acknowledgement.take() {
            self.send(acknowledgement).await?;
        }
        loop {
            tokio::select! {
                filled = timeout(self.silence, self.wire.fill()) => {
                    filled.context("silent for too long")??;
                    while let Some((packet, bytes)) = self.wire.buffered()? {
                        self.allow(&packet)?;
                        self.session.limits.pace(bytes).await;
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
                let name = String::from_utf8_lossy(&publish.topic);
                let own = Topic::UP.iter().any(|topic| topic.of(&self.device) == name);
                require!(own, Publish, "it may not publish to {}", shortened(&name));
                require!(!publish.retain, Retain, "it may not retain messages");
            }
            Packet::Subscribe(subscribe, _) => {
                for filter in &subscribe.filters {
                    let own = Topic::DOWN.iter().any(|topic| topic.of(&self.device) == filter.path);
                    require!(own, Subscribe, "it may not subscribe to {}", shortened(&filter.path));
                    require!(filter.qos == QoS::AtMostOnce, Subscribe, "it may subscribe with QoS 0 alone");
                }
            }
            Packet::PingReq(_) | Packet::Disconnect(..) => {}
            _ => return Err(reject(RejectionKind::Packet, "it sent a packet that no terminal sends")),
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
