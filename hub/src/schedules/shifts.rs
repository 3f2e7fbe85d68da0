//! Shifts by name.

use attendance::Rules;
use serde_json::json;
use sqlx::PgPool;

use crate::db;
use crate::db::recompute_queue::Whose;
use crate::db::schedules::Shift;
use crate::error::{Error, Problem, check_text};
use crate::schedules::{Change, Dates, Effect, Touched};
use crate::text::SHORT_NAME;

/// Rules for breaks, at most.
const BREAKS: usize = 20;

/// All shifts, by name.
pub async fn shifts(pool: &PgPool) -> Result<Vec<Shift>, Error> {
    Ok(db::schedules::shifts(&mut *pool.acquire().await?).await?)
}

/// Makes or changes a shift.
pub async fn put(change: &Change<'_>, name: &str, rules: &Rules) -> Result<Effect, Error> {
    check_text("name", name, SHORT_NAME)?;
    if rules.break_rules.len() > BREAKS {
        return Err(Problem::BreakRuleCount { most: BREAKS }.of("break_rules"));
    }
    let mut transaction = change.begin().await?;
    let known = db::schedules::shifts(&mut transaction).await?;
    let before = known.into_iter().find(|shift| shift.name == name).map(|shift| shift.rules.0);
    db::schedules::put_shift(&mut transaction, name, rules).await?;
    let people = if before.as_ref() == Some(rules) {
        0
    } else {
        change.ask(&mut transaction, Touched::Many(Whose::Shift(name)), Dates::ALL).await?
    };
    let detail = json!({"before": before, "after": rules});
    change.record(&mut transaction, "shift.put", name, detail).await?;
    change.finish(transaction, people).await
}
