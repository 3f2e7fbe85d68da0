//! Who follows which schedule, from a file: a row says what holds from one date to another, and
//! what else was assigned there gives way. What goes on behind it begins again after it.

pub mod leave;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::date::Date;
use crate::db;
use crate::db::imports::Piece;
use crate::error::Problem;
use crate::imports::dates::{PersonDates, report_overlaps};
use crate::imports::fields::{Column, Fields, clipped};
use crate::imports::{Change, Difference, ImportError, Importer, Outcome, Problems, Run, people_with};
use crate::person::{PersonId, PersonNumber};
use crate::text::SHORT_NAME;

/// What a row says; what is no good has been reported and is left out.
pub struct Draft {
    /// The last date of all stands for no end.
    of: PersonDates,
    schedule: Option<String>,
}

impl Draft {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            of: PersonDates::read(fields, |_| Date::MAX),
            schedule: fields.required("schedule", SHORT_NAME).ok(),
        }
    }
}

/// What the database knows of what the file speaks of.
pub struct Known {
    people: HashMap<PersonNumber, PersonId>,
    schedules: HashMap<String, i64>,
    pieces: Vec<Piece>,
}

/// What is to be written.
#[derive(Default)]
pub struct Plan {
    outcome: Outcome,
    /// Rows of assignments that are none any more.
    gone: Vec<i64>,
    /// New ones, and others with other dates.
    put: Vec<Piece>,
    /// Whose schedule changed, and on which dates.
    touched: Vec<(PersonId, Date, Date)>,
    /// What the audit will say.
    audit_rows: Vec<(PersonId, Value)>,
}

impl Importer for Plan {
    const KIND: &'static str = "schedules";
    /// What a file may say of schedules. Without `to` they hold until further notice.
    const COLUMNS: &'static [Column] = &[
        Column::required("number"),
        Column::required("schedule"),
        Column::required("from"),
        Column::optional("to"),
    ];
    type Row = Draft;
    type Known = Known;

    fn read(fields: &mut Fields<'_>) -> Option<Draft> {
        Some(Draft::read(fields))
    }

    async fn load(conn: &mut PgConnection, run: &Run<'_>, drafts: &[Draft]) -> Result<Known, ImportError> {
        let numbers = drafts.iter().filter_map(|draft| draft.of.number.clone()).collect();
        let people = people_with(conn, run, numbers).await?;
        let ids: Vec<PersonId> = people.values().copied().collect();
        let schedules = db::imports::schedules(conn).await?;
        Ok(Known { people, schedules, pieces: db::imports::pieces(conn, &ids).await? })
    }

    fn plan(
        drafts: &[Draft],
        known: &Known,
        own: Option<PersonId>,
        mut problems: Problems,
    ) -> Result<Self, ImportError> {
        report_overlaps(drafts.iter().map(|draft| &draft.of), &mut problems);
        let mut timelines = Timelines::of(known);
        let mut plan = Self::default();
        for draft in drafts {
            if let Some(request) = Request::of(draft, known, own, &mut problems) {
                plan.note(&request, &mut timelines);
            }
        }
        problems.refuse()?;
        (plan.gone, plan.put) = timelines.changes(&known.pieces);
        Ok(plan)
    }

    async fn write(&self, conn: &mut PgConnection, run: &Run<'_>) -> Result<(), ImportError> {
        let people: BTreeSet<PersonId> = self.touched.iter().map(|(person, ..)| *person).collect();
        let people: Vec<PersonId> = people.into_iter().collect();
        let before: HashSet<PersonId> = db::schedules::scheduled(conn, &people).await?.into_iter().collect();
        db::imports::drop_pieces(conn, &self.gone).await?;
        db::imports::put_pieces(conn, &self.put).await?;
        let after: HashSet<PersonId> = db::schedules::scheduled(conn, &people).await?.into_iter().collect();
        db::audit::record_many(conn, run.by, "schedule.assign", &self.audit_rows).await?;
        // Whoever had no schedule at all was judged by another rule on every day.
        let whole = before.symmetric_difference(&after).map(|person| run.extent.whole(*person));
        let touched =
            self.touched.iter().filter_map(|(person, from, to)| run.extent.job_around(*person, *from, *to));
        let jobs: Vec<_> = whole.chain(touched).collect();
        db::recompute_queue::ask(conn, &jobs).await?;
        Ok(())
    }

    fn outcome(self) -> Outcome {
        self.outcome
    }
}

