//! Leave from a file: a row says what holds on each date of a range.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::date::Date;
use crate::db;
use crate::db::leave::LeaveDay;
use crate::error::Problem;
use crate::imports::dates::{PersonDates, report_overlaps};
use crate::imports::fields::{Column, Fields};
use crate::imports::{Change, Difference, ImportError, Importer, Outcome, Problems, Run, people_with};
use crate::person::{PersonId, PersonNumber};

/// Days of one row, at most.
const ROW_DAYS: i32 = 366;
/// Days of a file, at most.
const FILE_DAYS: usize = 1_000_000;
/// Days that are written at once.
const BATCH: usize = 50_000;

/// What a row says; what is no good has been reported and is left out.
pub struct Draft {
    of: PersonDates,
    half: bool,
    reason: String,
}

impl Draft {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            of: dates(fields),
            half: fields.yes("half").unwrap_or_default(),
            reason: fields.prose("reason", 200).unwrap_or_default(),
        }
    }

    /// What the row says of each date.
    fn days(&self, person: PersonId) -> Vec<LeaveDay> {
        let day = |date| LeaveDay { person, date, half: self.half, reason: self.reason.clone() };
        self.of.dates.into_iter().flat_map(|(from, to)| from.through(to)).map(day).collect()
    }
}

/// Without a last date it is one day.
fn dates(fields: &mut Fields<'_>) -> PersonDates {
    let mut of = PersonDates::read(fields, |from| from);
    if of.dates.is_some_and(|(from, to)| count(from, to) > ROW_DAYS) {
        fields.problem("to", Problem::RowTooManyDays { most: ROW_DAYS });
        of.dates = None;
    }
    of
}

fn count(from: Date, to: Date) -> i32 {
    from.days_until(to).saturating_add(1)
}

/// What the database knows of what the file speaks of.
pub struct Known {
    people: HashMap<PersonNumber, PersonId>,
    days: HashMap<(PersonId, Date), LeaveDay>,
}

/// What is to be written.
#[derive(Default)]
pub struct Plan {
    outcome: Outcome,
    /// New days, and others that say something else now.
    days: Vec<LeaveDay>,
    /// Whose leave changed, and on which dates.
    touched: Vec<(PersonId, Date, Date)>,
    /// What the audit will say.
    audit_rows: Vec<(PersonId, Value)>,
}

impl Importer for Plan {
    const KIND: &'static str = "leave";
    /// What a file may say of leave. Without `to` it is one day.
    const COLUMNS: &'static [Column] = &[
        Column::required("number"),
        Column::required("from"),
        Column::optional("to"),
        Column::optional("half"),
        Column::optional("reason"),
    ];
    type Row = Draft;
    type Known = Known;

    fn read(fields: &mut Fields<'_>) -> Option<Draft> {
        Some(Draft::read(fields))
    }

    async fn load(conn: &mut PgConnection, run: &Run<'_>, drafts: &[Draft]) -> Result<Known, ImportError> {
        let ranges = drafts.iter().filter_map(|draft| draft.of.dates);
        let days =
            ranges.clone().fold(0usize, |sum, (from, to)| sum.saturating_add(count(from, to) as usize));
        if days > FILE_DAYS {
            return Err(Problem::FileHasTooManyDays { most: FILE_DAYS }.into());
        }
        let numbers = drafts.iter().filter_map(|draft| draft.of.number.clone()).collect();
        let people = people_with(conn, run, numbers).await?;
        let ids: Vec<PersonId> = people.values().copied().collect();
        let first = ranges.clone().map(|(from, _)| from).min();
        let last = ranges.map(|(_, to)| to).max();
        let days = match first.zip(last) {
            Some((first, last)) => db::leave::between(conn, &ids, first, last).await?,
            None => Vec::new(),
        };
        Ok(Known { people, days: days.into_iter().map(|day| ((day.person, day.date), day)).collect() })
    }

    fn plan(
        drafts: &[Draft],
        known: &Known,
        own: Option<PersonId>,
        mut problems: Problems,
    ) -> Result<Self, ImportError> {
        report_overlaps(drafts.iter().map(|draft| &draft.of), &mut problems);
        let mut plan = Self::default();
        for draft in drafts {
            if let Some(person) = draft.of.person(&known.people, own, &mut problems) {
                plan.note(draft, person, known);
            }
        }
        problems.refuse()?;
        Ok(plan)
    }

    async fn write(&self, conn: &mut PgConnection, run: &Run<'_>) -> Result<(), ImportError> {
        for days in self.days.chunks(BATCH) {
            db::leave::put(conn, days).await?;
        }
        db::audit::record_many(conn, run.by, "leave.put", &self.audit_rows).await?;
        let touched =
            self.touched.iter().filter_map(|(person, from, to)| run.extent.job(*person, *from, *to));
        let jobs: Vec<_> = touched.collect();
        db::recompute_queue::ask(conn, &jobs).await?;
        Ok(())
    }

    fn outcome(self) -> Outcome {
        self.outcome
    }
}

