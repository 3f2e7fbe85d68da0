//! Which dates an import touches.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::date::{Date, Timestamp};
use crate::db;
use crate::db::recompute_queue::Job;
use crate::imports::problem::Problems;
use crate::workdays::horizon::{REACH, horizon_of};

/// The dates that can have workdays.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    first: Date,
    last: Date,
}

impl Extent {
    /// As things stand.
    pub async fn load(conn: &mut PgConnection, now: Timestamp) -> sqlx::Result<Self> {
        Ok(Self::of(db::workdays::extent(conn).await?, now))
    }

    fn of(happened: Option<(Date, Date)>, now: Timestamp) -> Self {
        let (first, last) = horizon_of(happened, now);
        Self { first, last }
    }

    /// All days of a person.
    pub fn whole(self, person: Uuid) -> Job {
        Job { person, from: self.first, to: self.last }
    }

    /// The days of a person between two dates, where there can be any.
    pub fn job(self, person: Uuid, from: Date, to: Date) -> Option<Job> {
        let (from, to) = (from.max(self.first), to.min(self.last));
        (from <= to).then_some(Job { person, from, to })
    }

    /// The same with all days whose punches the shifts of these dates may take.
    pub fn job_around(self, person: Uuid, from: Date, to: Date) -> Option<Job> {
        self.job(person, from.plus(-REACH), to.plus(REACH))
    }
}

/// A row of a file that says something about a person's dates.
pub struct Span<'a> {
    /// Whose.
    pub number: &'a str,
    /// Its row.
    pub row: u32,
    /// First date.
    pub from: Date,
    /// Last one.
    pub to: Date,
}

/// Tells the rows that say something about a date of which another row spoke.
pub fn tell_overlaps(mut spans: Vec<Span<'_>>, problems: &mut Problems) {
    spans.sort_unstable_by_key(|span| (span.number, span.from, span.row));
    let mut before: Option<&Span<'_>> = None;
    for span in &spans {
        match before {
            Some(other) if other.number == span.number && span.from <= other.to => {
                let (first, second) = (other.row.min(span.row), other.row.max(span.row));
                problems.add(second, "from", format!("its dates overlap with those of row {first}"));
                if span.to > other.to {
                    before = Some(span);
                }
            }
            _ => before = Some(span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i16, month: i8, day: i8) -> Date {
        jiff::civil::date(year, month, day).into()
    }

    #[test]
    fn the_extent_reaches_from_what_happened_first_to_tomorrow() {
        let now = Timestamp("2026-03-10T12:00:00Z".parse().unwrap());
        let person = Uuid::nil();
        let dates = |job: Option<Job>| job.map(|job| (job.from, job.to));
        let extent = Extent::of(Some((date(2026, 1, 5), date(2026, 3, 9))), now);
        assert_eq!(dates(Some(extent.whole(person))), Some((date(2026, 1, 4), date(2026, 3, 11))));
        let open = extent.job(person, date(2025, 1, 1), Date::MAX);
        assert_eq!(dates(open), Some((date(2026, 1, 4), date(2026, 3, 11))));
        let past = extent.job(person, date(2026, 2, 1), date(2026, 2, 2));
        assert_eq!(dates(past), Some((date(2026, 2, 1), date(2026, 2, 2))));
        assert_eq!(dates(extent.job(person, date(2026, 4, 1), date(2026, 4, 2))), None);
        assert_eq!(dates(extent.job(person, date(2025, 4, 1), date(2025, 4, 2))), None);
    }

    #[test]
    fn shifts_reach_beyond_their_dates_and_wrong_clocks_do_not() {
        let now = Timestamp("2026-03-10T12:00:00Z".parse().unwrap());
        let dates = |job: Option<Job>| job.map(|job| (job.from, job.to));
        let extent = Extent::of(Some((date(2026, 1, 5), date(2099, 1, 1))), now);
        let around = extent.job_around(Uuid::nil(), date(2026, 2, 1), date(2026, 2, 2));
        assert_eq!(dates(around), Some((date(2026, 1, 24), date(2026, 2, 10))));
        let open = extent.job_around(Uuid::nil(), date(2026, 3, 17), Date::MAX);
        assert_eq!(dates(open), Some((date(2026, 3, 9), date(2026, 3, 18))));
    }

    #[test]
    fn nothing_happened_yet() {
        let now = Timestamp("2026-03-10T12:00:00Z".parse().unwrap());
        let job = Extent::of(None, now).whole(Uuid::nil());
        assert_eq!((job.from, job.to), (date(2026, 3, 9), date(2026, 3, 11)));
    }

    #[test]
    fn overlaps_are_told_at_the_later_row() {
        let span =
            |number, row, from, to| Span { number, row, from: date(2026, 1, from), to: date(2026, 1, to) };
        let mut problems = Problems::default();
        let spans = vec![
            span("1", 2, 10, 20),
            span("2", 3, 10, 20),
            span("1", 4, 21, 22),
            span("1", 5, 1, 10),
            span("1", 6, 12, 13),
            span("1", 7, 19, 19),
        ];
        tell_overlaps(spans, &mut problems);
        let told: Vec<(u32, &str)> =
            problems.told.iter().map(|problem| (problem.row, problem.reason.as_str())).collect();
        let overlap = "its dates overlap with those of row 2";
        assert_eq!(told, [(5, overlap), (6, overlap), (7, overlap)]);
    }
}
