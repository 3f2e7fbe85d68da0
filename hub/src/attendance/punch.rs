//! A punch as the law sees it, and which punches count.

use jiff::{SignedDuration, Timestamp};

/// A punch of the same person within this time after the last that counts is a duplicate.
const DUPLICATE_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Which way, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Came.
    In,
    /// Went.
    Out,
    /// One of the two.
    Unknown,
}

/// Whether the time is the clock's or the hub's best guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockState {
    /// The clock was right.
    Synchronised,
    /// It may not have been.
    Estimated,
}

/// One punch of one person. The order of the fields is the order of punches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Punch {
    /// To the second.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// The terminal.
    pub terminal: String,
    /// How sure the time is.
    pub clock: ClockState,
}

impl Punch {
    /// Cuts off the fraction of the second.
    pub fn new(at: Timestamp, direction: Direction, terminal: String, clock: ClockState) -> Self {
        let at = Timestamp::from_second(at.as_microsecond().div_euclid(1_000_000)).unwrap_or(at);
        Self { at, direction, terminal, clock }
    }
}

/// Sorts punches and drops duplicates: those that follow the last kept one within a minute
/// (inclusive), unless both say different directions.
pub fn without_duplicates(mut punches: Vec<Punch>) -> Vec<Punch> {
    punches.sort();
    let mut kept: Vec<Punch> = Vec::with_capacity(punches.len());
    for punch in punches {
        let duplicate = kept.last().is_some_and(|last| {
            let differ = last.direction != punch.direction
                && last.direction != Direction::Unknown
                && punch.direction != Direction::Unknown;
            punch.at.duration_since(last.at) <= DUPLICATE_WITHIN && !differ
        });
        if !duplicate {
            kept.push(punch);
        }
    }
    kept
}
