//! When punches of earlier starts were made.
//!
//! A terminal may start with an unset clock, take punches, and have its clock set later: one line a
//! start, "at this monotonic time it was that late", lets the hub place those punches even if the
//! terminal starts again before it reaches the hub.

use std::path::{Path, PathBuf};

use proto::Anchor;
use tracing::warn;

use crate::clock::Moment;
use crate::identity::fs::replace;

/// Starts that are remembered.
const STARTS: usize = 32;
/// A clock that was corrected by more than this makes a new anchor, in microseconds.
const STEP_US: i64 = 1_000_000;

/// The anchors of the latest starts.
pub struct Anchors {
    file: PathBuf,
    known: Vec<Anchor>,
}

impl Anchors {
    /// Those that the folder `state` remembers. A line that can't be read is left out.
    pub fn open(state: &Path) -> Self {
        let file = state.join("anchors");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self { known: text.lines().filter_map(read).collect(), file }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Anchor> {
        self.known.clone()
    }

    /// Remembers a moment, if its clock was sure and says something new.
    pub fn note(&mut self, moment: &Moment) {
        let anchor = of(moment);
        let same =
            |known: &Anchor| known.boot == anchor.boot && (start(known) - start(&anchor)).abs() < STEP_US;
        if !anchor.synchronised || self.known.iter().any(same) {
            return;
        }
        self.known.retain(|known| known.boot != anchor.boot);
        self.known.push(anchor);
        let surplus = self.known.len().saturating_sub(STARTS);
        self.known.drain(..surplus);
        let line = |anchor: &Anchor| format!("{} {} {}\n", anchor.boot, anchor.monotonic_us, anchor.at_us);
        let text: String = self.known.iter().map(line).collect();
        if let Err(error) = replace(&self.file, text.as_bytes(), 0o644) {
            warn!(error = format!("{error:#}"), "an anchor is not remembered");
        }
    }
}

/// What a moment says.
pub fn of(moment: &Moment) -> Anchor {
    Anchor {
        boot: moment.boot.clone(),
        monotonic_us: moment.monotonic_us,
        at_us: moment.wall_us,
        synchronised: moment.synchronised,
    }
}

/// When its start was, in microseconds since 1970.
fn start(anchor: &Anchor) -> i64 {
    anchor.at_us.saturating_sub_unsigned(anchor.monotonic_us)
}

fn read(line: &str) -> Option<Anchor> {
    let mut words = line.split_whitespace();
    let (boot, monotonic_us, at_us) =
        (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Anchor { boot: boot.to_owned(), monotonic_us, at_us, synchronised: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: usize, second: u64, synchronised: bool) -> Moment {
        let wall_us = 1_800_000_000_000_000 + second as i64 * 1_000_000;
        Moment { wall_us, monotonic_us: second * 1_000_000, boot: format!("boot-{boot}"), synchronised }
    }

    #[test]
    fn one_sure_moment_a_start_is_remembered_over_restarts() {
        let state = tempfile::tempdir().expect("folder");
        let mut anchors = Anchors::open(state.path());
        anchors.note(&moment(0, 5, false));
        anchors.note(&moment(0, 9, true));
        anchors.note(&moment(0, 900, true));
        let again = Anchors::open(state.path());
        assert_eq!(again.all(), [of(&moment(0, 9, true))]);
        for boot in 1..=40 {
            anchors.note(&moment(boot, 1, true));
        }
        let again = Anchors::open(state.path());
        assert_eq!((again.all().len(), again.all()[0].boot.as_str()), (STARTS, "boot-9"));
    }

    #[test]
    fn a_corrected_clock_replaces_what_it_said_before() {
        let state = tempfile::tempdir().expect("folder");
        let mut anchors = Anchors::open(state.path());
        anchors.note(&moment(0, 9, true));
        let corrected = Moment { wall_us: moment(0, 10, true).wall_us + 60_000_000, ..moment(0, 10, true) };
        anchors.note(&corrected);
        assert_eq!(anchors.all(), [of(&corrected)]);
    }
}
