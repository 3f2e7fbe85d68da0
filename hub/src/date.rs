//! Calendar dates as people write them, and the zones they are in.

use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Problem};

/// The years that anybody may mean.
const YEARS: RangeInclusive<i16> = 1900..=2199;

/// A date that somebody wrote: `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub Date);

/// Why a text is no date.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no date: write YYYY-MM-DD, from {first} to {last}", first = YEARS.start(), last = YEARS.end())]
pub struct NoDate(String);

impl FromStr for Day {
    type Err = NoDate;

    fn from_str(text: &str) -> Result<Self, NoDate> {
        let shaped = text.len() == 10
            && text.bytes().enumerate().all(|(i, byte)| match i {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        let date = text.parse().ok().filter(|date: &Date| shaped && YEARS.contains(&date.year()));
        date.map(Self).ok_or_else(|| NoDate(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// An instant that somebody wrote, with its offset.
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let at = Timestamp::deserialize(from)?;
        let (first, last) = (YEARS.start(), YEARS.end());
        let meant = YEARS.contains(&at.to_zoned(TimeZone::UTC).year());
        meant
            .then_some(Self(at))
            .ok_or_else(|| D::Error::custom(format!("{at}: a time from {first} to {last}")))
    }
}

/// Two dates, the second not before the first, of at most so many days together.
pub fn range(from: Day, to: Day, most: i32) -> Result<(Date, Date), Error> {
    if from > to {
        return Err(Problem::IntervalReversed { from: from.0, to: to.0 }.of("from"));
    }
    let days = from.0.until(to.0).map_or(i32::MAX, |span| span.get_days());
    if days >= most {
        return Err(Problem::IntervalTooLong { days: most }.of("to"));
    }
    Ok((from.0, to.0))
}

/// A zone of the database.
pub fn zone(name: &str) -> anyhow::Result<TimeZone> {
    TimeZone::get(name).with_context(|| format!("there is no time zone {name:?}"))
}

/// Local time with its offset, to the second.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The `HH:MM:SS` of what [`local`] wrote.
pub fn time_of_day(local: &str) -> &str {
    local.get(11..19).unwrap_or(local)
}

/// The local date of an instant.
pub fn today(now: Timestamp, zone: &TimeZone) -> Date {
    zone.to_datetime(now).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Day, serde_json::Error> {
        serde_json::from_value(serde_json::json!(text))
    }

    #[test]
    fn a_date_is_written_in_one_way() {
        assert_eq!(read("2025-03-03").expect("a date"), Day(jiff::civil::date(2025, 3, 3)));
        for wrong in [
            "",
            "2025-3-3",
            "20250303",
            "2025-02-30",
            "2025-03-03T09:00",
            "1899-12-31",
            "2200-01-01",
            "-025-03-03",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_instant_is_of_our_times() {
        let read = |text: &str| serde_json::from_value::<Moment>(serde_json::json!(text)).is_ok();
        assert!(read("2025-03-03T09:00:00+01:00"));
        assert!(!read("0001-01-01T00:00:00Z") && !read("-009998-01-01T00:00:00Z") && !read("2025-03-03"));
    }

    #[test]
    fn a_range_has_an_order_and_an_end() {
        let day = |text: &str| read(text).expect("a date");
        assert!(range(day("2025-01-01"), day("2025-12-31"), 365).is_ok());
        assert!(range(day("2025-01-01"), day("2026-01-01"), 365).is_err());
        assert!(range(day("2025-01-02"), day("2025-01-01"), 365).is_err());
    }
}
