//! People from a file: new numbers are added, known ones changed where a cell says something else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::date::Date;
use crate::db;
use crate::db::people::{Person, PersonFilter};
use crate::error::Problem;
use crate::i18n::Language;
use crate::imports::fields::{Column, Fields, clipped};
use crate::imports::{Change, Difference, ImportError, Importer, Outcome, Problems, Run, people_with};
use crate::people::profile::{EMAIL, is_address};
use crate::person::{PersonId, PersonNumber};
use crate::text::{NAME, SHORT_NAME};

/// What a row says.
pub struct Draft {
    row: u32,
    number: PersonNumber,
    name: String,
    email: Option<String>,
    department: Option<String>,
    site: Option<String>,
    manager: Option<PersonNumber>,
    language: Option<Language>,
    employed_from: Option<Date>,
    employed_to: Option<Date>,
}

impl Draft {
    /// Reads a row; what is no good has been reported and is left out.
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let number = fields.number("number");
        let draft = Self {
            row: fields.row(),
            number: String::new().into(),
            name: fields.required("name", NAME).unwrap_or_default(),
            email: email(fields),
            department: fields.text("department", SHORT_NAME).unwrap_or_default(),
            site: fields.text("site", SHORT_NAME).unwrap_or_default(),
            manager: fields.number_if_any("manager"),
            language: language(fields),
            employed_from: fields.date("employed_from").unwrap_or_default(),
            employed_to: fields.date("employed_to").unwrap_or_default(),
        };
        Some(Self { number: number?, ..draft })
    }

    /// The person as they will be.
    fn apply(
        &self,
        old: Option<&Person>,
        known: &Known,
        ids: &HashMap<&PersonNumber, PersonId>,
        problems: &mut Problems,
    ) -> Person {
        let mut new = old.cloned().unwrap_or_else(|| Person {
            id: ids.get(&self.number).copied().unwrap_or_else(PersonId::new),
            ..Person::new(self.number.clone(), "", &known.default_site)
        });
        new.name.clone_from(&self.name);
        new.email = self.email.clone().or(new.email);
        new.department = self.department.clone().or(new.department);
        new.employed_from = self.employed_from.or(new.employed_from);
        new.employed_to = self.employed_to.or(new.employed_to);
        new.language = self.language.unwrap_or(new.language);
        if let Some(site) = &self.site {
            new.site.clone_from(site);
            self.check_site(site, known, problems);
        }
        if let Some(manager) = &self.manager {
            new.manager = self.find_manager(manager, ids, problems);
        }
        self.check_employment(&new, problems);
        new
    }

    fn check_site(&self, site: &str, known: &Known, problems: &mut Problems) {
        if !known.sites.contains(site) {
            let there: Vec<&str> = known.sites.iter().take(10).map(String::as_str).collect();
            let problem = Problem::RowSiteUnknown { site: clipped(site), known: there.join(", ") };
            problems.add(self.row, "site", problem);
        }
    }

    fn find_manager(
        &self,
        manager: &PersonNumber,
        ids: &HashMap<&PersonNumber, PersonId>,
        problems: &mut Problems,
    ) -> Option<PersonNumber> {
        if *manager == self.number {
            problems.add(self.row, "manager", Problem::OwnManager);
            return None;
        }
        if !ids.contains_key(manager) {
            problems.add(self.row, "manager", Problem::ManagerUnknown { number: clipped(manager) });
            return None;
        }
        Some(manager.clone())
    }

    /// One of the two dates may have been known before.
    fn check_employment(&self, new: &Person, problems: &mut Problems) {
        if let (Some(from), Some(to)) = (new.employed_from, new.employed_to)
            && from > to
        {
            let column = if self.employed_from.is_some() { "employed_from" } else { "employed_to" };
            problems.add(self.row, column, Problem::EmploymentReversed { from: from.0, to: to.0 });
        }
    }
}

fn email(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("email", EMAIL).ok()??;
    if is_address(&text) {
        return Some(text);
    }
    fields.problem("email", Problem::EmailInvalid { most: EMAIL });
    None
}

fn language(fields: &mut Fields<'_>) -> Option<Language> {
    let text = fields.text("language", SHORT_NAME).ok()??;
    let language = text.to_lowercase().parse().ok();
    if language.is_none() {
        let known = Language::ALL.iter().map(|language| language.as_str()).collect::<Vec<_>>().join(", ");
        fields.problem("language", Problem::LanguageUnknown { language: clipped(&text), known });
    }
    language
}

