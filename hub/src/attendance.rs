//! Time-and-attendance law, pure: no SQL, no clock.
//!
//! So far the part of the law that needs no shift: duplicates, the lone punch, first in and last
//! out, and the day as the site's calendar has it. Everybody's days are unscheduled.

mod pairing;
mod punch;
mod workday;

pub use punch::{ClockState, Direction, Punch};
pub use workday::assess;
