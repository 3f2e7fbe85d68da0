//! What the bytes of a punch amount to. Pure: no database, no clock.

use anyhow::{Context, Result, ensure};
use prost::Message;
use proto::Punch;
use tracing::warn;
use uuid::Uuid;

use crate::date::Timestamp;
use crate::db::boots::Undated;
use crate::db::punches::{Arrival, ClockState, DeadLetter, Direction, Number};
use crate::person::PersonId;

/// A punch before this instant was made by a clock that was never set: 2020-01-01.
const EARLIEST_US: i64 = 1_577_836_800_000_000;
/// No punch is as late as this: 2100-01-01.
const LATEST_US: i64 = 4_102_444_800_000_000;
/// A punch further ahead of the hub's clock than this has an estimated time.
const AHEAD_US: i64 = 24 * 3600 * 1_000_000;

/// What a record turned out to be.
pub enum Classified {
    /// A punch with a time.
    Punch(Arrival),
    /// One of a clock that was not set: its start must be known.
    Undated(Undated),
    /// None at all.
    Dead(DeadLetter),
}

/// Decodes a punch; what is not understood becomes a dead letter.
pub fn sort(number: Number, hash: Vec<u8>, bytes: &[u8], now: Timestamp) -> Classified {
    match understand(&number, &hash, bytes, now) {
        Ok(sorted) => sorted,
        Err(reason) => Classified::Dead(DeadLetter {
            number,
            hash,
            punch: bytes.to_vec(),
            reason: format!("{reason:#}"),
        }),
    }
}

fn understand(number: &Number, hash: &[u8], bytes: &[u8], now: Timestamp) -> Result<Classified> {
    let punch = Punch::decode(bytes).context("it can't be decoded")?;
    ensure!(punch.version == proto::VERSION, "it is of version {}", punch.version);
    let direction = match punch.direction() {
        proto::Direction::In => Direction::In,
        proto::Direction::Out => Direction::Out,
        proto::Direction::Unknown => Direction::Unknown,
    };
    let now_us = now.as_microsecond();
    let ahead = punch.at_us > now_us.saturating_add(AHEAD_US);
    let set = punch.synchronised && (EARLIEST_US..LATEST_US).contains(&punch.at_us);
    if ahead && set {
        warn!(device.id = %number.device, punch.seq = number.seq,
            "the clocks of hub and terminal differ by a day or more");
    }
    let arrival = Arrival {
        number: number.clone(),
        id: Uuid::from_slice(&punch.id).context("its id is no UUID")?,
        person: PersonId(Uuid::from_slice(&punch.person).context("its person is no UUID")?),
        // Of two clocks that differ by a day, the hub's may be the wrong one.
        at_us: punch.at_us,
        clock: if set && !ahead { ClockState::Synchronised } else { ClockState::Estimated },
        direction,
        distance: if punch.distance.is_finite() { punch.distance } else { 0.0 },
        hash: hash.to_vec(),
        punch: bytes.to_vec(),
    };
    if set {
        return Ok(Classified::Punch(arrival));
    }
    ensure!((1..=64).contains(&punch.boot.len()), "its clock was not set, and its start has no name");
    let monotonic_us = i64::try_from(punch.monotonic_us).ok().filter(|us| *us < LATEST_US);
    let monotonic_us = monotonic_us.context("its monotonic time is impossible")?;
    Ok(Classified::Undated(Undated { arrival, boot: punch.boot, monotonic_us }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(at_us: i64, synchronised: bool, boot: &str) -> Classified {
        let uuid = vec![1; 16];
        let punch = Punch {
            version: 1,
            id: uuid.clone(),
            person: uuid,
            at_us,
            synchronised,
            boot: boot.into(),
            ..Punch::default()
        };
        let number = Number { device: String::new(), epoch: 1, seq: 1 };
        sort(number, vec![], &punch.encode_to_vec(), now())
    }

    fn now() -> Timestamp {
        jiff::Timestamp::from_second(1_800_000_000).expect("a time").into()
    }

    #[test]
    fn times_that_cannot_be_are_dead_estimated_or_unplaced() {
        let sure = sorted(now().as_microsecond(), true, "b");
        assert!(matches!(sure, Classified::Punch(a) if a.clock == ClockState::Synchronised));
        let ahead = now().as_microsecond() + 2 * AHEAD_US;
        assert!(
            matches!(sorted(ahead, true, "b"), Classified::Punch(a) if a.clock == ClockState::Estimated && a.at_us == ahead)
        );
        assert!(
            matches!(sorted(5, true, "b"), Classified::Undated(u) if u.boot == "b" && u.arrival.clock == ClockState::Estimated)
        );
        assert!(matches!(sorted(now().as_microsecond(), false, "b"), Classified::Undated(_)));
        assert!(matches!(sorted(5, false, ""), Classified::Dead(_)));
        assert!(matches!(sorted(i64::MAX, true, "b"), Classified::Undated(_)));
        assert!(matches!(sorted(LATEST_US, false, "b"), Classified::Undated(_)));
        let number = Number { device: String::new(), epoch: 1, seq: 1 };
        assert!(matches!(sort(number, vec![], &[255], now()), Classified::Dead(_)));
    }
}
