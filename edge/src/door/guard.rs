//! The relay's guard: a process of its own that alone holds the relay's pin, and switches it off when
//! the daemon is gone, however that died. Registers of a Raspberry Pi keep what was written to them
//! when their writer is killed, and kernels differ in what they do with a line that is let go.
//!
//! The daemon is the guard's standard input: the first line says which pin, each further one opens the
//! door, and its end is the daemon's end. A guard that dies, or doesn't answer, is replaced; the new one
//! starts with the relay at rest.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info};

use crate::config::{Backend, Gpio, Lock, Wired};
use crate::door::pins::{Board, Output};

/// How long a guard may take until it holds the pin.
const READY: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// What it answers: the door is held open, or it is not (which it also says when it holds the pin).
const OPEN: &str = "open";
const SHUT: &str = "shut";
/// What it is asked where it is only to answer.
const LOOK: &str = "look";
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
    running: Option<Running>,
}

/// A guard that holds the pin.
struct Running {
    child: Child,
    pipe: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Guard {
    /// Starts `program guard` and waits until it holds the pin.
    pub async fn start(program: &Path, relay: Relay) -> Result<Self> {
        let running = Some(Running::start(program, &relay).await?);
        Ok(Self { program: program.to_owned(), relay, running })
    }

    /// Opens the door for so long from now on.
    pub async fn open(&mut self, time: Duration) -> Result<()> {
        self.ask(&time.as_millis().to_string(), OPEN).await
    }

    /// Makes sure that the door is not open any more: a guard that is stopped can't close it.
    pub async fn is_shut(&mut self) -> Result<()> {
        self.ask(LOOK, SHUT).await
    }

    async fn ask(&mut self, question: &str, expected: &str) -> Result<()> {
        let running = self.running.as_mut().context("nobody holds the relay")?;
        let answer = timeout(ANSWER, async {
            running.pipe.write_all(format!("{question}\n").as_bytes()).await?;
            running.answers.next_line().await
        });
        let answer = answer.await.context("the relay's guard does not answer")?;
        let answer = answer.context("the relay's guard does not listen")?.unwrap_or_default();
        ensure!(answer == expected, "the relay's guard says {answer:?}");
        Ok(())
    }

    /// Returns when the guard is gone. Safe to drop half way.
    pub async fn gone(&mut self) {
        match &mut self.running {
            Some(running) => {
                let _ = running.child.wait().await;
                error!("ALARM: the relay's guard is gone");
                self.running = None;
            }
            None => std::future::pending().await,
        }
    }

    /// Starts another one, in place of one that may still be there. Where that can't be, the relay is
    /// switched off from here.
    pub async fn replace(&mut self) -> Result<()> {
        if let Some(Running { mut child, .. }) = self.running.take() {
            let _ = child.start_kill();
            let _ = timeout(ANSWER, child.wait()).await;
        }
        match Running::start(&self.program, &self.relay).await {
            Ok(running) => {
                self.running = Some(running);
                info!("the relay has a guard again");
                Ok(())
            }
            Err(error) => {
                let off = Board::open(self.relay.backend, &self.relay.chip)
                    .and_then(|board| board.output(self.relay.pin).map(drop));
                Err(off.err().map_or(error, |off| off.context("the relay may be on")))
            }
        }
    }

    /// Ends it, and waits until the relay is off.
    pub async fn end(self) {
        if let Some(Running { mut child, pipe, .. }) = self.running {
            drop(pipe);
            if timeout(READY, child.wait()).await.is_err() {
                error!("the relay's guard does not end");
            }
        }
    }
}

impl Running {
    async fn start(program: &Path, relay: &Relay) -> Result<Self> {
        keep_to_ourselves();
        let mut child = Command::new(program)
            .arg0("rollcall-edge")
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the relay's guard")?;
        let mut pipe = child.stdin.take().context("a guard without standard input")?;
        let said = child.stdout.take().context("a guard without standard output")?;
        let mut answers = BufReader::new(said).lines();
        let started = async {
            // One that has ended already hears nothing, and says nothing either.
            let _ = pipe.write_all(format!("{}\n", serde_json::to_string(relay)?).as_bytes()).await;
            anyhow::Ok(answers.next_line().await?.unwrap_or_default())
        };
        let said = timeout(READY, started).await.context("the relay's guard does not answer")??;
        ensure!(said == SHUT, "the relay's guard can't hold it (its reason is above)");
        Ok(Self { child, pipe, answers })
    }
}

/// No process that is started from here gets what is open here. Rust sees to that by itself, but not the
/// library that opens the camera: a camera that is held elsewhere can't be plugged in again.
pub fn keep_to_ourselves() {
    close_fds::set_fds_cloexec(3, &[]);
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
    println!("{SHUT}");
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
                if line != LOOK {
                    let time = line.parse().map(Duration::from_millis);
                    let asked = Instant::now() + time.context("no time to open the door for")?.min(LONGEST);
                    until = until.max(Some(asked));
                    pin.set(open)?;
                }
                println!("{}", if until.is_some() { OPEN } else { SHUT });
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                until = None;
                pin.set(!open)?;
            }
        }
    }
}
