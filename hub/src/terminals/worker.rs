//! A few workers, each with terminals of its own, so that one terminal's messages are handled in
//! their order. A worker stores all the batches that have come in meanwhile in one transaction.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use prost::Message as _;
use proto::sign::Author;
use proto::{DeviceId, Heartbeat, Topic};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;
use uuid::Uuid;

use crate::crypto::ca::Authority;
use crate::crypto::vault::Vault;
use crate::date::Timestamp;
use crate::mqtt::rejections::{RejectionKind, Rejections, reject};
use crate::mqtt::{Message, Publisher};
use crate::punches::{Batch, ingest};
use crate::terminals::held::Held;
use crate::{clock, db};

/// Workers: as many transactions wait for the disk at once.
const WORKERS: usize = 4;
/// Messages that a worker handles together, at most.
const GROUP: usize = 64;

/// What every worker needs.
#[derive(Clone)]
pub struct Fleet {
    /// Where everything is kept.
    pub pool: PgPool,
    /// What templates are sealed with.
    pub vault: Arc<Vault>,
    /// Renews certificates.
    pub authority: Arc<Authority>,
    /// The way down.
    pub publisher: Publisher,
    /// Where rejections are counted.
    pub rejections: Arc<Rejections>,
    /// Whether the broker looks at certificates for the hub.
    pub own_broker: bool,
    /// Changes when the gallery does.
    pub gallery_changed: watch::Receiver<()>,
    /// Terminals of which something changed; `None`: any of them.
    pub terminals_changed: broadcast::Sender<Option<DeviceId>>,
}

impl Fleet {
    /// Answers terminals until the broker's router is gone, which is an error.
    pub async fn run(self, mut messages: mpsc::Receiver<Message>) -> Result<()> {
        let mut workers = JoinSet::new();
        let mut ways = Vec::new();
        for _ in 0..WORKERS {
            let (send, receive) = mpsc::channel(256);
            ways.push(send);
            let worker = Worker { fleet: self.clone(), held: HashMap::new() };
            workers.spawn(worker.run(receive));
        }
        loop {
            tokio::select! {
                message = messages.recv() => {
                    let message = message.context("the broker's router is gone")?;
                    let mut hasher = DefaultHasher::new();
                    message.device.hash(&mut hasher);
                    let way = &ways[hasher.finish() as usize % WORKERS];
                    way.send(message).await.ok().context("a worker is gone")?;
                }
                Some(ended) = workers.join_next() => ended.context("a worker panicked")??,
            }
        }
    }
}

/// Whoever answers some of the terminals.
pub(super) struct Worker {
    pub(super) fleet: Fleet,
    pub(super) held: HashMap<DeviceId, Held>,
}

