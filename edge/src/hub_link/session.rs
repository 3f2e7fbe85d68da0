//! The session with the hub: hellos, heartbeats and punches up; receipts, gallery updates and answers down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use models::Gallery;
use prost::Message;
use proto::seal::HelloKey;
use proto::{Answer, CommandKind, DeviceId, Heartbeat, Hello, Sealed, Topic};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::clock_samples::{self, ClockSamples};
use crate::door::Signal;
use crate::gallery::{Applied, GalleryStore};
use crate::health::Health;
use crate::hub_link::commands::Commands;
use crate::hub_link::deliver::Delivery;
use crate::hub_link::link::{Incoming, Sender};
use crate::identity::Identity;
use crate::machine::Machine;
use crate::outbox::Outbox;

/// Between two hellos, and two heartbeats: lost messages are recovered by then.
const INTERVAL: Duration = Duration::from_secs(30);

/// Answers after which the hub has certainly had a heartbeat of this run, with the outbox's alarm in it.
const ALARM_DELIVERED: u32 = 3;

pub struct Session {
    pub delivery: Delivery,
    pub outbox: Outbox,
    pub sender: Sender,
    pub identity: Arc<Identity>,
    pub gallery_store: GalleryStore,
    /// SHA-256 of the embedder.
    pub embedder: String,
    /// The gallery that vision searches.
    pub gallery: watch::Sender<Arc<Gallery>>,
    pub door: mpsc::Sender<Signal>,
    pub health: Arc<Health>,
    pub clock: Clock,
    pub state: PathBuf,
    pub history: History,
    /// Cancelled to restart the daemon.
    pub restart: CancellationToken,
}

/// What later messages are checked against: the latest hellos, the clock samples, the commands that were done.
pub struct History {
    hellos: Hellos,
    samples: ClockSamples,
    commands: Commands,
    /// Answers in this run.
    answers: u32,
}

impl History {
    pub fn open(state: &Path) -> Self {
        let (samples, commands) = (ClockSamples::open(state), Commands::open(state));
        Self { hellos: Hellos::default(), samples, commands, answers: 0 }
    }
}

/// The keys of the latest hellos.
#[derive(Default)]
struct Hellos {
    /// The latest first.
    keys: Vec<OpenHello>,
}

struct OpenHello {
    key: HelloKey,
    at: Instant,
    /// A gallery update was applied with it.
    used: bool,
}

impl Hellos {
    /// Hellos that the hub may still answer: the latest, and the one before, whose answer may have crossed it.
    const OPEN: usize = 2;

    fn draw(&mut self) -> Vec<u8> {
        let key = HelloKey::draw();
        let public = key.public().to_vec();
        self.keys.insert(0, OpenHello { key, at: Instant::now(), used: false });
        self.keys.truncate(Self::OPEN);
        public
    }

    fn of(&self, public: &[u8]) -> Option<&OpenHello> {
        self.keys.iter().find(|hello| hello.key.public() == public)
    }

    /// The age of the hello with this key.
    fn age(&self, public: &[u8]) -> Option<Duration> {
        self.of(public).map(|hello| hello.at.elapsed())
    }

    /// Decrypts a gallery update. A key is good until an update was applied with it.
    fn open(&mut self, device: &DeviceId, sealed: &Sealed) -> Result<Vec<u8>> {
        let hello = self.of(&sealed.key).context("it answers no hello of this terminal")?;
        ensure!(!hello.used, "it answers a hello that was already answered");
        Ok(hello.key.open(Topic::Gallery, device, sealed)?)
    }

    fn mark_used(&mut self, public: &[u8]) {
        for hello in &mut self.keys {
            hello.used |= hello.key.public() == public;
        }
    }
}

impl Session {
    /// Runs until the link is gone or the outbox has stopped.
    pub async fn run(mut self, mut incoming: mpsc::Receiver<Incoming>, appended: Arc<Notify>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let health = self.health.clone();
        let mut connected = false;
        loop {
            let resend = self.delivery.deadline();
            let wake = resend.unwrap_or_else(|| Instant::now() + INTERVAL);
            let done = tokio::select! {
                message = incoming.recv() => match message {
                    None => return,
                    Some(Incoming::Connected) => {
                        connected = true;
                        self.health.set_connected(true);
                        self.announce();
                        self.delivery.connected(true).await
                    }
                    Some(Incoming::Disconnected) => {
                        connected = false;
                        self.health.set_connected(false);
                        self.delivery.connected(false).await
                    }
                    Some(Incoming::Message(topic, body)) => self.handle(topic, &body).await,
                },
                () = appended.notified() => self.delivery.send().await,
                () = tokio::time::sleep_until(wake), if resend.is_some() => self.delivery.resend().await,
                _ = ticks.tick() => {
                    // Also offline: the clock may be set now, and the terminal reboot before it has a network.
                    self.history.samples.add(&self.clock.now());
                    if connected {
                        self.announce();
                    }
                    Ok(())
                }
                () = health.changed(), if connected => {
                    self.heartbeat();
                    Ok(())
                }
            };
            if let Err(error) = done {
                error!(error = format!("{error:#}"), "delivery stopped");
                return;
            }
        }
    }

    fn announce(&mut self) {
        self.hello();
        self.heartbeat();
    }

