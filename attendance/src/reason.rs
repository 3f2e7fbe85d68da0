//! A reason behind a day's figures, as data: whoever shows it finds the words.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::punch::{ClockState, Direction};

/// A reason behind a day's figures: a code and what it rests on. Fields that end in `_s` are seconds, those that
/// end in `at` are instants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The day's shift, and the window in which it takes punches.
    Shift {
        name: String,
        starts_at: Timestamp,
        ends_at: Timestamp,
        opens_at: Timestamp,
        closes_at: Timestamp,
    },
    /// No shift's window holds the punches, and the date has no shift.
    NoShift,
    /// What became of a punch.
    Punch {
        at: Timestamp,
        role: PunchRole,
        /// Null where no terminal saw it.
        terminal: Option<String>,
        direction: Direction,
        clock: ClockState,
    },
    /// Time worked between an in and an out, before breaks come off.
    Interval { from_at: Timestamp, to_at: Timestamp, duration_s: i64 },
    /// Breaks that came off the time worked.
    Breaks { break_s: i64 },

    /// The status: the date is a holiday.
    Holiday,
    /// The status: the date is leave.
    Leave,
    /// The status: there are punches, but none closed an interval.
    Incomplete,
    /// The status: the date has no shift.
    Unscheduled,
    /// The status: less work than `absent_below_min`, halved on half a day of leave.
    Absent { worked_s: i64, threshold_s: i64 },
    /// The status: less work than `half_day_below_min`, halved on half a day of leave.
    HalfDay { worked_s: i64, threshold_s: i64 },
    /// The status: enough work for a day.
    Present { worked_s: i64 },
    /// The status is `expected`: nobody is absent up to this time.
    NotDue { until_at: Timestamp },

    /// The flag: some punch has an estimated time.
    ClockEstimated,
    /// The flag: half a day of leave halves expected time and thresholds.
    HalfLeave,
    /// The flag: first in and last out are further apart than the limit.
    LongSpan { span_s: i64, limit_s: i64 },
    /// The flag: an out has no in before it.
    MissingIn,
    /// The flag: an in has no out after it.
    MissingOut,
    /// The flag: there are punches on a day of leave.
    WorkedOnLeave,

    /// The first in is later than the time due by more than the grace.
    Late { late_s: i64, due_at: Timestamp, grace_s: i64 },
    /// The last out is before the time of leaving by more than the grace.
    Early { early_s: i64, due_at: Timestamp, grace_s: i64 },
    /// Where the expected time comes from.
    Expected { expected_s: i64, basis: ExpectedBasis },
    /// Time before the shift's start, which does not count.
    EarlyArrival { early_s: i64 },
    /// All time beyond the expected, because it is more than the tolerance.
    Overtime { overtime_s: i64, tolerance_s: i64 },
    /// No overtime, because what is beyond the expected time is within the tolerance.
    NoOvertime { balance_s: i64, tolerance_s: i64 },
    /// All time worked, because nothing is expected on the date.
    DayOffOvertime { overtime_s: i64 },
}

/// What a day makes of a punch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PunchRole {
    FirstIn,
    LastOut,
    Used,
    /// Dropped.
    Duplicate,
}

/// What the expected time is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedBasis {
    /// Nothing is expected on a holiday or a day of leave.
    DayOff,
    /// `expected_min` of the shift.
    ExpectedMin,
    /// The shift's length less breaks.
    ShiftLength,
}

impl Reason {
    /// The number of the rule in docs/reference/attendance-rules.md.
    pub fn rule(&self) -> u8 {
        match self {
            Self::Punch { role: PunchRole::Duplicate, .. } => 1,
            Self::Shift { .. } => 2,
            Self::NoShift => 3,
            Self::Punch { .. }
            | Self::Interval { .. }
            | Self::Breaks { .. }
            | Self::MissingIn
            | Self::MissingOut => 5,
            Self::Late { .. } | Self::Early { .. } => 6,
            Self::Holiday
            | Self::Leave
            | Self::Incomplete
            | Self::Unscheduled
            | Self::Absent { .. }
            | Self::HalfDay { .. }
            | Self::Present { .. } => 7,
            Self::Expected { basis: ExpectedBasis::DayOff, .. }
            | Self::HalfLeave
            | Self::WorkedOnLeave
            | Self::DayOffOvertime { .. } => 9,
            Self::Expected { .. }
            | Self::EarlyArrival { .. }
            | Self::Overtime { .. }
            | Self::NoOvertime { .. } => 8,
            Self::ClockEstimated => 10,
            Self::LongSpan { .. } => 11,
            Self::NotDue { .. } => 12,
        }
    }
}
