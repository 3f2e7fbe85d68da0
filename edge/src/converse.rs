//! The conversation with the hub: who we are and what we hold, punches up, receipts and rosters
//! down, a heartbeat.

use std::sync::Arc;
use std::time::Duration;

use models::Gallery;
use prost::Message;
use proto::{Hello, Topic};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::clock::Clock;
use crate::deliver::Delivery;
use crate::health::Health;
use crate::link::{Incoming, Sender};
use crate::outbox::Outbox;
use crate::roster::{Applied, Roster};

/// How often the terminal says what it holds and how it is: whatever was lost heals by then.
const BEAT: Duration = Duration::from_secs(30);

/// The terminal's side of it.
pub struct Conversation {
    /// Punches on their way up.
    pub delivery: Delivery,
    /// Their store.
    pub outbox: Outbox,
    /// The way up.
    pub sender: Sender,
    /// Who may be recognised.
    pub roster: Roster,
    /// The embedder's hash.
    pub embedder: String,
    /// Where the eyes look for people.
    pub gallery: watch::Sender<Arc<Gallery>>,
    /// Counts for the heartbeat.
    pub health: Arc<Health>,
    /// What time it is.
    pub clock: Clock,
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
                        self.introduce();
                        self.delivery.connected(true).await
                    }
                    Some(Incoming::Disconnected) => {
                        connected = false;
                        self.delivery.connected(false).await
                    }
                    Some(Incoming::Message(Topic::Receipt, payload)) => self.delivery.receipt(&payload).await,
                    Some(Incoming::Message(_, payload)) => {
                        self.update(&payload);
                        Ok(())
                    }
                },
                () = appended.notified() => self.delivery.send().await,
                () = tokio::time::sleep_until(wake), if resend.is_some() => self.delivery.again().await,
                _ = beat.tick(), if connected => {
                    self.introduce();
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

    fn introduce(&self) {
        self.hello();
        self.beat();
    }

    /// Says what the terminal holds; the hub answers with what is missing.
    fn hello(&self) {
        let hello = Hello {
            version: proto::VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            epoch: self.outbox.epoch(),
            roster: self.roster.version(),
            embedder: self.embedder.clone(),
        };
        self.sender.publish(Topic::Hello, hello.encode_to_vec());
    }

    fn beat(&self) {
        // First the time: a punch in between is after it.
        let now = self.clock.now();
        let at_us = if now.synchronised { now.wall_us } else { 0 };
        let beat = self.health.heartbeat(self.outbox.queued(), self.roster.version(), at_us);
        self.sender.publish(Topic::Heartbeat, beat);
    }

    fn update(&mut self, payload: &[u8]) {
        match self.roster.apply(payload) {
            Ok(Applied::Changed) => {
                self.gallery.send_replace(Arc::new(self.roster.gallery()));
                self.hello(); // asks for the next part, if there is one
            }
            Ok(Applied::Same) => {}
            Ok(Applied::Gap) => {
                warn!("a roster update is missing; the hub is asked again with the next hello");
            }
            Err(error) => error!(error = format!("{error:#}"), "a roster that can't be used"),
        }
    }
}
