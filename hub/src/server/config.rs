//! The hub's configuration: one TOML file, every key known, secrets by the path of their file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use attendance::Policy;
use jiff::tz::TimeZone;
use rustls_pki_types::ServerName;
use serde::Deserialize;

use crate::db::channels::Channels;
use crate::mqtt;
use crate::notifications::{self, MailSettings, WebhookSettings};

/// Seconds within which a punch may be a duplicate, at most.
const LONGEST_DUPLICATE_S: u32 = 3600;

/// The whole file. `deploy/hub.example.toml` shows every key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the private PostgreSQL, the certificate authority and the vault's key.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// IANA time zone in which days begin.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// A punch so many seconds after the last that counts is a duplicate (and not another coming or going).
    #[serde(default = "default_duplicate")]
    pub duplicate_within_s: u32,
    /// Names and addresses by which terminals and browsers reach the hub: they stand in its certificate.
    #[serde(default = "default_names")]
    pub names: Vec<String>,
    /// MQTT over TLS, for terminals.
    #[serde(default = "default_mqtt")]
    pub mqtt: SocketAddr,
    /// Whose MQTT broker terminals connect to.
    #[serde(default)]
    pub broker: Broker,
    /// The broker, where it is an external one.
    pub external: Option<mqtt::Settings>,
    /// The console and the API over HTTPS.
    #[serde(default = "default_https")]
    pub https: SocketAddr,
    /// A file that holds the URL of a database of PostgreSQL 14 or newer. Without it the hub runs one of its own.
    pub database_url_file: Option<PathBuf>,
    /// The key that templates are encrypted with: 64 hexadecimal characters; made if it is not
    /// there. Else `vault.key` in the state folder.
    pub vault_key: Option<PathBuf>,
    /// The folder of models; else it is looked for beside the program.
    pub models: Option<PathBuf>,
    /// The server that sends e-mail; without it there is none.
    pub mail: Option<MailSettings>,
    /// Where else to tell what happened.
    #[serde(default)]
    pub webhooks: Vec<WebhookSettings>,
}

/// Whose MQTT broker terminals connect to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Broker {
    /// The hub's own, on the address `mqtt`.
    #[default]
    Embedded,
    /// Another program; `external` says where.
    External,
}

/// The folder for state: the system's for root, else the user's own.
pub fn default_state() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/rollcall".into();
    }
    let home = || std::env::var_os("HOME").map_or_else(|| "/tmp".into(), PathBuf::from).join(".local/state");
    std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("rollcall")
}

fn default_zone() -> String {
    "UTC".into()
}
fn default_duplicate() -> u32 {
    60
}
fn default_names() -> Vec<String> {
    vec!["localhost".into(), "127.0.0.1".into()]
}
fn default_mqtt() -> SocketAddr {
    ([0, 0, 0, 0], 8883).into()
}
fn default_https() -> SocketAddr {
    ([0, 0, 0, 0], 8443).into()
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: Self =
            toml::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {}", path.display(), place(&text, &e)))?;
        // PostgreSQL and systemd start programs in other folders than ours.
        config.state = std::path::absolute(&config.state)?;
        ensure!(!config.names.is_empty(), "{}: names must hold at least one name", path.display());
        for name in &config.names {
            let rule = "no host name and no address: write one alone, such as hub.example.com, 192.0.2.7 or 2001:db8::7";
            ensure!(
                ServerName::try_from(name.as_str()).is_ok(),
                "{}: names: {name:?} is {rule}",
                path.display()
            );
        }
        config.time_zone().with_context(|| path.display().to_string())?;
        ensure!(
            config.duplicate_within_s <= LONGEST_DUPLICATE_S,
            "{}: duplicate_within_s: at most {LONGEST_DUPLICATE_S} seconds",
            path.display()
        );
        config.external().with_context(|| path.display().to_string())?;
        if let Some(mail) = &config.mail {
            mail.check().with_context(|| path.display().to_string())?;
        }
        notifications::check(&config.webhooks).with_context(|| path.display().to_string())?;
        Ok(config)
    }

    /// The zone in which days begin.
    pub fn time_zone(&self) -> Result<TimeZone> {
        TimeZone::get(&self.zone).with_context(|| format!("zone: there is no time zone {:?}", self.zone))
    }

    /// What it says about workdays.
    pub fn policy(&self) -> Policy {
        Policy { duplicate_within_s: self.duplicate_within_s }
    }

    /// Who is told of late arrivals and absences.
    pub fn channels(&self) -> Channels {
        let webhooks = self.webhooks.iter().map(|hook| (hook.name.clone(), hook.kinds.clone())).collect();
        Channels { mail: self.mail.is_some(), webhooks }
    }

    /// The database's URL, if it is not the private one.
    pub fn database_url(&self) -> Result<Option<String>> {
        let Some(file) = &self.database_url_file else { return Ok(None) };
        let url = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Some(url.trim().to_owned()))
    }

    /// The external broker, if it is one.
    pub fn external(&self) -> Result<Option<&mqtt::Settings>> {
        match (self.broker, &self.external) {
            (Broker::Embedded, None) => Ok(None),
            (Broker::External, Some(settings)) => Ok(Some(settings)),
            (Broker::External, None) => bail!("broker is external: [external] must say where it is"),
            (Broker::Embedded, Some(_)) => bail!("there is [external], but broker is not \"external\""),
        }
    }

    /// The vault's key file.
    pub fn vault_key(&self) -> PathBuf {
        self.vault_key.clone().unwrap_or_else(|| self.state.join("vault.key"))
    }
}

/// A TOML error on one line, with the line number that it is about.
fn place(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Config::read(file.path())
    }

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = read("").expect("defaults");
        assert_eq!((config.mqtt.port(), config.https.port()), (8883, 8443));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(format!("{:#}", read("\nzonne = 'UTC'").expect_err("unknown key")).contains("line 2"));
        assert!(format!("{:#}", read("zone = 'Mars/Base'").expect_err("no zone")).contains("Mars/Base"));
        assert!(read("mqtt = 'x'").is_err());
        assert!(read("names = []").is_err());
        assert!(read("names = [\"hub.example.com\", \"192.0.2.7\", \"2001:db8::7\"]").is_ok());
        for name in ["hub:8443", "https://hub", "[::1]", ""] {
            assert!(read(&format!("names = [{name:?}]")).is_err(), "{name}");
        }
    }
}
