//! The hub's own certificate authority: it signs the hub's certificate and those of terminals.

pub mod own;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::ToSpan;
use proto::DeviceId;
use proto::sign::{Author, Signer};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::crypto::secret_file;
use crate::date::Timestamp;
use crate::db::terminals::Certificate;

/// How long certificates are valid: the authority's ten years, all others one.
const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;
/// Clocks differ: certificates are valid from an hour ago.
const SKEW_HOURS: i64 = 1;

/// The authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    signer: Arc<Signer>,
}

/// What the hub hands to a terminal.
pub struct Signed {
    /// Whose certificate it is.
    pub device: DeviceId,
    /// The certificate.
    pub pem: String,
    /// Its hash: the hub accepts this one alone.
    pub sha256: Vec<u8>,
    /// The public key in it: an uncompressed P-256 point.
    pub public_key: Vec<u8>,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// What a terminal asks for, proved with its key.
pub struct Requested {
    /// As whom.
    pub device: DeviceId,
    author: Author,
    spki: Vec<u8>,
    request: CertificateSigningRequestParams,
}

impl Requested {
    /// Reads a request (PEM), and checks that it is signed with the key that it names.
    pub fn read(request: &str) -> Result<Self> {
        let request =
            CertificateSigningRequestParams::from_pem(request).context("not a certificate request")?;
        let named = request.params.distinguished_name.get(&DnType::CommonName);
        let Some(rcgen::DnValue::Utf8String(name)) = named else {
            anyhow::bail!("the request names no terminal");
        };
        let device: DeviceId = name.parse().context("the request's common name")?;
        let spki = request.public_key.subject_public_key_info();
        let author = Author::terminal(&spki).context("the request's key is not of the curve P-256")?;
        Ok(Self { device, author, spki, request })
    }

    /// Its public key: an uncompressed P-256 point.
    pub fn public_key(&self) -> &[u8] {
        self.author.bytes()
    }

    /// Whether the name is the hash of the key, as terminals name themselves.
    pub fn names_itself(&self) -> bool {
        hex::encode(&Sha256::digest(&self.spki)[..16]) == self.device.as_str()
    }
}

impl Signed {
    /// What is kept of it.
    pub fn certificate(&self) -> Certificate<'_> {
        Certificate { sha256: &self.sha256, public_key: &self.public_key, expires_at: self.expires_at }
    }
}

impl Authority {
    /// Opens the authority in `folder`. What is missing is made if `make` says so: terminals that trust
    /// an authority would trust no other.
    pub fn open(folder: &Path, make: bool, now: Timestamp) -> Result<Self> {
        let (key_file, certificate_file) = (folder.join("ca.key"), folder.join("ca.pem"));
        let signing_file = folder.join("signing.key");
        let missing = [&key_file, &certificate_file, &signing_file].into_iter().find(|file| !file.exists());
        if let Some(file) = missing {
            ensure!(
                make,
                "{} is missing, and accepted terminals trust it: put {} back from a backup, or copy it from another \
                hub of this database; if there is none, revoke all terminals (rollcall-hub terminal revoke ID), then \
                the hub makes a new authority",
                file.display(),
                folder.display()
            );
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if !key_file.exists() {
            if certificate_file.exists() {
                let aside = certificate_file.with_extension("pem.old"); // of the key that is lost
                std::fs::rename(&certificate_file, &aside)
                    .with_context(|| format!("cannot make {}", aside.display()))?;
            }
            secret_file::write_new(
                &key_file,
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem().as_bytes(),
            )?;
        }
        let key = KeyPair::from_pem(&secret_file::read(&key_file)?)
            .with_context(|| format!("{} holds no key", key_file.display()))?;
        if !certificate_file.exists() {
            secret_file::write_new(
                &certificate_file,
                authority_params(now)?.self_signed(&key)?.pem().as_bytes(),
            )?;
        }
        let pem = secret_file::read(&certificate_file)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| anyhow::anyhow!("{} holds no certificate: {e}", certificate_file.display()))?;
        let (_, parsed) = X509Certificate::from_der(&certificate).context("not a certificate")?;
        ensure!(
            parsed.tbs_certificate.subject_pki.raw == key.subject_public_key_info(),
            "{} and {} do not belong together: put both back from one backup",
            key_file.display(),
            certificate_file.display()
        );
        let issuer = Issuer::from_ca_cert_der(&certificate, key).context("the authority can't sign")?;
        let signing = signing_key(&signing_file)?;
        let signer = Arc::new(Signer::hub(&signing.serialize_der())?);
        let pem = format!("{}\n{}", pem.trim_end(), signing.public_key_pem());
        Ok(Self { issuer, certificate, pem, signer })
    }

