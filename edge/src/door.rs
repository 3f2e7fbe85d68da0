//! Lamps, buzzer, lock and switches of the door.

mod guard;
mod pins;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Backend, Door as Config, Gpio};
use crate::door::guard::{Guard, Relay};
pub use crate::door::guard::{close_on_exec, guard};
use crate::door::pins::{Board, Input, Output, Rest};
use crate::health::Health;

/// An output for people at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    Green,
    Red,
    Buzzer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A punch can't be made durable.
    Outbox,
    /// The camera gives no frames.
    Camera,
    /// The process that holds the relay is gone: the door stays as it is.
    Relay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A punch is durable.
    Punched {
        /// The person is still there: the door may open.
        present: bool,
    },
    /// Asks for a turn of the head: blinks the green light.
    TurnHead,
    /// Shows which terminal this is: green and a tone, longer than for a punch.
    Identify,
    /// Opens the door.
    Open,
    /// Red until it is cleared.
    Failed(Fault),
    Cleared(Fault),
}

trait Lines: Send {
    fn set(&mut self, line: Line, on: bool);
}

struct Log;

impl Lines for Log {
    fn set(&mut self, line: Line, on: bool) {
        info!(?line, on, "door");
    }
}

impl Lines for HashMap<Line, Output> {
    fn set(&mut self, line: Line, on: bool) {
        if let Some(pin) = self.get_mut(&line)
            && let Err(error) = pin.set(on)
        {
            error!(?line, on, error = format!("{error:#}"), "door");
        }
    }
}

/// A debounced switch: its state changes once two reads in a row agree.
struct Switch {
    input: Input,
    last: bool,
    on: bool,
    failed: bool,
}

impl Switch {
    fn new(input: Input) -> Self {
        Self { input, last: false, on: false, failed: false }
    }

    /// The new state, if it has just changed.
    fn changed(&mut self) -> Option<bool> {
        let on = match self.input.is_on() {
            Ok(on) => on,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    error!(
                        error = format!("{error:#}"),
                        "cannot read a switch of the door; see [door] in edge.toml"
                    );
                }
                return None;
            }
        };
        if std::mem::replace(&mut self.last, on) != on || self.on == on {
            return None;
        }
        self.on = on;
        Some(on)
    }
}

/// How long the green light is on, and then off, while it asks for a turn of the head.
const BLINK: Duration = Duration::from_millis(200);
/// How long the green light shows which terminal this is.
const IDENTIFY: Duration = Duration::from_secs(5);
/// How long each line stays on after a punch.
const PULSES: [(Line, Duration); 2] =
    [(Line::Green, Duration::from_secs(1)), (Line::Buzzer, Duration::from_millis(100))];
/// Between two reads of the switches: half of the shortest press that counts.
const READ: Duration = Duration::from_millis(20);
/// This program is the relay's guard, too: valid also when an upgrade has replaced its file.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// How much later than planned the door may be shut.
const SLACK: Duration = Duration::from_millis(500);
/// Between two attempts to start a guard.
const RETRY: Duration = Duration::from_secs(1);

/// Shows signals until cancelled, then switches everything off.
pub struct Door {
    lines: Box<dyn Lines>,
    relay: Option<Guard>,
    exit_button: Option<Switch>,
    tamper: Option<Switch>,
    open: Duration,
    punches_open: bool,
    health: Arc<Health>,
    until: HashMap<Line, Instant>,
    /// When the green light may blink next.
    blink: Option<Instant>,
    /// When an opened door must be shut again.
    shut_by: Option<Instant>,
    /// When to start another guard.
    replace: Option<Instant>,
    faults: HashSet<Fault>,
}

impl Door {
    /// Opens what is configured, with everything off. If that fails, punches are taken all the same, and an alarm
    /// says why nothing lights up.
    pub async fn open(config: &Config, health: Arc<Health>) -> Self {
        match Self::open_pins(config, health.clone()).await {
            Ok(door) => door,
            Err(error) => {
                let error = format!("{error:#}");
                error!(
                    error,
                    "ALARM: cannot open the pins of [door]; punches are taken without lamps and relay"
                );
                health.pins_failed(&error);
                Self::on(Box::new(Log), health)
            }
        }
    }

