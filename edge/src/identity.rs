//! The terminal's identity: its key, which never leaves the device, and the certificate that the hub signed.

pub(crate) mod fs;
pub mod key;
pub(crate) mod pairing;
pub(crate) mod renew;
pub(crate) mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use parking_lot::RwLock;
use proto::DeviceId;
use proto::sign::Signer;
use rcgen::KeyPair;
use rustls::client::{ResolvesClientCert, WantsClientCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tracing::info;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Clock;
use crate::config::{Config, Files};
use crate::identity::fs::replace;
use crate::identity::key::{csr, read_key};
use crate::identity::tls::{HubVerifier, Pinned, TimeFloor, validity};

pub struct Identity {
    /// The common name of the certificate.
    pub device: DeviceId,
    pub signer: Signer,
    pub pinned: Pinned,
    pub floor: Arc<TimeFloor>,
    key: KeyPair,
    file: PathBuf,
    current: Arc<CertificateResolver>,
}

/// The client certificate of new connections; replaced when it is renewed.
#[derive(Debug)]
struct CertificateResolver(RwLock<Arc<CertifiedKey>>);

impl ResolvesClientCert for CertificateResolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Identity {
    /// Reads the certificates and the key that the configuration names.
    pub fn read(config: &Config, clock: Clock) -> Result<Self> {
        let Files { ca, certificate, key } = config.hub.files(&config.state);
        let pinned = Pinned::read(&ca)?;
        let chain = certificates(&certificate)?;
        let device = common_name(&chain[0]).with_context(|| certificate.display().to_string())?;
        let key = read_key(&key)?;
        let certified = certified_key(&chain, &key).context("hub.certificate does not belong to hub.key")?;
        let known = [pinned.authorities.as_slice(), &chain].concat();
        Ok(Self {
            device,
            signer: Signer::terminal(&key.serialize_der())?,
            floor: Arc::new(TimeFloor::open(&config.state, clock, &known)),
            pinned,
            key,
            file: certificate,
            current: Arc::new(CertificateResolver(RwLock::new(Arc::new(certified)))),
        })
    }

    pub fn tls(&self) -> Result<ClientConfig> {
        Ok(self.tls_builder()?.with_client_cert_resolver(self.current.clone()))
    }

    /// Without a client certificate: for a hub that rejects it as expired.
    pub fn tls_without_certificate(&self) -> Result<ClientConfig> {
        Ok(self.tls_builder()?.with_no_client_auth())
    }

    fn tls_builder(&self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
        let verifier = HubVerifier::new(&self.pinned.authorities, self.floor.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_details(provider, self.floor.clone())
            .with_safe_default_protocol_versions()?;
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
    }

    /// Whether the certificate has certainly expired: an unsynchronised clock proves nothing.
    pub fn has_expired(&self) -> bool {
        let current = self.current.0.read();
        let until = current.cert.first().and_then(|certificate| validity(certificate).ok());
        until.is_some_and(|(_, until)| until < self.floor.certain())
    }

    /// A certificate signing request for the same key (PEM).
    pub fn csr(&self) -> Result<String> {
        csr(&self.key, &self.device)
    }

    /// The same, once two thirds of the certificate's life are over.
    pub fn renewal_request(&self) -> Option<String> {
        let current = self.current.0.read().clone();
        let (from, until) = validity(current.cert.first()?).ok()?;
        let due = self.floor.now() > until.saturating_sub((until - from) / 3);
        due.then(|| self.csr().ok()).flatten()
    }

    /// Replaces the certificate, in the file first. Existing connections keep theirs. Returns whether the new one
    /// lasts longer; otherwise it is not used.
    pub fn renew(&self, pem: &str) -> Result<bool> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?;
        let first = chain.first().context("the hub sent no certificate")?;
        ensure!(common_name(first)? == self.device, "the hub sent the certificate of another terminal");
        let fresh = certified_key(&chain, &self.key).context("the hub sent a certificate for another key")?;
        let (from, _) = validity(first)?;
        ensure!(
            from <= self.floor.now() || self.floor.is_unsynchronised(),
            "the hub sent a certificate that is not valid yet: check the hub's clock"
        );
        let mut current = self.current.0.write();
        let until = |certificate: Option<&CertificateDer<'_>>| {
            validity(certificate.context("none")?).map(|(_, until)| until)
        };
        if until(Some(first))? <= until(current.cert.first())? {
            return Ok(false); // an answer to an earlier hello
        }
        replace(&self.file, pem.as_bytes(), 0o644)?;
        *current = Arc::new(fresh);
        info!("certificate renewed");
        Ok(true)
    }
}

fn certified_key(chain: &[CertificateDer<'static>], key: &KeyPair) -> Result<CertifiedKey> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::from_der(chain.to_vec(), der, &rustls::crypto::ring::default_provider())?)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let found = read().with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(!found.is_empty(), "{} holds no certificate", file.display());
    Ok(found)
}

fn common_name(certificate: &CertificateDer<'_>) -> Result<DeviceId> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let name = parsed.subject().iter_common_name().next().context("the certificate has no common name")?;
    Ok(name.as_str()?.parse()?)
}