    /// What terminals trust the hub by: the authority's certificate, and the public key that the
    /// hub's messages are signed with.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs what goes down to terminals.
    pub fn signer(&self) -> Arc<Signer> {
        self.signer.clone()
    }

    /// The SHA-256 of the authority's certificate, in hexadecimal: what a new terminal is given.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate))
    }

    /// Signs a terminal's request. All that is taken from it is the public key and the name.
    pub fn sign_terminal(&self, request: &str, now: Timestamp) -> Result<Signed> {
        let Requested { device, author, mut request, .. } = Requested::read(request)?;
        let expires_at = expiry(now, LEAF_DAYS)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device.as_str());
        params.distinguished_name.push(DnType::OrganizationName, device.as_str());
        leaf(&mut params, ExtendedKeyUsagePurpose::ClientAuth, now, expires_at)?;
        request.params = params;
        let certificate = request.signed_by(&self.issuer)?;
        Ok(Signed {
            device,
            pem: certificate.pem(),
            sha256: Sha256::digest(certificate.der()).to_vec(),
            public_key: author.bytes().to_vec(),
            expires_at,
        })
    }

    /// A fresh certificate for the hub. Its key is never written down.
    fn sign_hub(&self, names: &[String], now: Timestamp) -> Result<CertifiedKey> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Rollcall hub");
        params.subject_alt_names = alternatives(names)?;
        leaf(&mut params, ExtendedKeyUsagePurpose::ServerAuth, now, expiry(now, LEAF_DAYS)?)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(CertifiedKey::new(chain, rustls::crypto::ring::sign::any_supported_type(&key)?))
    }

    /// A certificate and key (PEM) for a program beside the hub: an external broker under its
    /// names, or the hub as that broker's client under its name.
    pub fn sign_beside(&self, names: &[String], serves: bool, now: Timestamp) -> Result<(String, String)> {
        let first = names.first().context("a certificate needs a name")?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, first);
        let usage = if serves {
            params.subject_alt_names = alternatives(names)?;
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        };
        leaf(&mut params, usage, now, expiry(now, LEAF_DAYS)?)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn alternatives(names: &[String]) -> Result<Vec<SanType>> {
    let bare = |name: &str| name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).map(str::to_owned);
    let alternative = |name: &String| match bare(name).as_ref().unwrap_or(name).parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.as_str().try_into().with_context(|| format!("names: {name:?}"))?)),
    };
    names.iter().map(alternative).collect()
}

/// The key that messages to terminals are signed with, made if it is not there.
fn signing_key(file: &Path) -> Result<KeyPair> {
    if !file.exists() {
        secret_file::write_new(file, KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem().as_bytes())?;
    }
    let pem = zeroize::Zeroizing::new(secret_file::read(file)?);
    KeyPair::from_pem(&pem).with_context(|| format!("{} holds no key", file.display()))
}

/// The terminal that a verified certificate names, and the certificate's hash.
pub fn identify(certificate: &CertificateDer<'_>) -> Result<(DeviceId, Vec<u8>)> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let name =
        parsed.subject().iter_common_name().next().context("the certificate names nobody")?.as_str()?;
    let device = name.parse().context("the certificate's common name")?;
    Ok((device, Sha256::digest(certificate).to_vec()))
}

