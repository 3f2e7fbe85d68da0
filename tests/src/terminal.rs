//! Runs `rollcall-edge`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use uuid::Uuid;

use crate::dir::TestDir;
use crate::hub::Hub;
use crate::{emulated, eventually, photo, program, run};

/// A configured terminal, running or not. Killed when dropped.
pub struct Terminal {
    /// Its state, key and certificate.
    pub folder: PathBuf,
    pub config: PathBuf,
    pub device: String,
    /// Environment variables for its process.
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
}

/// What the simulated camera shows.
pub struct Walk<'a> {
    /// The photos, and whether each is relit.
    pub photos: &'a [(&'a str, bool)],
    pub rate: u32,
    /// `vision.rearm_s`; 0 punches in almost every frame.
    pub rearm_s: u32,
    pub for_ever: bool,
}

impl Terminal {
    /// A terminal signed by the hub.
    pub fn new(dir: &TestDir, hub: &Hub, walk: &Walk<'_>) -> Result<Self> {
        Self::with_state(dir, hub, walk, &dir.join("terminal"))
    }

    /// The same with its state in another folder.
    pub fn with_state(dir: &TestDir, hub: &Hub, walk: &Walk<'_>, state: &Path) -> Result<Self> {
        let folder = dir.join("identity");
        let device = hub.sign(&folder, "Test door")?;
        let file = |name: &str| folder.join(name);
        let identity = format!(
            "port = {}\nca = {:?}\ncertificate = {:?}\nkey = {:?}",
            hub.mqtt.port(),
            file("ca.pem"),
            file("terminal.pem"),
            file("terminal.key")
        );
        Self::configure(dir, walk, state, device, &identity)
    }

    /// A terminal without a certificate, which knows the hub's address and fingerprint. It has no id yet.
    pub fn unpaired(dir: &TestDir, hub: &Hub, walk: &Walk<'_>) -> Result<Self> {
        let fingerprint = hub.must(&["terminal", "fingerprint"])?;
        let identity = format!(
            "port = {}\nhttps_port = {}\nca_sha256 = \"{}\"",
            hub.mqtt.port(),
            hub.https.port(),
            fingerprint.trim()
        );
        std::fs::create_dir(dir.join("identity"))?;
        Self::configure(dir, walk, &dir.join("terminal"), String::new(), &identity)
    }

    fn configure(
        dir: &TestDir,
        walk: &Walk<'_>,
        state: &Path,
        device: String,
        identity: &str,
    ) -> Result<Self> {
        let folder = dir.join("identity");
        let passes: Vec<String> = walk
            .photos
            .iter()
            .map(|(name, relit)| Ok(format!("{{ photo = {:?}, relit = {relit} }}", photo(name)?)))
            .collect::<Result<_>>()?;
        let again = if walk.for_ever { "repeat_after_s = 0\n" } else { "" };
        let text = format!(
            "state = {state:?}\n\
            [hub]\nhost = \"localhost\"\n{identity}\n\
            [gallery]\nkey = {gallery_key:?}\n[clock]\nsynchronised = \"always\"\n[vision]\nrearm_s = {rearm}\n{glance}\
            [camera]\nkind = \"walk\"\nrate = {rate}\nstart_after_s = 1\n{again}passes = [{passes}]\n",
            gallery_key = folder.join("roster.key"),
            rearm = walk.rearm_s,
            // Emulated, a frame takes a second or so, and a face is lost from one to the next.
            rate = if emulated() { 2 } else { walk.rate },
            glance = if emulated() { "agreement = 1\n" } else { "" },
            passes = passes.join(", "),
        );
        let config = dir.join("edge.toml");
        std::fs::write(&config, text)?;
        Ok(Self { folder, config, device, environment: Vec::new(), child: None })
    }

    /// Starts it. Its output is appended to files.
    pub fn start(&mut self) -> Result<()> {
        let append =
            |name: &str| std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(name));
        let mut command = Command::new(program("rollcall-edge")?);
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child =
            Some(command.stdin(Stdio::null()).stdout(append("out")?).stderr(append("log")?).spawn()?);
        Ok(())
    }

    /// Kills it with `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the terminal does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub fn process(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the terminal does not run")?.id())
    }

    /// Runs a second process on the same configuration.
    pub fn run_second(&self) -> Result<Output> {
        let config = self.config.to_str().context("a path in UTF-8")?;
        run(&program("rollcall-edge")?, &["run", "--config", config])
    }

    /// The ids of punches that it reported as durable.
    pub fn durable(&self) -> HashSet<Uuid> {
        let text = std::fs::read_to_string(self.folder.join("out")).unwrap_or_default();
        let id = |line: &str| line.strip_prefix("punch ")?.split(' ').next()?.parse().ok();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter_map(id).collect()
    }

    pub async fn wait_until_durable(&self, count: usize) -> Result<()> {
        eventually(&format!("{count} durable punches"), async || {
            let found = self.durable().len();
            ensure!(found >= count, "{found} punches; {}", self.logged());
            Ok(())
        })
        .await
    }

    /// Waits until each of its durable punches is in PostgreSQL. No punch may be there twice.
    pub async fn wait_until_delivered(&self, hub: &Hub) -> Result<()> {
        let durable = self.durable();
        eventually("every durable punch in PostgreSQL", async || {
            let stored = hub.cluster().punches().await?;
            ensure!(stored.values().all(|count| *count == 1), "a punch is stored twice");
            let missing = durable.iter().filter(|id| !stored.contains_key(id)).count();
            let of = durable.len();
            ensure!(missing == 0, "{missing} of {of} missing: {} {}", hub.logged(), self.logged());
            Ok(())
        })
        .await
    }

    /// Waits for a line of its output that starts with `word`; returns the rest of the line.
    pub async fn wait_for_line(&self, word: &str) -> Result<String> {
        eventually(word, async || {
            let text = std::fs::read_to_string(self.folder.join("out")).unwrap_or_default();
            let found = text.lines().rev().find_map(|line| line.strip_prefix(word)).map(str::trim);
            found.map(str::to_owned).with_context(|| self.logged())
        })
        .await
    }

    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))))
    }

    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}
