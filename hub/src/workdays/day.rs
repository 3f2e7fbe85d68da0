//! One person's day from all sides: what stands, in which revision, what the facts say and why
//! (rule 14); and its being made final (rule 12).

use std::collections::HashSet;

use attendance::{Policy, Reason};
use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::{seen_by, someone_else};
use crate::accounts::Actor;
use crate::date::{self, Date, Timestamp, Zoned};
use crate::db;
use crate::db::punches::{ClockState, Direction};
use crate::db::workdays::{Revision, Status, Workday};
use crate::error::{Error, Problem};
use crate::i18n::Language;
use crate::person::{PersonId, PersonNumber};
use crate::workdays::facts::NEAR;
use crate::workdays::reasons::sentence;
use crate::workdays::{self, Explained};

/// One person's day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PersonDay {
    /// Their number.
    #[schema(value_type = String)]
    number: PersonNumber,
    /// Their name.
    name: String,
    /// The date.
    date: Date,
    /// The time zone of their site.
    zone: String,
    /// The workdays that stand.
    workdays: Vec<StandingDay>,
    /// What the facts say now, and why.
    facts: Vec<ExplainedDay>,
    /// Whether what stands is not what the facts say now: because the period is locked, or because
    /// the day waits to be computed.
    differs: bool,
    /// Whether the day lies in a locked period.
    locked: bool,
    /// Whether days of this person wait to be computed.
    waiting: bool,
    /// The punches from the first that the day may use to the last.
    punches: Vec<SeenPunch>,
}

/// What a workday says. Times are local, with their offset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DayFigures {
    /// The shift's name; null on an unscheduled day.
    shift: Option<String>,
    status: Status,
    /// When they came.
    first_in: Option<Zoned>,
    /// When they went.
    last_out: Option<Zoned>,
    /// Seconds worked; null where nothing closed.
    worked_s: Option<i32>,
    /// Seconds expected.
    expected_s: i32,
    /// Seconds late.
    late_s: i32,
    /// Seconds early.
    early_s: i32,
    /// Seconds of overtime.
    overtime_s: i32,
    /// Seconds more or less than expected.
    balance_s: Option<i32>,
    /// What somebody should know.
    flags: Vec<String>,
    /// When the shift begins.
    starts_at: Option<Zoned>,
    /// When its window closes.
    closes_at: Option<Zoned>,
}

/// A workday that stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StandingDay {
    #[serde(flatten)]
    figures: DayFigures,
    #[serde(flatten)]
    revision: Revision,
}

/// A workday as the facts have it, with its reasons.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExplainedDay {
    /// What it says.
    #[serde(flatten)]
    figures: DayFigures,
    /// The reasons as English sentences; use `reasons`, which every language can put into words.
    #[schema(deprecated)]
    why: Vec<String>,
    /// The punches used and dropped, and what is behind each figure.
    reasons: Vec<Reason>,
}

/// A punch as it arrived.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeenPunch {
    /// Its id.
    id: Uuid,
    /// Local time with its offset.
    at: Zoned,
    /// The terminal's id.
    device: String,
    direction: Direction,
    clock: ClockState,
    /// Whether an approved correction laid it aside.
    ignored: bool,
}

impl DayFigures {
    fn new(day: Workday, zone: &TimeZone, now: Timestamp) -> Self {
        let day = day.shown_at(now);
        let time = |at: Option<Timestamp>| at.map(|at| at.in_zone(zone));
        Self {
            shift: Some(day.shift).filter(|shift| !shift.is_empty()),
            status: day.status,
            first_in: time(day.first_in),
            last_out: time(day.last_out),
            worked_s: day.worked_s,
            expected_s: day.expected_s,
            late_s: day.late_s,
            early_s: day.early_s,
            overtime_s: day.overtime_s,
            balance_s: day.balance_s,
            flags: day.flags,
            starts_at: time(day.starts_at),
            closes_at: time(day.closes_at),
        }
    }
}