/// What the database knows of what the file speaks of.
pub struct Known {
    /// By number: those in the file and their managers.
    people: HashMap<PersonNumber, Person>,
    sites: BTreeSet<String>,
    default_site: String,
}

/// What is to be written.
#[derive(Default)]
pub struct Plan {
    outcome: Outcome,
    added: Vec<Person>,
    changed: Vec<Person>,
    /// Of new ones and others: what to make if it is not there.
    departments: BTreeSet<String>,
    /// What the audit will say of each person.
    audit_added: Vec<(PersonId, Value)>,
    audit_changed: Vec<(PersonId, Value)>,
    /// Whose site or employment changed.
    moved: Vec<PersonId>,
}

impl Importer for Plan {
    const KIND: &'static str = "people";
    /// What a file may say of people. An empty cell leaves things as they are.
    const COLUMNS: &'static [Column] = &[
        Column::required("number"),
        Column::required("name"),
        Column::optional("email"),
        Column::optional("department"),
        Column::optional("site"),
        Column::optional("manager"),
        Column::optional("language"),
        Column::optional("employed_from"),
        Column::optional("employed_to"),
    ];
    type Row = Draft;
    type Known = Known;

    fn read(fields: &mut Fields<'_>) -> Option<Draft> {
        Draft::read(fields)
    }

    async fn load(conn: &mut PgConnection, run: &Run<'_>, drafts: &[Draft]) -> Result<Known, ImportError> {
        people_with(conn, run, drafts.iter().map(|draft| draft.number.clone()).collect()).await?;
        let managers = drafts.iter().filter_map(|draft| draft.manager.as_ref());
        let numbers: BTreeSet<&PersonNumber> =
            drafts.iter().map(|draft| &draft.number).chain(managers).collect();
        let numbers: Vec<PersonNumber> = numbers.into_iter().cloned().collect();
        let filter = PersonFilter { numbers: Some(&numbers), ..PersonFilter::default() };
        let people = db::people::search(conn, filter, i64::MAX).await?;
        let sites = db::sites::list(conn).await?;
        Ok(Known {
            people: people.into_iter().map(|person| (person.number.clone(), person)).collect(),
            sites: sites.into_iter().map(|site| site.name).collect(),
            default_site: db::sites::default(conn).await?,
        })
    }

    fn plan(
        drafts: &[Draft],
        known: &Known,
        own: Option<PersonId>,
        mut problems: Problems,
    ) -> Result<Self, ImportError> {
        report_repetitions(drafts, &mut problems);
        let ids = ids(drafts, known);
        let mut plan = Self::default();
        for draft in drafts {
            let old = known.people.get(&draft.number);
            let new = draft.apply(old, known, &ids, &mut problems);
            if own.is_some_and(|own| new.id == own) && old.is_some_and(|old| moves(old, &new)) {
                problems.add(draft.row, "number", Problem::RowOwnDays);
            }
            if own.is_some_and(|own| new.id == own) && old.is_some_and(|old| old.manager != new.manager) {
                problems.add(draft.row, "manager", Problem::RowOwnManager);
            }
            plan.note(draft.row, old, new);
        }
        problems.refuse()?;
        Ok(plan)
    }

    async fn write(&self, conn: &mut PgConnection, run: &Run<'_>) -> Result<(), ImportError> {
        let departments: Vec<String> = self.departments.iter().cloned().collect();
        db::sites::put_departments(conn, &departments).await?;
        if !self.moved.is_empty() {
            db::pay_periods::steady(conn).await?;
            db::pay_periods::note_leaving(conn, &self.moved).await?;
        }
        let written =
            db::people::add(conn, &self.added).await? + db::people::change(conn, &self.changed).await?;
        if written != (self.added.len() + self.changed.len()) as u64 {
            return Err(Problem::ChangedMeanwhile.into()); // a site was renamed
        }
        db::audit::record_many(conn, run.by, "person.add", &self.audit_added).await?;
        db::audit::record_many(conn, run.by, "person.change", &self.audit_changed).await?;
        let jobs: Vec<_> = self.moved.iter().map(|person| run.extent.whole(*person)).collect();
        db::recompute_queue::ask(conn, &jobs).await?;
        Ok(())
    }

    fn outcome(self) -> Outcome {
        self.outcome
    }
}