impl Plan {
    fn note(&mut self, draft: &Draft, person: PersonId, known: &Known) {
        let PersonDates { row, number: Some(number), dates: Some((from, to)) } = &draft.of else { return };
        let (from, to) = (*from, *to);
        let days = draft.days(person);
        let before: Vec<&LeaveDay> =
            days.iter().filter_map(|day| known.days.get(&(person, day.date))).collect();
        let columns = differences(draft, &days, &before);
        if columns.is_empty() {
            self.outcome.unchanged += 1;
            return;
        }
        let added = before.is_empty();
        self.outcome.note(Change { row: *row, number: number.clone(), added, columns });
        self.touched.push((person, from, to));
        let detail = json!({"from": from.to_string(), "to": to.to_string(), "half": draft.half});
        self.audit_rows.push((person, detail));
        self.days.extend(days.into_iter().filter(|day| known.days.get(&(person, day.date)) != Some(day)));
    }
}

/// What a row changes; of a new one all that it says.
fn differences(draft: &Draft, days: &[LeaveDay], before: &[&LeaveDay]) -> Vec<Difference> {
    let half = |half: bool| (if half { "yes" } else { "no" }).to_owned();
    let count = |days: usize| (days > 0).then(|| days.to_string());
    let mut columns = Vec::new();
    if let (None, Some((from, to))) = (before.first(), draft.of.dates) {
        columns.push(Difference { column: "from", old: None, new: Some(from.to_string()) });
        columns.push(Difference { column: "to", old: None, new: Some(to.to_string()) });
    } else {
        columns.push(Difference { column: "days", old: count(before.len()), new: count(days.len()) });
    }
    let old = common(before.iter().map(|day| half(day.half)));
    columns.push(Difference { column: "half", old, new: Some(half(draft.half)) });
    let old = common(before.iter().map(|day| day.reason.clone())).filter(|reason| !reason.is_empty());
    let new = Some(draft.reason.clone()).filter(|reason| !reason.is_empty());
    columns.push(Difference { column: "reason", old, new });
    columns.retain(|difference| difference.old != difference.new);
    columns
}