/// All that is known of a person's day. Access is audited.
pub async fn look(
    pool: &PgPool,
    actor: &Actor,
    number: &PersonNumber,
    date: Date,
    policy: &Policy,
    now: Timestamp,
) -> Result<PersonDay, Error> {
    let mut transaction = pool.begin().await?;
    let person = seen_by(&mut transaction, actor, number).await?;
    let people = [person.id];
    let zone = date::zone(&person.zone)?;
    let stands = db::workdays::standing(&mut transaction, &people, date, date).await?;
    let revisions = db::workdays::revisions(&mut transaction, person.id, date, now).await?;
    let facts = workdays::explain(&mut transaction, person.id, date, policy).await?;
    let day = PersonDay {
        number: person.number,
        name: person.name,
        date,
        zone: person.zone,
        differs: differs(&stands, &facts, now.date_in(&zone)),
        workdays: stands.into_iter().filter_map(|day| standing(day, &revisions, &zone, now)).collect(),
        locked: locked(&mut transaction, person.id, date).await?,
        waiting: db::workdays::waiting(&mut transaction, person.id).await?,
        punches: punches(&mut transaction, person.id, (date, &zone), &facts).await?,
        facts: facts.into_iter().map(|day| explained(day, &zone, now)).collect(),
    };
    let detail = json!({"date": date});
    db::audit::record(&mut transaction, &actor.name, "workday.look", &person.id.to_string(), detail).await?;
    transaction.commit().await?;
    Ok(day)
}

fn standing(day: Workday, revisions: &[Revision], zone: &TimeZone, now: Timestamp) -> Option<StandingDay> {
    let revision = revisions.iter().find(|revision| revision.shift == day.shift)?.clone();
    Some(StandingDay { figures: DayFigures::new(day, zone, now), revision })
}

fn explained(mut explained: Explained, zone: &TimeZone, now: Timestamp) -> ExplainedDay {
    let due = explained.day.due_at;
    let figures = DayFigures::new(explained.day, zone, now);
    if let Some(due) = due.filter(|_| figures.status == Status::Expected) {
        explained.reasons.retain(|reason| !matches!(reason, Reason::Absent { .. }));
        explained.reasons.push(Reason::NotDue { until_at: due.0 });
    }
    let why = explained.reasons.iter().map(|reason| sentence(reason, zone, Language::English)).collect();
    ExplainedDay { figures, why, reasons: explained.reasons }
}

/// Whether what stands is not what the facts say. Of a date that has not come, only days with
/// punches stand.
fn differs(stands: &[Workday], facts: &[Explained], today: Date) -> bool {
    let due = |day: &&Workday| day.date <= today || day.first_in.is_some() || day.last_out.is_some();
    let mut facts: Vec<&Workday> = facts.iter().map(|facts| &facts.day).filter(due).collect();
    let mut stands: Vec<&Workday> = stands.iter().collect();
    facts.sort_by(|one, other| one.shift.cmp(&other.shift));
    stands.sort_by(|one, other| one.shift.cmp(&other.shift));
    facts.len() != stands.len() || stands.iter().zip(facts).any(|(stands, facts)| !stands.agrees(facts))
}

async fn locked(conn: &mut PgConnection, person: PersonId, date: Date) -> Result<bool, Error> {
    Ok(!db::pay_periods::locked(conn, &[person], date, date).await?.is_empty())
}

/// The punches between the first and the last instant that the day's shifts may reach.
async fn punches(
    conn: &mut PgConnection,
    person: PersonId,
    (date, zone): (Date, &TimeZone),
    facts: &[Explained],
) -> Result<Vec<SeenPunch>, Error> {
    let (mut from, mut until) = (date.begins(zone)?, date.plus(1).begins(zone)?);
    for day in facts.iter().map(|facts| &facts.day) {
        from = [day.starts_at, day.first_in, day.last_out].into_iter().flatten().fold(from, Ord::min);
        until = [day.closes_at, day.last_out].into_iter().flatten().fold(until, Ord::max);
    }
    let near = (date.plus(-NEAR), date.plus(NEAR));
    let overlays = db::corrections::overlays(conn, &[person], near.0, near.1).await?;
    let ignored: HashSet<Uuid> = overlays.into_iter().flat_map(|overlay| overlay.ignores).collect();
    // The last second too: windows are inclusive, and fractions of a second are cut off.
    let until = until.plus(1.second());
    let mut raw = db::punches::of_people(conn, &[person], from, until).await?;
    raw.sort_by_key(|punch| (punch.at, punch.id));
    let seen = |punch: db::punches::Raw| SeenPunch {
        ignored: ignored.contains(&punch.id),
        id: punch.id,
        at: punch.at.in_zone(zone),
        device: punch.device,
        direction: punch.direction,
        clock: punch.clock,
    };
    Ok(raw.into_iter().map(seen).collect())
}