impl Plan {
    fn note(&mut self, row: u32, old: Option<&Person>, new: Person) {
        if old == Some(&new) {
            self.outcome.unchanged += 1;
            return;
        }
        let columns = differences(old, &new);
        if columns.iter().any(|difference| difference.column == "department") {
            self.departments.extend(new.department.clone());
        }
        if old.is_none() {
            self.audit_added.push((new.id, json!({"number": new.number})));
        } else {
            self.audit_changed.push((new.id, json!({"number": new.number, "columns": columns})));
        }
        if old.is_some_and(|old| moves(old, &new)) {
            self.moved.push(new.id);
        }
        let added = old.is_none();
        self.outcome.note(Change { row, number: new.number.clone(), added, columns });
        let list = if added { &mut self.added } else { &mut self.changed };
        list.push(new);
    }
}

/// A number says one thing in a file.
fn report_repetitions(drafts: &[Draft], problems: &mut Problems) {
    let mut rows: HashMap<&PersonNumber, u32> = HashMap::with_capacity(drafts.len());
    for draft in drafts {
        if let Some(other) = rows.insert(&draft.number, draft.row) {
            let problem = Problem::RowRepeats { number: clipped(&draft.number), row: other };
            problems.add(draft.row, "number", problem);
        }
    }
}

/// The ids of everybody that the file speaks of, new ones among them.
fn ids<'a>(drafts: &'a [Draft], known: &'a Known) -> HashMap<&'a PersonNumber, PersonId> {
    let mut ids: HashMap<&PersonNumber, PersonId> =
        known.people.iter().map(|(number, person)| (number, person.id)).collect();
    for draft in drafts {
        ids.entry(&draft.number).or_insert_with(PersonId::new);
    }
    ids
}

/// Whether somebody's days are others with this.
fn moves(old: &Person, new: &Person) -> bool {
    let place = |person: &Person| (person.site.clone(), person.employed_from, person.employed_to);
    place(old) != place(new)
}

fn differences(old: Option<&Person>, new: &Person) -> Vec<Difference> {
    let mut before: BTreeMap<&str, String> = old.map(shown).into_iter().flatten().collect();
    let said = shown(new).filter_map(|(column, new)| {
        let old = before.remove(column);
        (old.as_ref() != Some(&new)).then_some(Difference { column, old, new: Some(new) })
    });
    said.collect() // nothing that was known is ever taken away
}

