//! Whom this terminal believes: the hub's authority and signing key, both pinned, and since when.
//!
//! A terminal without a battery-backed clock wakes up in 1970, or where it fell asleep, or by mistake in
//! years to come. While its clock is not synchronised, the hub's certificate is judged by what is certainly
//! past: when the pinned authority was made, when the terminal's own certificate was signed, and the
//! latest time that the hub has signed. It must not have ended by then; should it be newer than all of
//! these, that is forgiven. Its chain and name never are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto::sign::Author;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Clock;
use crate::identity::fs::replace;

/// Seconds after which the floor is written anew: a card wears out, and an hour changes nothing.
const WORTH_WRITING: u64 = 3600;

/// The pinned authority and the hub's signing key.
#[derive(Debug)]
pub struct Pinned {
    /// The authority's certificates.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Whose signature what comes down must carry.
    pub hub: Author,
}

impl Pinned {
    /// Reads them from one file, as the hub hands it out.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    /// The same from the file's text.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let authorities: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>()?;
        ensure!(!authorities.is_empty(), "there is no certificate in it");
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text)
            .ok()
            .context("the hub's signing key is missing: take ca.pem from the hub again")?;
        Ok(Self { authorities, hub: Author::hub(&key).context("the hub's signing key")? })
    }
}

/// A time that is certainly past.
#[derive(Debug)]
pub struct Floor {
    file: PathBuf,
    seconds: AtomicU64,
    /// The end of the hub's certificate that was verified last.
    latest: AtomicU64,
    clock: Clock,
}

