//! A scenario as JSON, without any database: what `rollcall-hub assess` reads and prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::punch::{ClockState, Direction, Punch, timestamp};
use crate::reason::Reason;
use crate::shift::{Rules, Shift};
use crate::why::why;
use crate::workday::{Assessment, Employment, Entry, Facts, Leave, Workday, assess};

/// Why a scenario makes no sense: one line that names the field.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidScenario(pub String);

/// One person's facts, and the dates to print.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    zone: Zone,
    from: Day,
    to: Day,
    shifts: Shifts,
    schedule: Vec<Object<Scheduled>>,
    #[serde(default)]
    holidays: Vec<Day>,
    #[serde(default)]
    leave: Vec<Object<LeaveDay>>,
    #[serde(default)]
    employed: Object<Employed>,
    #[serde(default = "a_minute")]
    duplicate_within_s: u32,
    punches: Vec<Object<PunchSeen>>,
}

fn a_minute() -> u32 {
    60
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scheduled {
    date: Day,
    shift: String,
    #[serde(default, deserialize_with = "given")]
    zone: Option<Zone>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaveDay {
    date: Day,
    #[serde(default)]
    half: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Employed {
    #[serde(default, deserialize_with = "given")]
    from: Option<Day>,
    #[serde(default, deserialize_with = "given")]
    to: Option<Day>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PunchSeen {
    at: Moment,
    #[serde(default)]
    terminal: String,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    clock: ClockState,
}

/// What must be written as an object: serde would take a list of its values as well.
#[derive(Default)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keyed<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keyed<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_map(Keyed(PhantomData))
    }
}

/// A key that may be left out, but not be null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A calendar date, `YYYY-MM-DD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Day(Date);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let shaped = text.len() == 10
            && text.bytes().enumerate().all(|(i, byte)| match i {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        let date = if shaped { text.parse().ok() } else { None };
        date.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is no date: write YYYY-MM-DD")))
    }
}

/// An IANA time zone.
#[derive(Clone)]
struct Zone(TimeZone);

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        TimeZone::get(&name)
            .map(Self)
            .map_err(|_| D::Error::custom(format!("there is no time zone {name:?}")))
    }
}

/// An instant with its offset.
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let offset = Pieces::parse(&text).ok().and_then(|pieces| pieces.to_numeric_offset());
        // An offset is a time of day (RFC 3339); what reads it would take a little more.
        let far = offset.is_some_and(|offset| offset.seconds().abs() >= 86_400);
        let read = text.parse().ok().filter(|_| !far);
        read.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is no time with an offset, such as 2025-03-03T09:00:00+01:00"))
        })
    }
}

/// Shifts by name, each named once.
struct Shifts(BTreeMap<String, Arc<Shift>>);

impl<'de> Deserialize<'de> for Shifts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Shifts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of shifts by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shifts, A::Error> {
                let mut shifts = BTreeMap::new();
                while let Some((name, rules)) = map.next_entry::<String, Object<Rules>>()? {
                    let shift = Arc::new(Shift { name: name.as_str().into(), rules: rules.0 });
                    if shifts.insert(name.clone(), shift).is_some() {
                        return Err(A::Error::custom(format!("the shift {name:?} stands twice")));
                    }
                }
                Ok(Shifts(shifts))
            }
        }
        from.deserialize_map(Named)
    }
}

impl Scenario {
    /// Reads a scenario; refuses what the rules can't be applied to.
    pub fn read(text: &str) -> Result<Self, InvalidScenario> {
        let one_line = |message: String| InvalidScenario(message.replace(char::is_control, " "));
        let mut json = serde_json::Deserializer::from_str(text);
        let Object(scenario): Object<Self> =
            serde_path_to_error::deserialize(&mut json).map_err(|error| {
                let path = error.path().to_string();
                // Of what is no JSON there is no path.
                let place = if path == "." || path == "?" { String::new() } else { format!("{path}: ") };
                one_line(format!("{place}{}", error.into_inner()))
            })?;
        json.end().map_err(|error| one_line(error.to_string()))?;
        scenario.check().map_err(one_line)?;
        Ok(scenario)
    }

