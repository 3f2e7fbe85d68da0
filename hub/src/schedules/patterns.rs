//! Patterns of shifts, who follows them, and dates that differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::access::{seen_by, someone_else};
use crate::accounts::Actor;
use crate::date::Date;
use crate::db;
use crate::db::recompute_queue::Whose;
use crate::db::schedules::{Assignment, Schedule};
use crate::error::{Error, Problem, check_text};
use crate::person::{PersonId, PersonNumber};
use crate::schedules::{Change, Dates, Effect, Touched};
use crate::text::{SHORT_NAME, ShortNameText};

/// Days of a cycle, at most.
const CYCLE: i32 = 366;
/// Shifts of a day, at most.
const SHIFTS: usize = 10;

/// What a pattern shall be. A weekly one has 7 days and is anchored on a Monday.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScheduleSetting)]
pub struct PatternSetting {
    /// The date of its first day.
    anchor: Date,
    /// After so many days it begins again.
    #[schema(minimum = 1, maximum = 366)]
    cycle_days: i32,
    /// The names of the shifts of each day; a day off has none.
    #[schema(value_type = Vec<Vec<ShortNameText>>)]
    days: Vec<Vec<String>>,
}

/// Who shall follow what from when to when.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentSetting {
    /// The name of the pattern; null for none.
    #[schema(value_type = Option<ShortNameText>)]
    schedule: Option<String>,
    /// First date.
    from: Date,
    /// Last date; for good if left out.
    to: Option<Date>,
}

/// What a date holds instead of the pattern's shifts.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The names of shifts; none is a day off.
    #[schema(value_type = Vec<ShortNameText>, max_items = 10)]
    shifts: Vec<String>,
}

/// What somebody is to work.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Plan {
    /// The patterns that they follow.
    assignments: Vec<Assignment>,
    /// The dates that hold a shift or differ from the pattern.
    days: Vec<PlannedDay>,
}

/// A date of somebody's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlannedDay {
    /// The date.
    date: Date,
    /// The names of its shifts.
    shifts: Vec<String>,
    /// Whether it was set by itself, whatever the pattern says.
    single: bool,
}

/// All patterns, by name.
pub async fn schedules(pool: &PgPool) -> Result<Vec<Schedule>, Error> {
    Ok(db::schedules::list(&mut *pool.acquire().await?).await?)
}

impl PatternSetting {
    /// Days of the cycle with the names of their shifts.
    fn check(&self) -> Result<Vec<(i32, String)>, Error> {
        if !(1..=CYCLE).contains(&self.cycle_days) {
            return Err(Problem::OutOfRange { least: 1, most: CYCLE.into() }.of("cycle_days"));
        }
        if usize::try_from(self.cycle_days) != Ok(self.days.len()) {
            let (days, cycle) = (self.days.len(), self.cycle_days);
            return Err(Problem::CycleLength { days, cycle }.of("days"));
        }
        for (i, shifts) in self.days.iter().enumerate() {
            distinct(&format!("days[{i}]"), shifts)?;
        }
        let days = (0..).zip(&self.days);
        Ok(days.flat_map(|(day, shifts)| shifts.iter().map(move |shift| (day, shift.clone()))).collect())
    }
}

/// Refuses too many shifts, and one that stands twice.
fn distinct(place: &str, shifts: &[String]) -> Result<(), Error> {
    if shifts.len() > SHIFTS {
        return Err(Problem::TooManyShifts { most: SHIFTS }.of(place.to_owned()));
    }
    let mut seen = BTreeSet::new();
    match shifts.iter().find(|shift| !seen.insert(shift.as_str())) {
        Some(twice) => Err(Problem::ShiftTwice { shift: twice.clone() }.of(place.to_owned())),
        None => Ok(()),
    }
}

/// Refuses shifts that nobody made.
async fn exist(conn: &mut PgConnection, wanted: &[&str]) -> Result<(), Error> {
    let known = db::schedules::shifts(conn).await?;
    let known: BTreeSet<&str> = known.iter().map(|shift| shift.name.as_str()).collect();
    match wanted.iter().find(|shift| !known.contains(**shift)) {
        Some(shift) => Err(Problem::ShiftUnknown { shift: (*shift).to_owned() }.of("shifts")),
        None => Ok(()),
    }
}

/// Makes or replaces a pattern.
pub async fn put(change: &Change<'_>, name: &str, setting: &PatternSetting) -> Result<Effect, Error> {
    check_text("name", name, SHORT_NAME)?;
    let days = setting.check()?;
    let mut transaction = change.begin().await?;
    let names: Vec<&str> = days.iter().map(|(_, shift)| shift.as_str()).collect();
    exist(&mut transaction, &names).await?;
    let known = db::schedules::list(&mut transaction).await?;
    let before = known.into_iter().find(|schedule| schedule.name == name);
    db::schedules::put(&mut transaction, name, setting.anchor, setting.cycle_days, &days).await?;
    let people = change.ask(&mut transaction, Touched::Many(Whose::Schedule(name)), Dates::ALL).await?;
    let detail = json!({"anchor": setting.anchor, "cycle_days": setting.cycle_days, "days": setting.days, "before": before});
    change.record(&mut transaction, "schedule.put", name, detail).await?;
    change.finish(transaction, people).await
}

