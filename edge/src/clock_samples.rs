//! Dates punches of earlier boots.
//!
//! A terminal may boot with an unset clock, take punches, and have its clock set later. One pair of monotonic and
//! wall-clock time per boot, kept on disk, lets the hub date those punches even if the terminal reboots before it
//! reaches the hub.

use std::path::{Path, PathBuf};

use proto::ClockSample;
use tracing::warn;

use crate::clock::Moment;
use crate::identity::fs::replace;

/// Boots that are kept.
const BOOTS: usize = 32;
/// A correction of the wall clock by more than this, in microseconds, replaces the boot's sample.
const STEP_US: i64 = 1_000_000;

pub struct ClockSamples {
    file: PathBuf,
    known: Vec<ClockSample>,
}

impl ClockSamples {
    /// Reads the samples in the folder `state`, without lines that can't be parsed.
    pub fn open(state: &Path) -> Self {
        let file = state.join("anchors");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self { known: text.lines().filter_map(read).collect(), file }
    }

    pub fn all(&self) -> Vec<ClockSample> {
        self.known.clone()
    }

    /// Keeps a moment if its clock was synchronised and it says something new.
    pub fn add(&mut self, moment: &Moment) {
        let sample = of(moment);
        let same = |known: &ClockSample| {
            known.boot == sample.boot && (boot_time(known) - boot_time(&sample)).abs() < STEP_US
        };
        if !sample.synchronised || self.known.iter().any(same) {
            return;
        }
        self.known.retain(|known| known.boot != sample.boot);
        self.known.push(sample);
        let surplus = self.known.len().saturating_sub(BOOTS);
        self.known.drain(..surplus);
        let line =
            |sample: &ClockSample| format!("{} {} {}\n", sample.boot, sample.monotonic_us, sample.at_us);
        let text: String = self.known.iter().map(line).collect();
        if let Err(error) = replace(&self.file, text.as_bytes(), 0o644) {
            warn!(
                error = format!("{error:#}"),
                "cannot write the clock samples; punches of this boot may stay undated after a reboot"
            );
        }
    }
}

pub fn of(moment: &Moment) -> ClockSample {
    ClockSample {
        boot: moment.boot.clone(),
        monotonic_us: moment.monotonic_us,
        at_us: moment.wall_us,
        synchronised: moment.synchronised,
    }
}

/// When its boot was, in microseconds since 1970.
fn boot_time(sample: &ClockSample) -> i64 {
    sample.at_us.saturating_sub_unsigned(sample.monotonic_us)
}

fn read(line: &str) -> Option<ClockSample> {
    let mut words = line.split_whitespace();
    let (boot, monotonic_us, at_us) =
        (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(ClockSample { boot: boot.to_owned(), monotonic_us, at_us, synchronised: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: usize, second: u64, synchronised: bool) -> Moment {
        let wall_us = 1_800_000_000_000_000 + second as i64 * 1_000_000;
        Moment { wall_us, monotonic_us: second * 1_000_000, boot: format!("boot-{boot}"), synchronised }
    }

    #[test]
    fn one_synchronised_moment_a_boot_survives_restarts() {
        let state = tempfile::tempdir().expect("folder");
        let mut samples = ClockSamples::open(state.path());
        samples.add(&moment(0, 5, false));
        samples.add(&moment(0, 9, true));
        samples.add(&moment(0, 900, true));
        let again = ClockSamples::open(state.path());
        assert_eq!(again.all(), [of(&moment(0, 9, true))]);
        for boot in 1..=40 {
            samples.add(&moment(boot, 1, true));
        }
        let again = ClockSamples::open(state.path());
        assert_eq!((again.all().len(), again.all()[0].boot.as_str()), (BOOTS, "boot-9"));
    }

    #[test]
    fn a_corrected_clock_replaces_its_sample() {
        let state = tempfile::tempdir().expect("folder");
        let mut samples = ClockSamples::open(state.path());
        samples.add(&moment(0, 9, true));
        let corrected = Moment { wall_us: moment(0, 10, true).wall_us + 60_000_000, ..moment(0, 10, true) };
        samples.add(&corrected);
        assert_eq!(samples.all(), [of(&corrected)]);
    }
}
