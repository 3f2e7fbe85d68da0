//! From the outbox to the hub: batches, sent again until a Receipt covers them.
//!
//! What was sent means nothing; only a Receipt of this store's epoch deletes. So there is nothing
//! to remember but where to go on reading.

use std::time::Duration;

use anyhow::Result;
use prost::Message;
use proto::{PunchBatch, PunchRecord, Receipt, Topic};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::hub_link::link::Sender;
use crate::outbox::{Outbox, OutboxError};

/// Batches on their way without a Receipt, at most.
const WINDOW: usize = 4;
/// Without a Receipt for so long (and up to half as long again), everything is sent again.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where delivery stands.
pub struct Delivery {
    outbox: Outbox,
    sender: Sender,
    connected: bool,
    /// Of the store whose numbers these are.
    epoch: u64,
    /// Drawn at the start: a Receipt that somebody kept from before speaks to nobody.
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
    resend: Instant,
}

impl Delivery {
    /// Starts disconnected.
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
            resend: Instant::now(),
        }
    }

    /// The connection came or went: what was on its way is sent again.
    pub async fn connected(&mut self, connected: bool) -> Result<()> {
        self.connected = connected;
        self.rewind();
        self.send().await
    }

    /// When everything that waits is sent again.
    pub fn deadline(&self) -> Option<Instant> {
        (self.connected && (self.stalled || !self.waiting.is_empty())).then_some(self.resend)
    }

    /// The deadline passed.
    pub async fn again(&mut self) -> Result<()> {
        debug!(waiting = self.waiting.len(), "no receipt; sending again");
        self.rewind();
        self.send().await
    }

    /// The store goes on under another epoch: it was put back from a copy, or salvaged. What it
    /// holds is sent from the beginning.
    fn begin(&mut self, epoch: u64) {
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
                    self.begin(batch.epoch);
                    continue;
                }
                Ok(batch) => (batch.born, batch.records),
                Err(OutboxError::Stopped) => return Err(OutboxError::Stopped.into()),
                Err(error) => {
                    error!(%error, "ALARM: the outbox can't be read; trying again");
                    self.stalled = true;
                    self.resend = Instant::now() + PATIENCE;
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
            self.resend = Instant::now() + PATIENCE.mul_f64(rand::random_range(1.0..1.5));
        }
        Ok(())
    }

    /// The hub has other punches under numbers of this store: it was put back from a copy, or its end
    /// was cut off in silence, and numbers were given out twice. What it holds is sent again under a
    /// new epoch.
    async fn doubled(&mut self, numbers: &[u64]) -> Result<()> {
        error!(numbers = ?numbers, "ALARM: the outbox gave numbers out twice; it goes on under a new epoch");
        if let Err(error) = self.outbox.renew().await {
            warn!(%error, "no new epoch yet");
            return Ok(());
        }
        self.send().await
    }

    /// The hub has punches for good.
    pub async fn receipt(&mut self, payload: &[u8]) -> Result<()> {
        let Ok(receipt) = Receipt::decode(payload) else {
            warn!("a receipt that can't be read");
            return Ok(());
        };
        if receipt.version != proto::VERSION || receipt.epoch != self.epoch {
            warn!(epoch = receipt.epoch, "a receipt for another store");
            return Ok(());
        }
        if receipt.run != self.run {
            warn!("REFUSED: a receipt for another run of this terminal");
            return Ok(());
        }
        if !receipt.conflicts.is_empty() {
            return self.doubled(&receipt.conflicts).await;
        }
        if receipt.from > self.acknowledged.max(self.oldest.saturating_sub(1)) + 1 {
            debug!(from = receipt.from, "a receipt that does not follow; the deadline sends again");
            return Ok(());
        }
        if receipt.through > self.acknowledged {
            if let Err(error) = self.outbox.trim(self.epoch, receipt.through).await {
                warn!(%error, "delivered punches stay for now");
                return Ok(());
            }
            self.acknowledged = receipt.through;
            self.oldest = receipt.through + 1;
        }
        self.waiting.retain(|last| *last > receipt.through);
        self.next = self.next.max(self.acknowledged + 1);
        if !receipt.missing.is_empty() {
            // The deadline sends them again. At once would be for ever, if they never arrive.
            debug!(missing = receipt.missing.len(), "the hub lacks punches");
        }
        self.send().await
    }
}
