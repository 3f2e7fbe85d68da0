//! Delivers punches from the outbox to the hub in batches, and sends them again until a Receipt covers them.
//!
//! Only a Receipt of this store's epoch deletes punches, so the only state is where to go on reading.

use std::time::Duration;

use anyhow::Result;
use prost::Message;
use proto::{PunchBatch, PunchRecord, Receipt, Topic};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::hub_link::link::Sender;
use crate::outbox::{Outbox, OutboxError};

/// Batches in flight, at most.
const WINDOW: usize = 4;
/// Without a Receipt for so long (and up to half as long again), everything is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(4);

pub struct Delivery {
    outbox: Outbox,
    sender: Sender,
    connected: bool,
    /// Of the store whose numbers these are.
    epoch: u64,
    /// Drawn at random at the start, so that a replayed Receipt of an earlier run is rejected.
    run: u64,
    /// All punches up to here are covered by a Receipt.
    acknowledged: u64,
    /// The lowest punch that the outbox holds.
    oldest: u64,
    /// The next punch to send.
    next: u64,
    /// Numbers of the last punch of each batch that waits for its Receipt.
    waiting: Vec<u64>,
    /// The outbox could not be read; it is tried again at the deadline.
    stalled: bool,
    resend_at: Instant,
}

impl Delivery {
    pub fn new(outbox: Outbox, sender: Sender) -> Self {
        let epoch = outbox.epoch();
        Self {
            outbox,
            sender,
            connected: false,
            epoch,
            run: rand::random(),
            acknowledged: 0,
            oldest: 0,
            next: 1,
            waiting: Vec::new(),
            stalled: false,
            resend_at: Instant::now(),
        }
    }

    /// Call on every change of the connection: batches in flight are sent again.
    pub async fn connected(&mut self, connected: bool) -> Result<()> {
        self.connected = connected;
        self.rewind();
        self.send().await
    }

    /// When unacknowledged punches are sent again.
    pub fn deadline(&self) -> Option<Instant> {
        (self.connected && (self.stalled || !self.waiting.is_empty())).then_some(self.resend_at)
    }

    /// Call when the deadline has passed.
    pub async fn resend(&mut self) -> Result<()> {
        debug!(waiting = self.waiting.len(), "no receipt; sending again");
        self.rewind();
        self.send().await
    }

    /// The store has a new epoch, since it was restored from a copy or salvaged: send all it holds.
    fn switch_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.acknowledged = 0;
        self.oldest = 0;
        self.rewind();
    }

    fn rewind(&mut self) {
        self.next = self.acknowledged + 1;
        self.waiting.clear();
    }

    /// Sends what the window allows.
    pub async fn send(&mut self) -> Result<()> {
        while self.connected && self.waiting.len() < WINDOW {
            let read = self.outbox.read(self.next, proto::BATCH_PUNCHES, proto::BATCH_BYTES).await;
            let (born, records) = match read {
                Ok(batch) if batch.epoch != self.epoch => {
                    self.switch_epoch(batch.epoch);
                    continue;
                }
                Ok(batch) => (batch.born, batch.records),
                Err(OutboxError::Stopped) => return Err(OutboxError::Stopped.into()),
                Err(error) => {
                    error!(%error, "ALARM: cannot read the outbox; retrying");
                    self.stalled = true;
                    self.resend_at = Instant::now() + RESEND_AFTER;
                    return Ok(());
                }
            };
            self.stalled = false;
            let (Some((first, _)), Some((last, _))) = (records.first(), records.last()) else {
                return Ok(());
            };
            if self.next == self.acknowledged + 1 {
                self.oldest = *first;
            }
            let last = *last;
            let records = records.into_iter().map(|(seq, punch)| PunchRecord { seq, punch }).collect();
            let batch = PunchBatch {
                version: proto::VERSION,
                epoch: self.epoch,
                records,
                oldest: self.oldest,
                born,
                run: self.run,
            };
            self.sender.publish(Topic::Punches, batch.encode_to_vec());
            self.next = last + 1;
            self.waiting.push(last);
            self.resend_at = Instant::now() + RESEND_AFTER.mul_f64(rand::random_range(1.0..1.5));
        }
        Ok(())
    }

    /// The hub has other punches under numbers of this store: it was restored from a copy or truncated, and numbers
    /// were assigned twice. All it holds is sent again under a new epoch.
    async fn handle_conflicts(&mut self, numbers: &[u64]) -> Result<()> {
        error!(numbers = ?numbers, "ALARM: the outbox assigned numbers twice; starting a new epoch");
        if let Err(error) = self.outbox.renew().await {
            warn!(%error, "cannot start a new epoch; retrying");
            return Ok(());
        }
        self.send().await
    }

    /// The hub has stored punches: delete them here.
    pub async fn receipt(&mut self, payload: &[u8]) -> Result<()> {
        let Ok(receipt) = Receipt::decode(payload) else {
            warn!("malformed receipt ignored");
            return Ok(());
        };
        if receipt.version != proto::VERSION || receipt.epoch != self.epoch {
            warn!(epoch = receipt.epoch, "receipt of another epoch ignored");
            return Ok(());
        }
        if receipt.run != self.run {
            warn!("rejected: a receipt for an earlier run of this daemon");
            return Ok(());
        }
        if !receipt.conflicts.is_empty() {
            return self.handle_conflicts(&receipt.conflicts).await;
        }
        if receipt.from > self.acknowledged.max(self.oldest.saturating_sub(1)) + 1 {
            debug!(from = receipt.from, "receipt with a gap ignored; punches are sent again");
            return Ok(());
        }
        if receipt.through > self.acknowledged {
            if let Err(error) = self.outbox.trim(self.epoch, receipt.through).await {
                warn!(%error, "cannot delete delivered punches; retrying with the next receipt");
                return Ok(());
            }
            self.acknowledged = receipt.through;
            self.oldest = receipt.through + 1;
        }
        self.waiting.retain(|last| *last > receipt.through);
        self.next = self.next.max(self.acknowledged + 1);
        if !receipt.missing.is_empty() {
            // Sent again at the deadline: at once would loop if they never arrive.
            debug!(missing = receipt.missing.len(), "the hub lacks punches; sending again at the deadline");
        }
        self.send().await
    }
}
