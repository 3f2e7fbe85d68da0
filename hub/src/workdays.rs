//! From facts to workdays: computes again the days that something touched, and writes what changed.
//!
//! Whatever touches a day leaves a job in its own transaction. Any number of hubs take jobs; who
//! takes one holds the person until the new workdays are committed, so none can overwrite what a
//! later one computed. Locked periods are never written to.

pub mod corrections;
pub mod day;
mod facts;
pub mod horizon;
pub mod http;
pub mod missing_punches;
pub mod pay_periods;
pub mod reasons;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use attendance::{Assessment, Policy, Reason, Shift, assess, timestamp, why};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::date::{Date, Timestamp};
use crate::db::channels::Channels;
use crate::db::pay_periods::AdjustmentState;
use crate::db::recompute_queue::{Job, Whose};
use crate::db::workdays::Workday;
use crate::notifications;
use crate::person::PersonId;
use crate::workdays::facts::KnownFacts;
use crate::{clock, date, db};

/// The actor's name in audit rows.
const ACTOR: &str = "hub";
/// Maximum jobs per transaction.
const BATCH: i64 = 500;
/// How long a hub sleeps, at most, when there is nothing to do.
const LULL: Duration = Duration::from_secs(20);
/// Between two looks at the calendar, at least.
const SWEEP: Duration = Duration::from_secs(5);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Two ranges of one person with a smaller gap are computed as one, in days.
const GAP: i32 = 7;

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
pub async fn run(
    pool: PgPool,
    policy: Policy,
    channels: Channels,
    mut jobs: watch::Receiver<()>,
) -> Result<()> {
    let mut swept: Option<Instant> = None;
    loop {
        jobs.borrow_and_update();
        let wait = swept.map_or(Duration::ZERO, |swept| SWEEP.saturating_sub(swept.elapsed()));
        if wait.is_zero() {
            swept = Some(Instant::now());
            look_at_the_calendar(&pool, &channels).await;
        }
        match work(&pool, &policy, &channels).await {
            Ok(Tally { people: 0, .. }) => {}
            Ok(tally) => {
                info!(people = tally.people, changed = tally.changed, "workdays computed");
                continue;
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "cannot compute workdays; retrying");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        // What has become final since the last look is told as soon as the next may be.
        let lull = if wait.is_zero() { LULL } else { wait };
        tokio::select! {
            changed = jobs.changed() => changed.context("the listener is gone")?,
            () = tokio::time::sleep(lull) => {}
        }
    }
}

/// Asks for what the turn of a day demands, and for word of what has become final. Neither keeps
/// workdays from being computed.
async fn look_at_the_calendar(pool: &PgPool, channels: &Channels) {
    let now = clock::now();
    if let Err(error) = sweep(pool, now).await {
        warn!(error = format!("{error:#}"), "cannot begin the new day; retrying");
    }
    if let Err(error) = enqueue(pool, channels, now).await {
        warn!(error = format!("{error:#}"), "cannot enqueue notifications; retrying");
    }
}

async fn enqueue(pool: &PgPool, channels: &Channels, now: Timestamp) -> Result<()> {
    let mut transaction = pool.begin().await?;
    notifications::enqueue_closed(&mut transaction, channels, now).await?;
    Ok(transaction.commit().await?)
}

/// Computes one batch of jobs; where that fails, each person by themselves, so that one whose facts
/// make no sense holds up nobody else. Nobody in the tally: there was nothing to do, or other hubs do
/// it.
pub async fn work(pool: &PgPool, policy: &Policy, channels: &Channels) -> Result<Tally> {
    let now = clock::now();
    let failure = match batch(pool, policy, channels, now).await {
        Ok(tally) => return Ok(tally),
        Err(failure) => failure,
    };
    let people = db::recompute_queue::people(&mut *pool.acquire().await?, BATCH).await?;
    let mut tally = Tally::default();
    for person in people {
        match one(pool, person, policy, channels, now).await {
            Ok(more) => tally += more,
            Err(error) => {
                warn!(person.id = %person, error = format!("{error:#}"), "cannot compute a person's workdays; retrying");
            }
        }
    }
    if tally.people == 0 { Err(failure) } else { Ok(tally) }
}

/// Computes what one person's jobs ask for.
async fn one(
    pool: &PgPool,
    person: PersonId,
    policy: &Policy,
    channels: &Channels,
    now: Timestamp,
) -> Result<Tally> {
    let mut transaction = pool.begin().await?;
    let jobs = db::recompute_queue::take_of(&mut transaction, person).await?;
    let tally = apply(&mut transaction, &jobs, policy, channels, now).await?;
    transaction.commit().await?;
    Ok(tally)
}

async fn batch(pool: &PgPool, policy: &Policy, channels: &Channels, now: Timestamp) -> Result<Tally> {
    let mut transaction = pool.begin().await?;
    let jobs = db::recompute_queue::take(&mut transaction, BATCH).await?;
    let tally = apply(&mut transaction, &jobs, policy, channels, now).await?;
    transaction.commit().await?;
    Ok(tally)
}

/// When a site's date has moved on, everybody there gets a day.
async fn sweep(pool: &PgPool, now: Timestamp) -> Result<()> {
    let mut transaction = pool.begin().await?;
    for site in db::sites::behind(&mut transaction).await? {
        let today = now.date_in(&date::zone(&site.zone)?);
        if site.through.is_some_and(|through| through >= today) {
            continue;
        }
        let from = site.through.map_or(today, |through| through.plus(1));
        db::recompute_queue::ask_many(&mut transaction, Whose::Site(&site.name), from, today).await?;
        db::sites::swept(&mut transaction, site.id, today).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Computes the days that jobs touch and writes what changed. The people must be held
/// ([`db::recompute_queue::hold`], or taken with the jobs).
pub async fn apply(
    conn: &mut PgConnection,
    jobs: &[Job],
    policy: &Policy,
    channels: &Channels,
    now: Timestamp,
) -> Result<Tally> {
    let mut tally = Tally::default();
    if !jobs.is_empty() {
        db::pay_periods::steady(conn).await?;
    }
    for (touched, people) in grouped(jobs) {
        let found = judge(conn, &people, touched, policy, now).await?;
        tally += found.tally(people.len());
        found.write(conn, &people, now, channels).await?;
    }
    Ok(tally)
}

/// Says what [`apply`] would do. Nobody has to be held, and nothing is written.
pub async fn preview(
    conn: &mut PgConnection,
    jobs: &[Job],
    policy: &Policy,
    now: Timestamp,
) -> Result<Tally> {
    let mut tally = Tally::default();
    for (touched, people) in grouped(jobs) {
        tally += judge(conn, &people, touched, policy, now).await?.tally(people.len());
    }
    Ok(tally)
}

/// People by the range of dates that something touched.
fn grouped(jobs: &[Job]) -> BTreeMap<(Date, Date), Vec<PersonId>> {
    let mut of_person: HashMap<PersonId, Vec<(Date, Date)>> = HashMap::new();
    for job in jobs {
        of_person.entry(job.person).or_default().push((job.from, job.to));
    }
    let mut groups: BTreeMap<(Date, Date), Vec<PersonId>> = BTreeMap::new();
    for (person, mut ranges) in of_person {
        ranges.sort_unstable();
        let mut merged: Vec<(Date, Date)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if from <= last.1.plus(GAP) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        for range in merged {
            groups.entry(range).or_default().push(person);
        }
    }
    groups
}

/// Holds what the facts say of people's days against what stands.
async fn judge(
    conn: &mut PgConnection,
    people: &[PersonId],
    touched: (Date, Date),
    policy: &Policy,
    now: Timestamp,
) -> Result<Changes> {
    let known = KnownFacts::load(conn, people, touched, policy).await?;
    let (from, to) = known.days;
    let mut before: HashMap<PersonId, Vec<Workday>> = HashMap::new();
    for day in db::workdays::standing(conn, people, from, to).await? {
        before.entry(day.person).or_default().push(day);
    }
    let mut changes = Changes { days: known.days, ..Changes::default() };
    changes.recall(conn, &known).await?;
    for person in known.people() {
        let assessment = assess(&known.facts(person)?);
        let zone = known.zone(person)?;
        let today = now.date_in(zone);
        let after = assessment.workdays.iter().filter(|day| (from.0..=to.0).contains(&day.date));
        let stands = before.remove(&person).unwrap_or_default();
        let there =
            |date: Date| (touched.0..=touched.1).contains(&date) || stands.iter().any(|day| day.date == date);
        // Tomorrow's shift is nobody's absence yet, and a neighbour's is none that was asked for.
        let due = |day: &&attendance::Workday| {
            !day.punches.is_empty() || (day.date <= today.0 && there(day.date.into()))
        };
        let after = after.filter(due).map(|day| workday(person, day, zone)).collect();
        changes.compare(person, stands, after, &known)?;
        changes.loose(person, &assessment, zone);
    }
    Ok(changes)
}

/// What must be written.
#[derive(Default)]
struct Changes {
    /// The dates that were looked at.
    days: (Date, Date),
    written: Vec<Workday>,
    removed: Vec<Workday>,
    /// Whose workdays changed, for the audit: before and after.
    revisions: Vec<(PersonId, Value)>,
    /// Days in locked periods: what counts, and what the facts say.
    adjusted: BTreeMap<(PersonId, Date), Adjusted>,
    /// What is pending for locked days so far.
    pending: BTreeMap<(PersonId, Date), Adjusted>,
    /// What was settled last for locked days: it counts from then on.
    settled: HashMap<PersonId, BTreeMap<Date, Value>>,
    unassigned: Vec<(PersonId, Date, Timestamp)>,
}

/// What counts of a locked day, and what the facts say.
#[derive(Clone, PartialEq)]
struct Adjusted {
    before: Value,
    after: Value,
}

impl Changes {
    fn tally(&self, people: usize) -> Tally {
        let news = self.adjusted.iter().filter(|(day, adjusted)| self.pending.get(day) != Some(*adjusted));
        let changed = self.written.len() + self.removed.len();
        Tally { people, changed, adjustments: news.count() }
    }

    /// Reads what has been noted of locked days.
    async fn recall(&mut self, conn: &mut PgConnection, known: &KnownFacts) -> Result<()> {
        let people: Vec<PersonId> = known.people().collect();
        for noted in db::pay_periods::noted(conn, &people, self.days.0, self.days.1).await? {
            if noted.state == AdjustmentState::Pending {
                let adjusted = Adjusted { before: noted.before, after: noted.after };
                self.pending.insert((noted.person, noted.date), adjusted);
            } else {
                self.settled.entry(noted.person).or_default().insert(noted.date, noted.after);
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        person: PersonId,
        before: Vec<Workday>,
        after: Vec<Workday>,
        known: &KnownFacts,
    ) -> Result<()> {
        type Days = BTreeMap<Date, (Vec<Workday>, Vec<Workday>)>;
        let mut days = Days::new();
        let mut settled = self.settled.remove(&person).unwrap_or_default();
        for date in settled.keys() {
            days.entry(*date).or_default();
        }
        for day in before {
            days.entry(day.date).or_default().0.push(day);
        }
        for day in after {
            days.entry(day.date).or_default().1.push(day);
        }
        for (date, (mut before, mut after)) in days {
            before.sort_by(|one, other| one.shift.cmp(&other.shift));
            after.sort_by(|one, other| one.shift.cmp(&other.shift));
            if known.locked(person, date) {
                let counts = settled.remove(&date).map_or_else(|| shown(&before), Ok)?;
                let adjusted = Adjusted { before: counts, after: shown(&after)? };
                if adjusted.before != adjusted.after {
                    self.adjusted.insert((person, date), adjusted);
                }
            } else {
                self.revise(person, &before, &after)?;
            }
        }
        Ok(())
    }

    fn revise(&mut self, person: PersonId, before: &[Workday], after: &[Workday]) -> Result<()> {
        let same_shift = |one: &Workday, other: &Workday| one.shift == other.shift;
        let agree = |old: &Workday, new: &Workday| old.agrees(new);
        let gone: Vec<&Workday> =
            before.iter().filter(|old| !after.iter().any(|new| same_shift(old, new))).collect();
        let fresh: Vec<&Workday> =
            after.iter().filter(|new| !before.iter().any(|old| agree(old, new))).collect();
        let changed = !gone.is_empty() || !fresh.is_empty();
        if changed && !before.is_empty() {
            let detail = json!({"before": shown(before)?, "after": shown(after)?});
            self.revisions.push((person, detail));
        }
        self.removed.extend(gone.into_iter().cloned());
        self.written.extend(fresh.into_iter().cloned());
        Ok(())
    }

    fn loose(&mut self, person: PersonId, found: &Assessment, zone: &TimeZone) {
        let (from, to) = self.days;
        for punch in &found.unassigned {
            let at = Timestamp(timestamp(punch.at));
            let date = at.date_in(zone);
            if (from..=to).contains(&date) {
                self.unassigned.push((person, date, at));
            }
        }
    }

    async fn write(
        self,
        conn: &mut PgConnection,
        people: &[PersonId],
        now: Timestamp,
        channels: &Channels,
    ) -> Result<()> {
        db::workdays::remove(conn, &self.removed).await?;
        db::workdays::put(conn, &self.written, now).await?;
        db::workdays::put_unassigned(conn, people, self.days, &self.unassigned).await?;
        db::audit::record_many(conn, ACTOR, "workday.revise", &self.revisions).await?;
        self.adjust(conn, now).await?;
        notifications::enqueue_written(conn, channels, &self.written, now).await
    }

    /// Notes what facts say against locked days, and forgets what they say no longer.
    async fn adjust(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        let told = |(person, date): &(PersonId, Date), adjusted: &Adjusted| {
            (*person, json!({"date": date, "before": adjusted.before, "after": adjusted.after}))
        };
        let mut noted = Vec::new();
        for (day, adjusted) in &self.adjusted {
            if self.pending.get(day) != Some(adjusted) {
                db::pay_periods::adjust(conn, *day, &adjusted.before, &adjusted.after, now).await?;
                noted.push(told(day, adjusted));
            }
        }
        let gone = self.pending.iter().filter(|(day, _)| !self.adjusted.contains_key(day));
        let (days, withdrawn): (Vec<_>, Vec<_>) =
            gone.map(|(day, adjusted)| (*day, told(day, adjusted))).unzip();
        if !days.is_empty() {
            db::pay_periods::withdraw(conn, &days).await?;
        }
        db::audit::record_many(conn, ACTOR, "adjustment.note", &noted).await?;
        Ok(db::audit::record_many(conn, ACTOR, "adjustment.withdraw", &withdrawn).await?)
    }
}

/// Workdays as the audit and adjustments show them.
fn shown(days: &[Workday]) -> Result<Value> {
    Ok(serde_json::to_value(days)?)
}

/// A person's workdays of a date as the audit shows them.
pub async fn shown_day(conn: &mut PgConnection, person: PersonId, date: Date) -> Result<Value> {
    shown(&db::workdays::standing(conn, &[person], date, date).await?)
}

fn workday(person: PersonId, day: &attendance::Workday, zone: &TimeZone) -> Workday {
    let seconds = |s: i64| i32::try_from(s).unwrap_or(if s < 0 { i32::MIN } else { i32::MAX });
    let instant = |second: i64| Timestamp(timestamp(second));
    let grace = |shift: &Shift| shift.rules.grace_late_min.seconds();
    let span = day.shift.as_ref().map(|(_, span)| span);
    let midnight = || Date(day.date.tomorrow().ok()?).begins(zone).ok();
    Workday {
        person,
        date: day.date.into(),
        shift: day.shift.as_ref().map(|(shift, _)| shift.name.to_string()).unwrap_or_default(),
        status: day.status.into(),
        first_in: day.paired.first_in.map(|moment| instant(moment.at)),
        last_out: day.paired.last_out.map(|moment| instant(moment.at)),
        worked_s: day.worked_s.map(seconds),
        expected_s: seconds(day.expected_s),
        late_s: seconds(day.late_s),
        early_s: seconds(day.early_s),
        overtime_s: seconds(day.overtime_s),
        balance_s: day.balance_s.map(seconds),
        flags: day.flags.iter().map(|flag| flag.as_str().to_owned()).collect(),
        starts_at: span.map(|span| instant(span.start)),
        closes_at: span.map_or_else(midnight, |span| Some(instant(span.closes))),
        due_at: day.shift.as_ref().map(|(shift, span)| instant(span.due + grace(shift))),
    }
}

/// A workday as the facts have it now, with its reasons.
pub struct Explained {
    pub day: Workday,
    pub reasons: Vec<Reason>,
}

/// Computes a person's date anew, without writing anything, and says why it is as it is.
pub async fn explain(
    conn: &mut PgConnection,
    person: PersonId,
    date: Date,
    policy: &Policy,
) -> Result<Vec<Explained>> {
    let known = KnownFacts::load(conn, &[person], (date, date), policy).await?;
    let found = assess(&known.facts(person)?);
    let zone = known.zone(person)?;
    let explained = |day: &attendance::Workday| Explained {
        day: workday(person, day, zone),
        reasons: why(day, &found.dropped),
    };
    Ok(found.workdays.iter().filter(|day| day.date == date.0).map(explained).collect())
}
