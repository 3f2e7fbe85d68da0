//! The first start: a terminal without a certificate asks the hub for one, and shows a code by which
//! somebody who stands before it can say that it may.
//!
//! All that it was given is the hub's address and the fingerprint of its authority.

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
use crate::identity::tls::{Floor, HubVerifier, Pinned};

/// Letters and digits of a code, without those that look alike (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Their number: 40 bits, of which the hub lets five be guessed.
const CODE: usize = 8;
/// The waits between two questions, with jitter.
const ASK: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pixels of a module of the QR image.
const MODULE: u32 = 8;

#[derive(Serialize)]
struct Question<'a> {
    request: &'a str,
    code: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    state: String,
    certificate: Option<String>,
    ca: Option<String>,
}

/// What the hub says.
pub enum Told {
    /// Nobody has decided yet.
    Pending,
    /// The terminal's certificate, and the hub's authority and signing key (PEM).
    Accepted {
        /// Of the terminal.
        certificate: String,
        /// Of the hub.
        ca: String,
    },
    /// Somebody has decided against it.
    Rejected,
}

/// What the hub is asked, again and again.
pub struct Asking {
    client: Client,
    /// Where.
    pub url: String,
    request: String,
    /// What people compare.
    pub code: String,
}

impl Asking {
    /// Of a terminal that wants what `request` says; `tls` decides whom it believes.
    pub fn new(hub: &Hub, state: &Path, tls: ClientConfig, request: String) -> Result<Self> {
        let client = Client::builder().tls_backend_preconfigured(tls).timeout(PATIENCE).build()?;
        let url = format!("https://{}/api/v1/claims", hub.host.at(hub.https_port));
        Ok(Self { client, url, request, code: code(state)? })
    }

    /// Asks once.
    pub async fn ask(&self) -> Result<Told> {
        let question = Question { request: &self.request, code: &self.code };
        let answer = self.client.post(&self.url).json(&question).send().await.context("no answer")?;
        let status = answer.status();
        if status == StatusCode::ACCEPTED {
            return Ok(Told::Pending);
        }
        ensure!(status == StatusCode::OK, "the hub says {status}");
        let answer: Answer = answer.json().await.context("an answer that can't be read")?;
        Ok(match (answer.state.as_str(), answer.certificate, answer.ca) {
            ("accepted", Some(certificate), Some(ca)) => Told::Accepted { certificate, ca },
            ("pending", ..) => Told::Pending,
            _ => Told::Rejected,
        })
    }
}

/// Asks until the terminal is accepted; then its certificate and the hub's authority are there.
/// Where there is a certificate already it does nothing.
pub async fn claim(config: &Config, clock: Clock) -> Result<()> {
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
    let asking = Asking::new(&config.hub, &config.state, tls, csr(&key, &device)?)?;
    show(&config.state, &device, &asking.code)?;
    let url = &asking.url;
    loop {
        match asking.ask().await {
            Ok(Told::Accepted { certificate, ca }) => {
                settle(&files, &certificate, &ca)?;
                forget(&config.state);
                return Ok(());
            }
            Ok(Told::Rejected) => {
                // Another code is another claim, which somebody may decide otherwise about.
                let _ = std::fs::remove_file(config.state.join("claim.code"));
                bail!(
                    "the hub has rejected this terminal; start it again to ask once more, with another code"
                );
            }
            Ok(Told::Pending) => info!(device.id = %device, "waiting to be accepted"),
            Err(error) => {
                let error = format!("{error:#}");
                if error.contains("UnknownIssuer") {
                    warn!(
                        url,
                        "whoever answers there is not the hub of hub.ca_sha256: compare it with \
                        `rollcall-hub terminal fingerprint`, and look at hub.host and hub.https_port; trying again"
                    );
                } else {
                    warn!(url, error, "cannot ask the hub; trying again");
                }
            }
        }
        tokio::time::sleep(ASK.mul_f64(rand::random_range(1.0..2.0))).await;
    }
}

fn settle(files: &Files, certificate: &str, ca: &str) -> Result<()> {
    Pinned::parse(ca.as_bytes()).context("what the hub sent")?;
    replace(&files.ca, ca.as_bytes(), 0o644)?;
    replace(&files.certificate, certificate.as_bytes(), 0o644)?;
    println!("accepted");
    info!("the hub has accepted this terminal");
    Ok(())
}

/// Forgets the code: somebody has decided.
pub fn forget(state: &Path) {
    let _ = std::fs::remove_file(state.join("claim.code"));
    let _ = std::fs::remove_file(state.join("claim.png"));
}

/// The code, which stays the same until somebody has decided.
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

/// Shows device and code on the console and as a QR image.
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

/// TLS towards a hub of which nothing is known but its authority's fingerprint.
pub fn tls(state: &Path, fingerprint: &str, clock: Clock) -> Result<ClientConfig> {
    let pinned = hex::decode(fingerprint.replace(':', "")).unwrap_or_default();
    ensure!(pinned.len() == 32, "hub.ca_sha256 has 64 hexadecimal characters");
    let floor = Arc::new(Floor::open(state, clock, &[]));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_details(provider, floor.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Fingerprint { pinned, floor }))
        .with_no_client_auth())
}

/// Trusts the one authority of this fingerprint, which the hub must show.
#[derive(Debug)]
struct Fingerprint {
    pinned: Vec<u8>,
    floor: Arc<Floor>,
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
    fn a_code_is_kept_until_somebody_decides_and_can_be_scanned() {
        let state = tempfile::tempdir().expect("folder");
        let first = code(state.path()).expect("drawn");
        assert_eq!(first.len(), CODE);
        assert_eq!(code(state.path()).expect("kept"), first);
        show(state.path(), &DeviceId::from_random([1; 16]), &first).expect("shown");
        let image = image::open(state.path().join("claim.png")).expect("an image");
        assert!(image.width() > 200);
    }
}