impl Plan {
    fn note(&mut self, request: &Request<'_>, timelines: &mut Timelines) {
        let before = timelines.within(request.person, request.from, request.to);
        if request.holds_in(&before) {
            self.outcome.unchanged += 1;
            return;
        }
        let described: Vec<String> = before.iter().map(|piece| timelines.describe(piece)).collect();
        let new = timelines.describe(&request.piece());
        timelines.lay(request.piece());
        self.touched.push((request.person, request.from, request.to));
        self.audit_rows.push((request.person, json!({"schedule": new})));
        let old = (!described.is_empty()).then(|| described.join(", "));
        self.outcome.note(Change {
            row: request.row,
            number: request.number.clone(),
            added: old.is_none(),
            columns: vec![Difference { column: "schedule", old, new: Some(new) }],
        });
    }
}

/// A row that makes sense.
struct Request<'a> {
    row: u32,
    number: &'a PersonNumber,
    person: PersonId,
    schedule: i64,
    from: Date,
    to: Date,
}

impl<'a> Request<'a> {
    fn of(draft: &'a Draft, known: &Known, own: Option<PersonId>, problems: &mut Problems) -> Option<Self> {
        let PersonDates { row, number, dates } = &draft.of;
        let person = draft.of.person(&known.people, own, problems);
        let schedule = draft.schedule.as_ref().and_then(|name| known.schedules.get(name).copied());
        if let (Some(name), None) = (&draft.schedule, schedule) {
            problems.add(*row, "schedule", Problem::ScheduleUnknown { schedule: clipped(name) });
        }
        let ((from, to), number) = ((*dates)?, number.as_ref()?);
        Some(Self { row: *row, number, person: person?, schedule: schedule?, from, to })
    }

    fn piece(&self) -> Piece {
        let to = (self.to < Date::MAX).then_some(self.to);
        Piece { id: None, person: self.person, schedule: self.schedule, from: self.from, to }
    }

    /// Whether these pieces, in order, say just that already.
    fn holds_in(&self, pieces: &[Piece]) -> bool {
        let mut next = Some(self.from);
        for piece in pieces {
            if piece.schedule != self.schedule || next != Some(piece.from) {
                return false;
            }
            next = end(piece).0.tomorrow().ok().map(Date);
        }
        pieces.last().is_some_and(|piece| end(piece) == self.to)
    }
}

fn end(piece: &Piece) -> Date {
    piece.to.unwrap_or(Date::MAX)
}

/// A piece with other dates, if any are left.
fn cut(piece: Piece, from: Date, to: Date) -> Option<Piece> {
    (from <= to).then_some(Piece { from, to: (to < Date::MAX).then_some(to), ..piece })
}

/// Everybody's assignments, as they will be.
struct Timelines {
    pieces: HashMap<PersonId, Vec<Piece>>,
    names: HashMap<i64, String>,
}

impl Timelines {
    fn of(known: &Known) -> Self {
        let mut pieces: HashMap<PersonId, Vec<Piece>> = HashMap::new();
        for piece in &known.pieces {
            pieces.entry(piece.person).or_default().push(*piece);
        }
        Self { pieces, names: known.schedules.iter().map(|(name, id)| (*id, name.clone())).collect() }
    }

    /// What is assigned to a person between two dates, in order.
    fn within(&self, person: PersonId, from: Date, to: Date) -> Vec<Piece> {
        let pieces = self.pieces.get(&person).into_iter().flatten();
        let mut found: Vec<Piece> =
            pieces.filter_map(|piece| cut(*piece, piece.from.max(from), end(piece).min(to))).collect();
        found.sort_unstable_by_key(|piece| piece.from);
        found
    }

