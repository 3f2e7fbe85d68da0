//! A person's day: what the punches that belong to it amount to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::assignment::{assign, nearest};
use crate::breaks::{self, SHORTEST_BREAK_S};
use crate::pairing::{Paired, pair};
use crate::punch::{ClockState, Punch, deduplicate, timestamp};
use crate::shift::{Minutes, Rules, Shift, Span};

/// A first in and a last out further apart than this are suspicious (rule 11).
pub const LONG_SPAN_S: i64 = 16 * 3600;

/// What an unscheduled day follows (rule 9).
static UNSCHEDULED: LazyLock<Rules> = LazyLock::new(Rules::default);

/// A shift on a date of somebody's schedule.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The workday's date.
    pub date: Date,
    pub shift: Arc<Shift>,
    /// The zone of the shift's hours.
    pub zone: TimeZone,
}

/// How much of a date somebody is on leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Whole,
    /// Half of each shift.
    Half,
}

/// First and last day of employment; open where unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Employment {
    pub from: Option<Date>,
    pub to: Option<Date>,
}

impl Employment {
    pub fn covers(self, date: Date) -> bool {
        self.from.is_none_or(|from| from <= date) && self.to.is_none_or(|to| date <= to)
    }
}

/// All that is known of one person.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where punches that no shift takes get their date.
    pub zone: TimeZone,
    /// The schedule, in any order.
    pub entries: Vec<Entry>,
    /// Whether there is any schedule for them at all within their employment, in `entries` or
    /// beyond: without one, nothing is overtime.
    pub scheduled: bool,
    pub holidays: BTreeSet<Date>,
    pub leave: BTreeMap<Date, Leave>,
    pub employed: Employment,
    /// A punch at most so many seconds after the last that counts is a duplicate.
    pub duplicate_within_s: i64,
    /// Punches in any order.
    pub punches: Vec<Punch>,
}

/// What a day was (rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Worked or not.
    Holiday,
    /// A whole day of it, worked or not.
    Leave,
    /// Punches, but no closed interval.
    Incomplete,
    /// No shift.
    Unscheduled,
    Absent,
    HalfDay,
    Present,
}

impl Status {
    /// As reports and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holiday => "holiday",
            Self::Leave => "leave",
            Self::Incomplete => "incomplete",
            Self::Unscheduled => "unscheduled",
            Self::Absent => "absent",
            Self::HalfDay => "half_day",
            Self::Present => "present",
        }
    }
}

/// A day of one person. Times are seconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workday {
    /// The date of its schedule entry; the local date where there is none.
    pub date: Date,
    /// Its shift and where that fell; `None` on an unscheduled day.
    pub shift: Option<(Arc<Shift>, Span)>,
    /// The punches that were assigned to it, in order.
    pub punches: Vec<Punch>,
    pub paired: Paired,
    pub status: Status,
    /// Closed seconds less breaks; `None` where nothing closed.
    pub worked_s: Option<i64>,
    /// Seconds that came off the closed ones.
    pub break_s: i64,
    pub expected_s: i64,
    /// Seconds after the time due.
    pub late_s: i64,
    /// Seconds before the time of leaving.
    pub early_s: i64,
    pub overtime_s: i64,
    /// Counted seconds less expected ones; `None` where nothing closed although there are punches.
    pub balance_s: Option<i64>,
    /// In the order of the alphabet.
    pub flags: Vec<Flag>,
}

/// What somebody should look at, in the order of the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    ClockEstimated,
    HalfLeave,
    LongSpan,
    MissingIn,
    MissingOut,
    WorkedOnLeave,
}

impl Flag {
    /// As reports and the database write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClockEstimated => "clock_estimated",
            Self::HalfLeave => "half_leave",
            Self::LongSpan => "long_span",
            Self::MissingIn => "missing_in",
            Self::MissingOut => "missing_out",
            Self::WorkedOnLeave => "worked_on_leave",
        }
    }
}

/// What [`assess`] makes of one person's facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment {
    /// By date, then by the shifts' start, end and name.
    pub workdays: Vec<Workday>,
    /// Duplicates.
    pub dropped: Vec<Punch>,
    /// Punches that belong to no day.
    pub unassigned: Vec<Punch>,
}

/// What a date is, apart from its shifts.
#[derive(Clone, Copy)]
struct Day {
    holiday: bool,
    leave: Option<Leave>,
    /// Whether work beyond what is expected can be overtime.
    scheduled: bool,
}

