//! Webhooks: what happened as signed JSON, posted to addresses of the company's own.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hmac::{Hmac, KeyInit, Mac};
use jiff::SignedDuration;
use reqwest::{Client, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::date::{Date, Timestamp};
use crate::db::channels::Kind;
use crate::notifications::{MAIL, Message, Times, Unsent, read_secret};
use crate::person::PersonNumber;

/// How long an answer may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// What is waited after the first failure.
pub(super) const RETRY: Duration = Duration::from_secs(10);
/// What was not taken for so long is not tried any more.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(72);
/// Characters of a name, at most.
const NAME: usize = 64;
/// Bytes of a secret, at least.
const SECRET: usize = 16;

/// A webhook, as the configuration has it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// By which the outbox knows it.
    pub name: String,
    /// Where to post: HTTPS, or HTTP on this machine.
    pub url: String,
    /// The file of the secret that posts are signed with.
    pub secret_file: PathBuf,
    /// What it wants to be told.
    #[serde(default = "default_kinds")]
    pub kinds: Vec<Kind>,
}

fn default_kinds() -> Vec<Kind> {
    Kind::ALL.to_vec()
}

/// Without the URL: such addresses may be secrets themselves.
impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WebhookSettings");
        shown.field("name", &self.name).field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl WebhookSettings {
    /// Checks what can be checked without reading another file.
    pub fn check(&self) -> Result<()> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let named = (1..=NAME).contains(&self.name.len()) && self.name.chars().all(allowed);
        ensure!(named && self.name != MAIL, "name: made of a-z, 0-9, dash and underscore, and not {MAIL}");
        ensure!(!self.kinds.is_empty(), "kinds: at least one");
        self.address().map(drop)
    }

    fn address(&self) -> Result<Url> {
        let url: Url = self.url.parse().ok().context("url: not a URL")?;
        let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => Ok(url),
            "http" if here => Ok(url),
            _ => bail!("url: https, or http to localhost"),
        }
    }
}

/// A webhook. No `Debug`.
pub(super) struct Webhook {
    name: String,
    url: Url,
    secret: Zeroizing<String>,
    client: Client,
}

/// What is posted.
#[derive(Serialize)]
struct Event<'a> {
    /// The same each time that it is sent.
    id: Uuid,
    kind: Kind,
    number: &'a PersonNumber,
    name: &'a str,
    date: Date,
    shift: &'a str,
    detail: &'a Times,
    sent_at: Timestamp,
}

impl Webhook {
    /// Reads the secret.
    pub(super) fn open(settings: &WebhookSettings) -> Result<Self> {
        let url = settings.address()?;
        let secret = read_secret(&settings.secret_file)?;
        let file = settings.secret_file.display();
        ensure!(secret.len() >= SECRET, "{file} holds less than {SECRET} characters");
        let mut builder = Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("rollcall-hub/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            builder = builder.tls_certs_only([]); // there is no TLS, and perhaps no roots either
        }
        let client = builder.build().context("no HTTP client")?;
        Ok(Self { name: settings.name.clone(), url, secret, client })
    }

    /// By which the outbox knows it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Posts one event.
    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), Unsent> {
        let unsent = match self.post(message, now).await {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(StatusCode::GONE) => Unsent::Dropped("it answered 410".into()),
            Ok(status) => Unsent::Later {
                reason: format!("it answered {}", status.as_u16()),
                trouble: troubled(status),
            },
            Err(reason) => Unsent::trouble(reason),
        };
        match unsent {
            Unsent::Later { reason, .. } if now.duration_since(message.created_at.0) > GIVE_UP => {
                Err(Unsent::Dropped(format!("given up after three days: {reason}")))
            }
            unsent => Err(unsent),
        }
    }

    /// Of the answer only the status is read.
    async fn post(&self, message: &Message, now: Timestamp) -> Result<StatusCode, &'static str> {
        let event = Event {
            id: message.id,
            kind: message.kind,
            number: &message.number,
            name: &message.name,
            date: message.detail.date,
            shift: &message.detail.shift,
            detail: &message.detail.times,
            sent_at: now,
        };
        let body = serde_json::to_vec(&event).map_err(|_| "the event can't be written")?;
        let timestamp = now.as_second().to_string();
        let signature = sign(self.secret.as_bytes(), &timestamp, &body).ok_or("the secret can't be used")?;
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("x-rollcall-id", message.id.to_string())
            .header("x-rollcall-timestamp", timestamp)
            .header("x-rollcall-signature", signature)
            .body(body);
        // The error would repeat the URL.
        let answer = request.send().await.map_err(|error| {
            if error.is_timeout() {
                "it did not answer in time"
            } else if error.is_connect() {
                "no connection to it"
            } else {
                "no answer from it"
            }
        })?;
        Ok(answer.status())
    }
}

/// Whether an answer is about the server or its address, so that all other events would get it, too.
fn troubled(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 404 | 408 | 429)
}

/// `v1=` and the HMAC-SHA-256, in hexadecimal, of the time, a dot and the body.
fn sign(secret: &[u8], timestamp: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(format!("v1={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, url: &str) -> WebhookSettings {
        let secret_file = "/run/secret".into();
        WebhookSettings { name: name.into(), url: url.into(), secret_file, kinds: default_kinds() }
    }

    #[test]
    fn addresses_are_https_or_here() {
        for right in
            ["https://example.org/hook", "http://localhost:8080/", "http://127.0.0.1/", "http://[::1]/"]
        {
            settings("payroll", right).check().expect(right);
        }
        for wrong in
            ["http://example.org/", "ftp://localhost/", "localhost", "", "http://localhost.example.org/"]
        {
            assert!(settings("payroll", wrong).check().is_err(), "{wrong}");
        }
        for wrong in ["", "mail", "Payroll", "a/b", "ä"] {
            assert!(settings(wrong, "https://example.org/").check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_shown_of_the_address() {
        let shown = format!("{:?}", settings("payroll", "https://example.org/token-1234"));
        assert!(shown.contains("payroll") && !shown.contains("1234") && !shown.contains("/run"), "{shown}");
    }

    #[test]
    fn all_kinds_are_told_unless_some_are_named() {
        let read = |kinds: &str| {
            let text = format!("name = 'a'\nurl = 'https://example.org/'\nsecret_file = '/x'\n{kinds}");
            toml::from_str::<WebhookSettings>(&text).map(|settings| settings.kinds)
        };
        assert_eq!(read("").expect("reads"), Kind::ALL);
        assert_eq!(read("kinds = ['missing_out']").expect("reads"), [Kind::MissingOut]);
        assert!(read("kinds = ['birthday']").is_err());
    }

    #[test]
    fn some_answers_are_about_the_server() {
        let is = |code: u16| StatusCode::from_u16(code).map(troubled).ok();
        for code in [401, 403, 404, 408, 429, 500, 503] {
            assert_eq!(is(code), Some(true), "{code}");
        }
        for code in [301, 400, 409, 413, 422] {
            assert_eq!(is(code), Some(false), "{code}");
        }
    }

    #[test]
    fn signatures_are_those_that_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        let signed = sign(b"0123456789abcdef", "1700000000", br#"{"a":1}"#).expect("signs");
        assert_eq!(signed, format!("v1={expected}"));
    }
}
