//! The conversation with the hub: who we are and what we hold, punches up, receipts, rosters and
//! answers down, a heartbeat.

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
use crate::clock_samples::{self, Anchors};
use crate::door::Signal;
use crate::gallery::{Applied, Roster};
use crate::health::Health;
use crate::hub_link::commands::Errands;
use crate::hub_link::deliver::Delivery;
use crate::hub_link::link::{Incoming, Sender};
use crate::identity::Identity;
use crate::machine::Machine;
use crate::outbox::Outbox;

/// How often the terminal says what it holds and how it is: whatever was lost heals by then.
const BEAT: Duration = Duration::from_secs(30);

/// After so many answers the hub has had a heartbeat of this run, with the alarm in it.
const ALARM_TOLD: u32 = 3;

/// The terminal's side of it.
pub struct Conversation {
    /// Punches on their way up.
    pub delivery: Delivery,
    /// Their store.
    pub outbox: Outbox,
    /// The way up.
    pub sender: Sender,
    /// Who this is.
    pub identity: Arc<Identity>,
    /// Who may be recognised.
    pub roster: Roster,
    /// The embedder's hash.
    pub embedder: String,
    /// Where the eyes look for people.
    pub gallery: watch::Sender<Arc<Gallery>>,
    /// What people at the door see.
    pub door: mpsc::Sender<Signal>,
    /// Counts for the heartbeat.
    pub health: Arc<Health>,
    /// What time it is.
    pub clock: Clock,
    /// The folder that must not be full.
    pub state: PathBuf,
    /// What the hub may answer, and what it has said before.
    pub memory: Memory,
    /// Cancelled where the daemon is to start again.
    pub restart: CancellationToken,
}

/// What lets the terminal tell a fresh answer from one that was kept and sent again.
pub struct Memory {
    hellos: Hellos,
    anchors: Anchors,
    errands: Errands,
    /// Answers in this run.
    answers: u32,
}

impl Memory {
    /// With what the folder `state` remembers.
    pub fn open(state: &Path) -> Self {
        let (anchors, errands) = (Anchors::open(state), Errands::open(state));
        Self { hellos: Hellos::default(), anchors, errands, answers: 0 }
    }
}

/// The keys of the latest hellos.
#[derive(Default)]
struct Hellos {
    /// The latest first.
    keys: Vec<Drawn>,
}

/// The key of one hello.
struct Drawn {
    key: HelloKey,
    at: Instant,
    /// A roster was taken with it.
    spent: bool,
}

impl Hellos {
    /// Hellos that the hub may still answer: the latest, and one that crossed its answer.
    const OPEN: usize = 2;

    fn draw(&mut self) -> Vec<u8> {
        let key = HelloKey::draw();
        let public = key.public().to_vec();
        self.keys.insert(0, Drawn { key, at: Instant::now(), spent: false });
        self.keys.truncate(Self::OPEN);
        public
    }

    fn of(&self, public: &[u8]) -> Option<&Drawn> {
        self.keys.iter().find(|drawn| drawn.key.public() == public)
    }

    /// How long ago the hello was sent that is answered.
    fn age(&self, public: &[u8]) -> Option<Duration> {
        self.of(public).map(|drawn| drawn.at.elapsed())
    }

    /// Opens a roster. Each key opens rosters until one was taken with it.
    fn open(&mut self, device: &DeviceId, sealed: &Sealed) -> Result<Vec<u8>> {
        let drawn = self.of(&sealed.key).context("it answers no hello of this terminal's")?;
        ensure!(!drawn.spent, "it answers a hello that was answered");
        Ok(drawn.key.open(Topic::Roster, device, sealed)?)
    }

    fn spend(&mut self, public: &[u8]) {
        for drawn in &mut self.keys {
            drawn.spent |= drawn.key.public() == public;
        }
    }
}

impl Conversation {
    /// Talks until the link is gone or the outbox has stopped.
    pub async fn run(mut self, mut incoming: mpsc::Receiver<Incoming>, appended: Arc<Notify>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let health = self.health.clone();
        let mut connected = false;
        loop {
            let resend = self.delivery.deadline();
            let wake = resend.unwrap_or_else(|| Instant::now() + BEAT);
            let done = tokio::select! {
                message = incoming.recv() => match message {
                    None => return,
                    Some(Incoming::Connected) => {
                        connected = true;
                        self.health.connect(true);
                        self.introduce();
                        self.delivery.connected(true).await
                    }
                    Some(Incoming::Disconnected) => {
                        connected = false;
                        self.health.connect(false);
                        self.delivery.connected(false).await
                    }
                    Some(Incoming::Message(topic, body)) => self.hear(topic, &body).await,
                },
                () = appended.notified() => self.delivery.send().await,
                () = tokio::time::sleep_until(wake), if resend.is_some() => self.delivery.again().await,
                _ = beat.tick() => {
                    // Also offline: the clock may be set now, and the next start before the network.
                    self.memory.anchors.note(&self.clock.now());
                    if connected {
                        self.introduce();
                    }
                    Ok(())
                }
                () = health.changed(), if connected => {
                    self.beat();
                    Ok(())
                }
            };
            if let Err(error) = done {
                error!(error = format!("{error:#}"), "delivery");
                return;
            }
        }
    }

    fn introduce(&mut self) {
        self.hello();
        self.beat();
    }

