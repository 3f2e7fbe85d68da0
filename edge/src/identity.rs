//! Who this terminal is: its key, which never leaves the device, and the certificate that the hub
//! gave it.

pub(crate) mod fs;
pub mod key;
pub(crate) mod pairing;
pub(crate) mod renew;
pub(crate) mod tls;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, ensure};
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
use crate::identity::tls::{Floor, HubVerifier, Pinned, validity};

/// The terminal's identity on the wire.
pub struct Identity {
    /// The common name of the certificate.
    pub device: DeviceId,
    /// Signs what goes up.
    pub signer: Signer,
    /// Whom it believes.
    pub pinned: Pinned,
    /// What time it is at least.
    pub floor: Arc<Floor>,
    key: KeyPair,
    file: PathBuf,
    shown: Arc<Shown>,
}

/// The certificate that connections show; the next one shows what was put here last.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
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
        let certified =
            certify(&chain, &key).context("hub.certificate and hub.key do not belong together")?;
        let known = [pinned.authorities.as_slice(), &chain].concat();
        Ok(Self {
            device,
            signer: Signer::terminal(&key.serialize_der())?,
            floor: Arc::new(Floor::open(&config.state, clock, &known)),
            pinned,
            key,
            file: certificate,
            shown: Arc::new(Shown(RwLock::new(Arc::new(certified)))),
        })
    }

    /// TLS towards the hub.
    pub fn tls(&self) -> Result<ClientConfig> {
        Ok(self.trusting()?.with_client_cert_resolver(self.shown.clone()))
    }

    /// The same without showing the certificate.
    pub fn tls_unnamed(&self) -> Result<ClientConfig> {
        Ok(self.trusting()?.with_no_client_auth())
    }

    fn trusting(&self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
        let verifier = HubVerifier::new(&self.pinned.authorities, self.floor.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_details(provider, self.floor.clone())
            .with_safe_default_protocol_versions()?;
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
    }

    /// Whether the certificate has certainly ended: a clock that is not set proves nothing.
    pub fn has_ended(&self) -> bool {
        let shown = self.shown.0.read().unwrap_or_else(PoisonError::into_inner);
        let until = shown.cert.first().and_then(|certificate| validity(certificate).ok());
        until.is_some_and(|(_, until)| until < self.floor.certain())
    }

    /// A request for another certificate for the same key (PEM).
    pub fn csr(&self) -> Result<String> {
        csr(&self.key, &self.device)
    }

    /// A request for the next certificate, once two thirds of the present one's life are over.
    pub fn request(&self) -> Option<String> {
        let shown = self.shown.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (from, until) = validity(shown.cert.first()?).ok()?;
        let due = self.floor.now() > until.saturating_sub((until - from) / 3);
        due.then(|| self.csr().ok()).flatten()
    }

    /// Takes a new certificate into use: it must be this terminal's, for this key, and last longer, else it is
    /// left (`false`). The file is replaced first; connections that stand are not touched.
    pub fn renew(&self, pem: &str) -> Result<bool> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?;
        let first = chain.first().context("the hub sent no certificate")?;
        ensure!(common_name(first)? == self.device, "the hub sent somebody else's certificate");
        let fresh = certify(&chain, &self.key).context("the hub sent a certificate for another key")?;
        let (from, _) = validity(first)?;
        ensure!(
            from <= self.floor.now() || self.floor.unsure(),
            "the hub sent a certificate that is not valid yet: its clock is ahead"
        );
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        let until = |certificate: Option<&CertificateDer<'_>>| {
            validity(certificate.context("none")?).map(|(_, until)| until)
        };
        if until(Some(first))? <= until(shown.cert.first())? {
            return Ok(false); // an answer to an earlier hello
        }
        replace(&self.file, pem.as_bytes(), 0o644)?;
        *shown = Arc::new(fresh);
        info!("the certificate is renewed");
        Ok(true)
    }
}

fn certify(chain: &[CertificateDer<'static>], key: &KeyPair) -> Result<CertifiedKey> {
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
    let name = parsed.subject().iter_common_name().next().context("the certificate names nobody")?;
    Ok(name.as_str()?.parse()?)
}
