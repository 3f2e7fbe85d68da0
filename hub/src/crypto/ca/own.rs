//! The hub's own certificate, which is renewed while the hub runs, and TLS with it.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use jiff::ToSpan;
use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tracing::{error, info};

use crate::clock;
use crate::crypto::ca::{Authority, LEAF_DAYS, SKEW_HOURS};
use crate::date::Timestamp;

/// A certificate is renewed once two thirds of its life are over, as terminals renew theirs.
const RENEW_AFTER_DAYS: i64 = LEAF_DAYS * 2 / 3;
/// After one could not be signed.
const RETRY_MINUTES: i64 = 1;

/// What the hub shows. The first handshake after two thirds of its life signs the next one: that
/// takes a millisecond, and needs no timer that could stop.
pub struct OwnCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: Mutex<Current>,
}

struct Current {
    certificate: Arc<CertifiedKey>,
    signed_at: Timestamp,
    renew_at: Timestamp,
}

impl OwnCertificate {
    /// Signs the first one.
    pub fn new(authority: Arc<Authority>, names: Vec<String>, now: Timestamp) -> Result<Self> {
        let current = Mutex::new(Current::sign(&authority, &names, now)?);
        Ok(Self { authority, names, current })
    }

    fn at(&self, now: Timestamp) -> Arc<CertifiedKey> {
        let mut current = self.current.lock();
        // Also where the clock was set back: it would not be valid yet.
        let early = now < current.signed_at.plus(-SKEW_HOURS.hours());
        if now >= current.renew_at || early {
            match Current::sign(&self.authority, &self.names, now) {
                Ok(next) => {
                    info!(days = LEAF_DAYS, "the hub's certificate is renewed");
                    *current = next;
                }
                Err(reason) => {
                    error!(reason = format!("{reason:#}"), "the hub's certificate can't be renewed");
                    current.renew_at = now.plus(RETRY_MINUTES.minutes());
                }
            }
        }
        current.certificate.clone()
    }
}

impl Authority {
    /// TLS for terminals (a certificate of this authority is demanded) and for browsers. The hub's own
    /// certificate is renewed while both are in use.
    pub fn tls(self: &Arc<Self>, names: &[String], now: Timestamp) -> Result<(ServerConfig, ServerConfig)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let own = Arc::new(OwnCertificate::new(self.clone(), names.to_vec(), now)?);
        let terminals =
            ServerConfig::builder().with_client_cert_verifier(verifier).with_cert_resolver(own.clone());
        let mut browsers = ServerConfig::builder().with_no_client_auth().with_cert_resolver(own);
        // Not HTTP/2: where an answer comes before the whole request was read, curl drops it there.
        browsers.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((terminals, browsers))
    }
}

impl Current {
    fn sign(authority: &Authority, names: &[String], now: Timestamp) -> Result<Self> {
        let certificate = Arc::new(authority.sign_hub(names, now)?);
        let renew_at = now.plus((RENEW_AFTER_DAYS * 24).hours());
        Ok(Self { certificate, signed_at: now, renew_at })
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(clock::now()))
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OwnCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_runs_for_a_year_shows_a_certificate_that_is_valid() {
        let folder = tempfile::tempdir().expect("folder");
        let start = Timestamp::from_second(1_800_000_000);
        let authority = Arc::new(Authority::open(folder.path(), true, start).expect("opens"));
        let own = OwnCertificate::new(authority, vec!["localhost".into()], start).expect("signs");
        let shown = |days: i64| own.at(start.plus((days * 24).hours()));
        let first = shown(0);
        assert!(Arc::ptr_eq(&first, &shown(RENEW_AFTER_DAYS - 1)));
        let second = shown(RENEW_AFTER_DAYS);
        assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &shown(400)));
        let back = own.at(start);
        assert!(!Arc::ptr_eq(&second, &back) && Arc::ptr_eq(&back, &shown(0)), "not valid yet");
        let (_, parsed) = x509_parser::parse_x509_certificate(&second.cert[0]).expect("parses");
        let end = parsed.validity().not_after.timestamp();
        assert_eq!(end, start.as_second() + (RENEW_AFTER_DAYS + LEAF_DAYS) * 86_400);
    }
}
