//! Leave of people, day by day.

use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::access::{seen_by, someone_else};
use crate::accounts::Actor;
use crate::date::{Date, range};
use crate::db;
use crate::db::leave::LeaveDay;
use crate::error::{Error, Problem, check_text};
use crate::person::{PersonId, PersonNumber};
use crate::schedules::{Change, Dates, Effect, Touched};
use crate::text::{LEAVE_REASON, LeaveReasonText};

/// Days of leave at a time, at most.
const DAYS: i32 = 366;

/// Leave from one date to another.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveSetting {
    /// First date.
    from: Date,
    /// Last date.
    to: Date,
    /// Whether only half of each.
    #[serde(default)]
    half: bool,
    /// Why.
    #[serde(default)]
    #[schema(value_type = LeaveReasonText)]
    reason: String,
}

/// A person's leave between two dates. Access is audited.
pub async fn leave(
    pool: &PgPool,
    actor: &Actor,
    number: &PersonNumber,
    (from, to): (Date, Date),
) -> Result<Vec<LeaveDay>, Error> {
    let mut transaction = pool.begin().await?;
    let person = seen_by(&mut transaction, actor, number).await?;
    let days = db::leave::between(&mut transaction, &[person.id], from, to).await?;
    let detail = json!({"from": from, "to": to});
    db::audit::record(&mut transaction, &actor.name, "leave.look", &person.id.to_string(), detail).await?;
    transaction.commit().await?;
    Ok(days)
}

/// Days of leave as the audit shows them: without reasons, which may speak of somebody's health.
async fn known(
    conn: &mut PgConnection,
    person: PersonId,
    (from, to): (Date, Date),
) -> Result<Vec<Value>, Error> {
    let days = db::leave::between(conn, &[person], from, to).await?;
    Ok(days.iter().map(|day| json!({"date": day.date, "half": day.half})).collect())
}

/// Gives a person leave, or changes it.
pub async fn put(
    change: &Change<'_>,
    number: &PersonNumber,
    setting: &LeaveSetting,
) -> Result<Effect, Error> {
    let (from, to) = range(setting.from, setting.to, DAYS)?;
    if !setting.reason.is_empty() {
        check_text("reason", &setting.reason, LEAVE_REASON)?;
    }
    let mut transaction = change.begin().await?;
    let person = someone_else(&mut transaction, change.actor, number).await?;
    let day = |date| LeaveDay { person: person.id, date, half: setting.half, reason: setting.reason.clone() };
    let days: Vec<_> = from.through(to).map(day).collect();
    let before = known(&mut transaction, person.id, (from, to)).await?;
    db::leave::put(&mut transaction, &days).await?;
    let dates = Dates::between(from, Some(to));
    let people = change.ask(&mut transaction, Touched::Person(person.id), dates).await?;
    let detail = json!({"from": from, "to": to, "half": setting.half, "before": before});
    change.record(&mut transaction, "leave.put", &person.id.to_string(), detail).await?;
    change.finish(transaction, people).await
}

/// Takes back a person's leave between two dates.
pub async fn remove(
    change: &Change<'_>,
    number: &PersonNumber,
    (from, to): (Date, Date),
) -> Result<Effect, Error> {
    let mut transaction = change.begin().await?;
    let person = someone_else(&mut transaction, change.actor, number).await?;
    let before = known(&mut transaction, person.id, (from, to)).await?;
    let days = db::leave::remove(&mut transaction, person.id, from, to).await?;
    if days == 0 {
        return Err(Problem::LeaveUnknown { number: number.clone(), from: from.0, to: to.0 }.into());
    }
    let dates = Dates::between(from, Some(to));
    let people = change.ask(&mut transaction, Touched::Person(person.id), dates).await?;
    let detail = json!({"from": from, "to": to, "before": before});
    change.record(&mut transaction, "leave.remove", &person.id.to_string(), detail).await?;
    change.finish(transaction, people).await
}
