//! Why a workday is as it is: a sentence for each figure (rule 14).

use jiff::tz::TimeZone;

use crate::punch::{Punch, timestamp};
use crate::shift::{Rules, Span};
use crate::workday::{Status, Workday};

/// The sentences. Times of day are in `zone`; `dropped` are the person's duplicates.
pub fn why(workday: &Workday, dropped: &[Punch], zone: &TimeZone) -> Vec<String> {
    let teller = Teller { workday, zone };
    let mut told = Vec::new();
    teller.shift(&mut told);
    teller.punches(dropped, &mut told);
    teller.status(&mut told);
    teller.figures(&mut told);
    told
}

struct Teller<'a> {
    workday: &'a Workday,
    zone: &'a TimeZone,
}

impl Teller<'_> {
    fn time(&self, at: i64) -> String {
        timestamp(at).to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    fn rules(&self) -> Option<(&Rules, &Span)> {
        self.workday.shift.as_ref().map(|(shift, span)| (&shift.rules, span))
    }

    fn shift(&self, told: &mut Vec<String>) {
        let Some((shift, span)) = &self.workday.shift else {
            return told
                .push("no shift on this date, and no shift's window holds the punches (rule 3)".into());
        };
        told.push(format!(
            "shift {}: {} to {}; its window holds punches from {} to {} (rule 2)",
            shift.name,
            self.time(span.start),
            self.time(span.end),
            self.time(span.opens),
            self.time(span.closes)
        ));
    }

    fn punches(&self, dropped: &[Punch], told: &mut Vec<String>) {
        let paired = &self.workday.paired;
        for punch in &self.workday.punches {
            let role = match punch.at {
                at if paired.first_in.is_some_and(|moment| moment.at == at) => "first in",
                at if paired.last_out.is_some_and(|moment| moment.at == at) => "last out",
                _ => "used",
            };
            told.push(format!("punch {}: {role}", self.describe(punch)));
        }
        let first = self.workday.punches.first().map_or(i64::MAX, |punch| punch.at);
        let last = self.workday.punches.last().map_or(i64::MIN, |punch| punch.at);
        // A duplicate follows the punch that it doubles closely; with a wide setting, not so closely.
        for punch in dropped.iter().filter(|punch| (first..=last + 3600).contains(&punch.at)) {
            told.push(format!("punch {}: dropped as a duplicate (rule 1)", self.describe(punch)));
        }
        for (from, to) in &paired.closed {
            told.push(format!(
                "interval {} to {}: {} (rule 5)",
                self.time(*from),
                self.time(*to),
                hours(to - from)
            ));
        }
        if paired.missing_in {
            told.push("missing_in: a punch of leaving has none of coming before it (rule 5)".into());
        }
        if paired.missing_out {
            told.push("missing_out: a punch of coming has none of leaving after it (rule 5)".into());
        }
    }

    fn describe(&self, punch: &Punch) -> String {
        let terminal = if punch.terminal.is_empty() { "" } else { " at " };
        let clock = if punch.clock == crate::ClockState::Estimated { ", time estimated" } else { "" };
        format!("{}{terminal}{}, {}{clock}", self.time(punch.at), punch.terminal, punch.direction.as_str())
    }

    fn status(&self, told: &mut Vec<String>) {
        let half = self.workday.flags.contains(&"half_leave");
        let below = |name: &str, seconds: i64| {
            let share = if half { 2 } else { 1 };
            let worked = hours(self.workday.worked_s.unwrap_or(0));
            format!("worked {worked} is below {name} {}", hours(seconds / share))
        };
        let reason = match (self.workday.status, self.rules()) {
            (Status::Holiday, _) => "the date is a holiday".into(),
            (Status::Leave, _) => "the date is leave".into(),
            (Status::Incomplete, _) => "there are punches, but no closed interval".into(),
            (Status::Absent, Some((rules, _))) => below("absent_below", rules.absent_below_min.seconds()),
            (Status::HalfDay, Some((rules, _))) => {
                below("half_day_below", rules.half_day_below_min.seconds())
            }
            (Status::Unscheduled, _) | (_, None) => "the date has no shift".into(),
            (Status::Present, Some(_)) => format!("worked {}", hours(self.workday.worked_s.unwrap_or(0))),
        };
        told.push(format!("status {}: {reason} (rule 7)", self.workday.status.as_str()));
        if half {
            told.push("half_leave: expected time and thresholds are halved (rule 9)".into());
        }
    }

    fn figures(&self, told: &mut Vec<String>) {
        let day = self.workday;
        if day.break_s > 0 {
            told.push(format!("breaks: {} came off the hours (rule 5)", hours(day.break_s)));
        }
        let Some((rules, span)) = self.rules() else { return };
        if day.late_s > 0 {
            let grace = hours(rules.grace_late_min.seconds());
            told.push(format!("late {} s: due {}, grace {grace} (rule 6)", day.late_s, self.time(span.due)));
        }
        if day.early_s > 0 {
            let grace = hours(rules.grace_early_min.seconds());
            told.push(format!(
                "early {} s: until {}, grace {grace} (rule 6)",
                day.early_s,
                self.time(span.until)
            ));
        }
        let source = match rules.expected_min {
            _ if matches!(day.status, Status::Holiday | Status::Leave) => "nothing is expected (rule 9)",
            Some(_) => "expected_min of the shift (rule 8)",
            None => "the shift's length less breaks (rule 8)",
        };
        told.push(format!("expected {}: {source}", hours(day.expected_s)));
        let tolerance = hours(rules.overtime_tolerance_min.seconds());
        let early = day.paired.closed_before(span.start);
        if early > 0 && !rules.count_early_arrival && day.status != Status::Holiday {
            told.push(format!(
                "{} before the shift's start do not count for overtime (rule 8)",
                hours(early)
            ));
        }
        if day.overtime_s > 0 {
            told.push(format!(
                "overtime {} s: more than the tolerance of {tolerance} (rule 8)",
                day.overtime_s
            ));
        } else if day.balance_s.is_some_and(|balance| balance > 0) {
            told.push(format!("no overtime: within the tolerance of {tolerance} (rule 8)"));
        }
    }
}

/// Seconds as `H:MM:SS`.
fn hours(seconds: i64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
