//! What people at the door see and hear, and the door itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use rppal::gpio::{Gpio, OutputPin};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Door as Choice;

/// A thing that can be on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// Counted.
    Green,
    /// Something is wrong.
    Red,
    /// A short tone.
    Buzzer,
    /// The door.
    Relay,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A punch can't be made durable.
    Outbox,
    /// No frames.
    Camera,
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A punch is durable.
    Counted,
    /// Turn your head, please: a blink of the green light, again and again.
    Turn,
    /// Which terminal is this? Green and a tone, longer than for anybody counted.
    Identify,
    /// Red until it is well again.
    Trouble(Fault),
    /// This is well again.
    Well(Fault),
}

/// What drives the lines.
trait Lines: Send {
    fn set(&mut self, line: Line, on: bool);
}

struct Log;

impl Lines for Log {
    fn set(&mut self, line: Line, on: bool) {
        info!(?line, on, "door");
    }
}

struct Raspberry(HashMap<Line, OutputPin>);

impl Lines for Raspberry {
    fn set(&mut self, line: Line, on: bool) {
        if let Some(pin) = self.0.get_mut(&line) {
            if on { pin.set_high() } else { pin.set_low() }
        }
    }
}

/// Opens the backend that the configuration names.
fn open(choice: &Choice) -> Result<Box<dyn Lines>> {
    let Choice::Raspberry { green, red, buzzer, relay } = choice else { return Ok(Box::new(Log)) };
    let gpio = Gpio::new().context("door.kind is raspberry, but the pins can't be opened")?;
    let mut pins = HashMap::new();
    for (line, number) in
        [(Line::Green, green), (Line::Red, red), (Line::Buzzer, buzzer), (Line::Relay, relay)]
    {
        if let Some(number) = number {
            let pin = gpio.get(*number).with_context(|| format!("cannot use pin {number}"))?;
            pins.insert(line, pin.into_output_low());
        }
    }
    Ok(Box::new(Raspberry(pins)))
}

/// How long the green light is on, and then off, while it asks for a turn of the head.
const BLINK: Duration = Duration::from_millis(200);
/// How long the green light shows which terminal this is.
const IDENTIFY: Duration = Duration::from_secs(5);
/// How long each line stays on after a punch.
const PULSES: [(Line, Duration); 3] = [
    (Line::Green, Duration::from_secs(1)),
    (Line::Buzzer, Duration::from_millis(100)),
    (Line::Relay, Duration::from_secs(3)),
];

/// The door: shows signals until it is told to stop, then switches everything off.
pub struct Door {
    lines: Box<dyn Lines>,
    /// Whether a punch opens the door: only where a relay is configured.
    opens: bool,
    until: HashMap<Line, Instant>,
    /// When the green light may blink next.
    blink: Option<Instant>,
    faults: HashSet<Fault>,
}

impl Door {
    /// Opens the configured backend with everything off.
    pub fn open(choice: &Choice) -> Result<Self> {
        let opens = matches!(choice, Choice::Raspberry { relay: Some(_), .. });
        Ok(Self::on(open(choice)?, opens))
    }

    fn on(lines: Box<dyn Lines>, opens: bool) -> Self {
        Self { lines, opens, until: HashMap::new(), blink: None, faults: HashSet::new() }
    }

