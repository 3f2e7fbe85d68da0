//! The relay's guard: a separate process that holds the relay's pin and switches it off when the daemon is gone,
//! however it died. Registers of a Raspberry Pi keep their values when their writer is killed, and kernels differ
//! in what they do with a released line.
//!
//! The daemon writes to the guard's standard input: the first line names the pin, each further one opens the door,
//! and end of file means that the daemon has ended. A guard that dies or doesn't answer is replaced; the new one
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
/// Its answers; the second also says that it holds the pin.
const OPEN: &str = "open";
const SHUT: &str = "shut";
/// Asks for an answer alone.
const STATUS: &str = "status";
/// The longest that a door is held open, whatever the request.
const LONGEST: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Relay {
    /// As the daemon resolved it: both must mean the same pin.
    backend: Backend,
    chip: PathBuf,
    pin: Wired,
    lock: Lock,
}

impl Relay {
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

    pub async fn open(&mut self, time: Duration) -> Result<()> {
        self.ask(&time.as_millis().to_string(), OPEN).await
    }

    /// Checks that the door is shut: a guard that hangs can't shut it.
    pub async fn check_shut(&mut self) -> Result<()> {
        self.ask(STATUS, SHUT).await
    }

    async fn ask(&mut self, question: &str, expected: &str) -> Result<()> {
        let running = self.running.as_mut().context("the relay's guard is not running")?;
        let answer = timeout(ANSWER, async {
            running.pipe.write_all(format!("{question}\n").as_bytes()).await?;
            running.answers.next_line().await
        });
        let answer = answer.await.context("the relay's guard does not answer")?;
        let answer = answer.context("cannot read from the relay's guard")?.unwrap_or_default();
        ensure!(answer == expected, "the relay's guard answered {answer:?} instead of {expected:?}");
        Ok(())
    }

    /// Returns when the guard has ended. Cancel safe.
    pub async fn gone(&mut self) {
        match &mut self.running {
            Some(running) => {
                let _ = running.child.wait().await;
                error!("ALARM: the relay's guard has ended; starting another");
                self.running = None;
            }
            None => std::future::pending().await,
        }
    }

    /// Kills the guard, if it still runs, and starts another. If that fails, the relay is switched off from here.
    pub async fn replace(&mut self) -> Result<()> {
        if let Some(Running { mut child, .. }) = self.running.take() {
            let _ = child.start_kill();
            let _ = timeout(ANSWER, child.wait()).await;
        }
        match Running::start(&self.program, &self.relay).await {
            Ok(running) => {
                self.running = Some(running);
                info!("the relay's guard runs again");
                Ok(())
            }
            Err(error) => {
                let off = Board::open(self.relay.backend, &self.relay.chip)
                    .and_then(|board| board.output(self.relay.pin).map(drop));
                Err(off.err().map_or(error, |off| off.context("cannot switch the relay off; it may be on")))
            }
        }
    }

    /// Ends the guard and waits until the relay is off.
    pub async fn end(self) {
        if let Some(Running { mut child, pipe, .. }) = self.running {
            drop(pipe);
            if timeout(READY, child.wait()).await.is_err() {
                error!("the relay's guard does not end; the relay may be on");
            }
        }
    }
}

impl Running {
    async fn start(program: &Path, relay: &Relay) -> Result<Self> {
        close_on_exec();
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
            // If it has ended already, the read below finds nothing.
            let _ = pipe.write_all(format!("{}\n", serde_json::to_string(relay)?).as_bytes()).await;
            anyhow::Ok(answers.next_line().await?.unwrap_or_default())
        };
        let said = timeout(READY, started).await.context("the relay's guard does not answer")??;
        ensure!(said == SHUT, "the relay's guard cannot open the pin (see its error above)");
        Ok(Self { child, pipe, answers })
    }
}

/// Keeps child processes from inheriting open files. Rust's are closed on exec, but not those of the library that
/// opens the camera: a camera that a child holds can't be plugged in again.
pub fn close_on_exec() {
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
    // Only the daemon ends this process: Ctrl-C and systemd signal both.
    let _ignored = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let first = commands.next_line().await?.context("the guard is started by the daemon, not by hand")?;
    let relay: Relay =
        serde_json::from_str(&first).context("the guard is started by the daemon, not by hand")?;
    let mut pin = Board::open(relay.backend, &relay.chip)?.output(relay.pin)?;
    // Current opens a fail-secure lock, and keeps a fail-safe one locked.
    let open = relay.lock == Lock::FailSecure;
    pin.set(!open)?;
    println!("{SHUT}");
    let ended = serve(&mut commands, &mut pin, open).await;
    let off = pin.set(false);
    ended.and(off)
}

async fn serve(commands: &mut Lines<BufReader<Stdin>>, pin: &mut Output, open: bool) -> Result<()> {
    let mut until: Option<Instant> = None;
    loop {
        tokio::select! {
            line = commands.next_line() => {
                let Some(line) = line.context("cannot read from the daemon")? else { return Ok(()) };
                if line != STATUS {
                    let time = line.parse().map(Duration::from_millis);
                    let asked = Instant::now() + time.context("not a number of milliseconds")?.min(LONGEST);
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
