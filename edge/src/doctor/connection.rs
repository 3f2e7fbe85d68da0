//! The terminal's certificate, and whether the hub is there and takes it.

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
use crate::doctor::finding::{Finding, bad, judge};
use crate::hub_link::link::Link;
use crate::identity::tls::validity;
use crate::identity::{Identity, pairing};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the hub may take to say that it doesn't want us.
const REFUSAL: Duration = Duration::from_secs(1);
/// Seconds of a day.
const DAY: u64 = 86_400;

const NETWORK: &str =
    "is the network up (ip addr), is hub.host right (getent hosts), does a firewall stop the port?";
const STRANGER: &str = "compare hub.ca_sha256 with what the hub says: rollcall-hub terminal fingerprint; are hub.host \
    and hub.https_port the hub's?";
const REFUSED: &str = "if the certificate is not trusted: the hub was set up anew, or this is another one; if it is \
    refused: rollcall-hub terminal list (revoked?); if it is no broker: hub.port";

/// Looks at both. `running`: the daemon is.
pub fn examine(config: &Config, running: bool) -> Vec<Finding> {
    let certificate = config.hub.files(&config.state).certificate;
    if !certificate.exists() {
        return unclaimed(config, &certificate);
    }
    let taken = if running { show(config) } else { visit(config) };
    let silent = taken.is_err() && reach(&config.hub.host, config.hub.port).is_err();
    let remedy = if silent { NETWORK } else { REFUSED };
    vec![
        judge(
            "certificate",
            lifetime(&certificate, config),
            "expired: the daemon asks the hub for another by itself, over hub.https_port; accept the code where it shows one",
        ),
        judge("hub", taken, remedy),
    ]
}

/// A terminal that the hub has not accepted yet.
fn unclaimed(config: &Config, certificate: &Path) -> Vec<Finding> {
    let (host, port) = (&config.hub.host, config.hub.https_port);
    let at = host.at(port);
    let missing = format!("{} is not there yet", certificate.display());
    let Some(fingerprint) = &config.hub.ca_sha256 else {
        let remedy = "set hub.ca_sha256: on the hub, rollcall-hub terminal fingerprint";
        let reached = reach(host, port).map(|_| format!("{at} answers"));
        return vec![bad("certificate", missing, remedy), judge("hub", reached, NETWORK)];
    };
    let remedy = "start the daemon, and accept the code that it shows: rollcall-hub terminal accept";
    let hub = match reach(host, port) {
        Err(error) => judge("hub", Err(error), NETWORK),
        Ok(socket) => {
            let known = Clock::open(config.clock.synchronised)
                .and_then(|clock| pairing::tls(&config.state, fingerprint, clock))
                .and_then(|tls| shake_hands(socket, host, tls));
            judge("hub", known.map(|_| format!("{at} is the hub of hub.ca_sha256")), STRANGER)
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

/// Connects as the daemon would, which does not run.
fn visit(config: &Config) -> Result<String> {
    let at = config.hub.host.at(config.hub.port);
    let identity = Arc::new(Identity::read(config, Clock::open(config.clock.synchronised)?)?);
    let (link, ..) = Link::new(&config.hub, identity)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let visit = async { tokio::time::timeout(PATIENCE, link.visit()).await };
    let taken = runtime.block_on(visit).unwrap_or_else(|_| bail!("it says nothing"));
    taken.with_context(|| format!("{at} refuses this terminal"))?;
    Ok(format!("{at} takes this terminal"))
}

/// Shows the terminal's certificate, but says nothing: the daemon is connected, and would lose its place.
fn show(config: &Config) -> Result<String> {
    let (host, port) = (&config.hub.host, config.hub.port);
    let (at, socket) = (host.at(port), reach(host, port)?);
    let identity = Identity::read(config, Clock::open(config.clock.synchronised)?)?;
    let mut stream = shake_hands(socket, host, identity.tls()?)?;
    stream.sock.set_read_timeout(Some(REFUSAL))?;
    let answer = stream.read(&mut [0]);
    stream.conn.send_close_notify();
    let _ = stream.flush(); // whoever refuses is gone already
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(format!("{at} takes this terminal's certificate"))
        }
        Ok(0) => bail!("{at} refuses this terminal"),
        Ok(_) => bail!("{at} is no MQTT broker"),
        Err(error) => Err(error).with_context(|| format!("{at} refuses this terminal")),
    }
}

fn reach(host: &Host, port: u16) -> Result<TcpStream> {
    let addresses = host.at(port).to_socket_addrs().with_context(|| format!("{host} is not known"))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("{} can't be reached", host.at(port))),
        None => bail!("{host} has no address"),
    }
}

fn shake_hands(
    socket: TcpStream,
    host: &Host,
    tls: ClientConfig,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(tls), host.server_name())?, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).context("no TLS with the hub")?;
    }
    Ok(stream)
}