    /// Says what the terminal holds; the hub answers with what is missing.
    fn hello(&mut self) {
        let now = self.clock.now();
        self.memory.anchors.note(&now);
        let hello = Hello {
            version: proto::VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            epoch: self.outbox.epoch(),
            roster: self.roster.version(),
            embedder: self.embedder.clone(),
            key: self.memory.hellos.draw(),
            now: Some(clock_samples::of(&now)),
            anchors: self.memory.anchors.all(),
            request: self.identity.request().unwrap_or_default(),
            done: self.memory.errands.done(),
        };
        self.sender.publish(Topic::Hello, hello.encode_to_vec());
    }

    fn beat(&self) {
        // First the time: a punch in between is after it.
        let now = self.clock.now();
        let at_us = if now.synchronised && !self.health.punching() { now.wall_us } else { 0 };
        let machine = Machine::look(&self.state);
        let mut alarms = self.health.alarms();
        alarms.extend(self.outbox.alarm());
        let beat = Heartbeat {
            queued: self.outbox.queued(),
            roster: self.roster.version(),
            at_us,
            alarm: alarms.join("; "),
            synchronised: now.synchronised,
            free_mb: machine.free_mb,
            temperature_c: machine.temperature_c,
            ..self.health.heartbeat()
        };
        self.sender.publish(Topic::Heartbeat, beat.encode_to_vec());
    }

    /// What the hub signed. Only a broken outbox is an error; what makes no sense is refused.
    async fn hear(&mut self, topic: Topic, body: &[u8]) -> Result<()> {
        let done = match topic {
            Topic::Receipt => return self.delivery.receipt(body).await,
            Topic::Roster => self.update(body),
            Topic::Answer => self.answered(body).await,
            Topic::Punches | Topic::Hello | Topic::Heartbeat => Ok(()),
        };
        if let Err(error) = done {
            warn!(?topic, reason = format!("{error:#}"), "REFUSED: a message that can't be used");
        }
        Ok(())
    }

    fn update(&mut self, body: &[u8]) -> Result<()> {
        let sealed = Sealed::decode(body).context("a roster that can't be read")?;
        let roster = zeroize::Zeroizing::new(self.memory.hellos.open(&self.identity.device, &sealed)?);
        match self.roster.apply(&roster)? {
            Applied::Changed => {
                self.memory.hellos.spend(&sealed.key);
                self.gallery.send_replace(Arc::new(self.roster.gallery()));
                self.hello(); // asks for the next part, if there is one
            }
            Applied::Same => {}
            Applied::Gap => warn!("a roster update is missing; the hub is asked again with the next hello"),
        }
        Ok(())
    }

    async fn answered(&mut self, body: &[u8]) -> Result<()> {
        let answer = Answer::decode(body).context("an answer that can't be read")?;
        ensure!(answer.version == proto::VERSION, "an answer of version {}", answer.version);
        let age = self.memory.hellos.age(&answer.key).context("it answers no hello of this terminal's")?;
        self.identity.floor.raise(u64::try_from(answer.at_us / 1_000_000).unwrap_or(0));
        self.memory.answers += 1;
        if self.memory.answers == ALARM_TOLD {
            self.outbox.told();
        }
        if !answer.certificate.is_empty() {
            self.renew(&answer.certificate);
        }
        // What somebody kept from before is too late for whatever was asked for.
        let at_us = answer.at_us.saturating_add(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        for kind in self.memory.errands.take(answer.commands, at_us) {
            if let Err(error) = self.obey(kind).await {
                error!(?kind, error = format!("{error:#}"), "a command failed");
            }
        }
        Ok(())
    }

    /// A certificate that can't be used is somebody's business before the present one expires.
    fn renew(&mut self, certificate: &str) {
        let fault = self.identity.renew(certificate).err().map(|error| {
            error!(error = format!("{error:#}"), "ALARM: the new certificate is not used");
            format!("the certificate is not renewed: {error:#}")
        });
        self.health.certificate(fault);
    }

    async fn obey(&mut self, kind: CommandKind) -> Result<()> {
        info!(?kind, "a command of the hub");
        match kind {
            CommandKind::Identify => drop(self.door.send(Signal::Identify).await),
            CommandKind::Resync => {
                self.roster.clear()?;
                self.gallery.send_replace(Arc::new(self.roster.gallery()));
            }
            CommandKind::Open => drop(self.door.send(Signal::Open).await),
            CommandKind::Restart => self.restart.cancel(),
            CommandKind::Nothing => debug!("nothing to do"),
        }
        self.hello(); // so that the hub hears that it is done
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_that_was_kept_opens_for_no_later_hello() {
        let device = DeviceId::from_random([1; 16]);
        let mut hellos = Hellos::default();
        let first = hellos.draw();
        let sealed = proto::seal::seal(Topic::Roster, &device, &first, b"faces").expect("seals");
        assert_eq!(hellos.open(&device, &sealed).expect("opens"), b"faces");
        let second = hellos.draw();
        assert!(hellos.open(&device, &sealed).is_ok(), "an answer that crossed the next hello");
        hellos.spend(&first);
        assert!(hellos.open(&device, &sealed).is_err(), "taken before");
        assert!(hellos.age(&first).is_some() && hellos.age(&second).is_some());
        hellos.draw();
        assert!(hellos.age(&first).is_none() && hellos.age(&second).is_some());
        assert!(hellos.open(&device, &sealed).is_err(), "too old");
    }
}
