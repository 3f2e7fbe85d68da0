//! Pairing: a terminal without a certificate asks the hub for one, and shows a code with which an administrator
//! accepts it. It knows only the hub's address and the fingerprint of its authority.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto::DeviceId;
use qrcode::QrCode;
use reqwest::{Client, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Config, Files, Hub, Misconfigured};
use crate::identity::fs::{replace, write_new};
use crate::identity::key::{csr, device_of, key, sha256};
use crate::identity::tls::{HubVerifier, Pinned, TimeFloor, find_tls_error};

/// Letters and digits of a code, without those that look alike (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Length of a code: 40 bits; the hub allows five guesses.
const CODE: usize = 8;
/// Between two requests, with jitter.
const POLL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Pixels of a module of the QR image.
const MODULE: u32 = 8;

#[derive(Serialize)]
struct Request<'a> {
    request: &'a str,
    code: &'a str,
}

/// The hub's answer. Certificates are PEM.
#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Answer {
    Pending,
    Accepted {
        certificate: String,
        /// The hub's authority and signing key.
        ca: String,
    },
    Rejected,
}

/// Sends the pairing request of one terminal.
pub struct PairingClient {
    client: Client,
    pub url: String,
    request: String,
    /// What people compare.
    pub code: String,
}

impl PairingClient {
    /// For the certificate signing request `request`.
    pub fn new(hub: &Hub, state: &Path, tls: ClientConfig, request: String) -> Result<Self> {
        let client = Client::builder().tls_backend_preconfigured(tls).timeout(TIMEOUT).build()?;
        let url = format!("https://{}/api/v1/claims", hub.host.at(hub.https_port));
        Ok(Self { client, url, request, code: code(state)? })
    }

    pub async fn ask(&self) -> Result<Answer> {
        let body = Request { request: &self.request, code: &self.code };
        let answer =
            self.client.post(&self.url).json(&body).send().await.context("no answer from the hub")?;
        let status = answer.status();
        if status == StatusCode::ACCEPTED {
            return Ok(Answer::Pending);
        }
        ensure!(status == StatusCode::OK, "the hub answers {status}");
        answer.json().await.context("malformed answer")
    }
}

/// Asks until the terminal is accepted, and saves its certificate and the hub's authority. Does nothing where there is
/// a certificate already.
pub async fn pair(config: &Config, clock: Clock) -> Result<()> {
    let files = config.hub.files(&config.state);
    if files.certificate.exists() {
        return Ok(());
    }
    let Some(fingerprint) = &config.hub.ca_sha256 else {
        return Err(Misconfigured(format!(
            "{} is missing. Set hub.ca_sha256 (on the hub: rollcall-hub terminal fingerprint) and start again, \
            or use `rollcall-edge csr`",
            files.certificate.display()
        ))
        .into());
    };
    let key = key(&files.key)?;
    let device = device_of(&key)?;
    let tls = tls(&config.state, fingerprint, clock)?;
    let asking = PairingClient::new(&config.hub, &config.state, tls, csr(&key, &device)?)?;
    show(&config.state, &device, &asking.code)?;
    let url = &asking.url;
    loop {
        match asking.ask().await {
            Ok(Answer::Accepted { certificate, ca }) => {
                save(&files, &certificate, &ca)?;
                remove_code(&config.state);
                return Ok(());
            }
            Ok(Answer::Rejected) => {
                // The next start makes another request, with another code.
                let _ = std::fs::remove_file(config.state.join("claim.code"));
                bail!("the hub has rejected this terminal; restart it to ask again with another code");
            }
            Ok(Answer::Pending) => info!(device.id = %device, "waiting to be accepted at the hub"),
            Err(error) => {
                if is_other_hub(&error) {
                    warn!(
                        url,
                        "the server is not the hub of hub.ca_sha256: compare it with \
                        `rollcall-hub terminal fingerprint`, and check hub.host and hub.https_port; retrying"
                    );
                } else {
                    warn!(url, error = format!("{error:#}"), "cannot ask the hub; retrying");
                }
            }
        }
        tokio::time::sleep(POLL.mul_f64(rand::random_range(1.0..2.0))).await;
    }
}

