//! Periods: open, then approved, then locked, never back; and what facts still say against locked
//! days.

use serde::Deserialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use crate::accounts::Actor;
use crate::date::{Date, Timestamp, range, zone};
use crate::db;
use crate::db::pay_periods::{Adjustment, AdjustmentState, Period, PeriodState};
use crate::error::{Error, Problem, check_text};
use crate::text::{REMARK, RemarkText, ShortNameText};
use crate::workdays::horizon::REACH;

/// Days of a period, at most.
const DAYS: i32 = 366;

/// A period to open.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeriodSetting {
    /// Of which site; of all if left out.
    #[schema(value_type = Option<ShortNameText>)]
    site: Option<String>,
    /// First date.
    from: Date,
    /// Last date.
    to: Date,
}

/// How an adjustment was dealt with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// Such as "paid in April".
    #[schema(value_type = RemarkText)]
    note: String,
    /// `changed_at` of the adjustment that was dealt with: if the facts have changed it since, nothing is
    /// settled.
    changed_at: Timestamp,
}

/// Where somebody moves a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From open to approved.
    Approve,
    /// From approved to locked.
    Lock,
    /// Back to open.
    Reopen,
}

impl Step {
    /// As the audit calls it.
    fn action(self) -> &'static str {
        match self {
            Self::Approve => "period.approve",
            Self::Lock => "period.lock",
            Self::Reopen => "period.reopen",
        }
    }

    /// The state after the step, or why there is none.
    fn after(self, id: i64, state: PeriodState) -> Result<PeriodState, Problem> {
        match (self, state) {
            (Self::Approve, PeriodState::Open) => Ok(PeriodState::Approved),
            (Self::Lock, PeriodState::Approved) => Ok(PeriodState::Locked),
            (Self::Lock, PeriodState::Open) => Err(Problem::PeriodNotApproved { id }),
            (Self::Approve, _) => Err(Problem::PeriodApproved { id }),
            (Self::Reopen, PeriodState::Open) => Err(Problem::PeriodOpen { id }),
            (Self::Reopen, PeriodState::Approved) => Err(Problem::PeriodApprovedNotReopened { id }),
            (Self::Reopen, _) => Err(Problem::PeriodLockedNotReopened { id }),
            (Self::Lock, _) => Err(Problem::PeriodLocked { id }),
        }
    }
}

/// All periods, the latest first.
pub async fn list(pool: &PgPool) -> Result<Vec<Period>, Error> {
    Ok(db::pay_periods::list(&mut *pool.acquire().await?, None).await?)
}

/// Opens a period.
pub async fn open(
    pool: &PgPool,
    actor: &Actor,
    setting: &PeriodSetting,
    now: Timestamp,
) -> Result<Period, Error> {
    let (from, to) = range(setting.from, setting.to, DAYS)?;
    let site = setting.site.as_deref();
    let mut transaction = pool.begin().await?;
    if let Some(site) = site
        && !db::sites::list(&mut transaction).await?.iter().any(|known| known.name == site)
    {
        return Err(Problem::SiteUnknown { site: site.to_owned() }.of("site"));
    }
    let id = db::pay_periods::open(&mut transaction, site, (from, to), &actor.name, now).await?;
    let id = id.ok_or(Problem::PeriodOverlaps { from: from.0, to: to.0 })?;
    let detail = json!({"site": site, "from": from, "to": to});
    db::audit::record(&mut transaction, actor, "period.open", &id.to_string(), detail).await?;
    let period = db::pay_periods::find(&mut transaction, id).await?.ok_or_else(|| unknown(id))?;
    transaction.commit().await?;
    Ok(period)
}

