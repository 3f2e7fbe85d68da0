//! E-mails on their way: SMTP with TLS and a login, step by step, so that it is known who refused what.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use lettre::Address;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::date::Timestamp;
use crate::notifications::{Message, Unsent, read_secret, template};

/// Where TLS begins with the connection.
const TLS_PORT: u16 = 465;
/// Seconds that a server may be given, at most.
const LONGEST_S: u16 = 300;
/// E-mails of one connection, at most: some servers allow no more.
const CARRIED: u32 = 50;
/// How long a server may take to end an e-mail that it refused, or a connection.
const FAREWELL: Duration = Duration::from_secs(2);
/// Characters of a reason, at most.
const REASON: usize = 200;
/// What servers say to a login that they do not accept, or that is missing.
const LOGIN_REJECTIONS: [u16; 4] = [530, 534, 535, 538];

/// The mail server, as the configuration has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// Its name, as it stands in its certificate.
    pub host: String,
    /// Its port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// When TLS begins; else the port says.
    pub tls: Option<Tls>,
    /// Whom the hub logs in as; else it does not log in.
    pub username: Option<String>,
    /// The file of the password.
    pub password_file: Option<PathBuf>,
    /// The sender: an address, or a name with an address in angle brackets.
    pub from: String,
    /// A file of certificates (PEM) that are trusted as well as the system's.
    pub ca: Option<PathBuf>,
    /// Seconds that the server has to accept the connection, and then an email.
    #[serde(default = "default_timeout")]
    pub timeout_s: u16,
    /// Seconds until an e-mail is tried again; doubled each time, up to 300.
    #[serde(default = "default_retry")]
    pub retry_s: u16,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// After a greeting. Without it nothing is sent.
    Starttls,
    /// With the connection.
    Tls,
}

fn default_port() -> u16 {
    587
}
fn default_timeout() -> u16 {
    30
}
fn default_retry() -> u16 {
    10
}

impl MailSettings {
    /// Checks what can be checked without reading another file.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.host.is_empty(), "mail: host is empty");
        ensure!(self.port != 0, "mail: port: 1 to 65535");
        self.sender()?;
        let complete = self.username.is_some() == self.password_file.is_some();
        ensure!(complete, "mail: username and password_file belong together");
        for (key, seconds) in [("timeout_s", self.timeout_s), ("retry_s", self.retry_s)] {
            ensure!((1..=LONGEST_S).contains(&seconds), "mail: {key}: 1 to {LONGEST_S} seconds");
        }
        Ok(())
    }

    fn sender(&self) -> Result<Mailbox> {
        self.from.parse::<Mailbox>().ok().context("mail: from holds no address like NAME <USER@DOMAIN>")
    }

    /// Whether TLS begins with the connection.
    fn wrapped(&self) -> bool {
        self.tls.map_or(self.port == TLS_PORT, |tls| tls == Tls::Tls)
    }
}

/// A login. No `Debug`.
struct Login {
    username: String,
    password: Zeroizing<String>,
}

/// The mail server, and the connection to it while there is something to send.
pub(super) struct Relay {
    host: String,
    port: u16,
    tls: TlsParameters,
    wrapped: bool,
    login: Option<Login>,
    from: Mailbox,
    timeout: Duration,
    retry: Duration,
    session: Option<AsyncSmtpConnection>,
    /// E-mails that went over it.
    carried: u32,
}

/// Why an e-mail was not taken.
enum MailError {
    /// This e-mail is not wanted, now or ever. The connection is as good as before.
    Email(Unsent),
    /// Something is wrong that other e-mails would meet too.
    Server(String),
}