    /// Lays a piece over what is there.
    fn lay(&mut self, new: Piece) {
        let (from, to) = (new.from, end(&new));
        let pieces = self.pieces.entry(new.person).or_default();
        for piece in std::mem::take(pieces) {
            if piece.from > to || end(&piece) < from {
                pieces.push(piece);
                continue;
            }
            let left = cut(piece, piece.from, from.plus(-1));
            let begin = to.plus(1);
            let right = if to < Date::MAX { cut(piece, begin, end(&piece)) } else { None };
            // One of them keeps the row.
            let right =
                right.map(|right| Piece { id: if left.is_some() { None } else { right.id }, ..right });
            pieces.extend(left.into_iter().chain(right));
        }
        pieces.push(new);
    }

    /// What has gone, and what is new or has other dates.
    fn changes(&self, before: &[Piece]) -> (Vec<i64>, Vec<Piece>) {
        let stood: HashMap<i64, &Piece> =
            before.iter().filter_map(|piece| Some((piece.id?, piece))).collect();
        let kept: HashSet<i64> = self.pieces.values().flatten().filter_map(|piece| piece.id).collect();
        let gone = stood.keys().copied().filter(|id| !kept.contains(id)).collect();
        let same = |piece: &Piece| piece.id.is_some_and(|id| stood.get(&id) == Some(&piece));
        (gone, self.pieces.values().flatten().copied().filter(|piece| !same(piece)).collect())
    }

    fn describe(&self, piece: &Piece) -> String {
        let name = self.names.get(&piece.schedule).map_or("?", String::as_str);
        match piece.to {
            Some(to) => format!("{name} from {} to {to}", piece.from),
            None => format!("{name} from {}", piece.from),
        }
    }
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
    const EARLY: i64 = 1;
    const LATE: i64 = 2;

    fn piece(id: Option<i64>, schedule: i64, from: Date, to: Option<Date>) -> Piece {
        Piece { id, person: ADA, schedule, from, to }
    }

    fn plan(text: &str, pieces: &[Piece]) -> Result<Plan, ImportError> {
        plan_by(None, text, pieces)
    }

    fn plan_by(own: Option<PersonId>, text: &str, pieces: &[Piece]) -> Result<Plan, ImportError> {
        let file = Upload { name: "schedules.csv".into(), bytes: text.to_owned().into() };
        let mut problems = Problems::default();
        let drafts =
            Table::read(&file, Plan::COLUMNS)?.each(&mut problems, |fields| Some(Draft::read(fields)));
        let known = Known {
            people: [("1001".into(), ADA)].into(),
            schedules: [("Early".to_owned(), EARLY), ("Late".to_owned(), LATE)].into(),
            pieces: pieces.to_vec(),
        };
        Plan::plan(&drafts, &known, own, problems)
    }

    fn good(text: &str, pieces: &[Piece]) -> Plan {
        let mut plan = plan(text, pieces).unwrap_or_else(|error| panic!("{error}"));
        plan.put.sort_by_key(|piece| piece.from);
        plan
    }

    #[test]
    fn the_first_assignment_is_added() {
        let plan = good("number,schedule,from,to\n1001,Early,2026-01-05,\n", &[]);
        assert_eq!((plan.outcome.added, plan.outcome.changed, plan.outcome.unchanged), (1, 0, 0));
        assert_eq!(plan.put, [piece(None, EARLY, date(2026, 1, 5), None)]);
        assert_eq!(plan.touched, [(ADA, date(2026, 1, 5), Date::MAX)]);
        assert!(plan.gone.is_empty());
    }

    #[test]
    fn what_holds_already_is_unchanged() {
        let adjacent = [
            piece(Some(7), EARLY, date(2026, 1, 5), Some(date(2026, 1, 31))),
            piece(Some(8), EARLY, date(2026, 2, 1), None),
        ];
        for text in [
            "number,schedule,from\n1001,Early,2026-01-05\n",
            "number,schedule,from,to\n1001,Early,2026-01-10,2026-02-10\n",
        ] {
            let plan = good(text, &adjacent);
            assert_eq!(plan.outcome.unchanged, 1, "{text}");
            assert!(plan.put.is_empty() && plan.gone.is_empty() && plan.touched.is_empty());
        }
        let gap = [adjacent[0], piece(Some(8), EARLY, date(2026, 2, 2), None)];
        assert_eq!(good("number,schedule,from\n1001,Early,2026-01-05\n", &gap).outcome.changed, 1);
    }