/// What all of the texts say.
fn common(mut texts: impl Iterator<Item = String>) -> Option<String> {
    let first = texts.next()?;
    Some(if texts.all(|text| text == first) { first } else { "(differs)".into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::Upload;
    use crate::imports::fields::Table;

    fn date(year: i16, month: i8, day: i8) -> Date {
        jiff::civil::date(year, month, day).into()
    }

    const ADA: PersonId = PersonId::from_u128(1);

    fn day(of_january: i8, half: bool, reason: &str) -> LeaveDay {
        LeaveDay { person: ADA, date: date(2026, 1, of_january), half, reason: reason.into() }
    }

    fn plan(text: &str, there: &[LeaveDay]) -> Result<Plan, ImportError> {
        plan_by(None, text, there)
    }

    fn plan_by(own: Option<PersonId>, text: &str, there: &[LeaveDay]) -> Result<Plan, ImportError> {
        let file = Upload { name: "leave.csv".into(), bytes: text.to_owned().into() };
        let mut problems = Problems::default();
        let drafts =
            Table::read(&file, Plan::COLUMNS)?.each(&mut problems, |fields| Some(Draft::read(fields)));
        let known = Known {
            people: [("1001".into(), ADA)].into(),
            days: there.iter().map(|day| ((day.person, day.date), day.clone())).collect(),
        };
        Plan::plan(&drafts, &known, own, problems)
    }

    fn good(text: &str, there: &[LeaveDay]) -> Plan {
        plan(text, there).unwrap_or_else(|error| panic!("{error}"))
    }

    fn shown(plan: &Plan) -> Vec<(&str, Option<&str>, Option<&str>)> {
        let columns = plan.outcome.changes.iter().flat_map(|change| &change.columns);
        columns.map(|change| (change.column, change.old.as_deref(), change.new.as_deref())).collect()
    }

    #[test]
    fn each_date_of_a_row_is_a_day() {
        let plan =
            good("number,from,to,half,reason\n1001,2026-01-05,2026-01-06,,Snow\n1001,2026-01-09,,x,\n", &[]);
        assert_eq!(plan.days, [day(5, false, "Snow"), day(6, false, "Snow"), day(9, true, "")]);
        assert_eq!((plan.outcome.added, plan.outcome.changed, plan.outcome.unchanged), (2, 0, 0));
        let expected = [
            ("from", None, Some("2026-01-05")),
            ("to", None, Some("2026-01-06")),
            ("half", None, Some("no")),
            ("reason", None, Some("Snow")),
            ("from", None, Some("2026-01-09")),
            ("to", None, Some("2026-01-09")),
            ("half", None, Some("yes")),
        ];
        assert_eq!(shown(&plan), expected);
    }

    #[test]
    fn what_stands_already_is_unchanged_and_the_rest_is_written() {
        let there = [day(5, false, ""), day(6, true, ""), day(7, false, "")];
        let plan = good("number,from,to\n1001,2026-01-05,\n1001,2026-01-06,2026-01-08\n", &there);
        assert_eq!((plan.outcome.added, plan.outcome.changed, plan.outcome.unchanged), (0, 1, 1));
        assert_eq!(plan.days, [day(6, false, ""), day(8, false, "")]);
        assert_eq!(plan.touched, [(ADA, date(2026, 1, 6), date(2026, 1, 8))]);
        assert_eq!(shown(&plan), [("days", Some("2"), Some("3")), ("half", Some("(differs)"), Some("no"))]);
    }

    #[test]
    fn nobody_takes_leave_alone() {
        let text = "number,from\n1001,2026-01-05\n";
        let problems = plan_by(Some(ADA), text, &[]).err().expect("problems").to_string();
        assert_eq!(problems, format!("row 2, column number: {}", Problem::RowOwnDays));
        assert!(plan_by(Some(PersonId::from_u128(9)), text, &[]).is_ok());
    }

    #[test]
    fn every_problem_is_told_where_it_is() {
        let text = "number,from,to,half\n\
            9,2026-02-30,,perhaps\n\
            1001,2026-01-05,2026-01-09,\n\
            1001,2026-01-09,,\n\
            1001,2027-01-01,2028-01-02,\n";
        let problems = plan(text, &[]).err().expect("problems").to_string();
        let problems: Vec<&str> = problems.lines().collect();
        let expected = [
            "row 2, column from: \"2026-02-30\" is no date",
            "row 2, column half: \"perhaps\" is neither yes nor no",
            "row 2, column number: no employee has the number \"9\"",
            "row 4, column from: its dates overlap with those of row 3",
            "row 5, column to: a row has at most 366 days",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} instead of {expected}");
        }
    }
}