/// A message whose author is known.
pub(super) struct Authenticated {
    pub(super) device: DeviceId,
    pub(super) topic: Topic,
    pub(super) body: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Worker {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<()> {
        let mut gallery_changed = self.fleet.gallery_changed.clone();
        let mut terminals_changed = self.fleet.terminals_changed.subscribe();
        let mut group = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                count = messages.recv_many(&mut group, GROUP) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.handle(std::mem::take(&mut group)).await;
                }
                changed = gallery_changed.changed() => {
                    changed.context("the listener is gone")?;
                    self.forget_revoked().await;
                    self.send_galleries().await;
                }
                changed = terminals_changed.recv() => {
                    // Whoever lagged behind hears of commands with the next hello.
                    self.forget_revoked().await;
                    if let Ok(Some(device)) = changed {
                        self.answer_again(&device).await;
                    }
                }
            }
        }
    }

    /// What can't be handled now is not lost: the terminal sends it again.
    async fn handle(&mut self, group: Vec<Message>) {
        let authenticated = match self.authenticate(group).await {
            Ok(authenticated) => authenticated,
            Err(error) => return warn!(error = format!("{error:#}"), "messages not handled"),
        };
        let (batches, others): (Vec<_>, Vec<_>) =
            authenticated.into_iter().partition(|message| message.topic == Topic::Punches);
        let (hellos, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|message| message.topic == Topic::Hello);
        // Hellos first: they tell when punches of an unset clock were made. Of several only the last
        // still counts.
        let latest: HashMap<DeviceId, Authenticated> =
            hellos.into_iter().map(|message| (message.device.clone(), message)).collect();
        for message in latest.into_values() {
            self.greet(message).await;
        }
        self.store(batches).await;
        for message in others {
            if let Err(error) = self.beat(&message.device, &message.body).await {
                warn!(device.id = %message.device, error = format!("{error:#}"), "heartbeat not kept");
            }
        }
    }

    /// Terminals that are not accepted any more get nothing.
    async fn forget_revoked(&mut self) {
        let devices: Vec<String> = self.held.keys().map(|device| device.as_str().to_owned()).collect();
        let accepted = async {
            let mut conn = self.fleet.pool.acquire().await?;
            db::terminals::keys(&mut conn, &devices).await
        };
        match accepted.await {
            Ok(accepted) => self.held.retain(|device, _| accepted.contains_key(device.as_str())),
            Err(error) => {
                // Their next hellos bring back those that are.
                warn!(%error, "cannot tell who is revoked; everybody is forgotten");
                self.held.clear();
            }
        }
    }

    /// Those messages that an accepted terminal signed itself. A revoked one is not heard, even
    /// where the broker still lets it publish.
    async fn authenticate(&self, group: Vec<Message>) -> Result<Vec<Authenticated>> {
        let mut devices: Vec<String> = group.iter().map(|m| m.device.as_str().to_owned()).collect();
        devices.sort_unstable();
        devices.dedup();
        let keys = db::terminals::keys(&mut *self.fleet.pool.acquire().await?, &devices).await?;
        let mut authenticated = Vec::with_capacity(group.len());
        for Message { device, topic, payload } in group {
            let Some(key) = keys.get(device.as_str()) else {
                self.fleet.rejections.note(
                    &device,
                    &reject(RejectionKind::Revoked, "a message of a terminal that is not accepted"),
                );
                continue;
            };
            match Author::Terminal(key.clone()).verify(topic, &device, &payload) {
                Ok(body) => authenticated.push(Authenticated { device, topic, body, key: key.clone() }),
                Err(reason) => {
                    self.fleet
                        .rejections
                        .note(&device, &reject(RejectionKind::Signature, format!("{topic:?}: {reason}")));
                }
            }
        }
        Ok(authenticated)
    }

    /// Stores batches together; where that fails each by itself, so that one that makes no sense
    /// holds up nobody else.
    async fn store(&self, batches: Vec<Authenticated>) {
        let mut read = Vec::with_capacity(batches.len());
        for message in batches {
            match Batch::read(message.device.clone(), &message.body) {
                Ok(batch) => read.push(batch),
                Err(error) => {
                    self.fleet
                        .rejections
                        .note(&message.device, &reject(RejectionKind::Batch, format!("{error:#}")));
                }
            }
        }
        if read.is_empty() {
            return;
        }
        match self.store_group(&read).await {
            Err(error) if read.len() > 1 => {
                warn!(error = format!("{error:#}"), "batches are stored one by one");
                for batch in &read {
                    if let Err(error) = self.store_group(std::slice::from_ref(batch)).await {
                        warn!(device.id = %batch.device, error = format!("{error:#}"), "a batch is not stored");
                    }
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "a batch is not stored"),
            Ok(()) => {}
        }
    }

    async fn store_group(&self, batches: &[Batch]) -> Result<()> {
        for (device, receipt) in ingest(&self.fleet.pool, batches, clock::now()).await? {
            self.fleet.publisher.publish(&device, Topic::Receipt, receipt.encode_to_vec())?;
        }
        Ok(())
    }

    async fn beat(&self, device: &DeviceId, body: &[u8]) -> Result<()> {
        let beat = Heartbeat::decode(body).context("a heartbeat that can't be read")?;
        ensure!(beat.version == proto::VERSION, "a heartbeat of version {}", beat.version);
        ensure!(beat.unknown_faces.len() <= 1000, "a heartbeat with {} hours", beat.unknown_faces.len());
        let run = Uuid::from_slice(&beat.run).context("a heartbeat without its run")?;
        if !beat.alarm.is_empty() {
            let alarm = db::terminals::short(&beat.alarm, 500);
            warn!(device.id = %device, alarm, "ALARM: a terminal needs somebody to look at it");
        }
        let mut transaction = self.fleet.pool.begin().await?;
        let health = db::terminals::Health::of(&beat, run);
        let earlier = db::terminals::health(&mut transaction, device).await?.unwrap_or_default();
        let tampers = health.new_tampers(&earlier);
        if tampers > 0 {
            let details = json!({"times": tampers});
            db::audit::record(&mut transaction, "terminal", "terminal.opened", device.as_str(), details)
                .await?;
        }
        db::terminals::beat(&mut transaction, device, &beat, &health, reported(&beat, clock::now())).await?;
        db::unknown_faces::count(&mut transaction, device, run, &beat.unknown_faces).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Up to when a terminal has reported, if its heartbeat can say: nothing waits in it, and its clock
/// is neither unsure nor ahead of the hub's.
fn reported(beat: &Heartbeat, now: Timestamp) -> Option<Timestamp> {
    let at = Timestamp(jiff::Timestamp::from_microsecond(beat.at_us).ok()?);
    (beat.queued == 0 && beat.at_us > 0).then(|| at.min(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_queue_and_a_sure_clock_report() {
        let now = Timestamp(jiff::Timestamp::from_second(1_800_000_000).expect("a time"));
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