    async fn open_pins(config: &Config, health: Arc<Health>) -> Result<Self> {
        let Config::Gpio(gpio) = config else { return Ok(Self::on(Box::new(Log), health)) };
        let board = Board::open(gpio.backend, &gpio.chip()).context("door")?;
        let mut door = Self::on(Box::new(outputs(&board, gpio)?), health);
        let input = |pin: Option<crate::config::Pin>, usually_low, rest| {
            pin.map(|pin| board.input(pin.wired(usually_low), rest).map(Switch::new)).transpose()
        };
        door.exit_button = input(gpio.exit_button, true, Rest::Off).context("door.exit_button")?;
        door.tamper = input(gpio.tamper, false, Rest::On).context("door.tamper")?;
        if let Some(relay) = Relay::of(gpio, board.backend()) {
            door.relay = Some(Guard::start(Path::new(THIS_PROGRAM), relay).await.context("door.relay")?);
        }
        door.open = Duration::from_secs(gpio.open_s());
        door.punches_open = gpio.punches_open;
        Ok(door)
    }

    fn on(lines: Box<dyn Lines>, health: Arc<Health>) -> Self {
        Self {
            lines,
            relay: None,
            exit_button: None,
            tamper: None,
            open: Duration::ZERO,
            punches_open: false,
            health,
            until: HashMap::new(),
            blink: None,
            shut_by: None,
            replace: None,
            faults: HashSet::new(),
        }
    }

    pub fn has_relay(&self) -> bool {
        self.relay.is_some()
    }

    pub async fn run(mut self, mut signals: mpsc::Receiver<Signal>, stop: CancellationToken) -> Result<()> {
        let switches = self.exit_button.is_some() || self.tamper.is_some();
        let mut reads = tokio::time::interval(READ);
        reads.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next = self.until.values().copied().chain(self.replace).chain(self.shut_by).min();
            let wake = next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(signal) => self.show(signal).await,
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => self.expire().await,
                _ = reads.tick(), if switches => self.read().await,
                () = gone(&mut self.relay), if self.replace.is_none() => self.relay_lost(),
                () = stop.cancelled() => break,
            }
        }
        if let Some(guard) = self.relay.take() {
            guard.end().await;
        }
        for line in self.until.into_keys() {
            self.lines.set(line, false);
        }
        if !self.faults.is_empty() {
            self.lines.set(Line::Red, false);
        }
        Ok(())
    }

    async fn show(&mut self, signal: Signal) {
        match signal {
            Signal::Punched { present } => {
                for (line, time) in PULSES {
                    self.pulse(line, time);
                }
                if self.punches_open && present {
                    self.unlock().await;
                }
            }
            Signal::TurnHead => self.blink(),
            Signal::Identify => {
                self.pulse(Line::Green, IDENTIFY);
                self.pulse(Line::Buzzer, IDENTIFY / 5);
            }
            Signal::Open if self.relay.is_none() => {
                warn!("cannot open the door: door.relay is not configured");
            }
            Signal::Open => self.unlock().await,
            Signal::Failed(fault) => self.raise(fault),
            Signal::Cleared(fault) => self.clear(fault),
        }
    }

    fn raise(&mut self, fault: Fault) {
        let dark = self.faults.is_empty();
        if self.faults.insert(fault) {
            warn!(?fault, "fault: the light is red");
        }
        if dark {
            self.lines.set(Line::Red, true);
        }
    }

    fn clear(&mut self, fault: Fault) {
        if self.faults.remove(&fault) && self.faults.is_empty() {
            info!("all faults cleared");
            self.lines.set(Line::Red, false);
        }
    }

    /// Opens the door for `open_s`.
    async fn unlock(&mut self) {
        let Some(guard) = &mut self.relay else { return };
        match guard.open(self.open).await {
            Ok(()) => {
                info!(seconds = self.open.as_secs(), "the door is open");
                self.shut_by = Some(Instant::now() + self.open + SLACK);
            }
            Err(error) => {
                error!(error = format!("{error:#}"), "cannot open the door; replacing the relay's guard");
                self.relay_lost();
            }
        }
    }

    /// The relay's guard is gone: start another one.
    fn relay_lost(&mut self) {
        self.health.set_relay_lost(true);
        self.raise(Fault::Relay);
        self.replace.get_or_insert_with(Instant::now);
    }

    async fn replace(&mut self) {
        let Some(guard) = &mut self.relay else { return };
        match guard.replace().await {
            Ok(()) => {
                self.replace = None;
                self.health.set_relay_lost(false);
                self.clear(Fault::Relay);
            }
            Err(error) => {
                error!(error = format!("{error:#}"), "cannot start the relay's guard; retrying");
                self.replace = Some(Instant::now() + RETRY);
            }
        }
    }

    async fn read(&mut self) {
        if let Some(true) = self.exit_button.as_mut().and_then(Switch::changed) {
            info!("the exit button was pressed");
            self.unlock().await;
        }
        if let Some(open) = self.tamper.as_mut().and_then(Switch::changed) {
            if open {
                error!("ALARM: the terminal's case was opened");
            } else {
                info!("the terminal's case is closed");
            }
            self.health.set_tampered(open);
        }
    }

    /// Lights up shortly, unless the light is on already or must be off between two blinks.
    fn blink(&mut self) {
        let now = Instant::now();
        if !self.until.contains_key(&Line::Green) && self.blink.is_none_or(|next| next <= now) {
            self.blink = Some(now + 2 * BLINK);
            self.pulse(Line::Green, BLINK);
        }
    }

    fn pulse(&mut self, line: Line, time: Duration) {
        self.lines.set(line, true);
        self.until.insert(line, Instant::now() + time);
    }

    async fn expire(&mut self) {
        let now = Instant::now();
        let due: Vec<Line> = self.until.iter().filter(|(_, at)| **at <= now).map(|(line, _)| *line).collect();
        for line in due {
            self.until.remove(&line);
            self.lines.set(line, false);
        }
        if self.shut_by.is_some_and(|at| at <= now) {
            self.shut_by = None;
            if let Some(guard) = &mut self.relay
                && let Err(error) = guard.check_shut().await
            {
                error!(
                    error = format!("{error:#}"),
                    "ALARM: the door was not shut; replacing the relay's guard"
                );
                self.relay_lost();
            }
        }
        if self.replace.is_some_and(|at| at <= now) {
            self.replace().await;
        }
    }
}