/// Moves a period on. Nothing moves while days of its people wait to be computed.
pub async fn step(
    pool: &PgPool,
    actor: &Actor,
    id: i64,
    step: Step,
    now: Timestamp,
) -> Result<Period, Error> {
    let mut transaction = pool.begin().await?;
    moved(&mut transaction, id, step).await?;
    // Hubs that write workdays have read which are locked: wait for them, and let others wait.
    db::pay_periods::alone(&mut transaction).await?;
    let (before, state) = moved(&mut transaction, id, step).await?;
    let mut finalised = None;
    if step == Step::Lock {
        ended(&mut transaction, &before, now).await?;
        let open = db::pay_periods::unclosed(&mut transaction, id, now).await?;
        if open > 0 {
            return Err(Problem::PeriodHasOpenDays { id, days: open }.into());
        }
        db::pay_periods::note_people(&mut transaction, id).await?;
        finalised = Some(db::pay_periods::finalise(&mut transaction, id, &actor.name, now).await?);
    }
    let waiting = db::pay_periods::awaited(&mut transaction, id, REACH).await?;
    if waiting > 0 {
        return Err(Problem::PeriodAwaitsComputation { id, requests: waiting }.into());
    }
    db::pay_periods::change(&mut transaction, id, state, &actor.name, now).await?;
    let mut detail = json!({"before": before.state, "after": state});
    if let Some(finalised) = finalised {
        detail["absences_finalised"] = finalised.into();
    }
    db::audit::record(&mut transaction, actor, step.action(), &id.to_string(), detail).await?;
    let after = db::pay_periods::find(&mut transaction, id).await?.ok_or_else(|| unknown(id))?;
    transaction.commit().await?;
    Ok(after)
}

/// A period, and its state after a step.
async fn moved(conn: &mut PgConnection, id: i64, step: Step) -> Result<(Period, PeriodState), Error> {
    let period = db::pay_periods::find(conn, id).await?.ok_or_else(|| unknown(id))?;
    let state = step.after(id, period.state)?;
    Ok((period, state))
}

/// Days that have not been yet can't be locked.
async fn ended(conn: &mut PgConnection, period: &Period, now: Timestamp) -> Result<(), Error> {
    let (id, last) = (period.id, period.to);
    for site in db::sites::list(conn).await? {
        let theirs = period.site.as_ref().is_none_or(|name| *name == site.name);
        if theirs && now.date_in(&zone(&site.zone)?) <= last {
            let name = site.name;
            return Err(Problem::PeriodNotOver { id, last: last.0, site: name }.into());
        }
    }
    Ok(())
}

fn unknown(id: i64) -> Error {
    Problem::PeriodUnknown { id }.into()
}

/// Adjustments in a state (or all), the oldest first, after an id. Access is audited.
pub async fn adjustments(
    pool: &PgPool,
    actor: &Actor,
    state: Option<AdjustmentState>,
    after: i64,
    most: i64,
) -> Result<Vec<Adjustment>, Error> {
    let mut transaction = pool.begin().await?;
    let rows = db::pay_periods::adjustments(&mut transaction, state, after, most).await?;
    let detail = json!({"state": state, "count": rows.len()});
    db::audit::record(&mut transaction, actor, "adjustment.list", "adjustments", detail).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// Says that an adjustment has been dealt with, such as in the next payroll. Not by the one it is about.
pub async fn settle(pool: &PgPool, actor: &Actor, id: i64, settlement: &Settlement) -> Result<(), Error> {
    let Settlement { note, changed_at } = settlement;
    check_text("note", note, REMARK)?;
    let mut transaction = pool.begin().await?;
    // Whoever computes this person's days has read what is pending: wait for them.
    if let Some(person) = db::pay_periods::whose(&mut transaction, id).await? {
        actor.somebody_else(person)?;
        db::recompute_queue::hold(&mut transaction, &[person]).await?;
    }
    if !db::pay_periods::settle(&mut transaction, id, *changed_at, &actor.name, note).await? {
        return Err(match db::pay_periods::adjustment_state(&mut transaction, id).await? {
            Some(AdjustmentState::Settled) => Problem::AdjustmentSettled { id }.into(),
            Some(_) => Problem::AdjustmentChanged { id }.into(),
            None => Problem::AdjustmentUnknown { id }.into(),
        });
    }
    let detail = json!({"note": note, "changed_at": changed_at});
    db::audit::record(&mut transaction, &actor.name, "adjustment.settle", &id.to_string(), detail).await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_move_in_one_direction() {
        assert_eq!(Step::Approve.after(1, PeriodState::Open), Ok(PeriodState::Approved));
        assert_eq!(Step::Lock.after(1, PeriodState::Approved), Ok(PeriodState::Locked));
        for (step, state) in [
            (Step::Lock, PeriodState::Open),
            (Step::Approve, PeriodState::Approved),
            (Step::Approve, PeriodState::Locked),
            (Step::Lock, PeriodState::Locked),
            (Step::Reopen, PeriodState::Open),
            (Step::Reopen, PeriodState::Approved),
            (Step::Reopen, PeriodState::Locked),
        ] {
            assert!(step.after(1, state).is_err(), "{step:?} after {state}");
        }
    }
}