impl Relay {
    /// Reads the password and the certificates.
    pub(super) fn open(settings: &MailSettings) -> Result<Self> {
        let login = match (&settings.username, &settings.password_file) {
            (Some(username), Some(file)) => {
                Some(Login { username: username.clone(), password: read_secret(file)? })
            }
            _ => None,
        };
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port,
            tls: tls(settings)?,
            wrapped: settings.wrapped(),
            login,
            from: settings.sender()?,
            timeout: Duration::from_secs(settings.timeout_s.into()),
            retry: Duration::from_secs(settings.retry_s.into()),
            session: None,
            carried: 0,
        })
    }

    /// How long the server has to accept the connection, and then an email.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is waited after the first failure.
    pub(super) fn retry(&self) -> Duration {
        self.retry
    }

    /// Sends one email. The connection stays for the next.
    pub(super) async fn send(&mut self, message: &Message, now: Timestamp) -> Result<(), Unsent> {
        let email = self.compose(message, now).map_err(|error| Unsent::Dropped(format!("{error:#}")))?;
        if self.carried >= CARRIED {
            self.hang_up().await;
        }
        let mut session = if let Some(session) = self.session.take() {
            session
        } else {
            self.carried = 0;
            self.connect().await.map_err(Unsent::trouble)?
        };
        // Dropped on the way out, the connection is cut.
        let taken = timeout(self.timeout, deliver(&mut session, &email)).await;
        let taken =
            taken.unwrap_or_else(|_| Err(MailError::Server("the server did not answer in time".into())));
        match taken {
            Ok(()) => {
                self.carried += 1;
                self.session = Some(session);
                Ok(())
            }
            Err(MailError::Email(unsent)) => {
                if matches!(timeout(FAREWELL, session.command(Rset)).await, Ok(Ok(_))) {
                    self.session = Some(session);
                }
                Err(unsent)
            }
            Err(MailError::Server(reason)) => Err(Unsent::trouble(reason)),
        }
    }

    /// Ends the connection, if there is one.
    pub(super) async fn hang_up(&mut self) {
        self.carried = 0;
        if let Some(mut session) = self.session.take() {
            let _ = timeout(FAREWELL, session.quit()).await; // it ends either way
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        match timeout(self.timeout, self.log_in()).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(reason("the server did not let the hub in", &error)),
            Err(_) => Err("the server did not let the hub in: no answer in time".into()),
        }
    }

    async fn log_in(&self) -> Result<AsyncSmtpConnection, Error> {
        let hello = ClientId::default();
        let server = (self.host.as_str(), self.port);
        let tls = self.wrapped.then(|| self.tls.clone());
        let mut session =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &hello, tls, None).await?;
        if !self.wrapped {
            // An error where the server has none: nothing is ever sent without.
            session.starttls(self.tls.clone(), &hello).await?;
        }
        if let Some(login) = &self.login {
            let credentials = Credentials::new(login.username.clone(), String::clone(&login.password));
            session.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(session)
    }

    /// The e-mail with its headers. Sent again it has the same id, by which readers' programs know it.
    fn compose(&self, message: &Message, now: Timestamp) -> Result<lettre::Message> {
        let email = template::write(message)?;
        let address = message.email.as_deref().context("the recipient has no address")?;
        let address = address.parse::<Address>().ok().context("the recipient's address can't be used")?;
        let to = Mailbox::new(Some(template::one_line(&message.recipient)), address);
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        lettre::Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(email.subject)
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            .date(SystemTime::from(now.0))
            .raw_header(HeaderValue::new(automatic, "auto-generated".into()))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(email.body)
            .ok()
            .context("the e-mail can't be composed")
    }
}

fn tls(settings: &MailSettings) -> Result<TlsParameters> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(file) = &settings.ca {
        let pem = std::fs::read(file).with_context(|| format!("ca: cannot read {}", file.display()))?;
        let readable = CertificateDer::pem_slice_iter(&pem).next().is_some_and(|first| first.is_ok());
        ensure!(readable, "ca: {} holds no certificate", file.display());
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| anyhow::anyhow!("ca: {}: {error}", file.display()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| anyhow::anyhow!("TLS: {error}"))
}

