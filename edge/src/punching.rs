//! From what was seen to a durable punch and a green light.

mod encode;
mod policy;
mod scenery;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use models::Sighting;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;

use crate::clock::Moment;
use crate::config::Vision;
use crate::door::{Fault, Signal};
use crate::health::Health;
use crate::outbox::Outbox;
use crate::punching::policy::{Attention, Decision};
use crate::vision::Seen;

/// The waits before a punch that could not be made durable is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Whoever is counted later than this may have gone, and no door opens for them.
const PRESENT: Duration = Duration::from_secs(3);

/// Everything that a punch touches.
pub struct Attendant {
    /// When somebody is punched.
    pub policy: Vision,
    /// Where punches are kept.
    pub outbox: Outbox,
    /// What people see.
    pub door: mpsc::Sender<Signal>,
    /// Where strangers are counted.
    pub health: Arc<Health>,
    /// Told when there is something to deliver.
    pub appended: Arc<Notify>,
}

impl Attendant {
    /// Attends to what is seen. When told to stop, it finishes the punch that it has in hand.
    pub async fn run(self, mut seen: mpsc::Receiver<Seen>, stop: CancellationToken) -> Result<()> {
        let mut attention = Attention::new(self.policy.clone());
        loop {
            let what = tokio::select! {
                what = seen.recv() => what,
                () = stop.cancelled() => return Ok(()),
            };
            let Some(what) = what else {
                stop.cancelled().await;
                return Ok(());
            };
            for sighting in &what.sightings {
                match attention.attend(sighting) {
                    Decision::Punch(_) => {
                        self.health.punch(true);
                        self.punch(sighting, &what.moment, &stop).await;
                        self.health.punch(false);
                    }
                    Decision::Challenge => drop(self.door.send(Signal::Turn).await),
                    Decision::Ignore => self.health.picture(),
                    Decision::Wait => {}
                }
            }
            for departure in &what.departures {
                if attention.part(departure) {
                    self.health.stranger(what.moment.hour());
                }
            }
            attention.forget(what.at);
        }
    }

    /// Makes a punch durable, however long that takes, then shows the green light and prints the
    /// punch's id. While it can't, the light is red and nobody else is attended to.
    async fn punch(&self, sighting: &Sighting, moment: &Moment, stop: &CancellationToken) {
        let Some(candidate) = sighting.recognised() else { return };
        let id = Uuid::now_v7();
        let bytes = encode::punch(id, candidate, sighting.threshold, moment);
        let (mut wait, began) = (BACKOFF.0, Instant::now());
        let seq = loop {
            match self.outbox.append(bytes.clone()).await {
                Ok(seq) => break seq,
                Err(error) => {
                    error!(punch.id = %id, %error, "ALARM: a punch is not durable yet; trying again");
                    self.health.attempt();
                    let _ = self.door.send(Signal::Trouble(Fault::Outbox)).await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {
                    error!(punch.id = %id, "stopped before this punch was durable; it had no green light");
                    return;
                }
            }
            wait = (wait * 2).min(BACKOFF.1);
        };
        let _ = self.door.send(Signal::Well(Fault::Outbox)).await;
        let present = began.elapsed() < PRESENT;
        let _ = self.door.send(Signal::Counted { present }).await;
        self.health.durable();
        println!("punch {id} {seq}");
        info!(punch.id = %id, punch.seq = seq, "durable");
        self.appended.notify_one();
    }
}
