//! A real `rollcall-hub` of a test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::database::Cluster;
use crate::ground::{Ground, free_port};
use crate::{photo, program, run};

/// The password of every account here.
pub const PASSWORD: &str = "correct horse battery";

/// The hub's folder and how it is configured; runs or not.
pub struct Hub {
    /// Its state.
    pub state: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Where terminals connect.
    pub mqtt: SocketAddr,
    /// Where browsers connect.
    pub https: SocketAddr,
    /// What its process finds in its environment besides the test's.
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Hub {
    /// Configures a hub on free ports, with more lines of configuration in front.
    pub fn configure(ground: &Ground, name: &str, more: &str) -> Result<Self> {
        let state = ground.join(name);
        let config = ground.join(&format!("{name}.toml"));
        let mqtt = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let https = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let text = format!(
            "{more}\nstate = {state:?}\nmqtt = \"{mqtt}\"\nhttps = \"{https}\"\nzone = \"Europe/Berlin\"\n"
        );
        std::fs::write(&config, text)?;
        Ok(Self { state, config, mqtt, https, environment: Vec::new(), child: None })
    }

    /// Configures and starts one.
    pub fn start_new(ground: &Ground) -> Result<Self> {
        let mut hub = Self::configure(ground, "hub", "")?;
        hub.start()?;
        Ok(hub)
    }

    /// Configures and starts a second one on the same database.
    pub fn second(&self, ground: &Ground, more: &str) -> Result<Self> {
        let url = ground.join("url");
        std::fs::write(&url, self.cluster().url())?;
        let mut hub = Self::configure(ground, "second", &format!("database_url_file = {url:?}\n{more}"))?;
        // Hubs of one database have one authority: terminals trust no other.
        std::fs::create_dir_all(hub.state.join("pki"))?;
        for file in std::fs::read_dir(self.state.join("pki"))? {
            let file = file?;
            std::fs::copy(file.path(), hub.state.join("pki").join(file.file_name()))?;
        }
        hub.start()?;
        Ok(hub)
    }

    /// Starts it and waits until it serves.
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

    /// Starts it without waiting.
    pub fn spawn(&self) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(program("rollcall-hub")?);
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?)
    }

    /// Kills it with `kill -9`. Its PostgreSQL runs on.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the hub does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// What it logged so far.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.config.with_extension("log")
    }

    /// Its process.
    pub fn process(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the hub does not run")?.id())
    }

    /// Its PostgreSQL.
    pub fn cluster(&self) -> Cluster {
        Cluster::of(&self.state)
    }

    /// Runs a command of the hub to its end.
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

    /// Makes an account of a role, of the person with a number.
    pub fn account(&self, name: &str, role: &str, person: Option<&str>) -> Result<()> {
        let mut command = Command::new(program("rollcall-hub")?);
        command.args(["account", "create", name, "--role", role, "--config"]).arg(&self.config);
        command.args(person.into_iter().flat_map(|number| ["--person", number]));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        writeln!(child.stdin.take().context("no input")?, "{PASSWORD}")?;
        ensure!(child.wait()?.success(), "no account {name}");
        Ok(())
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.state.join("pki/ca.pem")
    }

    /// Makes a key and has it signed: a folder with `terminal.key`, `terminal.pem`, `ca.pem`.
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
