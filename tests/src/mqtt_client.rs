//! MQTT and TLS clients for attacks on the hub.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::hub::Hub;

const WAIT: Duration = Duration::from_secs(10);

/// TLS configuration with the certificate in a folder (`terminal.pem`, `terminal.key`), or without one.
pub fn tls(authority: &Path, identity: Option<&Path>) -> Result<ClientConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).map_err(|e| anyhow::anyhow!("{e}"))?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Ok(match identity {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let certificate = CertificateDer::from_pem_file(folder.join("terminal.pem"))
                .map_err(|e| anyhow::anyhow!("{e}"))?;
            let key = PrivateKeyDer::from_pem_file(folder.join("terminal.key"))
                .map_err(|e| anyhow::anyhow!("{e}"))?;
            builder.with_client_auth_cert(vec![certificate], key)?
        }
    })
}

/// Connects to HTTPS from a local address and completes the TLS handshake, without a request.
pub async fn silent(https: SocketAddr, from: IpAddr, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(https).await?;
    Ok(TlsConnector::from(tls).connect("localhost".try_into()?, stream).await?)
}

pub struct MqttClient<'a> {
    /// The folder of its certificate.
    pub identity: Option<&'a Path>,
    pub client_id: &'a str,
    /// Whether it sets a last will.
    pub will: bool,
}

impl MqttClient<'_> {
    /// Connects; an error if the hub rejects it.
    pub async fn connect(&self, hub: &Hub) -> Result<(AsyncClient, EventLoop)> {
        let mut options = MqttOptions::new(self.client_id, "localhost", hub.mqtt.port());
        let tls = tls(&hub.authority(), self.identity)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
        options.set_clean_session(true).set_max_packet_size(1 << 20, 1 << 20);
        if self.will {
            options.set_last_will(LastWill::new("/tenants/x/up/punches", "gone", QoS::AtLeastOnce, false));
        }
        let (client, mut events) = AsyncClient::new(options, 16);
        match tokio::time::timeout(WAIT, events.poll()).await.context("no answer")?? {
            Event::Incoming(Packet::ConnAck(_)) => Ok((client, events)),
            other => bail!("{other:?}"),
        }
    }
}

/// Whether the hub acknowledges the next publish or subscription, rather than closing the connection.
pub async fn acknowledged(events: &mut EventLoop) -> Result<bool> {
    loop {
        match tokio::time::timeout(WAIT, events.poll()).await.context("no answer")? {
            Ok(Event::Incoming(Packet::PubAck(_) | Packet::SubAck(_))) => return Ok(true),
            Ok(_) => {}
            Err(_) => return Ok(false),
        }
    }
}
