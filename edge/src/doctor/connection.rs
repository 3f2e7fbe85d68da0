//! Checks the terminal's certificate, and that the hub can be reached and accepts it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::clock::Clock;
use crate::config::{Config, Host};
use crate::doctor::finding::{Finding, bad, from_result};
use crate::hub_link::link::Link;
use crate::identity::tls::validity;
use crate::identity::{Identity, pairing};

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the hub may take to reject the certificate.
const REJECTION: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400;

const NETWORK: &str =
    "check the network (ip addr), hub.host (getent hosts), and whether a firewall blocks the port";
const NOT_THE_HUB: &str = "compare hub.ca_sha256 with the output of rollcall-hub terminal fingerprint on the hub; check hub.host \
    and hub.https_port";
const REJECTED: &str = "certificate not trusted: the hub was reinstalled, or this is another hub; terminal \
    rejected: see rollcall-hub terminal list (revoked?); not a broker: check hub.port";

/// `running`: whether the daemon runs.
pub fn examine(config: &Config, running: bool) -> Vec<Finding> {
    let certificate = config.hub.files(&config.state).certificate;
    if !certificate.exists() {
        return unpaired(config, &certificate);
    }
    let accepted = if running { check_certificate(config) } else { connect(config) };
    let unreachable = accepted.is_err() && reach(&config.hub.host, config.hub.port).is_err();
    let remedy = if unreachable { NETWORK } else { REJECTED };
    vec![
        from_result(
            "certificate",
            lifetime(&certificate, config),
            "if it has expired, the daemon asks the hub for another over hub.https_port; accept the code if it shows one",
        ),
        from_result("hub", accepted, remedy),
    ]
}

fn unpaired(config: &Config, certificate: &Path) -> Vec<Finding> {
    let (host, port) = (&config.hub.host, config.hub.https_port);
    let at = host.at(port);
    let missing = format!("{} does not exist yet", certificate.display());
    let Some(fingerprint) = &config.hub.ca_sha256 else {
        let remedy = "set hub.ca_sha256 to the output of rollcall-hub terminal fingerprint on the hub";
        let reached = reach(host, port).map(|_| format!("{at} answers"));
        return vec![bad("certificate", missing, remedy), from_result("hub", reached, NETWORK)];
    };
    let remedy = "start the daemon, and accept its code on the hub: rollcall-hub terminal accept";
    let hub = match reach(host, port) {
        Err(error) => from_result("hub", Err(error), NETWORK),
        Ok(socket) => {
            let verified = Clock::open(config.clock.synchronised)
                .and_then(|clock| pairing::tls(&config.state, fingerprint, clock))
                .and_then(|tls| handshake(socket, host, tls));
            from_result("hub", verified.map(|_| format!("{at} is the hub of hub.ca_sha256")), NOT_THE_HUB)
        }
    };
    vec![bad("certificate", missing, remedy), hub]
}

fn lifetime(file: &Path, config: &Config) -> Result<String> {
    let certificate =
        CertificateDer::from_pem_file(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (_, until) = validity(&certificate)?;
    let now = u64::try_from(Clock::open(config.clock.synchronised)?.now().wall_us / 1_000_000).unwrap_or(0);
    ensure!(until > now, "expired {} days ago", (now - until) / DAY);
    Ok(format!("valid for {} more days; it renews itself", (until - now) / DAY))
}

/// Connects as the daemon does. Only while it is not running.
fn connect(config: &Config) -> Result<String> {
    let at = config.hub.host.at(config.hub.port);
    let identity = Arc::new(Identity::read(config, Clock::open(config.clock.synchronised)?)?);
    let (link, ..) = Link::new(&config.hub, identity)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probe = async { tokio::time::timeout(TIMEOUT, link.probe()).await };
    let accepted = runtime.block_on(probe).unwrap_or_else(|_| bail!("no answer from the broker"));
    accepted.with_context(|| format!("{at} rejects this terminal"))?;
    Ok(format!("{at} accepts this terminal"))
}

/// Only the TLS handshake: the hub would close the daemon's connection for a second one.
fn check_certificate(config: &Config) -> Result<String> {
    let (host, port) = (&config.hub.host, config.hub.port);
    let (at, socket) = (host.at(port), reach(host, port)?);
    let identity = Identity::read(config, Clock::open(config.clock.synchronised)?)?;
    let mut stream = handshake(socket, host, identity.tls()?)?;
    stream.sock.set_read_timeout(Some(REJECTION))?;
    let answer = stream.read(&mut [0]);
    stream.conn.send_close_notify();
    let _ = stream.flush(); // fails where the hub has closed already
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(format!("{at} accepts this terminal's certificate"))
        }
        Ok(0) => bail!("{at} rejects this terminal"),
        Ok(_) => bail!("{at} is not an MQTT broker"),
        Err(error) => Err(error).with_context(|| format!("{at} rejects this terminal")),
    }
}

fn reach(host: &Host, port: u16) -> Result<TcpStream> {
    let addresses = host.at(port).to_socket_addrs().with_context(|| format!("cannot resolve {host}"))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("cannot reach {}", host.at(port))),
        None => bail!("{host} has no address"),
    }
}

fn handshake(
    socket: TcpStream,
    host: &Host,
    tls: ClientConfig,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(tls), host.server_name())?, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).context("TLS handshake failed")?;
    }
    Ok(stream)
}
