//! How the terminal is: counts for the heartbeat. Of strangers nothing is kept but hourly numbers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prost::Message;
use proto::{Heartbeat, StrangerHour};
use tokio::sync::Notify;
use uuid::Uuid;

/// Hours of stranger counts that a heartbeat carries: a network may be gone for days.
const HOURS: usize = 24 * 14;

/// Counters that all parts share.
pub struct Health {
    run: Uuid,
    frames: AtomicU64,
    strangers: Mutex<BTreeMap<i64, u32>>,
    changed: Notify,
    punching: AtomicBool,
}

impl Health {
    /// Counts from zero.
    pub fn new(run: Uuid) -> Self {
        Self {
            run,
            frames: AtomicU64::new(0),
            strangers: Mutex::default(),
            changed: Notify::new(),
            punching: AtomicBool::new(false),
        }
    }

    /// A frame was looked at.
    pub fn frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// A punch is on its way to the disk, or no more.
    pub fn punch(&self, punching: bool) {
        self.punching.store(punching, Ordering::Release);
    }

    /// Whether one is: then not all that was seen is in the outbox.
    pub fn punching(&self) -> bool {
        self.punching.load(Ordering::Acquire)
    }

    /// A stranger left in the hour that began at `hour` (seconds since 1970).
    pub fn stranger(&self, hour: i64) {
        let mut strangers = self.strangers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *strangers.entry(hour).or_default() += 1;
        while strangers.len() > HOURS {
            strangers.pop_first();
        }
        self.changed.notify_one();
    }

    /// Returns when there is something new to tell.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The heartbeat's bytes. `at_us` is when the queue was looked at, 0 if nobody knows; `alarm` is
    /// empty where all is well.
    pub fn heartbeat(&self, queued: u64, roster: u64, at_us: i64, alarm: String) -> Vec<u8> {
        let strangers = self.strangers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Heartbeat {
            version: proto::VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            run: self.run.as_bytes().to_vec(),
            queued,
            frames: self.frames.load(Ordering::Relaxed),
            roster,
            strangers: strangers
                .iter()
                .map(|(hour, count)| StrangerHour { hour: *hour, count: *count })
                .collect(),
            at_us,
            alarm,
        }
        .encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_by_the_hour_and_old_hours_go() {
        let health = Health::new(Uuid::nil());
        for hour in 0..400 {
            health.stranger(hour * 3600);
        }
        health.stranger(399 * 3600);
        let beat = Heartbeat::decode(health.heartbeat(3, 7, 0, String::new()).as_slice()).expect("decodes");
        assert_eq!((beat.queued, beat.roster, beat.strangers.len()), (3, 7, HOURS));
        assert_eq!(beat.strangers.last().map(|h| h.count), Some(2));
    }
}
