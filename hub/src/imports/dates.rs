//! Which dates an import touches.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::date::{Date, Timestamp};
use crate::db;
use crate::db::recompute_queue::Job;
use crate::error::Problem;
use crate::imports::fields::{Fields, clipped};
use crate::imports::problem::Problems;
use crate::person::{PersonId, PersonNumber};
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
    pub fn whole(self, person: PersonId) -> Job {
        Job { person, from: self.first, to: self.last }
    }

    /// The days of a person between two dates, where there can be any.
    pub fn job(self, person: PersonId, from: Date, to: Date) -> Option<Job> {
        let (from, to) = (from.max(self.first), to.min(self.last));
        (from <= to).then_some(Job { person, from, to })
    }

    /// The same with all days whose punches the shifts of these dates may take.
    pub fn job_around(self, person: PersonId, from: Date, to: Date) -> Option<Job> {
        self.job(person, from.plus(-REACH), to.plus(REACH))
    }
}

/// What a row of a file says about the dates of a person; what is no good has been reported and is left out.
pub struct PersonDates {
    pub row: u32,
    pub number: Option<PersonNumber>,
    /// First and last.
    pub dates: Option<(Date, Date)>,
}

impl PersonDates {
    /// Reads them; the default of the last date is made of the first.
    pub fn read(fields: &mut Fields<'_>, default: impl Fn(Date) -> Date) -> Self {
        Self { row: fields.row(), number: fields.number("number"), dates: fields.range(default).ok() }
    }

    /// Whose they are. `own`: the person who imports, and changes nothing of their own.
    pub fn person(
        &self,
        people: &HashMap<PersonNumber, PersonId>,
        own: Option<PersonId>,
        problems: &mut Problems,
    ) -> Option<PersonId> {
        let number = self.number.as_ref()?;
        let person = people.get(number).copied();
        if person.is_none() {
            problems.add(self.row, "number", Problem::RowPersonUnknown { number: clipped(number) });
        } else if own == person {
            problems.add(self.row, "number", Problem::RowOwnDays);
        }
        person
    }
}

/// Tells the rows that say something about a date of which another row spoke.
pub fn report_overlaps<'a>(rows: impl Iterator<Item = &'a PersonDates>, problems: &mut Problems) {
    let mut spans: Vec<_> = rows
        .filter_map(|row| row.dates.map(|(from, to)| (row.number.as_ref(), from, row.row, to)))
        .filter(|(number, ..)| number.is_some())
        .collect();
    spans.sort_unstable();
    let mut before: Option<(Option<&PersonNumber>, u32, Date)> = None;
    for (number, from, row, to) in spans {
        match before {
            Some((of, other, last)) if of == number && from <= last => {
                let (first, second) = (other.min(row), other.max(row));
                problems.add(second, "from", Problem::RowOverlaps { row: first });
                if to > last {
                    before = Some((number, row, to));
                }
            }
            _ => before = Some((number, row, to)),
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
        let person = PersonId::from_u128(0);
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
        let around = extent.job_around(PersonId::from_u128(0), date(2026, 2, 1), date(2026, 2, 2));
        assert_eq!(dates(around), Some((date(2026, 1, 24), date(2026, 2, 10))));
        let open = extent.job_around(PersonId::from_u128(0), date(2026, 3, 17), Date::MAX);
        assert_eq!(dates(open), Some((date(2026, 3, 9), date(2026, 3, 18))));
    }

    #[test]
    fn nothing_happened_yet() {
        let now = Timestamp("2026-03-10T12:00:00Z".parse().unwrap());
        let job = Extent::of(None, now).whole(PersonId::from_u128(0));
        assert_eq!((job.from, job.to), (date(2026, 3, 9), date(2026, 3, 11)));
    }

    #[test]
    fn overlaps_are_told_at_the_later_row() {
        let span = |number: &str, row, from, to| PersonDates {
            row,
            number: Some(number.into()),
            dates: Some((date(2026, 1, from), date(2026, 1, to))),
        };
        let mut problems = Problems::default();
        let spans = [
            span("1", 2, 10, 20),
            span("2", 3, 10, 20),
            span("1", 4, 21, 22),
            span("1", 5, 1, 10),
            span("1", 6, 12, 13),
            span("1", 7, 19, 19),
        ];
        report_overlaps(spans.iter(), &mut problems);
        let reported: Vec<(u32, Problem)> =
            problems.listed.iter().map(|at| (at.row, at.problem.clone())).collect();
        let overlap = Problem::RowOverlaps { row: 2 };
        assert_eq!(reported, [5, 6, 7].map(|row| (row, overlap.clone())));
    }
}