    /// What no single field shows.
    fn check(&self) -> Result<(), String> {
        if self.from > self.to {
            return Err(format!("from: {} is after to, {}", self.from.0, self.to.0));
        }
        if let (Some(from), Some(to)) = (self.employed.0.from, self.employed.0.to)
            && from > to
        {
            return Err(format!("employed.from: {} is after employed.to, {}", from.0, to.0));
        }
        let mut seen = BTreeSet::new();
        for (i, Object(entry)) in self.schedule.iter().enumerate() {
            if !self.shifts.0.contains_key(&entry.shift) {
                return Err(format!("schedule[{i}].shift: there is no shift {:?} in shifts", entry.shift));
            }
            if !seen.insert((entry.date, &entry.shift)) {
                return Err(format!("schedule[{i}]: {} has the shift {:?} twice", entry.date.0, entry.shift));
            }
        }
        let mut days = BTreeSet::new();
        match self.leave.iter().position(|leave| !days.insert(leave.0.date)) {
            Some(i) => Err(format!("leave[{i}].date: {} has two entries", self.leave[i].0.date.0)),
            None => Ok(()),
        }
    }

    /// Applies the rules. `sentence` puts a reason into words, with times of day in the zone.
    pub fn assess(self, sentence: impl Fn(&Reason, &TimeZone) -> String) -> Answer {
        let entry = |Object(entry): Object<Scheduled>| Entry {
            date: entry.date.0,
            shift: self.shifts.0[&entry.shift].clone(),
            zone: entry.zone.unwrap_or_else(|| self.zone.clone()).0,
        };
        let employed = Employment {
            from: self.employed.0.from.map(|day| day.0),
            to: self.employed.0.to.map(|day| day.0),
        };
        let entries: Vec<Entry> = self.schedule.into_iter().map(entry).collect();
        let leave =
            |Object(day): &Object<LeaveDay>| (day.date.0, if day.half { Leave::Half } else { Leave::Whole });
        let punch = |Object(seen): Object<PunchSeen>| {
            Punch::new(seen.at.0, seen.direction, seen.terminal.into(), seen.clock)
        };
        let facts = Facts {
            zone: self.zone.0.clone(),
            scheduled: entries.iter().any(|entry| employed.covers(entry.date)),
            entries,
            holidays: self.holidays.iter().map(|day| day.0).collect(),
            leave: self.leave.iter().map(leave).collect(),
            employed,
            duplicate_within_s: i64::from(self.duplicate_within_s),
            punches: self.punches.into_iter().map(punch).collect(),
        };
        let sentence = |reason: &Reason| sentence(reason, &facts.zone);
        Answer::new(&assess(&facts), (self.from.0, self.to.0), sentence)
    }
}

/// What is printed of a scenario.
#[derive(Serialize)]
pub struct Answer {
    workdays: Vec<Printed>,
    dropped: Vec<Dropped>,
    unassigned: Vec<Unassigned>,
}

#[derive(Serialize)]
struct Printed {
    date: Date,
    shift: Option<String>,
    status: &'static str,
    first_in: Option<Timestamp>,
    last_out: Option<Timestamp>,
    worked_s: Option<i64>,
    expected_s: i64,
    late_s: i64,
    early_s: i64,
    overtime_s: i64,
    balance_s: Option<i64>,
    flags: Vec<&'static str>,
    why: Vec<String>,
}

#[derive(Serialize)]
struct Dropped {
    at: Timestamp,
    reason: &'static str,
}

#[derive(Serialize)]
struct Unassigned {
    at: Timestamp,
}

impl Answer {
    fn new(assessment: &Assessment, (from, to): (Date, Date), sentence: impl Fn(&Reason) -> String) -> Self {
        let asked = |day: &&Workday| (from..=to).contains(&day.date);
        let print = |day: &Workday| Printed {
            date: day.date,
            shift: day.shift.as_ref().map(|(shift, _)| shift.name.to_string()),
            status: day.status.as_str(),
            first_in: day.paired.first_in.map(|moment| timestamp(moment.at)),
            last_out: day.paired.last_out.map(|moment| timestamp(moment.at)),
            worked_s: day.worked_s,
            expected_s: day.expected_s,
            late_s: day.late_s,
            early_s: day.early_s,
            overtime_s: day.overtime_s,
            balance_s: day.balance_s,
            flags: day.flags.iter().map(|flag| flag.as_str()).collect(),
            why: why(day, &assessment.dropped).iter().map(&sentence).collect(),
        };
        Self {
            workdays: assessment.workdays.iter().filter(asked).map(print).collect(),
            dropped: assessment
                .dropped
                .iter()
                .map(|punch| Dropped { at: timestamp(punch.at), reason: "duplicate" })
                .collect(),
            unassigned: assessment
                .unassigned
                .iter()
                .map(|punch| Unassigned { at: timestamp(punch.at) })
                .collect(),
        }
    }
}