    /// Shows what comes in until told to stop.
    pub async fn run(mut self, mut signals: mpsc::Receiver<Signal>, stop: CancellationToken) -> Result<()> {
        loop {
            let next = self.until.values().min().copied();
            let wake = next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(signal) => self.show(signal),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => self.expire(),
                () = stop.cancelled() => break,
            }
        }
        for line in self.until.into_keys() {
            self.lines.set(line, false);
        }
        if !self.faults.is_empty() {
            self.lines.set(Line::Red, false);
        }
        Ok(())
    }

    fn show(&mut self, signal: Signal) {
        match signal {
            Signal::Counted => {
                let opens = self.opens;
                for (line, time) in PULSES.into_iter().filter(|(line, _)| opens || *line != Line::Relay) {
                    self.pulse(line, time);
                }
            }
            Signal::Turn => self.blink(),
            Signal::Identify => {
                self.pulse(Line::Green, IDENTIFY);
                self.pulse(Line::Buzzer, IDENTIFY / 5);
            }
            Signal::Trouble(fault) => {
                let dark = self.faults.is_empty();
                if self.faults.insert(fault) {
                    warn!(?fault, "trouble");
                }
                if dark {
                    self.lines.set(Line::Red, true);
                }
            }
            Signal::Well(fault) => {
                if self.faults.remove(&fault) && self.faults.is_empty() {
                    info!("all is well");
                    self.lines.set(Line::Red, false);
                }
            }
        }
    }

    /// Lights up shortly, unless the light is on, for somebody counted perhaps, or must be off between
    /// two blinks.
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

    fn expire(&mut self) {
        let now = Instant::now();
        let due: Vec<Line> = self.until.iter().filter(|(_, at)| **at <= now).map(|(line, _)| *line).collect();
        for line in due {
            self.until.remove(&line);
            self.lines.set(line, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Record(Arc<Mutex<Vec<(Line, bool)>>>);
    impl Lines for Record {
        fn set(&mut self, line: Line, on: bool) {
            self.0.lock().expect("no panic").push((line, on));
        }
    }

    #[tokio::test]
    async fn a_punch_is_a_pulse_and_trouble_stays_red_until_it_is_well() {
        let record = Arc::new(Mutex::new(Vec::new()));
        let door = Door::on(Box::new(Record(record.clone())), true);
        let (send, receive) = mpsc::channel(4);
        let mut running = tokio::task::JoinSet::new();
        running.spawn(door.run(receive, CancellationToken::new()));
        for signal in [Signal::Trouble(Fault::Outbox), Signal::Trouble(Fault::Camera), Signal::Counted] {
            send.send(signal).await.expect("door runs");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(record.lock().expect("no panic").contains(&(Line::Buzzer, false)), "its pulse is over");
        for fault in [Fault::Outbox, Fault::Camera] {
            assert!(record.lock().expect("no panic").last() != Some(&(Line::Red, false)));
            send.send(Signal::Well(fault)).await.expect("door runs");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(send);
        running.join_all().await;
        let seen = record.lock().expect("no panic").clone();
        let on_off = |line| seen.iter().filter(|(l, _)| *l == line).map(|(_, on)| *on).collect::<Vec<_>>();
        for line in [Line::Green, Line::Buzzer, Line::Relay, Line::Red] {
            assert_eq!(on_off(line).first_chunk(), Some(&[true, false]), "{line:?}");
        }
    }
    #[tokio::test(start_paused = true)]
    async fn who_is_asked_sees_green_blinks_and_no_door_opens() {
        let record = Arc::new(Mutex::new(Vec::new()));
        let door = Door::on(Box::new(Record(record.clone())), true);
        let (send, receive) = mpsc::channel(4);
        let mut running = tokio::task::JoinSet::new();
        running.spawn(door.run(receive, CancellationToken::new()));
        for _ in 0..15 {
            send.send(Signal::Turn).await.expect("door runs");
            tokio::time::sleep(Duration::from_millis(66)).await;
        }
        let seen = record.lock().expect("no panic").clone();
        assert_eq!(seen, [true, false, true, false, true].map(|on| (Line::Green, on)), "a second of asking");
        send.send(Signal::Counted).await.expect("door runs");
        for _ in 0..14 {
            send.send(Signal::Turn).await.expect("door runs");
            tokio::time::sleep(Duration::from_millis(66)).await;
        }
        let seen = record.lock().expect("no panic").clone();
        let mut green = seen.iter().skip(5).filter(|(line, _)| *line == Line::Green);
        assert!(green.all(|(_, on)| *on), "counted, and lit for a second: {seen:?}");
        drop(send);
        running.join_all().await;
    }
}
