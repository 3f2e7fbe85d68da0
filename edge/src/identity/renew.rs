//! A terminal that slept through the end of its certificate. It works as ever, camera and punches, and beside
//! that asks the hub for another certificate, as a new terminal does; the hub knows its key, and a terminal that
//! it has accepted gets one without a code.
//!
//! Whether the certificate has ended is looked at again and again: a clock may be set long after the
//! start. And the hub says so, where it does not let the terminal in.

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
use crate::identity::pairing::{Asking, Told, forget, show};

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_secs(30);
/// The waits between two questions, doubled from the first to the last, with jitter.
const ASK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// Everything that another certificate takes.
pub struct Renewal {
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// Who is asked.
    pub hub: Hub,
    /// Where a code is kept that people must compare.
    pub state: PathBuf,
    /// Told where the hub refuses the certificate because it has ended.
    pub refused: Arc<Notify>,
    /// Told what is wrong.
    pub health: Arc<Health>,
}

/// What asking once has brought.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Renewed,
    Pending,
    Rejected,
}

impl Renewal {
    /// Watches over the certificate, for ever.
    pub async fn run(self) {
        loop {
            if !self.identity.has_ended() {
                tokio::select! {
                    () = self.refused.notified() => {}
                    () = sleep(LOOK) => continue,
                }
            }
            warn!("the certificate has ended: punches are kept, and the hub is asked for another");
            if !self.renew().await {
                // Somebody has decided; another code, which a start brings, is another question to them.
                return std::future::pending().await;
            }
            // The hub may have refused the old certificate meanwhile.
            tokio::select! {
                biased;
                () = self.refused.notified() => {}
                () = std::future::ready(()) => {}
            }
        }
    }

    /// Asks until there is another certificate, or the hub takes this one after all. `false`: it wants this
    /// terminal no more.
    async fn renew(&self) -> bool {
        let (mut wait, mut shown) = (ASK.0, false);
        loop {
            match self.ask(&mut shown).await {
                Ok(Answer::Renewed) => break,
                Ok(Answer::Rejected) => {
                    let alarm =
                        "the certificate has ended, and the hub has revoked or rejected this terminal";
                    warn!("{alarm}: it asks again when it is started again");
                    self.health.certificate(Some(alarm.into()));
                    return false;
                }
                Ok(Answer::Pending) => {
                    info!("waiting to be accepted");
                    self.health
                        .certificate(Some("the certificate has ended: accept the terminal's code".into()));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(error, "no other certificate yet; trying again");
                    self.health.certificate(Some(format!("the certificate has ended: {error}")));
                }
            }
            sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(ASK.1);
            if self.health.connected() && !self.identity.has_ended() {
                break; // the hub's clock was wrong, for one
            }
        }
        self.health.certificate(None);
        true
    }

    /// Asks once. Where somebody must accept the code first, it is shown.
    async fn ask(&self, shown: &mut bool) -> Result<Answer> {
        let identity = &self.identity;
        let asking = Asking::new(&self.hub, &self.state, identity.tls_unnamed()?, identity.csr()?)?;
        match asking.ask().await? {
            Told::Accepted { certificate, .. } => {
                // The hub may send once more what is in use already.
                let lasts = identity.renew(&certificate)? || !identity.has_ended();
                ensure!(lasts, "the hub sent a certificate that lasts no longer");
                forget(&self.state);
                Ok(Answer::Renewed)
            }
            Told::Pending => {
                if !std::mem::replace(shown, true) {
                    show(&self.state, &identity.device, &asking.code)?;
                }
                Ok(Answer::Pending)
            }
            Told::Rejected => {
                forget(&self.state);
                Ok(Answer::Rejected)
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
                refused: Arc::default(),
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
        assert!(identity.has_ended());
        until_renewed(renewal, &company.file(), &fresh).await;
        let question = questions.recv().expect("a question");
        assert!(question.starts_with("POST /api/v1/claims "), "{question}");
        assert!(question.contains("BEGIN CERTIFICATE REQUEST"), "{question}");
        sleep(Duration::from_millis(100)).await;
        assert!(!identity.has_ended() && health.alarms().is_empty(), "{:?}", health.alarms());
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
        assert!(!renewal.identity.has_ended(), "it can't know");
        renewal.refused.notify_one();
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
            assert_eq!(renewal.ask(&mut shown).await.expect("asked"), Answer::Pending);
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
        let error = format!("{:#}", renewal.ask(&mut false).await.expect_err("refused"));
        assert!(error.contains("UnknownIssuer"), "{error}");
        assert!(questions.recv().is_err(), "it had the request");
    }
}
