//! The plan: who should work when and where. Owns its changes, and which days each of them touches;
//! what the days then amount to is computed elsewhere.
//!
//! A change asks for the days that it may touch in its own transaction. One that is only tried
//! computes them there, counts what would change, and takes everything back.

pub mod calendars;
pub mod http;
pub mod import;
pub mod leave;
pub mod patterns;
pub mod shifts;
pub mod sites;

use attendance::Policy;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use utoipa::ToSchema;

use crate::accounts::Actor;
use crate::date::{Date, Timestamp};
use crate::db;
use crate::db::recompute_queue::{Job, Whose};
use crate::error::Error;
use crate::limits::Permit;
use crate::person::{PersonId, PersonNumber};
use crate::workdays::horizon::{AHEAD, REACH, horizon};
use crate::workdays::{self, Tally};

/// Jobs of a trial that are computed at once.
const AT_ONCE: usize = 200;
/// A trial that touches more people looks at the last days only: somebody waits for its answer.
const MANY: usize = 200;
/// So many of them.
const LOOKED_AT: i32 = 62;

/// A change: by whom, when, and whether it is only tried.
pub struct Change<'a> {
    /// Where it is kept.
    pub pool: &'a PgPool,
    /// Who makes it.
    pub actor: &'a Actor,
    /// When.
    pub now: Timestamp,
    /// Only tried: what it would do is computed with this and taken back.
    pub trial: Option<&'a Policy>,
    /// Whoever tries has one, until the change is dropped: a trial computes much.
    #[expect(dead_code, reason = "held, and given back when the change is dropped")]
    pub permit: Option<Permit<String>>,
}

/// What a change did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Effect {
    /// People whose days are computed again.
    people: u64,
    /// Only of a trial: workdays that would be new, changed or gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    workdays_changed: Option<usize>,
    /// Only of a trial: days of locked periods that would have a pending adjustment.
    #[serde(skip_serializing_if = "Option::is_none")]
    adjustments: Option<usize>,
    /// Only of a trial that touches many people: earlier dates than this were not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Date>,
}

/// Whose days a change touches.
#[derive(Clone, Copy, Debug)]
pub enum Touched<'a> {
    /// One person's.
    Person(PersonId),
    /// Many people's.
    Many(Whose<'a>),
}

/// Dates, open at an end where none is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    from: Option<Date>,
    to: Option<Date>,
}

impl Dates {
    /// All there are.
    pub const ALL: Self = Self { from: None, to: None };

    /// One date.
    pub fn one(date: Date) -> Self {
        Self::between(date, Some(date))
    }

    /// From one date to another, or for good.
    pub fn between(from: Date, to: Option<Date>) -> Self {
        Self { from: Some(from), to }
    }

    /// With all dates whose punches the shifts of these may take from their neighbours.
    pub fn widened(self) -> Self {
        Self { from: self.from.map(|from| from.plus(-REACH)), to: self.to.map(|to| to.plus(REACH)) }
    }

    /// What of them lies between two dates.
    fn within(self, (first, last): (Date, Date)) -> Option<(Date, Date)> {
        let from = self.from.map_or(first, |from| from.max(first));
        let to = self.to.map_or(last, |to| to.min(last));
        (from <= to).then_some((from, to))
    }
}

impl Change<'_> {
    /// Begins its transaction.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        Ok(self.pool.begin().await?)
    }

    /// Writes its audit row.
    pub async fn record(
        &self,
        conn: &mut PgConnection,
        action: &str,
        subject: &str,
        detail: Value,
    ) -> Result<(), Error> {
        Ok(db::audit::record(conn, &self.actor.name, action, subject, detail).await?)
    }

    /// Asks for days, and says of how many people.
    pub async fn ask(&self, conn: &mut PgConnection, whose: Touched<'_>, dates: Dates) -> Result<u64, Error> {
        let Some((from, to)) = dates.within(horizon(conn, self.now).await?) else { return Ok(0) };
        match whose {
            Touched::Person(person) => {
                db::recompute_queue::ask(conn, &[Job { person, from, to }]).await?;
                Ok(1)
            }
            Touched::Many(whose) => Ok(db::recompute_queue::ask_many(conn, whose, from, to).await?),
        }
    }

    /// Ends the change: keeps it, or computes what it would do and takes it back.
    pub async fn finish(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        people: u64,
    ) -> Result<Effect, Error> {
        let Some(policy) = self.trial else {
            transaction.commit().await?;
            return Ok(Effect { people, workdays_changed: None, adjustments: None, since: None });
        };
        let mut tally = Tally::default();
        let mut jobs = db::recompute_queue::asked(&mut transaction).await?;
        let since = (jobs.len() > MANY).then(|| self.now.date_in(&TimeZone::UTC).plus(-LOOKED_AT));
        if let Some(since) = since {
            jobs.retain(|job| job.to >= since);
            for job in &mut jobs {
                job.from = job.from.max(since);
            }
        }
        for jobs in jobs.chunks(AT_ONCE) {
            tally += workdays::preview(&mut transaction, jobs, policy, self.now).await?;
        }
        transaction.rollback().await?;
        let (changed, adjustments) = (Some(tally.changed), Some(tally.adjustments));
        Ok(Effect { people, workdays_changed: changed, adjustments, since })
    }
}

/// Asks for everybody's days between two dates, or for those of one person.
pub async fn recompute(
    change: &Change<'_>,
    number: Option<&PersonNumber>,
    (from, to): (Date, Date),
) -> Result<Effect, Error> {
    let mut transaction = change.begin().await?;
    let (whose, subject) = match number {
        Some(number) => {
            let person = crate::access::seen_by(&mut transaction, change.actor, number).await?;
            (Touched::Person(person.id), person.id.to_string())
        }
        None => (Touched::Many(Whose::Everybody), "people".to_owned()),
    };
    // Exactly what was asked for, also before anything happened; but nothing that lies far ahead.
    let to = to.min(change.now.date_in(&TimeZone::UTC).plus(AHEAD));
    let people = if from > to {
        0
    } else {
        match whose {
            Touched::Person(person) => {
                db::recompute_queue::ask(&mut transaction, &[Job { person, from, to }]).await?;
                1
            }
            Touched::Many(whose) => db::recompute_queue::ask_many(&mut transaction, whose, from, to).await?,
        }
    };
    let detail = json!({"from": from, "to": to, "people": people});
    change.record(&mut transaction, "workday.recompute", &subject, detail).await?;
    change.finish(transaction, people).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i16, month: i8, day: i8) -> Date {
        jiff::civil::date(year, month, day).into()
    }

    #[test]
    fn days_are_asked_for_where_workdays_may_be() {
        let span = (date(2025, 1, 10), date(2025, 3, 1));
        assert_eq!(Dates::ALL.within(span), Some(span));
        assert_eq!(Dates::one(date(2025, 2, 1)).within(span), Some((date(2025, 2, 1), date(2025, 2, 1))));
        assert_eq!(Dates::one(date(2025, 3, 2)).within(span), None);
        let for_good = Dates::between(date(2025, 2, 1), None);
        assert_eq!(for_good.within(span), Some((date(2025, 2, 1), span.1)));
        let wide = Dates::one(date(2025, 1, 5)).widened();
        assert_eq!(wide.within(span), Some((span.0, date(2025, 1, 13))));
        assert_eq!(
            Dates::between(Date(jiff::civil::Date::MIN), Some(Date::MAX)).widened().within(span),
            Some(span)
        );
    }
}
