//! Makes a durable punch of a recognised person, then shows the green light.

mod encode;
mod policy;
mod still_faces;

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
use crate::punching::policy::{Decision, Policy};
use crate::vision::Observation;

/// The waits before a punch that could not be made durable is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A punch that takes longer to become durable opens no door: the person may have gone.
const PRESENT: Duration = Duration::from_secs(3);

pub struct Punching {
    pub vision: Vision,
    pub outbox: Outbox,
    pub door: mpsc::Sender<Signal>,
    pub health: Arc<Health>,
    /// Notified when there is something to deliver.
    pub appended: Arc<Notify>,
}

impl Punching {
    /// Handles observations until cancelled; a punch in progress is finished first.
    pub async fn run(
        self,
        mut observations: mpsc::Receiver<Observation>,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut policy = Policy::new(self.vision.clone());
        loop {
            let observation = tokio::select! {
                observation = observations.recv() => observation,
                () = stop.cancelled() => return Ok(()),
            };
            let Some(observation) = observation else {
                stop.cancelled().await;
                return Ok(());
            };
            for sighting in &observation.sightings {
                match policy.judge(sighting) {
                    Decision::Punch(_) => {
                        self.health.set_punching(true);
                        self.punch(sighting, &observation.moment, &stop).await;
                        self.health.set_punching(false);
                    }
                    Decision::Challenge => drop(self.door.send(Signal::TurnHead).await),
                    Decision::Ignore => self.health.still_face(),
                    Decision::Wait => {}
                }
            }
            for departure in &observation.departures {
                if policy.depart(departure) {
                    self.health.unknown_face(observation.moment.hour());
                }
            }
            policy.expire(observation.at);
        }
    }

    /// Makes a punch durable, however long that takes, then shows the green light and prints the punch's id. Until
    /// then the light is red and nobody else is punched.
    async fn punch(&self, sighting: &Sighting, moment: &Moment, stop: &CancellationToken) {
        let Some(candidate) = sighting.recognised() else { return };
        let id = Uuid::now_v7();
        let bytes = encode::punch(id, candidate, sighting.threshold, moment);
        let (mut wait, began) = (BACKOFF.0, Instant::now());
        let seq = loop {
            match self.outbox.append(bytes.clone()).await {
                Ok(seq) => break seq,
                Err(error) => {
                    error!(punch.id = %id, %error, "ALARM: a punch is not durable yet; retrying");
                    self.health.attempt();
                    let _ = self.door.send(Signal::Failed(Fault::Outbox)).await;
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
        let _ = self.door.send(Signal::Cleared(Fault::Outbox)).await;
        let present = began.elapsed() < PRESENT;
        let _ = self.door.send(Signal::Punched { present }).await;
        self.health.punched();
        println!("punch {id} {seq}");
        info!(punch.id = %id, punch.seq = seq, "punch durable");
        self.appended.notify_one();
    }
}
