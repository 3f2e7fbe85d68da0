//! Who this terminal is: its key, which never leaves the device, and the certificate that the hub
//! gave it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, ensure};
use proto::DeviceId;
use proto::sign::Signer;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey,
};
use rustls::client::ResolvesClientCert;
use rustls::client::WantsClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tracing::info;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Clock;
use crate::config::{Config, Files};
use crate::trust::{Floor, HubVerifier, Pinned, validity};

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

fn read_key(file: &Path) -> Result<KeyPair> {
    let pem = zeroize::Zeroizing::new(
        fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?,
    );
    KeyPair::from_pem(&pem).with_context(|| format!("{} holds no key", file.display()))
}

/// The terminal's key, which is made if it is not there.
pub fn key(file: &Path) -> Result<KeyPair> {
    if file.exists() {
        return read_key(file);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write_new(file, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(key)
}

/// Makes `terminal.key` if it is not there, writes `terminal.csr` and prints where.
pub fn request(state: &Path) -> Result<()> {
    fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let key = key(&state.join("terminal.key"))?;
    let device = device_of(&key)?;
    let file = state.join("terminal.csr");
    fs::write(&file, csr(&key, &device)?).with_context(|| format!("cannot write {}", file.display()))?;
    println!("terminal {device}");
    println!("request  {}", file.display());
    println!("Next: on the hub, run `rollcall-hub terminal sign {} --name \"Front door\"`.", file.display());
    Ok(())
}

/// The terminal is named by its first key: no second terminal can be given the same name.
pub fn device_of(key: &KeyPair) -> Result<DeviceId> {
    let hash = sha256(key.subject_public_key_info().as_slice());
    let first: [u8; 16] = hash[..16].try_into().context("a hash has 32 bytes")?;
    Ok(DeviceId::from_random(first))
}

/// The hash of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// A request for a terminal's certificate (PEM).
pub fn csr(key: &impl SigningKey, device: &DeviceId) -> Result<String> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    params.distinguished_name.push(DnType::OrganizationName, device.as_str());
    Ok(params.serialize_request(key)?.pem()?)
}

/// Writes a file that must not be there yet, durably, readable as `mode` says. A power cut leaves it
/// whole or not there.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        let fresh = write_beside(path, bytes, mode)?;
        let linked = fs::hard_link(&fresh, path); // which replaces nothing
        fs::remove_file(&fresh)?;
        linked?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot make {}", path.display()))
}

/// Puts a file in the place of another, or where there is none: afterwards one of the two is there,
/// whole, whatever happens.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || {
        fs::rename(write_beside(path, bytes, mode)?, path)?;
        sync_folder(path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes what is to become a file, whole and durable, beside it.
fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<PathBuf> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fresh)
}

/// Makes a file's name durable: it stands in its folder, which is written by itself.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn asking_twice_keeps_the_key() {
        let folder = tempfile::tempdir().expect("folder");
        request(folder.path()).expect("first");
        let key = fs::read(folder.path().join("terminal.key")).expect("key");
        request(folder.path()).expect("second");
        assert_eq!(fs::read(folder.path().join("terminal.key")).expect("key"), key);
        let mode = fs::metadata(folder.path().join("terminal.key")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