/// Lets a person follow a pattern, or none, from one date to another.
pub async fn assign(
    change: &Change<'_>,
    number: &PersonNumber,
    setting: &AssignmentSetting,
) -> Result<Effect, Error> {
    let (from, to) = (setting.from, setting.to);
    if to.is_some_and(|to| to < from) {
        return Err(Problem::ScheduleEndsBeforeStart.of("to"));
    }
    let mut transaction = change.begin().await?;
    let person = someone_else(&mut transaction, change.actor, number).await?;
    // Two at once would leave what neither of them asked for.
    db::recompute_queue::hold(&mut transaction, &[person.id]).await?;
    let had = scheduled(&mut transaction, person.id).await?;
    let last = to.unwrap_or(Date::MAX);
    let before = db::schedules::assignments(&mut transaction, &[person.id], from, last).await?;
    match &setting.schedule {
        Some(name) => {
            let schedule = db::schedules::id_of(&mut transaction, name)
                .await?
                .ok_or_else(|| Problem::ScheduleUnknown { schedule: name.to_owned() }.of("schedule"))?;
            db::schedules::assign(&mut transaction, &[person.id], schedule, from, to).await?;
        }
        None => db::schedules::unassign(&mut transaction, &[person.id], from, to).await?,
    }
    let people = replanned(change, &mut transaction, (person.id, had), Dates::between(from, to)).await?;
    let detail = json!({"schedule": setting.schedule, "from": from, "to": to, "before": before});
    change.record(&mut transaction, "schedule.assign", &person.id.to_string(), detail).await?;
    change.finish(transaction, people).await
}

/// Whether somebody has any schedule at all.
async fn scheduled(conn: &mut PgConnection, person: PersonId) -> Result<bool, Error> {
    Ok(!db::schedules::scheduled(conn, &[person]).await?.is_empty())
}

/// Asks for the days that a change to somebody's schedule may touch. Who had no schedule at all, or
/// has none any more, is judged by another rule on every unscheduled day (rule 9).
async fn replanned(
    change: &Change<'_>,
    conn: &mut PgConnection,
    (person, had): (PersonId, bool),
    dates: Dates,
) -> Result<u64, Error> {
    let dates = if scheduled(conn, person).await? == had { dates.widened() } else { Dates::ALL };
    change.ask(conn, Touched::Person(person), dates).await
}

/// The shifts that one date of somebody holds by itself; nothing where it follows the pattern.
async fn single_day(
    conn: &mut PgConnection,
    person: PersonId,
    date: Date,
) -> Result<Option<Vec<String>>, Error> {
    let names: HashMap<i64, String> =
        db::schedules::shifts(conn).await?.into_iter().map(|shift| (shift.id, shift.name)).collect();
    let days = db::schedules::single_days(conn, &[person], date, date).await?;
    let shifts = days.iter().filter_map(|(_, _, shift)| names.get(&(*shift)?).cloned()).collect();
    Ok((!days.is_empty()).then_some(shifts))
}

/// What a person is to work between two dates. Access is audited.
pub async fn plan(
    pool: &PgPool,
    actor: &Actor,
    number: &PersonNumber,
    (from, to): (Date, Date),
) -> Result<Plan, Error> {
    let mut transaction = pool.begin().await?;
    let person = seen_by(&mut transaction, actor, number).await?;
    let people = [person.id];
    let assignments = db::schedules::assignments(&mut transaction, &people, from, to).await?;
    let names: HashMap<i64, String> = db::schedules::shifts(&mut transaction)
        .await?
        .into_iter()
        .map(|shift| (shift.id, shift.name))
        .collect();
    let schedules: Vec<i64> = assignments.iter().map(|assignment| assignment.schedule).collect();
    let mut pattern: HashMap<(i64, i32), Vec<String>> = HashMap::new();
    for (schedule, day, shift) in db::schedules::days(&mut transaction, &schedules).await? {
        pattern.entry((schedule, day)).or_default().extend(names.get(&shift).cloned());
    }
    let mut singles: BTreeMap<Date, Vec<String>> = BTreeMap::new();
    for (_, date, shift) in db::schedules::single_days(&mut transaction, &people, from, to).await? {
        singles.entry(date).or_default().extend(shift.and_then(|shift| names.get(&shift).cloned()));
    }
    let detail = json!({"from": from, "to": to});
    db::audit::record(&mut transaction, &actor.name, "plan.look", &person.id.to_string(), detail).await?;
    transaction.commit().await?;
    let days = planned(&assignments, &pattern, singles, (from, to));
    Ok(Plan { assignments, days })
}

