//! The terminal's clocks; the only file that reads the time.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::config::Synchronised;

/// Created by systemd-timesyncd once it has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// One instant by all clocks.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Microseconds since 1970, UTC, by the wall clock.
    pub wall_us: i64,
    /// Microseconds since the boot, sleep included.
    pub monotonic_us: u64,
    /// The kernel's boot id.
    pub boot: String,
    /// Whether the wall clock was synchronised.
    pub synchronised: bool,
}

impl Moment {
    /// The beginning of its hour, in seconds since 1970.
    pub fn hour(&self) -> i64 {
        self.wall_us.div_euclid(3_600_000_000) * 3600
    }
}

#[derive(Clone, Debug)]
pub struct Clock {
    boot: String,
    synchronised: Synchronised,
}

impl Clock {
    pub fn open(synchronised: Synchronised) -> Result<Self> {
        let boot =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot id")?;
        Ok(Self { boot: boot.trim().to_owned(), synchronised })
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that reads the time")]
    pub fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let boot_time = clock_gettime(ClockId::Boottime);
        Moment {
            wall_us: wall.as_micros() as i64,
            monotonic_us: boot_time.tv_sec as u64 * 1_000_000 + boot_time.tv_nsec as u64 / 1000,
            boot: self.boot.clone(),
            synchronised: match self.synchronised {
                Synchronised::Always => true,
                Synchronised::Timesyncd => Path::new(TIMESYNCD).exists(),
                #[cfg(test)]
                Synchronised::Never => false,
            },
        }
    }
}
