//! From facts to workdays: computes again the days that something touched, and writes what changed.
//!
//! Whatever touches a day leaves a job in its own transaction. Any number of hubs take jobs; who
//! takes one holds the person until the new workdays are committed, so none can overwrite what a
//! later one computed. Locked periods are never written to.

mod book;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::attendance::{Assessment, Workday, assess, timestamp, why};
use crate::clock;
use crate::notify::{self, Channels};
use crate::reconcile::book::Book;
use crate::store;
use crate::store::jobs::Job;
use crate::store::workdays::{Figures, Standing};

/// Who the audit names.
const ACTOR: &str = "hub";
/// Jobs of one transaction, at most.
const BATCH: i64 = 500;
/// How long a hub sleeps, at most, when there is nothing to do.
const LULL: std::time::Duration = std::time::Duration::from_secs(20);
/// Two ranges of one person with a smaller gap are computed as one, in days.
const GAP: i32 = 7;

/// What the hub's configuration says about workdays.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A punch at most so many seconds after the last that counts is a duplicate.
    pub duplicate_within_s: u32,
    /// Who is told of late arrivals and absences.
    pub channels: Channels,
}

/// What a computation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// People whose days were looked at.
    pub people: usize,
    /// Workdays that are new, changed or gone.
    pub changed: usize,
    /// Days of locked periods that now have a pending adjustment.
    pub adjustments: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.people += other.people;
        self.changed += other.changed;
        self.adjustments += other.adjustments;
    }
}