/// Makes a person's day final, whatever terminals still have to report. Doing it again changes
/// nothing.
pub async fn finalise(
    pool: &PgPool,
    actor: &Actor,
    number: &PersonNumber,
    date: Date,
    now: Timestamp,
) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    let person = someone_else(&mut transaction, actor, number).await?;
    db::recompute_queue::hold(&mut transaction, &[person.id]).await?;
    let stands = db::workdays::revisions(&mut transaction, person.id, date, now).await?;
    if stands.is_empty() {
        return Err(Problem::WorkdayUnknown { number: number.clone(), date: date.0 }.into());
    }
    let closes = stands.into_iter().filter_map(|day| day.closes_at).max_by_key(|closes| closes.0.timestamp());
    if let Some(closes) = closes.filter(|closes| closes.0.timestamp() > now.0) {
        return Err(Problem::WorkdayOpen { until: closes.to_string() }.into());
    }
    let days = db::workdays::finalise(&mut transaction, person.id, date, &actor.name, now).await?;
    if days > 0 {
        let detail = json!({"date": date, "workdays": days});
        let subject = person.id.to_string();
        db::audit::record(&mut transaction, &actor.name, "workday.finalise", &subject, detail).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn figures(shift: &str, late_s: i32) -> Workday {
        Workday {
            person: PersonId::from_u128(0),
            date: date(2025, 3, 3).into(),
            shift: shift.into(),
            status: Status::Absent,
            first_in: None,
            last_out: None,
            worked_s: None,
            expected_s: 3600,
            late_s,
            early_s: 0,
            overtime_s: 0,
            balance_s: Some(-3600),
            flags: Vec::new(),
            starts_at: None,
            closes_at: None,
            due_at: None,
        }
    }

    fn facts(figures: &[Workday]) -> Vec<Explained> {
        figures.iter().cloned().map(|day| Explained { day, reasons: Vec::new() }).collect()
    }

    #[test]
    fn what_stands_is_held_against_the_facts() {
        let today = Date(date(2025, 3, 3));
        let (early, late) = (figures("Early", 0), figures("Late", 0));
        let both = [early, late];
        let [early, late] = both.clone();
        assert!(!differs(&both, &facts(&[late, early]), today), "in any order");
        assert!(differs(&both, &facts(&[figures("Early", 0), figures("Late", 60)]), today));
        assert!(differs(&[], &facts(&both), today));
        assert!(differs(&both, &[], today));
        assert!(
            !differs(&[], &facts(&both), date(2025, 3, 2).into()),
            "tomorrow's shift is nobody's absence"
        );
    }

    #[test]
    fn nobody_is_absent_before_they_are_due() {
        let at = |second| jiff::Timestamp::from_second(second).ok().map(Timestamp);
        let day = Workday { starts_at: at(1000), due_at: at(1600), ..figures("Early", 0) };
        let shown = |day: &Workday, second| {
            let shown = day.clone().shown_at(at(second).expect("a time"));
            (shown.status, shown.balance_s)
        };
        let (expected, absent) = ((Status::Expected, None), (Status::Absent, Some(-3600)));
        assert_eq!([shown(&day, 0), shown(&day, 1600), shown(&day, 1601)], [expected, expected, absent]);
        let old = Workday { due_at: None, ..day.clone() };
        assert_eq!([shown(&old, 1000), shown(&old, 1001)], [expected, absent]);
        assert!(old.agrees(&day) && !day.agrees(&old), "a day from before makes no new revision");
        let later = Workday { due_at: at(1700), ..day.clone() };
        assert!(!day.agrees(&later), "another grace is one");
    }
}
