//! Corrections: requests to lay times over the punches (rule 13). Two people are
//! needed; nobody decides what they asked for, nor about themselves.

use anyhow::Context;
use attendance::Policy;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::access::seen_by;
use crate::accounts::{Actor, Role};
use crate::date::{self, Date, Timestamp};
use crate::db;
use crate::db::channels::Channels;
use crate::db::corrections::{Correction, CorrectionState, Decision, Request};
use crate::db::recompute_queue::Job;
use crate::error::{Error, Problem, check_text};
use crate::person::PersonId;
use crate::text::REMARK;
use crate::workdays;
use crate::workdays::facts::NEAR;

/// Times that one request may add.
const ADDS: usize = 10;
/// Punches that one request may lay aside.
const IGNORES: usize = 20;
/// Requests about one person that may wait for a decision.
const OPEN: i64 = 50;

/// Asks for a correction, and returns its id.
pub async fn request(pool: &PgPool, actor: &Actor, request: &Request, now: Timestamp) -> Result<i64, Error> {
    check_text("reason", &request.reason, REMARK)?;
    actor.somebody()?;
    let mut transaction = pool.begin().await?;
    let person = seen_by(&mut transaction, actor, &request.number).await?;
    let ignored = db::corrections::punches_of(&mut transaction, person.id, &request.ignores).await?;
    check(request, &ignored, &date::zone(&person.zone)?, now)?;
    if let Some(id) = request.revokes {
        revocable(&mut transaction, id, (person.id, request.date)).await?;
    }
    if db::corrections::open(&mut transaction, person.id).await? >= OPEN {
        let number = &request.number;
        return Err(Problem::CorrectionsPending { number: number.clone(), most: OPEN }.into());
    }
    let who = (actor.name.as_str(), actor.person);
    let id = db::corrections::request(&mut transaction, person.id, request, who, now).await?;
    let detail = json!({"correction": id, "date": request.date, "adds": request.adds, "ignores": request.ignores,
        "revokes": request.revokes});
    let subject = person.id.to_string();
    db::audit::record(&mut transaction, &actor.name, "correction.request", &subject, detail).await?;
    transaction.commit().await?;
    Ok(id)
}

/// Refuses to revoke what is no approved correction of that day, or was revoked already.
async fn revocable(conn: &mut PgConnection, id: i64, day: (PersonId, Date)) -> Result<(), Error> {
    let (person, date) = day;
    let known = db::corrections::lock(conn, id).await?;
    let theirs =
        known.filter(|it| it.person == person && it.date == date && it.state == CorrectionState::Approved);
    // One that did nothing but revoke is not revoked: ask for what it took away again.
    let nothing = |it: &Correction| it.adds.is_empty() && it.ignores.is_empty();
    if theirs.is_none_or(|it| nothing(&it)) {
        return Err(Problem::CorrectionNotApproved { id }.of("revokes"));
    }
    if db::corrections::revoked(conn, id).await? {
        return Err(Problem::CorrectionRevoked { id }.into());
    }
    Ok(())
}

/// Refuses a request that makes no sense. `ignored`: when those of its punches were that are the
/// person's.
fn check(request: &Request, ignored: &[Timestamp], zone: &TimeZone, now: Timestamp) -> Result<(), Error> {
    if request.adds.is_empty() && request.ignores.is_empty() && request.revokes.is_none() {
        return Err(Problem::CorrectionEmpty.into());
    }
    if request.adds.len() > ADDS || request.ignores.len() > IGNORES {
        return Err(Problem::CorrectionTooLong { adds: ADDS, ignores: IGNORES }.into());
    }
    if ignored.len() != request.ignores.len() {
        return Err(Problem::PunchesNotOfPerson { number: request.number.clone() }.of("ignores"));
    }
    if let Some(add) = request.adds.iter().find(|add| add.at > now) {
        return Err(Problem::InFuture { at: add.at.0 }.of("adds"));
    }
    let date = request.date;
    let near = date.plus(-NEAR)..=date.plus(NEAR);
    let mut times = request.adds.iter().map(|add| add.at).chain(ignored.iter().copied());
    match times.find(|at| !near.contains(&at.date_in(zone))) {
        Some(far) => Err(Problem::TooFarFromDate { at: far.0, days: NEAR, date: date.0 }.into()),
        None => Ok(()),
    }
}

