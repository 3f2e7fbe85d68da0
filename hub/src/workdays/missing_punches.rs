//! Worklists: workdays that call for a correction because a punch is missing.

use serde_json::json;
use sqlx::PgPool;

use crate::accounts::Actor;
use crate::date::{Date, Timestamp};
use crate::db;
use crate::db::corrections::Gap;
use crate::error::{Error, Problem};
use crate::text::words;

/// Rows of a worklist, at most.
const ROWS: i64 = 10_000;

words! {
    /// Which punch is missing: that of coming or of leaving.
    pub enum Side { In = "missing_in", Out = "missing_out" }
}

/// Workdays without a punch of coming or of leaving, by date and number. Access is audited.
pub async fn worklist(
    pool: &PgPool,
    actor: &Actor,
    side: Side,
    (from, to): (Date, Date),
    now: Timestamp,
) -> Result<Vec<Gap>, Error> {
    let mut transaction = pool.begin().await?;
    let scope = actor.scope();
    let whose = (scope.manager, scope.own);
    let gaps =
        db::corrections::gaps(&mut transaction, side.as_str(), (from, to), whose, ROWS + 1, now).await?;
    if gaps.len() as i64 > ROWS {
        return Err(Problem::TooManyRows { rows: ROWS }.into());
    }
    let detail = json!({"flag": side, "from": from, "to": to, "count": gaps.len()});
    db::audit::record(&mut transaction, actor, "worklist.look", "workdays", detail).await?;
    transaction.commit().await?;
    Ok(gaps)
}
