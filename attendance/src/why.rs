//! Why a workday is as it is: the reasons behind each figure (rule 14).

use crate::punch::{Punch, timestamp};
use crate::reason::{ExpectedBasis, PunchRole, Reason};
use crate::shift::{Rules, Span};
use crate::workday::{Flag, LONG_SPAN_S, Status, Workday};

/// How long after the day's last punch a duplicate may be, in seconds. It follows the punch that it doubles closely,
/// but not with every setting.
const DUPLICATE_REACH_S: i64 = 3600;

/// The reasons; `dropped` are the person's duplicates.
pub fn why(day: &Workday, dropped: &[Punch]) -> Vec<Reason> {
    let mut reasons = vec![shift(day)];
    reasons.extend(punches(day, dropped));
    reasons.extend(day.paired.closed.iter().map(|(from, to)| Reason::Interval {
        from_at: timestamp(*from),
        to_at: timestamp(*to),
        duration_s: to - from,
    }));
    reasons.push(status(day));
    reasons.extend(day.flags.iter().map(|flag| raised(*flag, day)));
    reasons.extend((day.break_s > 0).then_some(Reason::Breaks { break_s: day.break_s }));
    if let Some((shift, span)) = &day.shift {
        reasons.extend(punctuality(day, &shift.rules, span));
        reasons.push(expected(day, &shift.rules));
    }
    reasons.extend(overtime(day));
    reasons
}

fn shift(day: &Workday) -> Reason {
    let Some((shift, span)) = &day.shift else { return Reason::NoShift };
    Reason::Shift {
        name: shift.name.to_string(),
        starts_at: timestamp(span.start),
        ends_at: timestamp(span.end),
        opens_at: timestamp(span.opens),
        closes_at: timestamp(span.closes),
    }
}

fn punches(day: &Workday, dropped: &[Punch]) -> Vec<Reason> {
    let role = |punch: &Punch| match punch.at {
        at if day.paired.first_in.is_some_and(|moment| moment.at == at) => PunchRole::FirstIn,
        at if day.paired.last_out.is_some_and(|moment| moment.at == at) => PunchRole::LastOut,
        _ => PunchRole::Used,
    };
    let reason = |punch: &Punch, role| Reason::Punch {
        at: timestamp(punch.at),
        role,
        terminal: Some(punch.terminal.to_string()).filter(|terminal| !terminal.is_empty()),
        direction: punch.direction,
        clock: punch.clock,
    };
    let (Some(first), Some(last)) = (day.punches.first(), day.punches.last()) else { return Vec::new() };
    let used = day.punches.iter().map(|punch| reason(punch, role(punch)));
    let near = first.at..=last.at + DUPLICATE_REACH_S;
    let dropped = dropped.iter().filter(|punch| near.contains(&punch.at));
    used.chain(dropped.map(|punch| reason(punch, PunchRole::Duplicate))).collect()
}

fn status(day: &Workday) -> Reason {
    let worked_s = day.worked_s.unwrap_or(0);
    let share = if day.flags.contains(&Flag::HalfLeave) { 2 } else { 1 };
    match (day.status, day.shift.as_ref().map(|(shift, _)| &shift.rules)) {
        (Status::Holiday, _) => Reason::Holiday,
        (Status::Leave, _) => Reason::Leave,
        (Status::Incomplete, _) => Reason::Incomplete,
        (Status::Unscheduled, _) | (_, None) => Reason::Unscheduled,
        (Status::Absent, Some(rules)) => {
            Reason::Absent { worked_s, threshold_s: rules.absent_below_min.seconds() / share }
        }
        (Status::HalfDay, Some(rules)) => {
            Reason::HalfDay { worked_s, threshold_s: rules.half_day_below_min.seconds() / share }
        }
        (Status::Present, Some(_)) => Reason::Present { worked_s },
    }
}

fn raised(flag: Flag, day: &Workday) -> Reason {
    match flag {
        Flag::ClockEstimated => Reason::ClockEstimated,
        Flag::HalfLeave => Reason::HalfLeave,
        Flag::LongSpan => Reason::LongSpan { span_s: day.paired.span_s(), limit_s: LONG_SPAN_S },
        Flag::MissingIn => Reason::MissingIn,
        Flag::MissingOut => Reason::MissingOut,
        Flag::WorkedOnLeave => Reason::WorkedOnLeave,
    }
}

fn punctuality(day: &Workday, rules: &Rules, span: &Span) -> impl Iterator<Item = Reason> {
    let late = (day.late_s > 0).then(|| Reason::Late {
        late_s: day.late_s,
        due_at: timestamp(span.due),
        grace_s: rules.grace_late_min.seconds(),
    });
    let early = (day.early_s > 0).then(|| Reason::Early {
        early_s: day.early_s,
        due_at: timestamp(span.until),
        grace_s: rules.grace_early_min.seconds(),
    });
    late.into_iter().chain(early)
}

fn expected(day: &Workday, rules: &Rules) -> Reason {
    let basis = match rules.expected_min {
        _ if matches!(day.status, Status::Holiday | Status::Leave) => ExpectedBasis::DayOff,
        Some(_) => ExpectedBasis::ExpectedMin,
        None => ExpectedBasis::ShiftLength,
    };
    Reason::Expected { expected_s: day.expected_s, basis }
}

fn overtime(day: &Workday) -> Vec<Reason> {
    let overtime_s = day.overtime_s;
    let (rules, span) = match &day.shift {
        Some((shift, span)) if day.status != Status::Holiday => (&shift.rules, span),
        _ => return (overtime_s > 0).then_some(Reason::DayOffOvertime { overtime_s }).into_iter().collect(),
    };
    let mut reasons = Vec::new();
    let early_s = day.paired.closed_before(span.start);
    if early_s > 0 && !rules.count_early_arrival && day.status != Status::Leave {
        reasons.push(Reason::EarlyArrival { early_s });
    }
    let tolerance_s = rules.overtime_tolerance_min.seconds();
    match day.balance_s {
        _ if overtime_s > 0 => reasons.push(Reason::Overtime { overtime_s, tolerance_s }),
        Some(balance_s) if balance_s > 0 => reasons.push(Reason::NoOvertime { balance_s, tolerance_s }),
        _ => {}
    }
    reasons
}
