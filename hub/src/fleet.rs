//! The conversation with terminals: batches in, Receipts out, rosters down, heartbeats kept.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use prost::Message as _;
use proto::{DeviceId, Heartbeat, Hello, Topic};
use sqlx::PgPool;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use uuid::Uuid;

use crate::broker::{Message, Publisher};
use crate::vault::Vault;
use crate::{clock, ingest, roster, store};

/// What a terminal holds, as far as the hub knows.
struct Held {
    roster: u64,
    embedder: String,
}

/// All terminals.
pub struct Fleet {
    /// Where everything is kept.
    pub pool: PgPool,
    /// What templates are sealed with.
    pub vault: Arc<Vault>,
    /// The way down.
    pub publisher: Publisher,
    /// Changes when the roster does.
    pub roster_changed: watch::Receiver<()>,
}

impl Fleet {
    /// Answers terminals until the broker's router is gone, which is an error.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<()> {
        let mut held: HashMap<DeviceId, Held> = HashMap::new();
        loop {
            tokio::select! {
                message = messages.recv() => {
                    let message = message.context("the broker's router is gone")?;
                    let (device, topic) = (message.device.clone(), message.topic);
                    // The terminal sends again what was not stored: nothing is lost by going on.
                    if let Err(error) = self.answer(message, &mut held).await {
                        warn!(device.id = %device, ?topic, error = format!("{error:#}"), "not handled");
                    }
                }
                changed = self.roster_changed.changed() => {
                    changed.context("the listener is gone")?;
                    for (device, held) in &held {
                        if let Err(error) = self.send_roster(device, held).await {
                            warn!(device.id = %device, error = format!("{error:#}"), "roster not sent");
                        }
                    }
                }
            }
        }
    }

    async fn answer(&mut self, message: Message, held: &mut HashMap<DeviceId, Held>) -> Result<()> {
        let Message { device, topic, payload } = message;
        match topic {
            Topic::Punches => {
                let receipt = ingest::ingest(&self.pool, &device, &payload, clock::now()).await?;
                self.publisher.publish(&device, Topic::Receipt, receipt.encode_to_vec())
            }
            Topic::Hello => {
                let hello = Hello::decode(payload.as_slice()).context("a hello that can't be read")?;
                ensure!(hello.version == proto::VERSION, "a hello of version {}", hello.version);
                let now = Held { roster: hello.roster, embedder: hello.embedder };
                self.send_roster(&device, &now).await?;
                held.insert(device, now);
                Ok(())
            }
            Topic::Heartbeat => self.beat(&device, &payload).await,
            Topic::Receipt | Topic::Roster => Ok(()),
        }
    }

    async fn beat(&self, device: &DeviceId, payload: &[u8]) -> Result<()> {
        let beat = Heartbeat::decode(payload).context("a heartbeat that can't be read")?;
        ensure!(beat.version == proto::VERSION, "a heartbeat of version {}", beat.version);
        ensure!(beat.strangers.len() <= 1000, "a heartbeat with {} hours", beat.strangers.len());
        let run = Uuid::from_slice(&beat.run).context("a heartbeat without its run")?;
        let mut transaction = self.pool.begin().await?;
        store::terminals::beat(&mut transaction, device, &beat, reported(&beat, clock::now())).await?;
        store::strangers::count(&mut transaction, device, run, &beat.strangers).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Sends the next part of what a terminal lacks. Its hello afterwards asks for the part after
    /// that, so that a large roster never piles up in the broker.
    async fn send_roster(&mut self, device: &DeviceId, held: &Held) -> Result<()> {
        let mut conn = self.pool.acquire().await?;
        if let Some(update) = roster::next(&mut conn, &self.vault, &held.embedder, held.roster).await? {
            info!(device.id = %device, after = update.after, through = update.through, "roster sent");
            self.publisher.publish(device, Topic::Roster, update.encode_to_vec())?;
        }
        Ok(())
    }
}

/// Up to when a terminal has reported, if its heartbeat can say: nothing waits in it, and its clock
/// is neither unsure nor ahead of the hub's.
fn reported(beat: &Heartbeat, now: Timestamp) -> Option<Timestamp> {
    let at = Timestamp::from_microsecond(beat.at_us).ok()?;
    (beat.queued == 0 && beat.at_us > 0).then(|| at.min(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_queue_and_a_sure_clock_report() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let beat = |queued, at_us| Heartbeat { queued, at_us, ..Heartbeat::default() };
        assert_eq!(reported(&beat(0, 0), now), None);
        assert_eq!(reported(&beat(1, now.as_microsecond()), now), None);
        assert_eq!(
            reported(&beat(0, now.as_microsecond() - 5), now)
                .map(|at| now.as_microsecond() - at.as_microsecond()),
            Some(5)
        );
        assert_eq!(reported(&beat(0, now.as_microsecond() + 5), now), Some(now));
    }
}
