//! The hub's own certificate authority: it signs the hub's certificate and those of terminals.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan};
use proto::DeviceId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::secret;

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
}

/// What the hub hands to a terminal.
pub struct Signed {
    /// Whose certificate it is.
    pub device: DeviceId,
    /// The certificate.
    pub pem: String,
    /// Its hash: the hub accepts this one alone.
    pub sha256: Vec<u8>,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

impl Authority {
    /// Opens the authority in `folder`, or makes one there.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (key_file, certificate_file) = (folder.join("ca.key"), folder.join("ca.pem"));
        if !key_file.exists() {
            secret::write_new(
                &key_file,
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem().as_bytes(),
            )?;
        }
        let key = KeyPair::from_pem(&secret::read(&key_file)?)
            .with_context(|| format!("{} holds no key", key_file.display()))?;
        if !certificate_file.exists() {
            secret::write_new(&certificate_file, authority_params(now)?.self_signed(&key)?.pem().as_bytes())?;
        }
        let pem = secret::read(&certificate_file)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| anyhow::anyhow!("{} holds no certificate: {e}", certificate_file.display()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).context("the authority can't sign")?;
        Ok(Self { issuer, certificate, pem })
    }

    /// The authority's certificate, which terminals verify the hub with.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a terminal's request. All that is taken from it is the public key and the name.
    pub fn sign_terminal(&self, request: &str, now: Timestamp) -> Result<Signed> {
        // Reading it checks that the request is signed with the key that it names.
        let mut request =
            CertificateSigningRequestParams::from_pem(request).context("not a certificate request")?;
        let named = request.params.distinguished_name.get(&DnType::CommonName);
        let Some(rcgen::DnValue::Utf8String(name)) = named else {
            anyhow::bail!("the request names no terminal");
        };
        let device: DeviceId = name.parse().context("the request's common name")?;
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
            expires_at,
        })
    }

    /// A fresh certificate for the hub, which lives as long as the process: its key is never
    /// written down.
    fn sign_hub(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Rollcall hub");
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => {
                    SanType::DnsName(name.as_str().try_into().with_context(|| format!("names: {name:?}"))?)
                }
            });
        }
        leaf(&mut params, ExtendedKeyUsagePurpose::ServerAuth, now, expiry(now, LEAF_DAYS)?)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    /// TLS for terminals (a certificate of this authority is demanded) and for browsers.
    pub fn tls(&self, names: &[String], now: Timestamp) -> Result<(ServerConfig, ServerConfig)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let (certificate, key) = self.sign_hub(names, now)?;
        let chain = vec![certificate, self.certificate.clone()];
        let terminals = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let mut browsers = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        // Not HTTP/2: where an answer comes before the whole request was read, curl drops it there.
        browsers.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((terminals, browsers))
    }
}

/// The terminal that a verified certificate names, and the certificate's hash.
pub fn identify(certificate: &CertificateDer<'_>) -> Result<(DeviceId, Vec<u8>)> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let name =
        parsed.subject().iter_common_name().next().context("the certificate names nobody")?.as_str()?;
    let device = name.parse().context("the certificate's common name")?;
    Ok((device, Sha256::digest(certificate).to_vec()))
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
    Ok(now.checked_sub(SKEW_HOURS.hours())?)
}

fn expiry(now: Timestamp, days: i64) -> Result<Timestamp> {
    Ok(now.checked_add((days * 24).hours())?)
}

/// An instant as certificates hold it, to the second.
fn date(at: Timestamp) -> Result<time::OffsetDateTime> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).context("a date that certificates can't hold")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a time")
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
        let authority = Authority::open(folder.path(), now()).expect("opens");
        let again = Authority::open(folder.path(), now()).expect("opens");
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
    fn a_request_that_names_no_terminal_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let authority = Authority::open(folder.path(), now()).expect("opens");
        assert!(authority.sign_terminal(&request("hub"), now()).is_err());
        assert!(authority.sign_terminal("rubbish", now()).is_err());
    }
}
