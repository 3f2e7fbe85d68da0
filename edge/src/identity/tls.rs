//! Verification of the hub: its pinned authority and signing key, and what time it certainly is.
//!
//! A terminal without a battery-backed clock boots in 1970, at the time of its last shutdown, or in the far future.
//! While its clock is not synchronised, the hub's certificate is checked against the time floor: the latest of when
//! the pinned authority was made, when the terminal's own certificate was signed, and what the hub last signed. It
//! must not have expired by then; a `notBefore` later than that is accepted. Chain and name are always checked.

use std::error::Error as StdError;
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

/// Seconds by which the floor must rise before it is written: it saves the card.
const WORTH_WRITING: u64 = 3600;

/// The pinned authority and the hub's signing key.
#[derive(Debug)]
pub struct Pinned {
    pub authorities: Vec<CertificateDer<'static>>,
    /// Verifies messages of the hub.
    pub hub: Author,
}

impl Pinned {
    /// Reads `ca.pem`.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    pub fn parse(text: &[u8]) -> Result<Self> {
        let authorities: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>()?;
        ensure!(!authorities.is_empty(), "it contains no certificate");
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text)
            .ok()
            .context("the hub's signing key is missing: take ca.pem from the hub again")?;
        Ok(Self { authorities, hub: Author::hub(&key).context("the hub's signing key")? })
    }
}

/// The TLS error somewhere in the chain of an error.
pub fn find_tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `source` of an I/O error skips the error that it wraps.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped as &(dyn StdError + 'static)));
    }
    None
}

/// The time floor: a time that is certainly past.
#[derive(Debug)]
pub struct TimeFloor {
    file: PathBuf,
    seconds: AtomicU64,
    /// `notAfter` of the hub's certificate that was verified last.
    latest: AtomicU64,
    clock: Clock,
}

impl TimeFloor {
    /// The latest of `notBefore` of these certificates and the hub's last time, kept in the folder `state`.
    pub fn open(state: &Path, clock: Clock, certificates: &[CertificateDer<'_>]) -> Self {
        let file = state.join("floor");
        let kept = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let made =
            certificates.iter().filter_map(|certificate| validity(certificate).ok()).map(|(from, _)| from);
        let seconds = made.chain(kept).max().unwrap_or(0);
        Self { file, seconds: AtomicU64::new(seconds), latest: AtomicU64::new(0), clock }
    }

    /// Raises the floor to a time that the hub signed, at most to the end of its own certificate: a hub whose clock
    /// is wrong for a moment must not lock itself out.
    pub fn raise(&self, seconds: u64) {
        let seconds = seconds.min(self.latest.load(Ordering::Acquire));
        let before = self.seconds.fetch_max(seconds, Ordering::AcqRel);
        if seconds > before.saturating_add(WORTH_WRITING)
            && let Err(error) = replace(&self.file, seconds.to_string().as_bytes(), 0o644)
        {
            warn!(error = format!("{error:#}"), "cannot write the time floor");
        }
    }

    /// Seconds since 1970: the wall clock, or the floor if that is later and the clock is not synchronised.
    pub fn now(&self) -> u64 {
        let now = self.clock.now();
        let wall = u64::try_from(now.wall_us / 1_000_000).unwrap_or(0);
        if now.synchronised { wall } else { wall.max(self.seconds.load(Ordering::Acquire)) }
    }

    /// Seconds since 1970 that are certainly past: the floor, while the clock is not synchronised.
    pub fn certain(&self) -> u64 {
        if self.is_unsynchronised() { self.seconds.load(Ordering::Acquire) } else { self.now() }
    }

    pub fn is_unsynchronised(&self) -> bool {
        !self.clock.now().synchronised
    }
}

impl TimeProvider for TimeFloor {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

/// `notBefore` and `notAfter`, in seconds since 1970.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<(u64, u64)> {
    let (_, parsed) = X509Certificate::from_der(certificate).context("not a certificate")?;
    let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp()).unwrap_or(0);
    Ok((seconds(parsed.validity().not_before), seconds(parsed.validity().not_after)))
}

/// Verifies the hub's certificate as rustls does, but without an unsynchronised clock.
#[derive(Debug)]
pub struct HubVerifier {
    strict: Arc<WebPkiServerVerifier>,
    floor: Arc<TimeFloor>,
}

impl HubVerifier {
    pub fn new(authorities: &[CertificateDer<'static>], floor: Arc<TimeFloor>) -> Result<Arc<Self>> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).context("not a certificate authority")?;
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
        let is_validity_error = |error: &Error| {
            use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
            let kinds = |kind: &CertificateError| {
                matches!(kind, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
            };
            matches!(error, Error::InvalidCertificate(kind) if kinds(kind))
        };
        match verify(now) {
            Err(error) if is_validity_error(&error) && self.floor.is_unsynchronised() => {
                let (from, _) = validity(certificate).map_err(|_| CertificateError::BadEncoding)?;
                info!("the hub's certificate is not valid at the time of this terminal's clock, which is not synchronised");
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
            let floor = TimeFloor::open(self.state.path(), clock, std::slice::from_ref(&self.authority));
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
    fn a_clock_that_was_never_set_accepts_a_hub_with_a_new_certificate() {
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
    fn a_synchronised_clock_is_strict() {
        let company = Company::new();
        let verifier = company.verifier(Synchronised::Always);
        assert!(verified(&verifier, &company.hub(2060, 2061), "hub").is_err());
    }

    #[test]
    fn an_authority_without_the_signing_key_is_rejected_with_advice() {
        let pem = b"-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
        let error = format!("{:#}", Pinned::parse(pem).expect_err("refused"));
        assert!(error.contains("take ca.pem from the hub again"), "{error}");
    }
}
