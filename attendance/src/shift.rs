//! A shift: its hours, its thresholds, and where both fall on a date.

use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Minutes that a rule may name, at most: a week.
const LONGEST_MIN: u16 = 10_080;

/// Whole minutes, 0 to 10080.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Minutes(u16);

impl Minutes {
    const fn of<const N: u16>() -> Self {
        Self(N)
    }

    pub fn seconds(self) -> i64 {
        i64::from(self.0) * 60
    }
}

impl<'de> Deserialize<'de> for Minutes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)?.as_u64() {
            Some(minutes) if minutes <= u64::from(LONGEST_MIN) => Ok(Self(minutes as u16)),
            _ => Err(D::Error::custom("minutes are whole numbers from 0 to 10080")),
        }
    }
}

/// A time of day, 00:00 to 23:59.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    fn parse(text: &str) -> Option<Self> {
        let &[a, b, b':', c, d] = text.as_bytes() else { return None };
        if ![a, b, c, d].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let two = |tens: u8, ones: u8| u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
        let (hour, minute) = (two(a, b), two(c, d));
        (hour < 24 && minute < 60).then_some(Self(hour * 60 + minute))
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is no time of day: write HH:MM, 00:00 to 23:59"))
        })
    }
}

/// How punches become hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// From the first in to the last out.
    #[default]
    FirstLast,
    /// In, out, in, out: what lies between is a break.
    Pairs,
}

/// What a shift is, without its name. Minutes are whole, 0 to 10080.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Local time of day at which it begins, `HH:MM`.
    #[schema(value_type = String, example = "09:00")]
    pub start: TimeOfDay,
    /// Local time of day at which it ends; not after `start`: on the next day.
    #[schema(value_type = String, example = "18:00")]
    pub end: TimeOfDay,
    /// How punches become hours.
    #[serde(default)]
    pub pairing: Pairing,
    /// Minutes of grace before an arrival counts as late.
    #[serde(default = "Minutes::of::<10>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub grace_late_min: Minutes,
    /// Minutes of grace before leaving counts as early.
    #[serde(default = "Minutes::of::<10>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub grace_early_min: Minutes,
    /// A day with less work counts as absent, in minutes.
    #[serde(default = "Minutes::of::<120>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub absent_below_min: Minutes,
    /// A day with less work counts as half a day, in minutes.
    #[serde(default = "Minutes::of::<300>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub half_day_below_min: Minutes,
    /// Minutes beyond the expected time that are not yet overtime.
    #[serde(default = "Minutes::of::<15>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub overtime_tolerance_min: Minutes,
    /// Minutes of a break that is not paid.
    #[serde(default = "Minutes::of::<0>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub unpaid_break_min: Minutes,
    /// Breaks by hours worked: pairs of (after so many minutes, at least so many minutes).
    #[serde(default)]
    #[schema(value_type = Vec<Vec<u16>>)]
    pub break_rules: Vec<(Minutes, Minutes)>,
    /// Minutes before the start from which on punches belong to the shift.
    #[serde(default = "Minutes::of::<120>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub window_before_min: Minutes,
    /// Minutes after the end until which punches belong to the shift.
    #[serde(default = "Minutes::of::<480>")]
    #[schema(value_type = u16, maximum = 10080)]
    pub window_after_min: Minutes,
    /// Whether time before the start counts for overtime.
    #[serde(default)]
    pub count_early_arrival: bool,
    /// Flexible time: late after this instead of `start`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub core_start: Option<TimeOfDay>,
    /// Flexible time: early before this instead of `end`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub core_end: Option<TimeOfDay>,
    /// Part time: the minutes that are expected, whatever the length of the shift.
    #[serde(default)]
    #[schema(value_type = Option<u16>, maximum = 10080)]
    pub expected_min: Option<Minutes>,
}

impl Default for Rules {
    /// What an unscheduled day follows. Its hours mean nothing.
    fn default() -> Self {
        let midnight = TimeOfDay(0);
        Self {
            start: midnight,
            end: midnight,
            pairing: Pairing::FirstLast,
            grace_late_min: Minutes(10),
            grace_early_min: Minutes(10),
            absent_below_min: Minutes(120),
            half_day_below_min: Minutes(300),
            overtime_tolerance_min: Minutes(15),
            unpaid_break_min: Minutes(0),
            break_rules: Vec::new(),
            window_before_min: Minutes(120),
            window_after_min: Minutes(480),
            count_early_arrival: false,
            core_start: None,
            core_end: None,
            expected_min: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub name: Arc<str>,
    pub rules: Rules,
}

/// A shift on a date: seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: i64,
    /// Before `start` only where a clock change swallowed it.
    pub end: i64,
    /// Its window.
    pub opens: i64,
    pub closes: i64,
    /// Whoever comes later (and later than the grace) is late.
    pub due: i64,
    /// Whoever goes earlier (and earlier than the grace) goes early.
    pub until: i64,
}

impl Span {
    /// Places a shift on a date, in the zone of its hours (rules 2 and 6).
    pub fn place(rules: &Rules, date: Date, zone: &TimeZone) -> Self {
        let next = date.tomorrow().unwrap_or(date);
        let start = instant(date, rules.start, zone);
        let end = instant(if rules.end > rules.start { date } else { next }, rules.end, zone);
        let core = |time: TimeOfDay| instant(if time < rules.start { next } else { date }, time, zone);
        Self {
            start,
            end,
            opens: start - rules.window_before_min.seconds(),
            closes: end + rules.window_after_min.seconds(),
            due: rules.core_start.map_or(start, core),
            until: rules.core_end.map_or(end, core),
        }
    }

    /// Seconds of the shift; none where a clock change swallowed it.
    pub fn length(&self) -> i64 {
        (self.end - self.start).max(0)
    }

    /// Whether a punch at this time may be the shift's.
    pub fn holds(&self, at: i64) -> bool {
        (self.opens..=self.closes).contains(&at)
    }

    /// 0 from start to end, otherwise to the nearer boundary (rule 3).
    pub fn distance(&self, at: i64) -> i64 {
        if (self.start..=self.end).contains(&at) {
            return 0;
        }
        (at - self.start).abs().min((at - self.end).abs())
    }
}

/// A local time as an instant, the RFC 5545 way: of two the earlier, a skipped one as if the clock
/// had not been changed. At the ends of the calendar, the nearest there is.
fn instant(date: Date, time: TimeOfDay, zone: &TimeZone) -> i64 {
    let time = Time::constant((time.0 / 60) as i8, (time.0 % 60) as i8, 0, 0);
    match zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible() {
        Ok(at) => at.as_second(),
        Err(_) if date.year() < 0 => jiff::Timestamp::MIN.as_second(),
        Err(_) => jiff::Timestamp::MAX.as_second(),
    }
}