/// What is known of a person, by column.
fn shown(person: &Person) -> impl Iterator<Item = (&'static str, String)> {
    let columns = [
        ("name", Some(person.name.clone())),
        ("email", person.email.clone()),
        ("department", person.department.clone()),
        ("site", Some(person.site.clone())),
        ("manager", person.manager.clone().map(String::from)),
        ("language", Some(person.language.to_string())),
        ("employed_from", person.employed_from.map(|date| date.to_string())),
        ("employed_to", person.employed_to.map(|date| date.to_string())),
    ];
    columns.into_iter().filter_map(|(column, text)| Some((column, text?)))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::imports::Upload;
    use crate::imports::fields::Table;

    fn ada() -> Person {
        Person {
            id: PersonId::from_u128(1),
            email: Some("ada@example.org".into()),
            employed_from: Some(date(2020, 1, 1).into()),
            ..Person::new("1001".into(), "Ada", "Main")
        }
    }

    fn plan(text: &str) -> Result<Plan, ImportError> {
        plan_by(None, text)
    }

    fn plan_by(own: Option<PersonId>, text: &str) -> Result<Plan, ImportError> {
        let file = Upload { name: "people.csv".into(), bytes: text.to_owned().into() };
        let mut problems = Problems::default();
        let drafts = Table::read(&file, Plan::COLUMNS)?.each(&mut problems, Draft::read);
        let known = Known {
            people: [("1001".into(), ada())].into(),
            sites: ["Berlin".to_owned(), "Main".to_owned()].into(),
            default_site: "Main".into(),
        };
        Plan::plan(&drafts, &known, own, problems)
    }

    fn reported(text: &str) -> Vec<String> {
        let error = plan(text).err().expect("problems");
        error.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn new_ones_are_added_and_known_ones_changed() {
        let text = "number,name,site,manager,department,employed_to\n\
            1002,Bob,,1003,Labs,\n\
            1003,Cleo,Berlin,,Labs,2026-12-31\n\
            1001,Ada L.,Berlin,1002,,\n";
        let plan = plan(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((plan.outcome.added, plan.outcome.changed, plan.outcome.unchanged), (2, 1, 0));
        assert_eq!(plan.departments, BTreeSet::from(["Labs".to_owned()]));
        let (bob, cleo) = (&plan.added[0], &plan.added[1]);
        assert_eq!(bob.manager, Some("1003".into()));
        assert_eq!((bob.site.as_str(), bob.language), ("Main", Language::English));
        assert_eq!(cleo.employed_to, Some(date(2026, 12, 31).into()));
        let expected =
            Person { name: "Ada L.".into(), site: "Berlin".into(), manager: Some("1002".into()), ..ada() };
        assert_eq!(plan.changed, [expected]);
        assert_eq!(plan.moved, [ada().id]);
        let change = &plan.outcome.changes[2];
        let difference = |column, old: Option<&str>, new: &str| Difference {
            column,
            old: old.map(str::to_owned),
            new: Some(new.to_owned()),
        };
        let expected = [
            difference("name", Some("Ada"), "Ada L."),
            difference("site", Some("Main"), "Berlin"),
            difference("manager", None, "1002"),
        ];
        assert_eq!((change.row, change.added, change.columns.as_slice()), (4, false, expected.as_slice()));
    }

    #[test]
    fn empty_cells_leave_things_as_they_are() {
        let plan = plan("number,name,email,site,employed_from\n1001,Ada,,,\n")
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((plan.outcome.added, plan.outcome.changed, plan.outcome.unchanged), (0, 0, 1));
        assert!(plan.changed.is_empty() && plan.moved.is_empty());
    }

    #[test]
    fn nobody_moves_themselves() {
        let ada = Some(ada().id);
        let moves = "number,name,site\n1002,Bob,\n1001,Ada,Berlin\n1003,Cleo,\n";
        let reported = plan_by(ada, moves).err().expect("problems").to_string();
        assert_eq!(reported, format!("row 3, column number: {}", Problem::RowOwnDays));
        assert!(plan_by(ada, "number,name,employed_to\n1001,Ada,2030-01-01\n").is_err());
        let reported = plan_by(ada, "number,name,manager\n1002,Bob,\n1001,Ada,1002\n")
            .err()
            .expect("problems")
            .to_string();
        assert_eq!(reported, format!("row 3, column manager: {}", Problem::RowOwnManager));
        assert!(plan_by(ada, "number,name,email\n1001,Ada L.,a@example.org\n").is_ok());
        assert!(plan_by(Some(PersonId::from_u128(9)), moves).is_ok());
    }

    #[test]
    fn a_number_is_no_fraction() {
        let reported = reported("number,name,manager\n1001.0,Ada,1002.0\n");
        let expected = [
            "row 2, column number: 1001.0: write it without .0, as text",
            "row 2, column manager: 1002.0: write it without .0, as text",
        ];
        assert_eq!(reported, expected);
    }

    #[test]
    fn every_problem_is_told_where_it_is() {
        let text = "number,name,email,site,manager,language,employed_from,employed_to\n\
            1001,,ada,Bonn,1001,english,2026-02-30,2019-12-31\n\
            ,Bob,,,,,,\n\
            1003,Cleo,,,9,,2026-01-02,2026-01-01\n\
            1003,Cleo,a@b@c,,,,,\n";
        let expected = [
            "row 2, column name: is empty",
            "row 2, column email: write NAME@HOST, at most 254 characters",
            "row 2, column language: \"english\" is not valid: use one of en, de",
            "row 2, column employed_from: \"2026-02-30\" is no date: write YYYY-MM-DD",
            "row 2, column site: there is no site \"Bonn\"; there are Berlin, Main",
            "row 2, column manager: nobody is their own manager",
            "row 2, column employed_to: employed_from (2020-01-01) is after employed_to (2019-12-31)",
            "row 3, column number: is empty",
            "row 4, column manager: no employee has the number \"9\", here or in this file",
            "row 4, column employed_from: employed_from (2026-01-02) is after employed_to (2026-01-01)",
            "row 5, column email: write NAME@HOST, at most 254 characters",
            "row 5, column number: \"1003\" is in row 4 already",
        ];
        let reported = reported(text);
        assert_eq!(reported.len(), expected.len(), "{reported:#?}");
        for (reported, expected) in reported.iter().zip(expected) {
            assert!(reported.starts_with(expected), "{reported} instead of {expected}");
        }
    }
}