/// Applies the rules to one person.
pub fn assess(facts: &Facts) -> Assessment {
    let mut shifts: Vec<(&Entry, Span)> = facts
        .entries
        .iter()
        .filter(|entry| facts.employed.covers(entry.date))
        .map(|entry| (entry, Span::place(&entry.shift.rules, entry.date, &entry.zone)))
        .collect();
    shifts.sort_by(|(one, a), (other, b)| {
        (a.start, a.end, &one.shift.name, one.date).cmp(&(b.start, b.end, &other.shift.name, other.date))
    });
    let spans: Vec<Span> = shifts.iter().map(|(_, span)| *span).collect();
    let punches = deduplicate(facts.punches.clone(), facts.duplicate_within_s);

    let mut assigned: Vec<Vec<Punch>> = vec![Vec::new(); shifts.len()];
    let mut unscheduled: BTreeMap<Date, Vec<Punch>> = BTreeMap::new();
    let mut unassigned = Vec::new();
    for punch in punches.kept {
        if let Some(index) = assign(&punch, &spans) {
            assigned[index].push(punch);
            continue;
        }
        let date = facts.zone.to_datetime(timestamp(punch.at)).date();
        let of_date = (0..shifts.len()).filter(|index| shifts[*index].0.date == date);
        match nearest(&punch, &spans, of_date) {
            Some(index) if facts.holidays.contains(&date) => assigned[index].push(punch),
            None if facts.employed.covers(date) => unscheduled.entry(date).or_default().push(punch),
            _ => unassigned.push(punch),
        }
    }

    let day = |date: Date| Day {
        holiday: facts.holidays.contains(&date),
        leave: facts.leave.get(&date).copied(),
        scheduled: facts.scheduled,
    };
    let scheduled = shifts.iter().zip(assigned).map(|((entry, span), mut punches)| {
        punches.sort(); // one that joined on a holiday came after those that a window held
        Workday::new(entry.date, Some((entry.shift.clone(), *span)), punches, day(entry.date))
    });
    let unscheduled =
        unscheduled.into_iter().map(|(date, punches)| Workday::new(date, None, punches, day(date)));
    let mut workdays: Vec<Workday> = scheduled.chain(unscheduled).collect();
    workdays.sort_by_key(|workday| workday.date); // stable: the shifts of a date stay in order
    Assessment { workdays, dropped: punches.dropped, unassigned }
}

impl Workday {
    fn new(date: Date, shift: Option<(Arc<Shift>, Span)>, punches: Vec<Punch>, day: Day) -> Self {
        let rules = shift.as_ref().map_or(&*UNSCHEDULED, |(shift, _)| &shift.rules);
        let paired = pair(&punches, rules.pairing, shift.as_ref().map(|(_, span)| span));
        let closed = paired.closed_s();
        let off = closed.map_or(0, |s| breaks::of_work(rules, s, paired.gaps_s(SHORTEST_BREAK_S)).min(s));
        let mut workday = Self {
            date,
            worked_s: closed.map(|closed| closed - off),
            break_s: off,
            paired,
            punches,
            shift: None,
            status: Status::Unscheduled,
            expected_s: 0,
            late_s: 0,
            early_s: 0,
            overtime_s: 0,
            balance_s: None,
            flags: Vec::new(),
        };
        match &shift {
            _ if day.holiday => workday.set_day_off(Status::Holiday, day.scheduled),
            _ if day.leave == Some(Leave::Whole) => workday.set_leave(),
            None => workday.set_day_off(Status::Unscheduled, day.scheduled),
            Some((shift, span)) => workday.set_shift(&shift.rules, span, day.leave.is_some()),
        }
        workday.shift = shift;
        workday.raise_flags(day);
        workday
    }

    fn incomplete(&self) -> bool {
        !self.punches.is_empty() && self.worked_s.is_none()
    }

    /// Nothing is expected, all work is overtime (rule 9).
    fn set_day_off(&mut self, status: Status, scheduled: bool) {
        self.status = match status {
            Status::Unscheduled if self.incomplete() => Status::Incomplete,
            other => other,
        };
        let worked = self.worked_s.unwrap_or(0);
        self.overtime_s = if scheduled { worked } else { 0 };
        self.balance_s = (!self.incomplete()).then_some(worked);
    }

    /// Nothing is expected, nothing is overtime (rule 9).
    fn set_leave(&mut self) {
        self.status = Status::Leave;
        self.balance_s = Some(0);
    }

    /// A shift, of which only half is due on half leave (rules 6 to 10).
    fn set_shift(&mut self, rules: &Rules, span: &Span, half: bool) {
        let share = if half { 2 } else { 1 };
        let expected = rules.expected_min.map_or_else(
            || (span.length() - breaks::of_shift(rules, span.length())).max(0),
            Minutes::seconds,
        );
        self.expected_s = expected / share;
        if !half {
            let came = self.paired.first_in.filter(|moment| !moment.estimated);
            let late = came.map_or(0, |moment| moment.at - span.due);
            self.late_s = if late > rules.grace_late_min.seconds() { late } else { 0 };
            let went = self.paired.last_out.filter(|moment| !moment.estimated);
            let early = went.map_or(0, |moment| span.until - moment.at);
            self.early_s = if early > rules.grace_early_min.seconds() { early } else { 0 };
        }
        self.status = match self.worked_s.unwrap_or(0) {
            _ if self.incomplete() => Status::Incomplete,
            worked if worked < rules.absent_below_min.seconds() / share => Status::Absent,
            worked if worked < rules.half_day_below_min.seconds() / share => Status::HalfDay,
            _ => Status::Present,
        };
        if self.incomplete() {
            return;
        }
        let early_arrival = if rules.count_early_arrival { 0 } else { self.paired.closed_before(span.start) };
        let base = (self.worked_s.unwrap_or(0) - early_arrival).max(0);
        let excess = base - self.expected_s;
        self.balance_s = Some(excess);
        self.overtime_s = if excess > rules.overtime_tolerance_min.seconds() { excess } else { 0 };
    }

    fn raise_flags(&mut self, day: Day) {
        let leave = day.leave.filter(|_| !day.holiday);
        let flags = [
            (self.punches.iter().any(|punch| punch.clock == ClockState::Estimated), Flag::ClockEstimated),
            (leave == Some(Leave::Half), Flag::HalfLeave),
            (self.paired.span_s() > LONG_SPAN_S, Flag::LongSpan),
            (self.paired.missing_in, Flag::MissingIn),
            (self.paired.missing_out, Flag::MissingOut),
            (leave == Some(Leave::Whole) && !self.punches.is_empty(), Flag::WorkedOnLeave),
        ];
        self.flags = flags.into_iter().filter(|(raised, _)| *raised).map(|(_, flag)| flag).collect();
    }
}
