//! Everything that the rules must know of some people for some dates, read from the database.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use attendance::{ClockState, Employment, Entry, Facts, Leave, Policy, Punch, Shift};
use jiff::tz::TimeZone;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::date::Date;
use crate::db::corrections::AddedTime;
use crate::db::people::Terms;
use crate::db::schedules::Assignment;
use crate::person::PersonId;
use crate::{date, db};

/// How far from its date the times of a correction may lie, in days.
pub const NEAR: i32 = 2;

/// The facts of some people.
pub struct KnownFacts {
    /// The workdays that may have been touched, and that these facts suffice for.
    pub days: (Date, Date),
    duplicate_within_s: u32,
    /// Dates of the schedule that is known here.
    schedule: (Date, Date),
    shifts: HashMap<i64, Arc<Shift>>,
    zones: HashMap<String, TimeZone>,
    terms: HashMap<PersonId, Terms>,
    order: Vec<PersonId>,
    assignments: HashMap<PersonId, Vec<Assignment>>,
    /// By pattern and day of its cycle.
    pattern: HashMap<(i64, i32), Vec<i64>>,
    single: HashMap<PersonId, HashMap<Date, Vec<Option<i64>>>>,
    scheduled: HashSet<PersonId>,
    holidays: HashMap<i64, BTreeSet<jiff::civil::Date>>,
    leave: HashMap<PersonId, Vec<(jiff::civil::Date, Leave)>>,
    punches: HashMap<PersonId, Vec<Punch>>,
    locked: HashMap<PersonId, Vec<(Date, Date)>>,
}

/// How far a shift reaches: whole days before and after its date.
struct Reach {
    before: i32,
    after: i32,
}

impl Reach {
    fn of(shifts: &HashMap<i64, Arc<Shift>>) -> Self {
        const DAY_S: i64 = 86_400;
        let days = |seconds: i64| ((seconds + DAY_S - 1) / DAY_S) as i32;
        let before = shifts.values().map(|shift| days(shift.rules.window_before_min.seconds())).max();
        let after = shifts.values().map(|shift| days(shift.rules.window_after_min.seconds())).max();
        // A shift may end on the next day.
        Self { before: before.unwrap_or(0), after: after.unwrap_or(0) + 1 }
    }

    /// The dates of shifts that punches of these dates may belong to.
    fn shifts_of(&self, (from, to): (Date, Date)) -> (Date, Date) {
        (from.plus(-self.after), to.plus(self.before))
    }

    /// The dates of punches that may belong to shifts of these dates.
    fn punches_of(&self, (from, to): (Date, Date)) -> (Date, Date) {
        (from.plus(-self.before), to.plus(self.after))
    }
}

impl KnownFacts {
    /// Reads what is needed to compute every workday that something on the touched dates may
    /// change: their neighbours' punches, and their neighbours' neighbours' shifts.
    pub async fn load(
        conn: &mut PgConnection,
        people: &[PersonId],
        touched: (Date, Date),
        policy: &Policy,
    ) -> Result<Self> {
        let shifts = read_shifts(conn).await?;
        let reach = Reach::of(&shifts);
        let days = reach.shifts_of(touched);
        let (first, last) = reach.punches_of(days);
        // A duplicate's original, and the offset of any zone.
        let seen = (first.plus(-2), last.plus(1));
        let schedule = reach.shifts_of(seen);
        let mut known = Self {
            days,
            duplicate_within_s: policy.duplicate_within_s,
            schedule,
            shifts,
            zones: HashMap::new(),
            terms: HashMap::new(),
            order: Vec::with_capacity(people.len()),
            assignments: HashMap::new(),
            pattern: HashMap::new(),
            single: HashMap::new(),
            scheduled: db::schedules::scheduled(conn, people).await?.into_iter().collect(),
            holidays: HashMap::new(),
            leave: HashMap::new(),
            punches: HashMap::new(),
            locked: HashMap::new(),
        };
        for (person, from, to) in db::pay_periods::locked(conn, people, days.0, days.1).await? {
            known.locked.entry(person).or_default().push((from, to));
        }
        known.read_people(conn, people).await?;
        known.read_schedule(conn, people).await?;
        known.read_leave(conn, people).await?;
        known.read_punches(conn, people, seen).await?;
        Ok(known)
    }

    async fn read_people(&mut self, conn: &mut PgConnection, people: &[PersonId]) -> Result<()> {
        for terms in db::people::terms(conn, people).await? {
            if !self.zones.contains_key(&terms.zone) {
                self.zones.insert(terms.zone.clone(), date::zone(&terms.zone)?);
            }
            self.order.push(terms.person);
            self.terms.insert(terms.person, terms);
        }
        Ok(())
    }

    async fn read_schedule(&mut self, conn: &mut PgConnection, people: &[PersonId]) -> Result<()> {
        let (from, to) = self.schedule;
        let mut patterns = BTreeSet::new();
        for assignment in db::schedules::assignments(conn, people, from, to).await? {
            patterns.insert(assignment.schedule);
            self.assignments.entry(assignment.person).or_default().push(assignment);
        }
        let patterns: Vec<i64> = patterns.into_iter().collect();
        for (pattern, day, shift) in db::schedules::days(conn, &patterns).await? {
            self.pattern.entry((pattern, day)).or_default().push(shift);
        }
        for (person, date, shift) in db::schedules::single_days(conn, people, from, to).await? {
            self.single.entry(person).or_default().entry(date).or_default().push(shift);
        }
        Ok(())
    }

