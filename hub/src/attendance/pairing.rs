//! First in and last out of a day without a shift.

use jiff::Timestamp;

use crate::attendance::punch::{ClockState, Direction, Punch};

/// What the punches of a day say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    /// The first that is no explicit OUT.
    pub first_in: Option<Timestamp>,
    /// The last strictly later one that is no explicit IN.
    pub last_out: Option<Timestamp>,
    /// Somebody came unseen.
    pub missing_in: bool,
    /// Somebody went unseen.
    pub missing_out: bool,
    /// Some time is a guess.
    pub estimated: bool,
}

/// Pairs sorted punches by the rule `first_last`.
pub fn first_last(punches: &[Punch]) -> Pairing {
    let first_in = punches.iter().find(|punch| punch.direction != Direction::Out).map(|punch| punch.at);
    let last_out = match first_in {
        Some(first) => punches
            .iter()
            .rfind(|punch| punch.at > first && punch.direction != Direction::In)
            .map(|punch| punch.at),
        None => punches.iter().rfind(|punch| punch.direction == Direction::Out).map(|punch| punch.at),
    };
    let out_before_in = punches
        .iter()
        .any(|punch| punch.direction == Direction::Out && first_in.is_some_and(|first| punch.at < first));
    let in_after_out = punches
        .iter()
        .any(|punch| punch.direction == Direction::In && last_out.is_some_and(|last| punch.at > last));
    Pairing {
        first_in,
        last_out,
        missing_in: !punches.is_empty() && (first_in.is_none() || out_before_in),
        missing_out: first_in.is_some() && (last_out.is_none() || in_after_out),
        estimated: punches.iter().any(|punch| punch.clock == ClockState::Estimated),
    }
}
