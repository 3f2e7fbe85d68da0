//! A real Mosquitto of a test's own, with the configuration that `deploy/mosquitto.example.conf`
//! shows, so that what tests run is what companies run. Only paths, port, user and log differ.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::PATIENCE;
use crate::ground::{Ground, free_port};

/// The configuration, and in its comments the list that a broker begins with.
const EXAMPLE: &str = include_str!("../../deploy/mosquitto.example.conf");
/// What a line of that list begins with.
const SEED: &str = "#= ";
/// Where Debian puts it, and other makers too.
const PROGRAM: &str = "/usr/sbin/mosquitto";

/// What the broker shows, and whom it believes.
pub struct Papers<'a> {
    /// The certificate of the authority whose clients it serves.
    pub authority: &'a Path,
    /// Its own certificate.
    pub certificate: &'a Path,
    /// The key of that.
    pub key: &'a Path,
}

/// The broker; runs or not.
pub struct Mosquitto {
    /// Where hubs and terminals connect.
    pub address: SocketAddr,
    /// Its list of clients and roles, as it stands in a file.
    pub list: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl Mosquitto {
    /// Configures one on a free port.
    pub fn configure(ground: &Ground, papers: &Papers<'_>) -> Result<Self> {
        let folder = ground.join("mosquitto");
        std::fs::create_dir(&folder)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let list = folder.join("dynamic-security.json");
        std::fs::write(folder.join("conf"), configuration(address, &list, papers)?)?;
        Ok(Self { address, list, folder, child: None })
    }

    /// Configures and starts one.
    pub fn start_new(ground: &Ground, papers: &Papers<'_>) -> Result<Self> {
        let mut broker = Self::configure(ground, papers)?;
        broker.start()?;
        Ok(broker)
    }

    /// Starts it on the same port as before and waits until it listens. A list that it could not
    /// read is replaced by the one it begins with, as the example has systemd do.
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
            if begun.elapsed() > PATIENCE {
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

    /// Has it read certificates and the revocation list again, as `systemctl reload` does.
    pub fn reload(&self) -> Result<()> {
        let process = self.child.as_ref().context("Mosquitto does not run")?.id();
        let process = rustix::process::Pid::from_raw(process.cast_signed()).context("no process")?;
        Ok(rustix::process::kill_process(process, rustix::process::Signal::HUP)?)
    }

    /// What it logged so far, refusals of messages included; of subscriptions it logs none.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The names in its list, hubs' included. It may fail while the list is being written.
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

/// The example with a test's own paths.
fn configuration(address: SocketAddr, list: &Path, papers: &Papers<'_>) -> Result<String> {
    let own = [
        // Without this it would give up being root, and with that the test's files.
        ("user", "root".to_owned()),
        ("log_type", "all".to_owned()),
        ("plugin", plugin()?.display().to_string()),
        ("plugin_opt_config_file", list.display().to_string()),
        ("listener", format!("{} {}", address.port(), address.ip())),
        ("cafile", papers.authority.display().to_string()),
        ("certfile", papers.certificate.display().to_string()),
        ("keyfile", papers.key.display().to_string()),
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

/// The list that a broker begins with: hubs may do what they need, and nobody else anything.
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

    fn start(ground: &Ground) -> Result<Mosquitto> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::write(ground.join("ca.pem"), params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        std::fs::write(ground.join("server.pem"), certificate.pem())?;
        std::fs::write(ground.join("server.key"), key.serialize_pem())?;
        let (authority, certificate, key) =
            (&ground.join("ca.pem"), &ground.join("server.pem"), &ground.join("server.key"));
        Mosquitto::start_new(ground, &Papers { authority, certificate, key })
    }

    #[test]
    fn it_starts_again_even_with_a_list_that_can_not_be_read() -> Result<()> {
        let ground = Ground::new()?;
        let mut broker = start(&ground)?;
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
    fn without_its_certificate_it_says_why_it_does_not_start() -> Result<()> {
        let ground = Ground::new()?;
        let nothing = &ground.join("nothing.pem");
        let papers = Papers { authority: nothing, certificate: nothing, key: nothing };
        let error = Mosquitto::start_new(&ground, &papers).err().context("it started")?;
        ensure!(format!("{error:#}").contains("nothing.pem"), "{error:#}");
        Ok(())
    }
}
