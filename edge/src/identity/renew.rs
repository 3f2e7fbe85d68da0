//! Renewal of an expired certificate, after a terminal was switched off for months. It takes punches as usual, and asks
//! the hub for another certificate as a new terminal does; the hub knows its key, and renews without a code.
//!
//! Expiry is checked periodically, since the clock may be set long after the start, and when the hub rejects the
//! certificate as expired.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::Hub;
use crate::health::Health;
use crate::identity::Identity;
use crate::identity::pairing::{Answer, PairingClient, remove_code, show};

/// Between two checks.
const CHECK: Duration = Duration::from_secs(30);
/// Waits between two requests, doubled from the first to the last, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

pub struct Renewal {
    pub identity: Arc<Identity>,
    pub hub: Hub,
    pub state: PathBuf,
    /// Notified when the hub rejects the certificate as expired.
    pub expired: Arc<Notify>,
    pub health: Arc<Health>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Renewed,
    Pending,
    Rejected,
}

impl Renewal {
    /// Runs for ever.
    pub async fn run(self) {
        loop {
            if !self.identity.has_expired() {
                tokio::select! {
                    () = self.expired.notified() => {}
                    () = sleep(CHECK) => continue,
                }
            }
            warn!("the certificate has expired; asking the hub for another (punches are kept)");
            if !self.renew().await {
                // A restart asks again, with another code.
                return std::future::pending().await;
            }
            // Discards a notification about the old certificate.
            tokio::select! {
                biased;
                () = self.expired.notified() => {}
                () = std::future::ready(()) => {}
            }
        }
    }

    /// Asks until there is another certificate, or the hub accepts this one after all. Returns `false` if the hub has
    /// rejected this terminal.
    async fn renew(&self) -> bool {
        let (mut wait, mut shown) = (BACKOFF.0, false);
        loop {
            match self.ask(&mut shown).await {
                Ok(Outcome::Renewed) => break,
                Ok(Outcome::Rejected) => {
                    let alarm =
                        "the certificate has expired, and the hub has revoked or rejected this terminal";
                    warn!("{alarm}; restart it to ask again");
                    self.health.set_certificate_fault(Some(alarm.into()));
                    return false;
                }
                Ok(Outcome::Pending) => {
                    info!("waiting to be accepted at the hub");
                    self.health.set_certificate_fault(Some(
                        "the certificate has expired: accept the terminal's code at the hub".into(),
                    ));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(error, "cannot renew the certificate; retrying");
                    self.health.set_certificate_fault(Some(format!(
                        "the certificate has expired, and cannot be renewed: {error}"
                    )));
                }
            }
            sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(BACKOFF.1);
            if self.health.connected() && !self.identity.has_expired() {
                break; // the hub's clock was wrong, for one
            }
        }
        self.health.set_certificate_fault(None);
        true
    }