/// The dates of a range that hold a shift or differ from the pattern.
fn planned(
    assignments: &[Assignment],
    pattern: &HashMap<(i64, i32), Vec<String>>,
    singles: BTreeMap<Date, Vec<String>>,
    (from, to): (Date, Date),
) -> Vec<PlannedDay> {
    let mut days: BTreeMap<Date, PlannedDay> = BTreeMap::new();
    for assignment in assignments {
        let last = assignment.to.map_or(to, |last| last.min(to));
        for date in assignment.from.max(from).through(last) {
            if let Some(shifts) = pattern.get(&(assignment.schedule, assignment.day(date))) {
                days.insert(date, PlannedDay { date, shifts: shifts.clone(), single: false });
            }
        }
    }
    for (date, shifts) in singles {
        days.insert(date, PlannedDay { date, shifts, single: true });
    }
    days.into_values().collect()
}

/// Sets what one date of a person holds, whatever the pattern says.
pub async fn put_day(
    change: &Change<'_>,
    number: &PersonNumber,
    date: Date,
    day: &Override,
) -> Result<Effect, Error> {
    distinct("shifts", &day.shifts)?;
    let mut transaction = change.begin().await?;
    let person = someone_else(&mut transaction, change.actor, number).await?;
    let names: Vec<&str> = day.shifts.iter().map(String::as_str).collect();
    exist(&mut transaction, &names).await?;
    db::recompute_queue::hold(&mut transaction, &[person.id]).await?;
    let had = scheduled(&mut transaction, person.id).await?;
    let before = single_day(&mut transaction, person.id, date).await?;
    db::schedules::put_single_day(&mut transaction, person.id, date, &day.shifts).await?;
    let people = replanned(change, &mut transaction, (person.id, had), Dates::one(date)).await?;
    let detail = json!({"date": date, "shifts": day.shifts, "before": before});
    change.record(&mut transaction, "day.put", &person.id.to_string(), detail).await?;
    change.finish(transaction, people).await
}

/// Lets the pattern hold again on one date of a person.
pub async fn remove_day(change: &Change<'_>, number: &PersonNumber, date: Date) -> Result<Effect, Error> {
    let mut transaction = change.begin().await?;
    let person = someone_else(&mut transaction, change.actor, number).await?;
    db::recompute_queue::hold(&mut transaction, &[person.id]).await?;
    let had = scheduled(&mut transaction, person.id).await?;
    let before = single_day(&mut transaction, person.id, date).await?;
    if !db::schedules::drop_single_day(&mut transaction, person.id, date).await? {
        return Err(Problem::OverrideUnknown { number: number.clone(), date: date.0 }.into());
    }
    let people = replanned(change, &mut transaction, (person.id, had), Dates::one(date)).await?;
    let detail = json!({"date": date, "before": before});
    change.record(&mut transaction, "day.remove", &person.id.to_string(), detail).await?;
    change.finish(transaction, people).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i16, month: i8, day: i8) -> Date {
        jiff::civil::date(year, month, day).into()
    }

    fn setting(cycle_days: i32, days: &[&[&str]]) -> PatternSetting {
        let days = days.iter().map(|day| day.iter().map(|shift| (*shift).to_owned()).collect());
        PatternSetting { anchor: date(2025, 3, 3), cycle_days, days: days.collect() }
    }

    #[test]
    fn a_pattern_has_a_list_for_each_day() {
        let good = setting(3, &[&["A", "B"], &[], &["A"]]).check().expect("a pattern");
        let named: Vec<(i32, &str)> = good.iter().map(|(day, shift)| (*day, shift.as_str())).collect();
        assert_eq!(named, [(0, "A"), (0, "B"), (2, "A")]);
        for wrong in [setting(0, &[]), setting(-1, &[]), setting(2, &[&["A"]]), setting(1, &[&["A", "A"]])] {
            assert!(matches!(wrong.check(), Err(Error::Problem { field: Some(_), .. })), "{wrong:?}");
        }
        let off: &[&str] = &[];
        assert!(setting(367, &[off; 367]).check().is_err());
        assert!(setting(366, &[off; 366]).check().is_ok());
    }

    #[test]
    fn single_days_stand_over_the_pattern() {
        let assignment = Assignment {
            person: PersonId::from_u128(0),
            schedule: 1,
            name: "week".into(),
            from: date(2025, 3, 4),
            to: Some(date(2025, 3, 12)),
            anchor: date(2025, 3, 10), // a Monday, and after the first dates
            cycle_days: 7,
        };
        let pattern = HashMap::from([((1, 0), vec!["D".to_owned()]), ((1, 2), vec!["D".to_owned()])]);
        let singles =
            BTreeMap::from([(date(2025, 3, 10), Vec::new()), (date(2025, 3, 9), vec!["N".to_owned()])]);
        let days = planned(&[assignment], &pattern, singles, (date(2025, 3, 1), date(2025, 3, 31)));
        let shown: Vec<(Date, &str, bool)> = days
            .iter()
            .map(|day| (day.date, day.shifts.first().map_or("", String::as_str), day.single))
            .collect();
        let expected = [
            (date(2025, 3, 5), "D", false),
            (date(2025, 3, 9), "N", true),
            (date(2025, 3, 10), "", true),
            (date(2025, 3, 12), "D", false),
        ];
        assert_eq!(shown, expected);
    }
}
