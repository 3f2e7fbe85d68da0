//! A real `rollcall-edge` of a test's own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::ground::Ground;
use crate::hub::Hub;
use crate::{emulated, eventually, photo, program, run};

/// The terminal's folder; runs or not.
pub struct Terminal {
    /// Its state, key and certificate.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Its id.
    pub device: String,
    /// What its process finds in its environment besides the test's.
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
}

/// Who walks past a test's terminal.
pub struct Walk<'a> {
    /// The photos, and whether each is relit.
    pub photos: &'a [(&'a str, bool)],
    /// Frames a second.
    pub rate: u32,
    /// Seconds out of sight until a person is punched again; 0 punches in almost every frame.
    pub rearm_s: u32,
    /// Whether they walk for ever.
    pub for_ever: bool,
}

impl Terminal {
    /// Makes a terminal that the hub has signed.
    pub fn new(ground: &Ground, hub: &Hub, walk: &Walk<'_>) -> Result<Self> {
        Self::with_state(ground, hub, walk, &ground.join("terminal"))
    }

    /// The same with its state in a folder of the test's choice.
    pub fn with_state(ground: &Ground, hub: &Hub, walk: &Walk<'_>, state: &Path) -> Result<Self> {
        let folder = ground.join("identity");
        let device = hub.sign(&folder, "Test door")?;
        let file = |name: &str| folder.join(name);
        let identity = format!(
            "port = {}\nca = {:?}\ncertificate = {:?}\nkey = {:?}",
            hub.mqtt.port(),
            file("ca.pem"),
            file("terminal.pem"),
            file("terminal.key")
        );
        Self::configure(ground, walk, state, device, &identity)
    }

    /// Makes one that knows its hub's address and fingerprint alone. Its id is not known yet.
    pub fn unclaimed(ground: &Ground, hub: &Hub, walk: &Walk<'_>) -> Result<Self> {
        let fingerprint = hub.must(&["terminal", "fingerprint"])?;
        let identity = format!(
            "port = {}\nhttps_port = {}\nca_sha256 = \"{}\"",
            hub.mqtt.port(),
            hub.https.port(),
            fingerprint.trim()
        );
        std::fs::create_dir(ground.join("identity"))?;
        Self::configure(ground, walk, &ground.join("terminal"), String::new(), &identity)
    }

    fn configure(
        ground: &Ground,
        walk: &Walk<'_>,
        state: &Path,
        device: String,
        identity: &str,
    ) -> Result<Self> {
        let folder = ground.join("identity");
        let passes: Vec<String> = walk
            .photos
            .iter()
            .map(|(name, relit)| Ok(format!("{{ photo = {:?}, relit = {relit} }}", photo(name)?)))
            .collect::<Result<_>>()?;
        let again = if walk.for_ever { "repeat_after_s = 0\n" } else { "" };
        let text = format!(
            "state = {state:?}\n\
            [hub]\nhost = \"localhost\"\n{identity}\n\
            [roster]\nkey = {roster:?}\n[clock]\nsynchronised = \"always\"\n[vision]\nrearm_s = {rearm}\n{glance}\
            [camera]\nkind = \"walk\"\nrate = {rate}\nstart_after_s = 1\n{again}passes = [{passes}]\n",
            roster = folder.join("roster.key"),
            rearm = walk.rearm_s,
            // Emulated, a frame takes a second or so, and a face is lost from one to the next.
            rate = if emulated() { 2 } else { walk.rate },
            glance = if emulated() { "agreement = 1\n" } else { "" },
            passes = passes.join(", "),
        );
        let config = ground.join("edge.toml");
        std::fs::write(&config, text)?;
        Ok(Self { folder, config, device, environment: Vec::new(), child: None })
    }

    /// Starts it. What it prints is added to a file, so that ids survive its death.
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

    /// Its process.
    pub fn process(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the terminal does not run")?.id())
    }

    /// Runs a second one on the same configuration to its end.
    pub fn again(&self) -> Result<Output> {
        let config = self.config.to_str().context("a path in UTF-8")?;
        run(&program("rollcall-edge")?, &["run", "--config", config])
    }

    /// The ids that it printed: these punches are durable.
    pub fn durable(&self) -> HashSet<Uuid> {
        let text = std::fs::read_to_string(self.folder.join("out")).unwrap_or_default();
        let id = |line: &str| line.strip_prefix("punch ")?.split(' ').next()?.parse().ok();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter_map(id).collect()
    }

    /// Waits for a line that it prints, and returns what follows its first word.
    pub async fn says(&self, word: &str) -> Result<String> {
        eventually(word, async || {
            let text = std::fs::read_to_string(self.folder.join("out")).unwrap_or_default();
            let found = text.lines().rev().find_map(|line| line.strip_prefix(word)).map(str::trim);
            found.map(str::to_owned).with_context(|| self.logged())
        })
        .await
    }

    /// Whether its process runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))))
    }

    /// What it logged so far.
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
