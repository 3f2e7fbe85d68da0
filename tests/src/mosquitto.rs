//! Runs Mosquitto with the configuration of `deploy/mosquitto.example.conf`; only paths, port, user and log differ.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::TIMEOUT;
use crate::dir::{TestDir, free_port};

/// The configuration, with the initial dynamic security file in its comments.
const EXAMPLE: &str = include_str!("../../deploy/mosquitto.example.conf");
/// The prefix of a line of that file.
const SEED: &str = "#= ";
const PROGRAM: &str = "/usr/sbin/mosquitto";

pub struct Certificates<'a> {
    pub authority: &'a Path,
    pub certificate: &'a Path,
    pub key: &'a Path,
}

/// A configured broker, running or not. Killed when dropped.
pub struct Mosquitto {
    pub address: SocketAddr,
    /// The dynamic security file: clients and roles.
    pub list: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl Mosquitto {
    pub fn configure(dir: &TestDir, certificates: &Certificates<'_>) -> Result<Self> {
        let folder = dir.join("mosquitto");
        std::fs::create_dir(&folder)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let list = folder.join("dynamic-security.json");
        std::fs::write(folder.join("conf"), configuration(address, &list, certificates)?)?;
        Ok(Self { address, list, folder, child: None })
    }

    pub fn start_new(dir: &TestDir, certificates: &Certificates<'_>) -> Result<Self> {
        let mut broker = Self::configure(dir, certificates)?;
        broker.start()?;
        Ok(broker)
    }

    /// Starts it on the same port as before. A list that is not valid is replaced by the initial one, as the systemd unit
    /// of the example does.
    pub fn start(&mut self) -> Result<()> {
        if self.read().is_err() {
            std::fs::write(&self.list, seed())?;
        }
        let before = self.logged().len();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.folder.join("conf")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {PROGRAM}: run tests/setup.sh"))?;
        let begun = Instant::now();
        while !self.logged().get(before..).is_some_and(|new| new.contains(" running\n")) {
            if let Some(status) = child.try_wait()? {
                bail!("Mosquitto ended with {status}: {}", self.logged());
            }
            if begun.elapsed() > TIMEOUT {
                child.kill()?;
                bail!("Mosquitto does not start: {}", self.logged());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Kills it with `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("Mosquitto does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Reloads certificates and the revocation list, as `systemctl reload` does.
    pub fn reload(&self) -> Result<()> {
        let process = self.child.as_ref().context("Mosquitto does not run")?.id();
        let process = rustix::process::Pid::from_raw(process.cast_signed()).context("no process")?;
        Ok(rustix::process::kill_process(process, rustix::process::Signal::HUP)?)
    }

    /// Its log. It logs rejected messages, but not rejected subscriptions.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The names of all clients. It may fail while the file is being written.
    pub fn known(&self) -> Result<Vec<String>> {
        let list = self.read()?;
        let clients = list["clients"].as_array().context("a list without clients")?;
        Ok(clients.iter().filter_map(|client| client["username"].as_str()).map(str::to_owned).collect())
    }

    fn read(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(&self.list)?)?)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}

fn configuration(address: SocketAddr, list: &Path, certificates: &Certificates<'_>) -> Result<String> {
    let own = [
        // As another user it could not read the files of the test.
        ("user", "root".to_owned()),
        ("log_type", "all".to_owned()),
        ("plugin", plugin()?.display().to_string()),
        ("plugin_opt_config_file", list.display().to_string()),
        ("listener", format!("{} {}", address.port(), address.ip())),
        ("cafile", certificates.authority.display().to_string()),
        ("certfile", certificates.certificate.display().to_string()),
        ("keyfile", certificates.key.display().to_string()),
    ];
    let settings = EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let settings: Vec<(&str, &str)> = settings.filter_map(|line| line.split_once(' ')).collect();
    for (name, _) in &own {
        ensure!(settings.iter().any(|(key, _)| key == name), "the example does not set {name}");
    }
    let mut text = String::new();
    for (key, shown) in settings {
        let value = own.iter().find(|(name, _)| *name == key).map_or(shown, |(_, value)| value);
        writeln!(text, "{key} {value}")?;
    }
    Ok(text)
}

/// The initial list: it permits hubs what they need, and others nothing.
fn seed() -> String {
    EXAMPLE.lines().filter_map(|line| line.strip_prefix(SEED)).flat_map(|line| [line, "\n"]).collect()
}

fn plugin() -> Result<PathBuf> {
    std::fs::read_dir("/usr/lib")?
        .flatten()
        .map(|folder| folder.path().join("mosquitto_dynamic_security.so"))
        .find(|path| path.is_file())
        .context("Mosquitto's dynamic security plugin is missing: run tests/setup.sh")
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn start(dir: &TestDir) -> Result<Mosquitto> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::write(dir.join("ca.pem"), params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        std::fs::write(dir.join("server.pem"), certificate.pem())?;
        std::fs::write(dir.join("server.key"), key.serialize_pem())?;
        let (authority, certificate, key) =
            (&dir.join("ca.pem"), &dir.join("server.pem"), &dir.join("server.key"));
        Mosquitto::start_new(dir, &Certificates { authority, certificate, key })
    }

    #[test]
    fn an_invalid_list_is_replaced_at_start() -> Result<()> {
        let dir = TestDir::new()?;
        let mut broker = start(&dir)?;
        std::net::TcpStream::connect(broker.address)?;
        ensure!(broker.known()? == ["hub"]);
        broker.reload()?;
        for broken in ["", "{\n\t\"clients\":\t[{\n\t\t\t\"user"] {
            broker.kill()?;
            ensure!(std::net::TcpStream::connect(broker.address).is_err());
            std::fs::write(&broker.list, broken)?;
            broker.start()?;
            std::net::TcpStream::connect(broker.address)?;
            ensure!(broker.known()? == ["hub"]);
        }
        ensure!(broker.logged().matches(" running\n").count() == 3, "{}", broker.logged());
        ensure!(!broker.logged().contains("Error loading"), "{}", broker.logged());
        Ok(())
    }

    #[test]
    fn a_missing_certificate_is_an_error() -> Result<()> {
        let dir = TestDir::new()?;
        let nothing = &dir.join("nothing.pem");
        let certificates = Certificates { authority: nothing, certificate: nothing, key: nothing };
        let error = Mosquitto::start_new(&dir, &certificates).err().context("it started")?;
        ensure!(format!("{error:#}").contains("nothing.pem"), "{error:#}");
        Ok(())
    }
}
