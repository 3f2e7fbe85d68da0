//! The relay's guard: a process of its own that alone holds the relay's pin, and switches it off when
//! the daemon is gone, however that died. Registers of a Raspberry Pi keep what was written to them
//! when their writer is killed, and kernels differ in what they do with a line that is let go.
//!
//! The daemon is the guard's standard input: the first line says which pin, each further one opens the
//! door, and its end is the daemon's end. A guard that dies is replaced; the new one starts with the
//! relay at rest.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info};

use crate::config::{Backend, Gpio, Lock, Wired};
use crate::door::pins::{Board, Output};

/// How long a guard may take until it holds the pin.
const READY: Duration = Duration::from_secs(5);
/// What it says then.
const HOLDING: &str = "holding";
/// The longest that a door is held open, whatever is asked for.
const LONGEST: Duration = Duration::from_mins(1);

/// What a guard is to hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Relay {
    /// Found by the daemon: both must mean the same pin.
    backend: Backend,
    chip: PathBuf,
    pin: Wired,
    lock: Lock,
}

impl Relay {
    /// The relay of a configuration, if it has one.
    pub fn of(gpio: &Gpio, backend: Backend) -> Option<Self> {
        let pin = gpio.relay?.wired(false);
        Some(Self { backend, chip: gpio.chip(), pin, lock: gpio.lock })
    }
}

/// The daemon's side.
pub struct Guard {
    program: PathBuf,
    relay: Relay,
    /// `None`: it died and no other could be started yet.
    running: Option<(Child, ChildStdin)>,
}

impl Guard {
    /// Starts `program guard` and waits until it holds the pin.
    pub async fn start(program: &Path, relay: Relay) -> Result<Self> {
        let running = Some(spawn(program, &relay).await?);
        Ok(Self { program: program.to_owned(), relay, running })
    }

    /// Opens the door for so long from now on.
    pub async fn open(&mut self, time: Duration) -> Result<()> {
        let (_, pipe) = self.running.as_mut().context("nobody holds the relay")?;
        let line = format!("{}\n", time.as_millis());
        pipe.write_all(line.as_bytes()).await.context("the relay's guard does not listen")?;
        Ok(())
    }

    /// Returns when the guard is gone. Safe to drop half way.
    pub async fn gone(&mut self) {
        if let Some((child, _)) = &mut self.running {
            let _ = child.wait().await;
            error!("ALARM: the relay's guard is gone");
            self.running = None;
        }
    }

    /// Starts another one.
    pub async fn replace(&mut self) -> Result<()> {
        self.running = None; // which ends one that still runs
        self.running = Some(spawn(&self.program, &self.relay).await?);
        info!("the relay has a guard again");
        Ok(())
    }

    /// Ends it, and waits until the relay is off.
    pub async fn end(self) {
        if let Some((mut child, pipe)) = self.running {
            drop(pipe);
            let _ = timeout(READY, child.wait()).await;
        }
    }
}

async fn spawn(program: &Path, relay: &Relay) -> Result<(Child, ChildStdin)> {
    let mut child = Command::new(program)
        .arg("guard")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the relay's guard")?;
    let mut pipe = child.stdin.take().context("a guard without standard input")?;
    let said = child.stdout.take().context("a guard without standard output")?;
    let started = async {
        // One that has ended already hears nothing, and says nothing either.
        let _ = pipe.write_all(format!("{}\n", serde_json::to_string(relay)?).as_bytes()).await;
        let mut lines = BufReader::new(said).lines();
        anyhow::Ok(lines.next_line().await?.unwrap_or_default())
    };
    let said = timeout(READY, started).await.context("the relay's guard does not answer")??;
    ensure!(said == HOLDING, "the relay's guard can't hold it (its reason is above)");
    Ok((child, pipe))
}

/// The guard's side: holds the relay's pin until standard input ends.
pub fn guard() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(hold());
    runtime.shutdown_background(); // a thread may still read standard input
    result
}

async fn hold() -> Result<()> {
    // The daemon alone decides when this ends: with Ctrl-C, or from systemd, both get the signal.
    let _unheard = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let first = commands.next_line().await?.context("a guard is told what to hold by the daemon")?;
    let relay: Relay = serde_json::from_str(&first).context("a guard is told what to hold by the daemon")?;
    let mut pin = Board::open(relay.backend, &relay.chip)?.output(relay.pin)?;
    // Current is what opens a fail-secure lock, and what keeps a fail-safe one locked.
    let open = relay.lock == Lock::FailSecure;
    pin.set(!open)?;
    println!("{HOLDING}");
    let ended = obey(&mut commands, &mut pin, open).await;
    let off = pin.set(false);
    ended.and(off)
}

async fn obey(commands: &mut Lines<BufReader<Stdin>>, pin: &mut Output, open: bool) -> Result<()> {
    let mut until: Option<Instant> = None;
    loop {
        tokio::select! {
            line = commands.next_line() => {
                let Some(line) = line.context("the daemon can't be heard")? else { return Ok(()) };
                let time = line.parse().map(Duration::from_millis).context("no time to open the door for")?;
                let asked = Instant::now() + time.min(LONGEST);
                until = until.max(Some(asked));
                pin.set(open)?;
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                until = None;
                pin.set(!open)?;
            }
        }
    }
}
