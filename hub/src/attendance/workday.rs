//! A person's day: what the punches of a local date amount to.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::attendance::pairing::first_last;
use crate::attendance::punch::{Punch, without_duplicates};

/// A first in and a last out further apart than this are suspicious.
const LONG: SignedDuration = SignedDuration::from_hours(16);

/// What a day was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Punches, but no closed interval.
    Incomplete,
    /// Worked on a day without a shift.
    Unscheduled,
}

impl Status {
    /// As reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Unscheduled => "unscheduled",
        }
    }
}

/// A day of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workday {
    /// The local date.
    pub date: Date,
    /// When they came.
    pub first_in: Option<Timestamp>,
    /// When they went.
    pub last_out: Option<Timestamp>,
    /// Seconds between; `None` where nothing closed.
    pub worked_s: Option<i64>,
    /// What the day was.
    pub status: Status,
    /// What somebody should know, in the order of the alphabet.
    pub flags: Vec<&'static str>,
}

/// The workdays of one person's punches, in whatever order they came: one for each local date in
/// `zone` that has any.
pub fn assess(punches: Vec<Punch>, zone: &TimeZone) -> Vec<Workday> {
    let mut days: BTreeMap<Date, Vec<Punch>> = BTreeMap::new();
    for punch in without_duplicates(punches) {
        days.entry(zone.to_datetime(punch.at).date()).or_default().push(punch);
    }
    days.into_iter().map(|(date, punches)| workday(date, &punches)).collect()
}

fn workday(date: Date, punches: &[Punch]) -> Workday {
    let pairing = first_last(punches);
    let span = pairing.first_in.zip(pairing.last_out).map(|(first, last)| last.duration_since(first));
    let flags = [
        (pairing.estimated, "clock_estimated"),
        (span.is_some_and(|span| span > LONG), "long_span"),
        (pairing.missing_in, "missing_in"),
        (pairing.missing_out, "missing_out"),
    ];
    Workday {
        date,
        first_in: pairing.first_in,
        last_out: pairing.last_out,
        worked_s: span.map(|span| span.as_secs()),
        status: if span.is_some() { Status::Unscheduled } else { Status::Incomplete },
        flags: flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attendance::{ClockState, Direction};

    fn zone() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("bundled")
    }

    fn punch(at: &str, direction: Direction) -> Punch {
        Punch::new(at.parse().expect("an instant"), direction, "A".into(), ClockState::Synchronised)
    }

    fn unknown(at: &str) -> Punch {
        punch(at, Direction::Unknown)
    }

    #[test]
    fn one_punch_is_an_incomplete_day() {
        let days = assess(vec![unknown("2026-03-03T08:00:00.9Z")], &zone());
        assert_eq!(days.len(), 1);
        assert_eq!((days[0].status, days[0].worked_s), (Status::Incomplete, None));
        assert_eq!(days[0].first_in, Some("2026-03-03T08:00:00Z".parse().expect("an instant")));
        assert_eq!(days[0].flags, ["missing_out"]);
    }

    #[test]
    fn first_and_last_make_the_day_and_a_minute_makes_a_duplicate() {
        let times =
            ["2026-03-03T17:00:00Z", "2026-03-03T08:00:00Z", "2026-03-03T08:01:00Z", "2026-03-03T12:00:00Z"];
        let days = assess(times.map(unknown).to_vec(), &zone());
        assert_eq!((days[0].status, days[0].worked_s), (Status::Unscheduled, Some(9 * 3600)));
        let two = ["2026-03-03T08:00:00Z", "2026-03-03T08:01:00Z"].map(unknown).to_vec();
        assert_eq!(assess(two, &zone())[0].worked_s, None);
        let later = ["2026-03-03T08:00:00Z", "2026-03-03T08:01:01Z"].map(unknown).to_vec();
        assert_eq!(assess(later, &zone())[0].worked_s, Some(61));
    }

    #[test]
    fn days_begin_at_local_midnight() {
        let days = assess(
            vec![
                unknown("2026-07-01T21:59:59Z"),
                unknown("2026-07-01T22:00:00Z"),
                unknown("2026-07-01T22:02:00Z"),
            ],
            &zone(),
        );
        let dates: Vec<String> = days.iter().map(|day| day.date.to_string()).collect();
        assert_eq!(dates, ["2026-07-01", "2026-07-02"]);
    }

    #[test]
    fn explicit_directions_are_believed() {
        let day = |punches: Vec<Punch>| assess(punches, &zone()).remove(0);
        let out = day(vec![punch("2026-03-03T17:00:00Z", Direction::Out)]);
        assert_eq!((out.first_in, out.flags.as_slice()), (None, ["missing_in"].as_slice()));
        let in_last = day(vec![
            punch("2026-03-03T08:00:00Z", Direction::In),
            punch("2026-03-03T12:00:00Z", Direction::Out),
            punch("2026-03-03T13:00:00Z", Direction::In),
        ]);
        assert_eq!(
            (in_last.worked_s, in_last.flags.as_slice()),
            (Some(4 * 3600), ["missing_out"].as_slice())
        );
        let quick = day(vec![
            punch("2026-03-03T08:00:00Z", Direction::In),
            punch("2026-03-03T08:00:30Z", Direction::Out),
        ]);
        assert_eq!(quick.worked_s, Some(30));
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(mut seconds in prop::collection::vec(0_i64..300_000, 0..40), seed in any::<u64>()) {
            let make = |seconds: &[i64]| {
                seconds.iter().map(|s| {
                    let at = Timestamp::from_second(1_790_000_000 + s).expect("an instant");
                    Punch::new(at, Direction::Unknown, "A".into(), ClockState::Synchronised)
                }).collect::<Vec<_>>()
            };
            let days = assess(make(&seconds), &zone());
            let n = seconds.len().max(1);
            seconds.rotate_left(seed as usize % n);
            seconds.reverse();
            prop_assert_eq!(&days, &assess(make(&seconds), &zone()));
            let twice = [seconds.as_slice(), seconds.as_slice()].concat();
            prop_assert_eq!(&days, &assess(make(&twice), &zone()));
        }
    }
}
