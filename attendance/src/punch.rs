//! A punch as the rules see it, and which punches count.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which way somebody went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    In,
    Out,
    /// The terminal sees both.
    #[default]
    Unknown,
}

impl Direction {
    /// Reads what the database says.
    pub fn read(text: &str) -> Self {
        match text {
            "in" => Self::In,
            "out" => Self::Out,
            _ => Self::Unknown,
        }
    }

    /// As people and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Unknown => "unknown",
        }
    }

    /// Whether both say something, and not the same.
    fn contradicts(self, other: Self) -> bool {
        self != other && self != Self::Unknown && other != Self::Unknown
    }
}

/// Whether the time is the clock's or the hub's best guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    #[default]
    Synchronised,
    Estimated,
}

impl ClockState {
    /// Reads what the database says.
    pub fn read(text: &str) -> Self {
        if text == "synchronised" { Self::Synchronised } else { Self::Estimated }
    }
}

/// One punch of one person. The order of the fields is the order of punches (rule 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Punch {
    /// Seconds since 1970, UTC.
    pub at: i64,
    pub direction: Direction,
    /// The terminal; empty where there was none.
    pub terminal: Arc<str>,
    pub clock: ClockState,
}

impl Punch {
    /// Cuts off the fraction of the second.
    pub fn new(at: Timestamp, direction: Direction, terminal: Arc<str>, clock: ClockState) -> Self {
        Self { at: whole_second(at), direction, terminal, clock }
    }
}

/// The second in which an instant lies.
fn whole_second(at: Timestamp) -> i64 {
    at.as_nanosecond().div_euclid(1_000_000_000) as i64
}

/// An instant to print; one beyond what can be printed becomes the nearest that can.
pub fn timestamp(at: i64) -> Timestamp {
    let end = if at < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(at).unwrap_or(end)
}

/// The punches that count and their duplicates, each in order.
pub struct Deduplicated {
    pub kept: Vec<Punch>,
    pub dropped: Vec<Punch>,
}

/// Sorts punches and drops duplicates (rule 1): those at most `within_s` after the last kept one,
/// unless both carry explicit and different directions.
pub fn deduplicate(mut punches: Vec<Punch>, within_s: i64) -> Deduplicated {
    punches.sort();
    let (mut kept, mut dropped): (Vec<Punch>, Vec<Punch>) = (Vec::with_capacity(punches.len()), Vec::new());
    for punch in punches {
        let duplicate = kept.last().is_some_and(|last| {
            punch.at - last.at <= within_s && !punch.direction.contradicts(last.direction)
        });
        if duplicate { dropped.push(punch) } else { kept.push(punch) }
    }
    Deduplicated { kept, dropped }
}
