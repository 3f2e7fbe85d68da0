//! Runs `rollcall-hub`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::database::Cluster;
use crate::dir::{TestDir, free_port};
use crate::{photo, program, run};

/// The password of all accounts.
pub const PASSWORD: &str = "correct horse battery";

/// A configured hub, running or not. Killed when dropped.
pub struct Hub {
    pub state: PathBuf,
    pub config: PathBuf,
    pub mqtt: SocketAddr,
    pub https: SocketAddr,
    /// Environment variables for its process.
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Hub {
    /// Configures a hub on free ports; `more` is put in front of the configuration.
    pub fn configure(dir: &TestDir, name: &str, more: &str) -> Result<Self> {
        let state = dir.join(name);
        let config = dir.join(&format!("{name}.toml"));
        let mqtt = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let https = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let text = format!(
            "{more}\nstate = {state:?}\nmqtt = \"{mqtt}\"\nhttps = \"{https}\"\nzone = \"Europe/Berlin\"\n"
        );
        std::fs::write(&config, text)?;
        Ok(Self { state, config, mqtt, https, environment: Vec::new(), child: None })
    }

    pub fn start_new(dir: &TestDir) -> Result<Self> {
        let mut hub = Self::configure(dir, "hub", "")?;
        hub.start()?;
        Ok(hub)
    }

    /// Configures and starts a second one on the same database.
    pub fn second(&self, dir: &TestDir, more: &str) -> Result<Self> {
        let url = dir.join("url");
        std::fs::write(&url, self.cluster().url())?;
        let mut hub = Self::configure(dir, "second", &format!("database_url_file = {url:?}\n{more}"))?;
        // Hubs of one database have one authority: terminals trust no other.
        std::fs::create_dir_all(hub.state.join("pki"))?;
        for file in std::fs::read_dir(self.state.join("pki"))? {
            let file = file?;
            std::fs::copy(file.path(), hub.state.join("pki").join(file.file_name()))?;
        }
        hub.start()?;
        Ok(hub)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        let mut child = self.spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut line = String::new();
        let mut reader = BufReader::new(output);
        reader.read_line(&mut line)?;
        ensure!(
            line.starts_with("console "),
            "the hub did not start: see its log in {}",
            self.log().display()
        );
        self.child = Some(child);
        Ok(())
    }

    pub fn spawn(&self) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(program("rollcall-hub")?);
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?)
    }

    /// Kills it with `kill -9`. Its PostgreSQL keeps running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the hub does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.config.with_extension("log")
    }

    pub fn process(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the hub does not run")?.id())
    }

    pub fn cluster(&self) -> Cluster {
        Cluster::of(&self.state)
    }

    /// Runs a command of `rollcall-hub` with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let config = self.config.to_str().context("a path in UTF-8")?;
        run(&program("rollcall-hub")?, &[arguments, &["--config", config]].concat())
    }

    /// Runs a command that must succeed.
    pub fn must(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Adds a person with consent and enrols them from photos.
    pub fn enrol(&self, number: &str, name: &str, photos: &[&str]) -> Result<()> {
        self.must(&["person", "add", number, name])?;
        self.must(&["person", "consent", number])?;
        let files: Vec<PathBuf> = photos.iter().map(|name| photo(name)).collect::<Result<_>>()?;
        let files: Vec<&str> = files.iter().filter_map(|file| file.to_str()).collect();
        self.must(&[["person", "enrol", number].as_slice(), &files].concat())?;
        Ok(())
    }

    pub fn account(&self, name: &str, role: &str, person: Option<&str>) -> Result<()> {
        let mut command = Command::new(program("rollcall-hub")?);
        command.args(["account", "create", name, "--role", role, "--config"]).arg(&self.config);
        command.args(person.into_iter().flat_map(|number| ["--person", number]));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        writeln!(child.stdin.take().context("no input")?, "{PASSWORD}")?;
        ensure!(child.wait()?.success(), "no account {name}");
        Ok(())
    }

    pub fn authority(&self) -> PathBuf {
        self.state.join("pki/ca.pem")
    }

    /// Creates and signs a key: writes `terminal.key`, `terminal.pem` and `ca.pem` into a folder and returns the device id.
    pub fn sign(&self, folder: &Path, name: &str) -> Result<String> {
        let path = folder.to_str().context("a path in UTF-8")?;
        let made = run(&program("rollcall-edge")?, &["csr", "--state", path])?;
        ensure!(made.status.success(), "no request: {}", String::from_utf8_lossy(&made.stderr));
        self.must(&["terminal", "sign", &format!("{path}/terminal.csr"), "--name", name, "--out", path])?;
        let text = String::from_utf8(made.stdout)?;
        Ok(text.split_whitespace().nth(1).context("the terminal's id")?.to_owned())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}
