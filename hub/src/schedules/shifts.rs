//! Shifts by name.

use anyhow::Context;
use attendance::Rules;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::db;
use crate::db::recompute_queue::Whose;
use crate::error::{Error, Problem, check_text};
use crate::schedules::{Change, Dates, Effect, NAME, Touched};

/// Rules for breaks, at most.
const BREAKS: usize = 20;

/// A shift.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NamedShift {
    /// Its name.
    name: String,
    /// What it is.
    rules: Rules,
}

/// All shifts, by name.
pub async fn shifts(pool: &PgPool) -> Result<Vec<NamedShift>, Error> {
    let read = |shift: db::schedules::Shift| -> Result<NamedShift, Error> {
        let rules: Rules =
            serde_json::from_value(shift.rules).with_context(|| format!("the shift {:?}", shift.name))?;
        Ok(NamedShift { name: shift.name, rules })
    };
    db::schedules::shifts(&mut *pool.acquire().await?).await?.into_iter().map(read).collect()
}

/// Makes or changes a shift.
pub async fn put(change: &Change<'_>, name: &str, rules: &Rules) -> Result<Effect, Error> {
    check_text("name", name, NAME)?;
    if rules.break_rules.len() > BREAKS {
        return Err(Problem::BreakRuleCount { most: BREAKS }.of("break_rules"));
    }
    let after = serde_json::to_value(rules)?;
    let mut transaction = change.begin().await?;
    let known = db::schedules::shifts(&mut transaction).await?;
    let before = known.into_iter().find(|shift| shift.name == name).map(|shift| shift.rules);
    db::schedules::put_shift(&mut transaction, name, &after).await?;
    let people = if before.as_ref() == Some(&after) {
        0
    } else {
        change.ask(&mut transaction, Touched::Many(Whose::Shift(name)), Dates::ALL).await?
    };
    let detail = json!({"before": before, "after": after});
    change.record(&mut transaction, "shift.put", name, detail).await?;
    change.finish(transaction, people).await
}