    /// Asks once, and shows the code if it must be accepted first.
    async fn ask(&self, shown: &mut bool) -> Result<Outcome> {
        let identity = &self.identity;
        let asking =
            PairingClient::new(&self.hub, &self.state, identity.tls_without_certificate()?, identity.csr()?)?;
        match asking.ask().await? {
            Answer::Accepted { certificate, .. } => {
                // The hub may repeat the certificate that is in use already.
                let lasts = identity.renew(&certificate)? || !identity.has_expired();
                ensure!(lasts, "the hub sent a certificate that lasts no longer");
                remove_code(&self.state);
                Ok(Outcome::Renewed)
            }
            Answer::Pending => {
                if !std::mem::replace(shown, true) {
                    show(&self.state, &identity.device, &asking.code)?;
                }
                Ok(Outcome::Pending)
            }
            Answer::Rejected => {
                remove_code(&self.state);
                Ok(Outcome::Rejected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::mpsc;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Config, Synchronised};
    use crate::identity::key::{device_of, key};
    use crate::identity::pairing::is_other_hub;

    fn days(from_now: i64) -> OffsetDateTime {
        let now = Clock::open(Synchronised::Always).expect("clock").now().wall_us / 1_000_000;
        OffsetDateTime::from_unix_timestamp(now + from_now * 86_400).expect("a time")
    }

    /// A hub's authority, and the folder of a terminal that it accepted once.
    struct Company {
        issuer: Issuer<'static, KeyPair>,
        authority: CertificateDer<'static>,
        state: tempfile::TempDir,
        key: KeyPair,
    }

    impl Company {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, Uuid::now_v7().to_string());
            (params.not_before, params.not_after) = (days(-2000), days(2000));
            let signing = KeyPair::generate().expect("key");
            let made = params.self_signed(&signing).expect("signs");
            let (authority, state) = (made.der().clone(), tempfile::tempdir().expect("folder"));
            let hub = KeyPair::generate_for(&PKCS_ED25519).expect("key");
            let ca = made.pem() + &hub.public_key_pem();
            std::fs::write(state.path().join("ca.pem"), ca).expect("written");
            let key = key(&state.path().join("terminal.key")).expect("key");
            let issuer = Issuer::from_ca_cert_der(&authority, signing).expect("an authority");
            Self { issuer, authority, state, key }
        }

        /// A certificate of the terminal's name, for this key.
        fn certificate(&self, key: &KeyPair, from: i64, until: i64) -> String {
            let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
            let name = device_of(&self.key).expect("a name");
            params.distinguished_name.push(DnType::CommonName, name.as_str());
            (params.not_before, params.not_after) = (days(from), days(until));
            params.signed_by(key, &self.issuer).expect("signs").pem()
        }

        /// The terminal with this certificate.
        fn terminal(&self, certificate: &str, port: u16, clock: Synchronised) -> Renewal {
            std::fs::write(self.file(), certificate).expect("written");
            let text = format!(
                "state = {:?}\n[hub]\nhost = 'localhost'\nhttps_port = {port}\n[camera]\nkind = 'v4l2'\ndevice = '/dev/x'",
                self.state.path()
            );
            let file = self.state.path().join("edge.toml");
            std::fs::write(&file, text).expect("written");
            let config = Config::read(&file).expect("a configuration");
            let clock = Clock::open(clock).expect("clock");
            Renewal {
                identity: Arc::new(Identity::read(&config, clock).expect("an identity")),
                hub: config.hub.clone(),
                state: config.state.clone(),
                expired: Arc::default(),
                health: Arc::new(Health::new(Uuid::nil())),
            }
        }

        fn file(&self) -> std::path::PathBuf {
            self.state.path().join("terminal.pem")
        }

        /// A hub that gives these answers, one a connection, and tells each question that it had.
        fn hub(&self, answers: Vec<(u16, String)>) -> (u16, mpsc::Receiver<String>) {
            crate::daemon::install_crypto();
            let key = KeyPair::generate().expect("key");
            let params = CertificateParams::new(["localhost".to_owned()]).expect("params");
            let certificate = params.signed_by(&key, &self.issuer).expect("signs").der().clone();
            let chain = vec![certificate, self.authority.clone()];
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
            let tls = Arc::new(tls.expect("TLS"));
            let listener = TcpListener::bind("localhost:0").expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let (tell, told) = mpsc::channel();
            std::thread::spawn(move || {
                for (status, body) in answers {
                    let socket = listener.accept().expect("a connection").0;
                    let connection = ServerConnection::new(tls.clone()).expect("TLS");
                    let mut stream = StreamOwned::new(connection, socket);
                    let Some(question) = question(&mut stream) else { continue };
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all((head + &body).as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                    let _ = tell.send(question);
                }
            });
            (port, told)
        }
    }

    fn question(stream: &mut impl Read) -> Option<String> {
        let (mut text, mut bytes) = (String::new(), [0; 4096]);
        while !text.ends_with('}') {
            let read = stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
            text += &String::from_utf8_lossy(&bytes[..read]);
        }
        Some(text)
    }

    fn accepted(certificate: &str) -> (u16, String) {
        let ca = "another authority";
        (200, serde_json::json!({"state": "accepted", "certificate": certificate, "ca": ca}).to_string())
    }

    fn said(state: &str, status: u16) -> (u16, String) {
        (status, serde_json::json!({"state": state, "certificate": null, "ca": null}).to_string())
    }

    async fn until_renewed(renewal: Renewal, file: &Path, certificate: &str) {
        let renewed = async {
            while std::fs::read_to_string(file).expect("a certificate") != certificate {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = renewal.run() => unreachable!("it never ends"),
            done = tokio::time::timeout(Duration::from_mins(1), renewed) => done.expect("renewed"),
        }
    }

    #[tokio::test]
    async fn a_certificate_that_has_ended_is_replaced_without_a_code() {
        let company = Company::new();
        let fresh = company.certificate(&company.key, -1, 365);
        let (port, questions) = company.hub(vec![(503, String::new()), accepted(&fresh)]);
        let renewal =
            company.terminal(&company.certificate(&company.key, -700, -35), port, Synchronised::Always);
        let (identity, health) = (renewal.identity.clone(), renewal.health.clone());
        assert!(identity.has_expired());
        until_renewed(renewal, &company.file(), &fresh).await;
        let question = questions.recv().expect("a question");
        assert!(question.starts_with("POST /api/v1/claims "), "{question}");
        assert!(question.contains("BEGIN CERTIFICATE REQUEST"), "{question}");
        sleep(Duration::from_millis(100)).await;
        assert!(!identity.has_expired() && health.alarms().is_empty(), "{:?}", health.alarms());
        let left = |name: &str| company.state.path().join(name).exists();
        assert!(!left("claim.code") && !left("claim.png"));
        let ca = std::fs::read_to_string(company.state.path().join("ca.pem")).expect("an authority");
        assert!(ca.contains("BEGIN CERTIFICATE"), "it believed another authority");
    }

    #[tokio::test]
    async fn a_clock_that_is_not_set_asks_once_the_hub_says_so() {
        let company = Company::new();
        let fresh = company.certificate(&company.key, -1, 365);
        let (port, _questions) = company.hub(vec![accepted(&fresh)]);
        let renewal =
            company.terminal(&company.certificate(&company.key, -700, -35), port, Synchronised::Never);
        assert!(!renewal.identity.has_expired(), "it can't know");
        renewal.expired.notify_one();
        until_renewed(renewal, &company.file(), &fresh).await;
    }

    #[tokio::test]
    async fn what_is_not_for_this_terminal_is_left() {
        let company = Company::new();
        let old = company.certificate(&company.key, -700, -35);
        let stolen = company.certificate(&KeyPair::generate().expect("key"), -1, 365);
        let pending = said("pending", 202);
        let answers = [accepted(&stolen), accepted(&old), said("rejected", 200), pending.clone(), pending];
        let (port, questions) = company.hub(answers.to_vec());
        let renewal = company.terminal(&old, port, Synchronised::Always);
        let mut shown = false;
        for reason in ["another key", "lasts no longer"] {
            let error = format!("{:#}", renewal.ask(&mut shown).await.expect_err("refused"));
            assert!(error.contains(reason), "{error}");
        }
        assert!(!renewal.renew().await, "the rejection is an answer");
        assert!(renewal.health.alarms()[0].contains("revoked or rejected"), "{:?}", renewal.health.alarms());
        for _ in 0..2 {
            assert_eq!(renewal.ask(&mut shown).await.expect("asked"), Outcome::Pending);
        }
        assert!(company.state.path().join("claim.png").exists(), "the code is not shown");
        let code = |question: String| question.rsplit('"').nth(1).expect("a code").to_owned();
        let codes: Vec<String> = questions.iter().map(code).collect();
        assert_eq!((&codes[0], &codes[3]), (&codes[2], &codes[4]), "another code at each question");
        assert_ne!(codes[2], codes[3], "the code that was rejected");
        assert_eq!(std::fs::read_to_string(company.file()).expect("a certificate"), old);
    }

    #[tokio::test]
    async fn another_hub_is_not_asked() {
        let (company, other) = (Company::new(), Company::new());
        let (port, questions) = other.hub(vec![accepted("rubbish")]);
        let renewal =
            company.terminal(&company.certificate(&company.key, -700, -35), port, Synchronised::Always);
        let error = renewal.ask(&mut false).await.expect_err("refused");
        assert!(is_other_hub(&error), "{error:#}");
        assert!(questions.recv().is_err(), "it had the request");
    }
}