fn outputs(board: &Board, gpio: &Gpio) -> Result<HashMap<Line, Output>> {
    let named = [
        ("green", Line::Green, gpio.green),
        ("red", Line::Red, gpio.red),
        ("buzzer", Line::Buzzer, gpio.buzzer),
    ];
    let mut outputs = HashMap::new();
    for (name, line, pin) in named {
        if let Some(pin) = pin {
            let output = board.output(pin.wired(false)).with_context(|| format!("door.{name}"))?;
            outputs.insert(line, output);
        }
    }
    Ok(outputs)
}

/// Switches every output off, the relay too: a killed daemon may have left them on.
pub fn off(config: &Config) -> Result<()> {
    let Config::Gpio(gpio) = config else { return Ok(()) };
    let board = Board::open(gpio.backend, &gpio.chip()).context("door")?;
    // The relay first, whatever is wrong with the lamps.
    let relay = gpio.relay.map(|pin| board.output(pin.wired(false)).context("door.relay")).transpose();
    let lamps = outputs(&board, gpio);
    relay.and(lamps.map(drop))
}

/// The backend, and which pins other programs use. Changes no pin.
pub fn inspect_pins(gpio: &Gpio) -> Result<(Backend, Vec<String>)> {
    let board = Board::open(gpio.backend, &gpio.chip())?;
    let mut others = Vec::new();
    for (name, pin) in gpio.pins() {
        let user = board.user(pin.wired(false).pin).with_context(|| format!("door.{name}"))?;
        others.extend(user.map(|user| format!("door.{name} is used by {user:?}")));
    }
    Ok((board.backend(), others))
}

/// Pending for ever without a guard.
async fn gone(relay: &mut Option<Guard>) {
    match relay {
        Some(guard) => guard.gone().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
