//! The timesheet: a row for each person and day.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::attendance::{ClockState, Direction, Employment, Facts, Punch, assess, timestamp};
use crate::store;
use crate::store::punches;

/// Days of one timesheet, at most.
const DAYS: i32 = 366;

/// One person's day.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Workday)]
pub struct Row {
    /// The local date, `YYYY-MM-DD`.
    pub date: String,
    /// The person's number.
    pub number: String,
    /// The person's name.
    pub name: String,
    /// When they came: local time with its offset.
    pub first_in: Option<String>,
    /// When they went: local time with its offset.
    pub last_out: Option<String>,
    /// Seconds between; null where nothing closed.
    pub worked_s: Option<i64>,
    /// incomplete or unscheduled.
    pub status: String,
    /// What somebody should know: `clock_estimated`, `long_span`, `missing_in`, `missing_out`.
    pub flags: Vec<String>,
}

impl Row {
    /// The time of day of the first in, for a page that says the date; empty if there is none.
    pub fn came(&self) -> &str {
        self.first_in.as_deref().map_or("", time_of_day)
    }

    /// The time of day of the last out.
    pub fn went(&self) -> &str {
        self.last_out.as_deref().map_or("", time_of_day)
    }
}

/// Local dates, both inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// First.
    pub from: Date,
    /// Last.
    pub to: Date,
}

impl Period {
    /// At most a year, and not backwards.
    pub fn new(from: Date, to: Date) -> Result<Self> {
        ensure!(from <= to, "the period ends before it begins");
        ensure!(from.until(to)?.get_days() < DAYS, "a timesheet has at most {DAYS} days");
        Ok(Self { from, to })
    }

    /// The instants of its beginning and its end.
    pub fn instants(self, zone: &TimeZone) -> Result<(Timestamp, Timestamp)> {
        let begin = |date: Date| date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
        Ok((begin(self.from)?, begin(self.to.tomorrow()?)?))
    }
}

/// The timesheet of a period, by date and number. The look is audited.
pub async fn timesheet(pool: &PgPool, zone: &TimeZone, period: Period, actor: &str) -> Result<Vec<Row>> {
    let mut transaction = pool.begin().await?;
    let rows = unaudited(&mut transaction, zone, period).await?;
    let detail = json!({"from": period.from.to_string(), "to": period.to.to_string()});
    store::audit::record(&mut transaction, actor, "report.timesheet", "timesheet", detail).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// For somebody whose look has been audited already.
pub async fn unaudited(conn: &mut PgConnection, zone: &TimeZone, period: Period) -> Result<Vec<Row>> {
    let (from, until) = period.instants(zone)?;
    // The day before too: a punch right after midnight may be a duplicate of one right before.
    let punches = punches::between(conn, from.checked_sub(24.hours())?, until).await?;
    Ok(rows(punches, zone, period))
}

fn rows(punches: Vec<punches::Punch>, zone: &TimeZone, period: Period) -> Vec<Row> {
    let mut people: BTreeMap<(String, String), Vec<Punch>> = BTreeMap::new();
    for punch in punches {
        people.entry((punch.number.clone(), punch.name.clone())).or_default().push(read(&punch));
    }
    let mut rows = Vec::new();
    for ((number, name), punches) in people {
        for day in assess(&facts(punches, zone)).workdays {
            if (period.from..=period.to).contains(&day.date) {
                rows.push(Row {
                    date: day.date.to_string(),
                    number: number.clone(),
                    name: name.clone(),
                    first_in: day.paired.first_in.map(|moment| local(timestamp(moment.at), zone)),
                    last_out: day.paired.last_out.map(|moment| local(timestamp(moment.at), zone)),
                    worked_s: day.worked_s,
                    status: day.status.as_str().into(),
                    flags: day.flags.into_iter().map(str::to_owned).collect(),
                });
            }
        }
    }
    rows.sort_by(|one, other| (&one.date, &one.number).cmp(&(&other.date, &other.number)));
    rows
}

fn facts(punches: Vec<Punch>, zone: &TimeZone) -> Facts {
    Facts {
        zone: zone.clone(),
        entries: Vec::new(),
        scheduled: false,
        holidays: BTreeSet::new(),
        leave: BTreeMap::new(),
        employed: Employment::default(),
        duplicate_within_s: 60,
        punches,
    }
}

fn read(punch: &punches::Punch) -> Punch {
    let (direction, clock) = (Direction::read(&punch.direction), ClockState::read(&punch.clock));
    Punch::new(punch.at.to_jiff(), direction, punch.device.as_str().into(), clock)
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

/// Reads a date as `YYYY-MM-DD`.
pub fn parse_date(text: &str) -> Result<Date> {
    text.parse().with_context(|| format!("{text:?} is no date: write it as YYYY-MM-DD"))
}