    #[test]
    fn a_piece_in_the_middle_parts_what_is_there() {
        let open = [piece(Some(7), EARLY, date(2026, 1, 1), None)];
        let plan = good("number,schedule,from,to\n1001,Late,2026-03-01,2026-03-31\n", &open);
        let expected = [
            piece(Some(7), EARLY, date(2026, 1, 1), Some(date(2026, 2, 28))),
            piece(None, LATE, date(2026, 3, 1), Some(date(2026, 3, 31))),
            piece(None, EARLY, date(2026, 4, 1), None),
        ];
        assert_eq!((plan.put.as_slice(), plan.gone.as_slice()), (expected.as_slice(), [].as_slice()));
        let change = &plan.outcome.changes[0];
        assert_eq!(change.columns[0].old.as_deref(), Some("Early from 2026-03-01 to 2026-03-31"));
        assert_eq!(change.columns[0].new.as_deref(), Some("Late from 2026-03-01 to 2026-03-31"));
        assert!(!change.added);
    }

    #[test]
    fn what_is_covered_goes_and_what_is_cut_keeps_its_row() {
        let there = [
            piece(Some(7), EARLY, date(2026, 1, 1), Some(date(2026, 1, 31))),
            piece(Some(8), LATE, date(2026, 2, 1), Some(date(2026, 2, 28))),
            piece(Some(9), EARLY, date(2026, 3, 1), None),
        ];
        let plan = good("number,schedule,from,to\n1001,Late,2026-01-15,2026-03-15\n", &there);
        let expected = [
            piece(Some(7), EARLY, date(2026, 1, 1), Some(date(2026, 1, 14))),
            piece(None, LATE, date(2026, 1, 15), Some(date(2026, 3, 15))),
            piece(Some(9), EARLY, date(2026, 3, 16), None),
        ];
        assert_eq!((plan.put.as_slice(), plan.gone.as_slice()), (expected.as_slice(), [8].as_slice()));
    }

    #[test]
    fn a_second_import_finds_nothing_to_do() {
        let text = "number,schedule,from,to\n1001,Late,2026-03-01,2026-03-31\n1001,Early,2026-04-01,\n";
        let mut there = good(text, &[piece(Some(7), EARLY, date(2026, 1, 1), None)]).put;
        for (id, piece) in (10..).zip(&mut there) {
            piece.id = Some(id);
        }
        assert_eq!(good(text, &there).outcome.unchanged, 2);
    }

    #[test]
    fn nobody_plans_their_own_days() {
        let text = "number,schedule,from\n1001,Late,2026-03-01\n";
        let problems = plan_by(Some(ADA), text, &[]).err().expect("problems").to_string();
        assert_eq!(problems, format!("row 2, column number: {}", Problem::RowOwnDays));
        assert!(plan_by(Some(PersonId::from_u128(9)), text, &[]).is_ok());
    }

    #[test]
    fn every_problem_is_told_where_it_is() {
        let text = "number,schedule,from,to\n\
            9,Night,2026-02-30,\n\
            1001,Early,2026-01-05,\n\
            1001,Late,2026-02-01,2026-01-31\n\
            1001,Late,2026-02-01,\n";
        let problems = plan(text, &[]).err().expect("problems").to_string();
        let problems: Vec<&str> = problems.lines().collect();
        let expected = [
            "row 2, column from: \"2026-02-30\" is no date",
            "row 2, column number: no employee has the number \"9\": import people first",
            "row 2, column schedule: there is no schedule \"Night\"",
            "row 4, column from: 2026-02-01 is after to, 2026-01-31",
            "row 5, column from: its dates overlap with those of row 3",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} instead of {expected}");
        }
    }
}