/// The dialogue of one email.
async fn deliver(session: &mut AsyncSmtpConnection, email: &lettre::Message) -> Result<(), MailError> {
    let envelope = email.envelope();
    let plain = envelope.from().into_iter().chain(envelope.to()).all(|address| {
        let address: &str = address.as_ref();
        address.is_ascii()
    });
    let options = if plain { Vec::new() } else { international(session)? };
    let from = session.command(Mail::new(envelope.from().cloned(), options)).await;
    from.map_err(|error| MailError::Server(reason("the server did not take the sender", &error)))?;
    for to in envelope.to() {
        let to = session.command(Rcpt::new(to.clone(), Vec::new())).await;
        to.map_err(|error| mail_error("the server did not take the recipient", &error))?;
    }
    let data = session.command(Data).await;
    data.map_err(|error| mail_error("the server did not take the e-mail", &error))?;
    let taken = session.message(&email.formatted()).await;
    taken.map(drop).map_err(|error| mail_error("the server did not take the e-mail", &error))
}

/// What must be asked for where an address is not plain ASCII.
fn international(session: &AsyncSmtpConnection) -> Result<Vec<MailParameter>, MailError> {
    if session.server_info().supports_feature(Extension::SmtpUtfEight) {
        return Ok(vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)]);
    }
    let reason = "the server takes no addresses with other letters than those of ASCII";
    Err(MailError::Email(Unsent::Dropped(reason.into())))
}

/// What an error after the login means. Only a clear no to this very e-mail is for good.
fn mail_error(what: &str, error: &Error) -> MailError {
    let said = reason(what, error);
    match error.status().map(u16::from) {
        // 421: the server is about to close the connection.
        None | Some(421) => MailError::Server(said),
        Some(code) if LOGIN_REJECTIONS.contains(&code) => MailError::Server(said),
        Some(code) if code >= 500 => MailError::Email(Unsent::Dropped(said)),
        Some(_) => MailError::Email(Unsent::Later { reason: said, trouble: false }),
    }
}

/// A reason that can be kept: what servers answer may repeat addresses, so that only their codes count.
fn reason(what: &str, error: &Error) -> String {
    use std::error::Error as _;
    if let Some(code) = error.status() {
        let answer = error.source().map(ToString::to_string).unwrap_or_default();
        return match enhanced(&answer) {
            Some(more) => format!("{what}: {code} {more}"),
            None => format!("{what}: {code}"),
        };
    }
    if error.is_response() {
        return format!("{what}: it answered what makes no sense");
    }
    format!("{what}: {error}").chars().take(REASON).collect()
}

/// The enhanced status code (RFC 3463) that an answer begins with.
fn enhanced(answer: &str) -> Option<&str> {
    let first = answer.split_whitespace().next()?;
    let number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (first.split('.').count() == 3 && first.split('.').all(number)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Result<MailSettings> {
        let text = format!("host = 'mail.example.org'\nfrom = 'Rollcall <rollcall@example.org>'\n{more}");
        let settings: MailSettings = toml::from_str(&text)?;
        settings.check()?;
        Ok(settings)
    }

    #[test]
    fn the_port_says_when_tls_begins_unless_somebody_does() {
        let found = settings("").expect("settings");
        assert_eq!((found.port, found.timeout_s, found.retry_s), (587, 30, 10));
        for (more, wrapped) in [
            ("", false),
            ("port = 465", true),
            ("port = 465\ntls = 'starttls'", false),
            ("tls = 'tls'", true),
        ] {
            assert_eq!(settings(more).expect("settings").wrapped(), wrapped, "{more}");
        }
    }

    #[test]
    fn wrong_settings_are_refused() {
        for wrong in [
            "tls = 'none'",
            "username = 'hub'",
            "password_file = '/x'",
            "timeout_s = 0",
            "retry_s = 301",
            "port = 0",
            "password = 'secret'",
        ] {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
        let text = "host = 'mail.example.org'\nfrom = 'nobody'";
        assert!(toml::from_str::<MailSettings>(text).expect("reads").check().is_err());
    }

    #[test]
    fn of_answers_only_codes_are_kept() {
        assert_eq!(enhanced("5.1.1 <ann@example.org>: no such user"), Some("5.1.1"));
        for answer in ["", "no such user", "<ann@example.org>", "5.1", "5.1.x no", "192.168.1.1 says no"] {
            assert_eq!(enhanced(answer), None, "{answer}");
        }
    }
}