impl Floor {
    /// The latest of when these certificates were made and what the hub last said, as the folder
    /// `state` remembers it.
    pub fn open(state: &Path, clock: Clock, certificates: &[CertificateDer<'_>]) -> Self {
        let file = state.join("floor");
        let kept = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let made =
            certificates.iter().filter_map(|certificate| validity(certificate).ok()).map(|(from, _)| from);
        let seconds = made.chain(kept).max().unwrap_or(0);
        Self { file, seconds: AtomicU64::new(seconds), latest: AtomicU64::new(0), clock }
    }

    /// The hub, whose signature was verified, says that it is so late. It is not believed beyond the
    /// end of its own certificate: a hub whose clock is wrong for a moment must not lock itself out.
    pub fn raise(&self, seconds: u64) {
        let seconds = seconds.min(self.latest.load(Ordering::Acquire));
        let before = self.seconds.fetch_max(seconds, Ordering::AcqRel);
        if seconds > before.saturating_add(WORTH_WRITING)
            && let Err(error) = replace(&self.file, seconds.to_string().as_bytes(), 0o644)
        {
            warn!(error = format!("{error:#}"), "the time is not remembered");
        }
    }

    /// Seconds since 1970: by the wall clock where it is set, else the floor where that is later.
    pub fn now(&self) -> u64 {
        let now = self.clock.now();
        let wall = u64::try_from(now.wall_us / 1_000_000).unwrap_or(0);
        if now.synchronised { wall } else { wall.max(self.seconds.load(Ordering::Acquire)) }
    }

    /// Seconds since 1970 that are certainly past: the wall clock counts only where it is set.
    pub fn certain(&self) -> u64 {
        if self.unsure() { self.seconds.load(Ordering::Acquire) } else { self.now() }
    }

    /// Whether the clock is not known to be right.
    pub fn unsure(&self) -> bool {
        !self.clock.now().synchronised
    }
}

impl TimeProvider for Floor {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

/// From when to when a certificate is valid, in seconds since 1970.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<(u64, u64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp()).unwrap_or(0);
    Ok((seconds(parsed.validity().not_before), seconds(parsed.validity().not_after)))
}

/// Verifies the hub's certificate as rustls does, but not by a clock that is unsure.
#[derive(Debug)]
pub struct HubVerifier {
    strict: Arc<WebPkiServerVerifier>,
    floor: Arc<Floor>,
}

impl HubVerifier {
    /// Trusts these authorities alone.
    pub fn new(authorities: &[CertificateDer<'static>], floor: Arc<Floor>) -> Result<Arc<Self>> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).context("not the certificate of an authority")?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Arc::new(Self { strict, floor }))
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |at| self.strict.verify_server_cert(certificate, chain, name, ocsp, at);
        let untimely = |error: &Error| {
            use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
            let kinds = |kind: &CertificateError| {
                matches!(kind, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
            };
            matches!(error, Error::InvalidCertificate(kind) if kinds(kind))
        };
        match verify(now) {
            Err(error) if untimely(&error) && self.floor.unsure() => {
                let (from, _) = validity(certificate).map_err(|_| CertificateError::BadEncoding)?;
                info!("the hub's certificate is not of the time that this terminal's clock shows, which is not set");
                verify(UnixTime::since_unix_epoch(Duration::from_secs(from.max(self.floor.certain()))))
            }
            verified => verified,
        }
        .inspect(|_| {
            if let Ok((_, until)) = validity(certificate) {
                self.floor.latest.store(until, Ordering::Release);
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use time::OffsetDateTime;

    use super::*;
    use crate::config::Synchronised;

    /// Seconds since 1970 of the year 2050 and so on: far from the real clock of the test.
    fn year(year: i32) -> OffsetDateTime {
        let first = time::Date::from_calendar_date(year, time::Month::January, 1).expect("a date");
        first.midnight().assume_utc()
    }

    struct Company {
        issuer: Issuer<'static, KeyPair>,
        authority: CertificateDer<'static>,
        state: tempfile::TempDir,
    }

    impl Company {
        /// An authority of 2048: later than the wall clock, which stands for one that was never set.
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = (year(2048), year(2090));
            let key = KeyPair::generate().expect("key");
            let authority = params.self_signed(&key).expect("signs").der().clone();
            let issuer = Issuer::from_ca_cert_der(&authority, key).expect("an authority");
            Self { issuer, authority, state: tempfile::tempdir().expect("folder") }
        }

        fn hub(&self, from: i32, until: i32) -> CertificateDer<'static> {
            let mut params = CertificateParams::new(["hub".to_owned()]).expect("params");
            (params.not_before, params.not_after) = (year(from), year(until));
            let key = KeyPair::generate().expect("key");
            params.signed_by(&key, &self.issuer).expect("signs").der().clone()
        }

        fn verifier(&self, synchronised: Synchronised) -> Arc<HubVerifier> {
            let clock = Clock::open(synchronised).expect("clock");
            let floor = Floor::open(self.state.path(), clock, std::slice::from_ref(&self.authority));
            HubVerifier::new(std::slice::from_ref(&self.authority), Arc::new(floor)).expect("verifier")
        }
    }

    fn verified(
        verifier: &HubVerifier,
        certificate: &CertificateDer<'_>,
        name: &'static str,
    ) -> Result<(), Error> {
        let now = verifier.floor.current_time().expect("a time");
        let name = ServerName::try_from(name).expect("a name");
        verifier.verify_server_cert(certificate, &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_clock_that_was_never_set_finds_back_to_a_hub_with_a_new_certificate() {
        let company = Company::new();
        let verifier = company.verifier(Synchronised::Never);
        assert_eq!(verified(&verifier, &company.hub(2048, 2049), "hub"), Ok(()));
        let renewed = company.hub(2060, 2061);
        assert_eq!(verified(&verifier, &renewed, "hub"), Ok(()));
        assert!(verified(&verifier, &renewed, "elsewhere").is_err(), "another name");
        assert!(verified(&verifier, &Company::new().hub(2060, 2061), "hub").is_err(), "another authority");
        // A hub whose clock is far ahead for a moment: not beyond its own certificate.
        verifier.floor.raise(year(2085).unix_timestamp() as u64);
        assert_eq!(verified(&verifier, &renewed, "hub"), Ok(()));
        // What the hub says is remembered: a certificate that has expired by then is refused.
        assert!(verified(&verifier, &company.hub(2048, 2049), "hub").is_err(), "expired");
        let after_restart = company.verifier(Synchronised::Never);
        assert!(verified(&after_restart, &company.hub(2048, 2049), "hub").is_err(), "forgotten by a restart");
        assert_eq!(verified(&after_restart, &renewed, "hub"), Ok(()));
    }

    #[test]
    fn a_clock_that_is_not_set_and_far_ahead_keeps_nobody_out() {
        let company = Company::new();
        let verifier = company.verifier(Synchronised::Never);
        let judged = |certificate: &CertificateDer<'_>| {
            let ahead = UnixTime::since_unix_epoch(Duration::from_secs(year(2089).unix_timestamp() as u64));
            let name = ServerName::try_from("hub").expect("a name");
            verifier.verify_server_cert(certificate, &[], &name, &[], ahead).map(drop)
        };
        assert_eq!(judged(&company.hub(2048, 2049)), Ok(()));
        assert_eq!(judged(&company.hub(2050, 2051)), Ok(()));
        verifier.floor.raise(year(2050).unix_timestamp() as u64);
        assert!(judged(&company.hub(2048, 2049)).is_err(), "ended by what the hub has said");
    }

    #[test]
    fn a_clock_that_is_set_forgives_nothing() {
        let company = Company::new();
        let verifier = company.verifier(Synchronised::Always);
        assert!(verified(&verifier, &company.hub(2060, 2061), "hub").is_err());
    }

    #[test]
    fn an_authority_without_the_signing_key_is_refused_with_the_way_out() {
        let pem = b"-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
        let error = format!("{:#}", Pinned::parse(pem).expect_err("refused"));
        assert!(error.contains("take ca.pem from the hub again"), "{error}");
    }
}