fn save(files: &Files, certificate: &str, ca: &str) -> Result<()> {
    Pinned::parse(ca.as_bytes()).context("the hub sent an invalid ca.pem")?;
    replace(&files.ca, ca.as_bytes(), 0o644)?;
    replace(&files.certificate, certificate.as_bytes(), 0o644)?;
    println!("accepted");
    info!("accepted by the hub");
    Ok(())
}

/// Deletes the code once it is decided on.
pub fn remove_code(state: &Path) {
    let _ = std::fs::remove_file(state.join("claim.code"));
    let _ = std::fs::remove_file(state.join("claim.png"));
}

/// Reads the code, or draws one: it stays the same until it is decided on.
fn code(state: &Path) -> Result<String> {
    let file = state.join("claim.code");
    if let Ok(code) = std::fs::read_to_string(&file) {
        if code.len() == CODE && code.bytes().all(|byte| LETTERS.contains(&byte)) {
            return Ok(code);
        }
        std::fs::remove_file(&file)?;
    }
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 32)]);
    let code: String = rand::random::<[u8; CODE]>().into_iter().map(letter).collect();
    write_new(&file, code.as_bytes(), 0o600)?;
    Ok(code)
}

/// Prints id and code, and writes them as a QR image.
pub fn show(state: &Path, device: &DeviceId, code: &str) -> Result<()> {
    let spoken = format!("{}-{}", &code[..CODE / 2], &code[CODE / 2..]);
    let qr = QrCode::new(format!("rollcall-claim:{device}:{code}")).context("no QR code")?;
    let file = state.join("claim.png");
    let image = qr.render::<image::Luma<u8>>().module_dimensions(MODULE, MODULE).build();
    image.save(&file).with_context(|| format!("cannot write {}", file.display()))?;
    let blocks = qr.render::<qrcode::render::unicode::Dense1x2>().build();
    println!("{blocks}");
    println!("device {device}");
    println!("code   {spoken}");
    println!("image  {}", file.display());
    println!("Accept it: rollcall-hub terminal accept {device} --code {spoken} --name \"Front door\"");
    Ok(())
}

/// Whether the server has another authority than the expected one.
pub fn is_other_hub(error: &anyhow::Error) -> bool {
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    find_tls_error(error.as_ref()) == Some(&unknown)
}

/// TLS towards a hub of which only the fingerprint of its authority is known.
pub fn tls(state: &Path, fingerprint: &str, clock: Clock) -> Result<ClientConfig> {
    let pinned = hex::decode(fingerprint.replace(':', "")).unwrap_or_default();
    ensure!(pinned.len() == 32, "hub.ca_sha256 must have 64 hexadecimal characters");
    let floor = Arc::new(TimeFloor::open(state, clock, &[]));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_details(provider, floor.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Fingerprint { pinned, floor }))
        .with_no_client_auth())
}

/// Trusts the authority with this fingerprint, which the hub must send in its chain.
#[derive(Debug)]
struct Fingerprint {
    pinned: Vec<u8>,
    floor: Arc<TimeFloor>,
}

impl ServerCertVerifier for Fingerprint {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = chain.iter().find(|shown| sha256(shown) == *self.pinned).ok_or(unknown.clone())?;
        let authority = authority.clone().into_owned();
        let verifier = HubVerifier::new(&[authority], self.floor.clone()).map_err(|_| unknown)?;
        verifier.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = rustls::crypto::ring::default_provider();
        let algorithms = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = rustls::crypto::ring::default_provider();
        let algorithms = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_kept_until_it_is_decided_on_and_can_be_scanned() {
        let state = tempfile::tempdir().expect("folder");
        let first = code(state.path()).expect("drawn");
        assert_eq!(first.len(), CODE);
        assert_eq!(code(state.path()).expect("kept"), first);
        show(state.path(), &DeviceId::from_random([1; 16]), &first).expect("shown");
        let image = image::open(state.path().join("claim.png")).expect("an image");
        assert!(image.width() > 200);
    }
}
