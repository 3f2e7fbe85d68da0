//! Time-and-attendance rules, pure: no SQL, no clock.
//!
//! Facts about one person (punches, shifts, holidays, leave, employment) become workdays. Instants
//! are whole seconds since 1970, UTC; what a human calls a time of day belongs to a zone.

mod assignment;
mod breaks;
mod pairing;
mod policy;
mod punch;
mod reason;
#[cfg(test)]
mod rules_test;
mod scenario;
mod shift;
mod why;
mod workday;

pub use policy::Policy;
pub use punch::{ClockState, Direction, Punch, deduplicate, timestamp};
pub use reason::{ExpectedBasis, PunchRole, Reason};
pub use scenario::{InvalidScenario, Scenario};
pub use shift::{Rules, Shift};
pub use why::why;
pub use workday::{Assessment, Employment, Entry, Facts, Flag, Leave, Status, Workday, assess};