    async fn read_leave(&mut self, conn: &mut PgConnection, people: &[PersonId]) -> Result<()> {
        let (from, to) = self.schedule;
        for (site, date) in db::sites::holidays_of_sites(conn, from, to).await? {
            self.holidays.entry(site).or_default().insert(date.0);
        }
        for day in db::leave::between(conn, people, from, to).await? {
            let leave = if day.half { Leave::Half } else { Leave::Whole };
            self.leave.entry(day.person).or_default().push((day.date.0, leave));
        }
        Ok(())
    }

    async fn read_punches(
        &mut self,
        conn: &mut PgConnection,
        people: &[PersonId],
        (from, to): (Date, Date),
    ) -> Result<()> {
        let mut ignored: HashSet<Uuid> = HashSet::new();
        // Their times may lie on other dates than their own.
        let near = (from.plus(-NEAR), to.plus(NEAR));
        for overlay in db::corrections::overlays(conn, people, near.0, near.1).await? {
            ignored.extend(overlay.ignores);
            let punch = |add: &AddedTime| {
                Punch::new(add.at.0, add.direction, "correction".into(), ClockState::Synchronised)
            };
            self.punches.entry(overlay.person).or_default().extend(overlay.adds.iter().map(punch));
        }
        let instant = |date: Date| date.begins(&TimeZone::UTC);
        let until = instant(to.plus(1))?;
        let mut terminals: HashMap<String, Arc<str>> = HashMap::new();
        for raw in db::punches::of_people(conn, people, instant(from)?, until).await? {
            if ignored.contains(&raw.id) {
                continue;
            }
            let terminal = terminals.entry(raw.device).or_insert_with_key(|device| device.as_str().into());
            let punch = Punch::new(raw.at.0, raw.direction.into(), terminal.clone(), raw.clock.into());
            self.punches.entry(raw.person).or_default().push(punch);
        }
        Ok(())
    }

    /// Everybody whose facts these are.
    pub fn people(&self) -> impl Iterator<Item = PersonId> {
        self.order.iter().copied()
    }

    /// The zone of a person's site.
    pub fn zone(&self, person: PersonId) -> Result<&TimeZone> {
        let terms = self.terms.get(&person).context("a person whose facts are not known")?;
        self.zones.get(&terms.zone).context("a zone that is not known")
    }

    /// Whether a person's date lies in a locked period.
    pub fn locked(&self, person: PersonId, date: Date) -> bool {
        let mut locked = self.locked.get(&person).into_iter().flatten();
        locked.any(|(from, to)| (*from..=*to).contains(&date))
    }

    /// A person's facts.
    pub fn facts(&self, person: PersonId) -> Result<Facts> {
        let terms = self.terms.get(&person).context("a person whose facts are not known")?;
        let date = |date: Option<Date>| date.map(|date| date.0);
        Ok(Facts {
            zone: self.zone(person)?.clone(),
            entries: self.entries(person, self.zone(person)?),
            scheduled: self.scheduled.contains(&person),
            holidays: self.holidays.get(&terms.site).cloned().unwrap_or_default(),
            leave: self.leave.get(&person).into_iter().flatten().copied().collect(),
            employed: Employment { from: date(terms.employed_from), to: date(terms.employed_to) },
            duplicate_within_s: i64::from(self.duplicate_within_s),
            punches: self.punches.get(&person).cloned().unwrap_or_default(),
        })
    }

    /// The schedule of a person: the pattern's shifts, except on dates that differ from it.
    fn entries(&self, person: PersonId, zone: &TimeZone) -> Vec<Entry> {
        let empty = HashMap::new();
        let single = self.single.get(&person).unwrap_or(&empty);
        let entry = |date: Date, shift: &i64| {
            let shift = self.shifts.get(shift)?.clone();
            Some(Entry { date: date.0, shift, zone: zone.clone() })
        };
        let mut entries: Vec<Entry> = Vec::new();
        // A shift stands once on a date, whatever patterns hold it.
        let mut seen: HashSet<(Date, i64)> = HashSet::new();
        for assignment in self.assignments.get(&person).into_iter().flatten() {
            let last = assignment.to.unwrap_or(self.schedule.1).min(self.schedule.1);
            for date in assignment.from.max(self.schedule.0).through(last) {
                if !single.contains_key(&date) {
                    let shifts = self.pattern.get(&(assignment.schedule, assignment.day(date)));
                    let shifts = shifts.into_iter().flatten().filter(|shift| seen.insert((date, **shift)));
                    entries.extend(shifts.filter_map(|shift| entry(date, shift)));
                }
            }
        }
        for (date, shifts) in single {
            entries.extend(shifts.iter().flatten().filter_map(|shift| entry(*date, shift)));
        }
        entries
    }
}

async fn read_shifts(conn: &mut PgConnection) -> Result<HashMap<i64, Arc<Shift>>> {
    let mut shifts = HashMap::new();
    for shift in db::schedules::shifts(conn).await? {
        shifts.insert(shift.id, Arc::new(Shift { name: shift.name.into(), rules: shift.rules.0 }));
    }
    Ok(shifts)
}