    /// Tells the hub what the terminal holds; the hub answers with what is missing.
    fn hello(&mut self) {
        let now = self.clock.now();
        self.history.samples.add(&now);
        let hello = Hello {
            version: proto::VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            epoch: self.outbox.epoch(),
            gallery_version: self.gallery_store.version(),
            embedder: self.embedder.clone(),
            key: self.history.hellos.draw(),
            now: Some(clock_samples::of(&now)),
            clock_samples: self.history.samples.all(),
            request: self.identity.renewal_request().unwrap_or_default(),
            done: self.history.commands.done(),
        };
        self.sender.publish(Topic::Hello, hello.encode_to_vec());
    }

    fn heartbeat(&self) {
        // The time first: punches made meanwhile are later.
        let now = self.clock.now();
        let at_us = if now.synchronised && !self.health.punching() { now.wall_us } else { 0 };
        let machine = Machine::read(&self.state);
        let mut alarms = self.health.alarms();
        alarms.extend(self.outbox.alarm());
        let heartbeat = Heartbeat {
            queued: self.outbox.queued(),
            gallery_version: self.gallery_store.version(),
            at_us,
            alarm: alarms.join("; "),
            synchronised: now.synchronised,
            free_mb: machine.free_mb,
            temperature_c: machine.temperature_c,
            ..self.health.heartbeat()
        };
        self.sender.publish(Topic::Heartbeat, heartbeat.encode_to_vec());
    }

    /// Handles a message of the hub. Only a broken outbox is an error; an invalid message is logged.
    async fn handle(&mut self, topic: Topic, body: &[u8]) -> Result<()> {
        let done = match topic {
            Topic::Receipt => return self.delivery.receipt(body).await,
            Topic::Gallery => self.update_gallery(body),
            Topic::Answer => self.handle_answer(body).await,
            Topic::Punches | Topic::Hello | Topic::Heartbeat => Ok(()),
        };
        if let Err(error) = done {
            warn!(?topic, reason = format!("{error:#}"), "rejected: an invalid message");
        }
        Ok(())
    }

    fn update_gallery(&mut self, body: &[u8]) -> Result<()> {
        let sealed = Sealed::decode(body).context("malformed gallery update")?;
        let update = zeroize::Zeroizing::new(self.history.hellos.open(&self.identity.device, &sealed)?);
        match self.gallery_store.apply(&update)? {
            Applied::Changed => {
                self.history.hellos.mark_used(&sealed.key);
                self.gallery.send_replace(Arc::new(self.gallery_store.gallery()));
                self.hello(); // asks for the next part, if there is one
            }
            Applied::Same => {}
            Applied::Gap => warn!("a gallery update is missing; the next hello asks for it"),
        }
        Ok(())
    }

    async fn handle_answer(&mut self, body: &[u8]) -> Result<()> {
        let answer = Answer::decode(body).context("malformed answer")?;
        ensure!(answer.version == proto::VERSION, "answer with unknown version {}", answer.version);
        let age = self.history.hellos.age(&answer.key).context("it answers no hello of this terminal")?;
        self.identity.floor.raise(u64::try_from(answer.at_us / 1_000_000).unwrap_or(0));
        self.history.answers += 1;
        if self.history.answers == ALARM_DELIVERED {
            self.outbox.alarm_delivered();
        }
        if !answer.certificate.is_empty() {
            self.renew(&answer.certificate);
        }
        // A replayed answer is too late for its commands.
        let at_us = answer.at_us.saturating_add(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        for kind in self.history.commands.accept(answer.commands, at_us) {
            if let Err(error) = self.execute(kind).await {
                error!(?kind, error = format!("{error:#}"), "command failed");
            }
        }
        Ok(())
    }

    /// Raises an alarm where the new certificate can't be used, well before the present one expires.
    fn renew(&mut self, certificate: &str) {
        let fault = self.identity.renew(certificate).err().map(|error| {
            error!(error = format!("{error:#}"), "ALARM: cannot use the new certificate");
            format!("cannot renew the certificate: {error:#}")
        });
        self.health.set_certificate_fault(fault);
    }

    async fn execute(&mut self, kind: CommandKind) -> Result<()> {
        info!(?kind, "command of the hub");
        match kind {
            CommandKind::Identify => drop(self.door.send(Signal::Identify).await),
            CommandKind::Resync => {
                self.gallery_store.clear()?;
                self.gallery.send_replace(Arc::new(self.gallery_store.gallery()));
            }
            CommandKind::Open => drop(self.door.send(Signal::Open).await),
            CommandKind::Restart => self.restart.cancel(),
            CommandKind::Nothing => debug!("no command"),
        }
        self.hello(); // tells the hub that it is done
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replayed_gallery_update_is_rejected() {
        let device = DeviceId::from_random([1; 16]);
        let mut hellos = Hellos::default();
        let first = hellos.draw();
        let sealed = proto::seal::seal(Topic::Gallery, &device, &first, b"faces").expect("seals");
        assert_eq!(hellos.open(&device, &sealed).expect("opens"), b"faces");
        let second = hellos.draw();
        assert!(hellos.open(&device, &sealed).is_ok(), "an answer that crossed the next hello");
        hellos.mark_used(&first);
        assert!(hellos.open(&device, &sealed).is_err(), "applied before");
        assert!(hellos.age(&first).is_some() && hellos.age(&second).is_some());
        hellos.draw();
        assert!(hellos.age(&first).is_none() && hellos.age(&second).is_some());
        assert!(hellos.open(&device, &sealed).is_err(), "too old");
    }
}
