//! Time-and-attendance law, pure: no SQL, no clock.
//!
//! Facts about one person (punches, shifts, holidays, leave, employment) become workdays. Instants
//! are whole seconds since 1970, UTC; what a human calls a time of day belongs to a zone.

mod breaks;
mod case;
mod claim;
mod pairing;
mod punch;
mod shift;
mod why;
mod workday;

pub use case::{Case, Refused};
pub use punch::{ClockState, Direction, Punch, sift, timestamp};
pub use shift::{Rules, Shift};
pub use why::why;
pub use workday::{Assessment, Employment, Entry, Facts, Leave, Workday, assess};

#[cfg(test)]
mod laws;
