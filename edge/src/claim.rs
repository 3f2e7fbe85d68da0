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
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Config, Files, Misconfigured};
use crate::identity::{csr, device_of, key, replace, sha256, write_new};
use crate::trust::{Floor, HubVerifier, Pinned, validity};

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

/// Asks until the terminal is accepted; then its certificate and the hub's authority are there.
/// Where they are already, and the certificate counts still, it does nothing.
pub async fn claim(config: &Config, clock: Clock) -> Result<()> {
    let files = config.hub.files(&config.state);
    if files.certificate.exists() && !(config.hub.ca_sha256.is_some() && expired(&files, &clock)) {
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
    let code = code(&config.state)?;
    show(&config.state, &device, &code)?;
    let client = client(config, fingerprint, clock)?;
    let request = csr(&key, &device)?;
    let url = format!("https://{}:{}/api/v1/claims", config.hub.host, config.hub.https_port);
    loop {
        match ask(&client, &url, &Question { request: &request, code: &code }).await {
            Ok(Some(answer)) => return settle(&files, &config.state, answer),
            Ok(None) => info!(device.id = %device, "waiting to be accepted"),
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

/// Whether a terminal slept through the end of its certificate, by a clock that is set: it must be
/// accepted again, with the same key.
fn expired(files: &Files, clock: &Clock) -> bool {
    let now = clock.now();
    let end = || {
        let certificate = CertificateDer::from_pem_file(&files.certificate).ok()?;
        i64::try_from(validity(&certificate).ok()?.1).ok()
    };
    now.synchronised && end().is_some_and(|end| end < now.wall_us / 1_000_000)
}

/// Asks once. `None`: nobody has decided.
async fn ask(client: &Client, url: &str, question: &Question<'_>) -> Result<Option<Answer>> {
    let answer = client.post(url).json(question).send().await.context("no answer")?;
    let status = answer.status();
    if status == StatusCode::ACCEPTED {
        return Ok(None);
    }
    ensure!(status == StatusCode::OK, "the hub says {status}");
    Ok(Some(answer.json().await.context("an answer that can't be read")?))
}

fn settle(files: &Files, state: &Path, answer: Answer) -> Result<()> {
    let (Some(certificate), Some(ca), "accepted") = (answer.certificate, answer.ca, answer.state.as_str())
    else {
        // Another code is another claim, which somebody may decide otherwise about.
        let _ = std::fs::remove_file(state.join("claim.code"));
        bail!("the hub has rejected this terminal; start it again to ask once more, with another code");
    };
    Pinned::parse(ca.as_bytes()).context("what the hub sent")?;
    replace(&files.ca, ca.as_bytes(), 0o644)?;
    replace(&files.certificate, certificate.as_bytes(), 0o644)?;
    let _ = std::fs::remove_file(state.join("claim.code"));
    let _ = std::fs::remove_file(state.join("claim.png"));
    println!("accepted");
    info!("the hub has accepted this terminal");
    Ok(())
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
fn show(state: &Path, device: &DeviceId, code: &str) -> Result<()> {
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

fn client(config: &Config, fingerprint: &str, clock: Clock) -> Result<Client> {
    let tls = tls(&config.state, fingerprint, clock)?;
    Ok(Client::builder().tls_backend_preconfigured(tls).timeout(PATIENCE).build()?)
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