/// The public key in a terminal's verified certificate: an uncompressed P-256 point.
pub fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let author = Author::terminal(parsed.tbs_certificate.subject_pki.raw).context("the certificate's key")?;
    Ok(author.bytes().to_vec())
}

fn authority_params(now: Timestamp) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Rollcall authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (date(start(now)?)?, date(expiry(now, AUTHORITY_DAYS)?)?);
    Ok(params)
}

fn leaf(
    params: &mut CertificateParams,
    usage: ExtendedKeyUsagePurpose,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let serial: [u8; 16] = rand::random();
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    (params.not_before, params.not_after) = (date(start(now)?)?, date(expires_at)?);
    ensure!(params.not_before < params.not_after, "a certificate that is never valid");
    Ok(())
}

fn start(now: Timestamp) -> Result<Timestamp> {
    Ok(now.checked_sub(SKEW_HOURS.hours())?.into())
}

fn expiry(now: Timestamp, days: i64) -> Result<Timestamp> {
    Ok(now.checked_add((days * 24).hours())?.into())
}

/// An instant as certificates hold it, to the second.
fn date(at: Timestamp) -> Result<time::OffsetDateTime> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).context("a date that certificates can't hold")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000)
    }

    fn request(name: &str) -> String {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serialize_request(&key).expect("request").pem().expect("pem")
    }

    #[test]
    fn the_authority_is_made_once_and_signs_terminals() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open(folder.path(), true, now()).expect("opens");
        let again = Authority::open(folder.path(), true, now()).expect("opens");
        assert_eq!(authority.pem(), again.pem());
        let name = "0123456789abcdef0123456789abcdef";
        let signed = again.sign_terminal(&request(name), now()).expect("signs");
        let certificate = CertificateDer::from_pem_slice(signed.pem.as_bytes()).expect("pem");
        assert_eq!(identify(&certificate).expect("names"), (name.parse().expect("id"), signed.sha256));
        let (_, parsed) = X509Certificate::from_der(&certificate).expect("parses");
        let usage = parsed.extended_key_usage().expect("readable").expect("there").value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!parsed.is_ca());
    }

    #[test]
    fn an_authority_that_terminals_trust_is_never_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        Authority::open(folder.path(), true, now()).expect("opens");
        for file in ["ca.key", "ca.pem", "signing.key"] {
            let (kept, away) = (folder.path().join(file), folder.path().join("away"));
            std::fs::rename(&kept, &away).expect("moved");
            let refused = Authority::open(folder.path(), false, now()).err().expect("refused").to_string();
            assert!(refused.contains(file) && refused.contains("backup"), "{refused}");
            assert!(!kept.exists(), "{file} was made anew");
            std::fs::rename(&away, &kept).expect("moved back");
        }
        Authority::open(folder.path(), false, now()).expect("all is there");
    }

    #[test]
    fn key_and_certificate_of_an_authority_belong_together() {
        let (folder, other) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let before = Authority::open(folder.path(), true, now()).expect("opens").fingerprint();
        std::fs::remove_file(folder.path().join("ca.key")).expect("lost");
        let anew = Authority::open(folder.path(), true, now()).expect("opens");
        assert!(anew.fingerprint() != before && folder.path().join("ca.pem.old").exists());
        Authority::open(other.path(), true, now()).expect("opens");
        std::fs::copy(other.path().join("ca.key"), folder.path().join("ca.key")).expect("mixed up");
        let refused = Authority::open(folder.path(), false, now()).err().expect("refused");
        assert!(refused.to_string().contains("do not belong together"), "{refused}");
    }

    #[test]
    fn a_request_that_names_no_terminal_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open(folder.path(), true, now()).expect("opens");
        assert!(authority.sign_terminal(&request("hub"), now()).is_err());
        assert!(authority.sign_terminal("rubbish", now()).is_err());
    }
}