/// Requests in a state (or all), the oldest first, after an id. Access is audited.
pub async fn list(
    pool: &PgPool,
    actor: &Actor,
    state: Option<CorrectionState>,
    after: i64,
    most: i64,
) -> Result<Vec<Correction>, Error> {
    let mut transaction = pool.begin().await?;
    let scope = actor.scope();
    let whose = (scope.manager, scope.own);
    let rows = db::corrections::list(&mut transaction, None, state, whose, after, most).await?;
    let detail = json!({"state": state, "count": rows.len()});
    db::audit::record(&mut transaction, actor, "correction.list", "corrections", detail).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// Lays a request over the punches and computes the day again, in one transaction.
pub async fn approve(
    pool: &PgPool,
    actor: &Actor,
    id: i64,
    note: Option<&str>,
    policy: &Policy,
    channels: &Channels,
    now: Timestamp,
) -> Result<Correction, Error> {
    let (mut transaction, asked) = undecided(pool, actor, id, note).await?;
    let (person, date) = (asked.person, asked.date);
    db::recompute_queue::hold(&mut transaction, &[person]).await?;
    if let Some(id) = asked.revokes {
        revocable(&mut transaction, id, (person, date)).await?;
    }
    let before = workdays::shown_day(&mut transaction, person, date).await?;
    let decision = Decision { state: CorrectionState::Approved, by: &actor.name, at: now, note };
    db::corrections::decide(&mut transaction, id, &decision).await?;
    let (from, to) = touched(&mut transaction, &asked).await?;
    let tally = workdays::apply(&mut transaction, &[Job { person, from, to }], policy, channels, now).await?;
    let after = workdays::shown_day(&mut transaction, person, date).await?;
    db::corrections::keep(&mut transaction, id, &before, &after).await?;
    let detail = json!({"correction": id, "date": date, "before": before, "after": after,
        "adjustments": tally.adjustments});
    decided(transaction, actor, "correction.approve", detail, id).await
}

/// Rejects a request.
pub async fn reject(
    pool: &PgPool,
    actor: &Actor,
    id: i64,
    note: Option<&str>,
    now: Timestamp,
) -> Result<Correction, Error> {
    let (mut transaction, asked) = undecided(pool, actor, id, note).await?;
    let decision = Decision { state: CorrectionState::Rejected, by: &actor.name, at: now, note };
    db::corrections::decide(&mut transaction, id, &decision).await?;
    let detail = json!({"correction": id, "date": asked.date});
    decided(transaction, actor, "correction.reject", detail, id).await
}

/// A request that somebody may decide, locked.
async fn undecided(
    pool: &PgPool,
    actor: &Actor,
    id: i64,
    note: Option<&str>,
) -> Result<(Transaction<'static, Postgres>, Correction), Error> {
    if let Some(note) = note {
        check_text("note", note, REMARK)?;
    }
    let mut transaction = pool.begin().await?;
    let asked = db::corrections::lock(&mut transaction, id).await?;
    let asked = asked.ok_or(Problem::CorrectionUnknown { id })?;
    let parties = Parties {
        person: asked.person,
        manager: db::people::find(&mut transaction, asked.person).await?.and_then(|person| person.manager_id),
        requested_by: &asked.requested_by,
        requester: asked.requested_person,
    };
    may_decide(actor, &parties)?;
    if let Some(by) = &asked.decided_by {
        let (state, by) = (asked.state.to_string(), by.clone());
        return Err(Problem::CorrectionDecided { id, state, by }.into());
    }
    Ok((transaction, asked))
}

/// Whom a request concerns.
struct Parties<'a> {
    /// Whose day it is.
    person: PersonId,
    /// Their manager.
    manager: Option<PersonId>,
    /// Which account asked.
    requested_by: &'a str,
    /// Whose account that is.
    requester: Option<PersonId>,
}

/// Four eyes: the one who decides is neither the one who asked nor the one it is about.
fn may_decide(actor: &Actor, parties: &Parties<'_>) -> Result<(), Error> {
    if actor.role == Role::Employee || !actor.scope().holds(parties.person, parties.manager) {
        return Err(Problem::ForTheirManager.into());
    }
    let decider = actor.somebody_else(parties.person)?;
    if actor.name == parties.requested_by || parties.requester == Some(decider) {
        return Err(Problem::OwnRequest.into());
    }
    Ok(())
}

/// The dates of everything that a request changes.
async fn touched(conn: &mut PgConnection, asked: &Correction) -> Result<(Date, Date), Error> {
    let person = db::people::find(conn, asked.person).await?.context("a correction of nobody")?;
    let zone = date::zone(&person.zone)?;
    let mut times = times(conn, asked).await?;
    if let Some(id) = asked.revokes
        && let Some(revoked) = db::corrections::lock(conn, id).await?
    {
        times.extend(self::times(conn, &revoked).await?);
    }
    let date = asked.date;
    let dates = times.into_iter().map(|at| at.date_in(&zone));
    let (from, to) = dates.fold((date, date), |(from, to), date| (from.min(date), to.max(date)));
    // A minute before midnight makes a duplicate of the minute after it.
    Ok((from.plus(-1), to.plus(1)))
}