/// Computes days for as long as the hub runs: when jobs are announced, and at the turn of each day.
pub async fn run(pool: PgPool, policy: Policy, mut jobs: watch::Receiver<()>) -> Result<()> {
    loop {
        jobs.borrow_and_update();
        match work(&pool, &policy).await {
            Ok(Tally { people: 0, .. }) => {}
            Ok(tally) => {
                info!(people = tally.people, changed = tally.changed, "workdays computed");
                continue;
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "workdays wait");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
        tokio::select! {
            changed = jobs.changed() => changed.context("the listener is gone")?,
            () = tokio::time::sleep(LULL) => {}
        }
    }
}

/// Asks for what the calendar demands, then computes one batch of jobs.
pub async fn work(pool: &PgPool, policy: &Policy) -> Result<Tally> {
    let now = clock::now();
    sweep(pool, &policy.channels, now).await?;
    batch(pool, policy, now).await
}

/// Computes one batch of jobs. Nobody in the tally: there was nothing to do, or other hubs do it.
pub async fn batch(pool: &PgPool, policy: &Policy, now: Timestamp) -> Result<Tally> {
    let mut transaction = pool.begin().await?;
    let tally = batch_of(&mut transaction, policy, now).await?;
    transaction.commit().await?;
    Ok(tally)
}

/// Computes one batch of jobs in a transaction that somebody else ends.
pub async fn batch_of(conn: &mut PgConnection, policy: &Policy, now: Timestamp) -> Result<Tally> {
    let jobs = store::jobs::take(conn, BATCH).await?;
    settle(conn, &jobs, policy, now).await
}

/// When a site's date has moved on, everybody there gets a day; when windows have closed, people
/// are told of absences and missing punches.
async fn sweep(pool: &PgPool, channels: &Channels, now: Timestamp) -> Result<()> {
    let mut transaction = pool.begin().await?;
    for (id, name, zone, swept) in store::sites::behind(&mut transaction).await? {
        let today = time_zone(&zone)?.to_datetime(now).date();
        if swept.is_some_and(|swept| swept >= today) {
            continue;
        }
        let from = swept.map_or(today, |swept| swept.tomorrow().unwrap_or(today));
        store::jobs::ask_many(&mut transaction, store::jobs::Whose::Site(&name), from, today).await?;
        store::sites::swept(&mut transaction, id, today).await?;
    }
    notify::owe_closed(&mut transaction, channels, now).await?;
    transaction.commit().await?;
    Ok(())
}

/// Computes the days that jobs touch and writes what changed. The people must be held
/// ([`store::jobs::hold`], or taken with the jobs).
pub async fn settle(conn: &mut PgConnection, jobs: &[Job], policy: &Policy, now: Timestamp) -> Result<Tally> {
    let mut tally = Tally::default();
    for ((from, to), people) in grouped(jobs) {
        tally += settle_group(conn, &people, (from, to), policy, now).await?;
    }
    Ok(tally)
}

/// People by the range of dates that something touched.
fn grouped(jobs: &[Job]) -> BTreeMap<(Date, Date), Vec<Uuid>> {
    let mut of_person: HashMap<Uuid, Vec<(Date, Date)>> = HashMap::new();
    for job in jobs {
        of_person.entry(job.person).or_default().push((job.from, job.to));
    }
    let mut groups: BTreeMap<(Date, Date), Vec<Uuid>> = BTreeMap::new();
    for (person, mut ranges) in of_person {
        ranges.sort_unstable();
        let mut merged: Vec<(Date, Date)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(GAP.days()) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        for range in merged {
            groups.entry(range).or_default().push(person);
        }
    }
    groups
}

async fn settle_group(
    conn: &mut PgConnection,
    people: &[Uuid],
    touched: (Date, Date),
    policy: &Policy,
    now: Timestamp,
) -> Result<Tally> {
    let book = Book::load(conn, people, touched, policy).await?;
    let (from, to) = book.days;
    let mut before: HashMap<Uuid, Vec<Standing>> = HashMap::new();
    for day in store::workdays::standing(conn, people, from, to).await? {
        before.entry(day.person).or_default().push(day);
    }
    let mut changes = Changes::default();
    for person in book.people() {
        let assessment = assess(&book.facts(person)?);
        let zone = book.zone(person)?;
        let today = zone.to_datetime(now).date();
        let after = assessment.workdays.iter().filter(|day| (from..=to).contains(&day.date));
        // Tomorrow's shift is nobody's absence yet.
        let after = after.filter(|day| day.date <= today || !day.punches.is_empty());
        let after = after.map(|day| Standing { person, figures: figures(day, zone) }).collect();
        changes.compare(person, before.remove(&person).unwrap_or_default(), after, &book)?;
        changes.loose(person, &assessment, zone, (from, to));
    }
    let tally = Tally {
        people: people.len(),
        changed: changes.written.len() + changes.removed.len(),
        adjustments: changes.adjusted.len(),
    };
    changes.write(conn, people, (from, to), now, &policy.channels).await?;
    Ok(tally)
}

/// What must be written.
#[derive(Default)]
struct Changes {
    written: Vec<Standing>,
    removed: Vec<Standing>,
    /// Whose workdays changed, for the audit: before and after.
    revisions: Vec<(Uuid, Value)>,
    /// Days in locked periods: what stands, and what the facts say.
    adjusted: Vec<((Uuid, Date), Value, Value)>,
    /// Locked days where both agree.
    agreed: Vec<(Uuid, Date)>,
    unassigned: Vec<(Uuid, Date, Timestamp)>,
}

impl Changes {
    fn compare(
        &mut self,
        person: Uuid,
        before: Vec<Standing>,
        after: Vec<Standing>,
        book: &Book,
    ) -> Result<()> {
        type Days = BTreeMap<Date, (Vec<Standing>, Vec<Standing>)>;
        let mut days = Days::new();
        for day in before {
            days.entry(day.figures.date).or_default().0.push(day);
        }
        for day in after {
            days.entry(day.figures.date).or_default().1.push(day);
        }
        for (date, (mut before, mut after)) in days {
            before.sort_by(|one, other| one.figures.shift.cmp(&other.figures.shift));
            after.sort_by(|one, other| one.figures.shift.cmp(&other.figures.shift));
            let locked = book.locked(person, date);
            if before == after {
                if locked {
                    self.agreed.push((person, date));
                }
            } else if locked {
                self.adjusted.push(((person, date), shown(&before)?, shown(&after)?));
            } else {
                self.revise(person, &before, after)?;
            }
        }
        Ok(())
    }

    fn revise(&mut self, person: Uuid, before: &[Standing], after: Vec<Standing>) -> Result<()> {
        if !before.is_empty() {
            let detail = json!({"before": shown(before)?, "after": shown(&after)?});
            self.revisions.push((person, detail));
        }
        let same_shift = |one: &Standing, other: &Standing| one.figures.shift == other.figures.shift;
        let gone = before.iter().filter(|old| !after.iter().any(|new| same_shift(old, new)));
        self.removed.extend(gone.cloned());
        self.written.extend(after.into_iter().filter(|new| !before.contains(new)));
        Ok(())
    }

    fn loose(&mut self, person: Uuid, found: &Assessment, zone: &TimeZone, (from, to): (Date, Date)) {
        for punch in &found.unassigned {
            let at = timestamp(punch.at);
            let date = zone.to_datetime(at).date();
            if (from..=to).contains(&date) {
                self.unassigned.push((person, date, at));
            }
        }
    }

    async fn write(
        self,
        conn: &mut PgConnection,
        people: &[Uuid],
        days: (Date, Date),
        now: Timestamp,
        channels: &Channels,
    ) -> Result<()> {
        store::workdays::remove(conn, &self.removed).await?;
        store::workdays::put(conn, &self.written, now).await?;
        store::workdays::put_unassigned(conn, people, days, &self.unassigned).await?;
        store::audit::record_many(conn, ACTOR, "workday.revise", &self.revisions).await?;
        for (day, before, after) in &self.adjusted {
            if !store::periods::settled(conn, *day, after).await? {
                store::periods::adjust(conn, *day, before, after, now).await?;
            }
        }
        let (people, dates): (Vec<Uuid>, Vec<Date>) = self.agreed.into_iter().unzip();
        if !people.is_empty() {
            store::periods::forget_adjustment(conn, &people, &dates).await?;
        }
        notify::owe_late(conn, channels, &self.written, now).await
    }
}

/// Workdays as the audit and adjustments show them.
fn shown(days: &[Standing]) -> Result<Value> {
    Ok(serde_json::to_value(days.iter().map(|day| &day.figures).collect::<Vec<_>>())?)
}

/// A person's workdays of a date as the audit shows them.
pub async fn shown_day(conn: &mut PgConnection, person: Uuid, date: Date) -> Result<Value> {
    shown(&store::workdays::standing(conn, &[person], date, date).await?)
}

fn figures(day: &Workday, zone: &TimeZone) -> Figures {
    let seconds = |s: i64| i32::try_from(s).unwrap_or(if s < 0 { i32::MIN } else { i32::MAX });
    let span = day.shift.as_ref().map(|(_, span)| span);
    let midnight = || day.date.tomorrow().ok()?.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp());
    Figures {
        date: day.date,
        shift: day.shift.as_ref().map(|(shift, _)| shift.name.to_string()).unwrap_or_default(),
        status: day.status.as_str().to_owned(),
        first_in: day.paired.first_in.map(|moment| timestamp(moment.at)),
        last_out: day.paired.last_out.map(|moment| timestamp(moment.at)),
        worked_s: day.worked_s.map(seconds),
        expected_s: seconds(day.expected_s),
        late_s: seconds(day.late_s),
        early_s: seconds(day.early_s),
        overtime_s: seconds(day.overtime_s),
        balance_s: day.balance_s.map(seconds),
        flags: day.flags.iter().map(|flag| (*flag).to_owned()).collect(),
        starts_at: span.map(|span| timestamp(span.start)),
        closes_at: span.map_or_else(midnight, |span| Some(timestamp(span.closes))),
    }
}

/// A workday as the facts have it now, with its reasons.
pub struct Explained {
    /// What it says.
    pub figures: Figures,
    /// Sentences.
    pub why: Vec<String>,
}

/// Computes a person's date anew, without writing anything, and says why it is as it is.
pub async fn explain(
    conn: &mut PgConnection,
    person: Uuid,
    date: Date,
    policy: &Policy,
) -> Result<Vec<Explained>> {
    let book = Book::load(conn, &[person], (date, date), policy).await?;
    let found = assess(&book.facts(person)?);
    let zone = book.zone(person)?;
    let explained =
        |day: &Workday| Explained { figures: figures(day, zone), why: why(day, &found.dropped, zone) };
    Ok(found.workdays.iter().filter(|day| day.date == date).map(explained).collect())
}

fn time_zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).with_context(|| format!("there is no time zone {name:?}"))
}