/// The times that a request adds or lays aside.
async fn times(conn: &mut PgConnection, asked: &Correction) -> Result<Vec<Timestamp>, Error> {
    let ignored = db::corrections::punches_of(conn, asked.person, &asked.ignores).await?;
    Ok(asked.adds.iter().map(|add| add.at).chain(ignored).collect())
}

/// Records a decision, keeps it, and returns what it made of the request.
async fn decided(
    mut transaction: Transaction<'static, Postgres>,
    actor: &Actor,
    action: &str,
    detail: Value,
    id: i64,
) -> Result<Correction, Error> {
    let row = db::corrections::lock(&mut transaction, id).await?.context("a decision is gone")?;
    let subject = row.person.to_string();
    db::audit::record(&mut transaction, &actor.name, action, &subject, detail).await?;
    transaction.commit().await?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use crate::error::Kind;
    use attendance::Direction;
    use uuid::Uuid;

    use super::*;
    use crate::db::corrections::AddedTime;

    const NOW: &str = "2025-03-05T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse().expect("a time"))
    }

    fn request(adds: &[&str], ignores: u128) -> Request {
        Request {
            number: "7".into(),
            date: jiff::civil::date(2025, 3, 4).into(),
            adds: adds.iter().map(|text| AddedTime { at: at(text), direction: Direction::In }).collect(),
            ignores: (0..ignores).map(Uuid::from_u128).collect(),
            revokes: None,
            reason: "forgot".into(),
        }
    }

    fn refused(request: &Request, ignored: &[Timestamp]) -> bool {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        matches!(check(request, ignored, &zone, at(NOW)), Err(Error::Problem { problem, .. }) if problem.kind() == Kind::Invalid)
    }

    #[test]
    fn times_lie_near_the_date_and_not_in_the_future() {
        assert!(!refused(&request(&["2025-03-04T08:00:00Z"], 0), &[]));
        assert!(!refused(&request(&[], 1), &[at("2025-03-06T22:59:59Z")]));
        // It is the site's date that counts.
        assert!(!refused(&request(&["2025-03-01T23:00:00Z"], 0), &[]));
        assert!(refused(&request(&["2025-03-01T22:59:59Z"], 0), &[]));
        assert!(refused(&request(&["2025-03-05T12:00:01Z"], 0), &[]));
        assert!(refused(&request(&[], 1), &[at("2025-03-06T23:00:00Z")]));
    }

    #[test]
    fn a_request_asks_for_something_and_not_for_too_much() {
        assert!(refused(&request(&[], 0), &[]));
        assert!(refused(&request(&["2025-03-04T08:00:00Z"; 11], 0), &[]));
        assert!(refused(&request(&[], 21), &[at("2025-03-04T08:00:00Z"); 21]));
        assert!(refused(&request(&[], 2), &[at("2025-03-04T08:00:00Z")]), "somebody else's punch");
    }

    #[test]
    fn two_people_are_needed() {
        let (boss, worker, other) = (PersonId::from_u128(1), PersonId::from_u128(2), PersonId::from_u128(3));
        let actor = |name: &str, role, person| Actor { name: name.into(), role, person };
        let decide = |actor: &Actor, requested_by: &str, requester| {
            let parties = Parties { person: worker, manager: Some(boss), requested_by, requester };
            may_decide(actor, &parties).is_ok()
        };
        let hr = actor("hr", Role::Hr, Some(other));
        assert!(decide(&hr, "worker", Some(worker)));
        assert!(!decide(&hr, "hr", Some(other)));
        assert!(!decide(&hr, "other", Some(other)), "the same human with another account");
        assert!(!decide(&actor("hr", Role::Hr, None), "admin", None), "nobody knows who that is");
        assert!(decide(&hr, "admin", None));
        assert!(decide(&actor("boss", Role::Manager, Some(boss)), "worker", Some(worker)));
        assert!(!decide(&actor("boss", Role::Manager, Some(boss)), "boss", Some(boss)));
        assert!(!decide(&actor("boss", Role::Hr, Some(boss)), "boss2", Some(boss)), "the same human");
        assert!(!decide(&actor("other", Role::Manager, Some(other)), "worker", Some(worker)));
        assert!(!decide(&actor("worker", Role::Employee, Some(worker)), "boss", Some(boss)));
        assert!(!decide(&actor("worker", Role::Hr, Some(worker)), "boss", Some(boss)), "their own day");
    }
}
