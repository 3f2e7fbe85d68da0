//! Worklists: workdays that call for a correction because a punch is missing.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::accounts::Scope;
use crate::date::{self, local};
use crate::db;
use crate::db::corrections::Gap;
use crate::error::{Error, Problem};

/// Rows of a worklist, at most.
const ROWS: i64 = 10_000;

/// A workday where a punch is missing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Missing {
    /// The number of the person.
    number: String,
    /// Their name.
    name: String,
    /// The workday's date.
    #[schema(value_type = String, format = Date)]
    date: Date,
    /// Its shift; null on an unscheduled day.
    shift: Option<String>,
    /// What the day was.
    status: String,
    /// When they came: local time with its offset.
    first_in: Option<String>,
    /// When they went: local time with its offset.
    last_out: Option<String>,
    /// Whether the shift's window is still open, so that they may yet punch.
    open: bool,
}

/// Which punch is missing.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// That of coming.
    In,
    /// That of leaving.
    Out,
}

/// Workdays without a punch of coming or of leaving, by date and number. The look is audited.
pub async fn worklist(
    pool: &PgPool,
    (actor, scope): (&str, Scope),
    side: Side,
    (from, to): (Date, Date),
    now: Timestamp,
) -> Result<Vec<Missing>, Error> {
    let flag = match side {
        Side::In => "missing_in",
        Side::Out => "missing_out",
    };
    let mut transaction = pool.begin().await?;
    let whose = (scope.manager, scope.own);
    let gaps = db::corrections::gaps(&mut transaction, flag, (from, to), whose, ROWS + 1, now).await?;
    if gaps.len() as i64 > ROWS {
        return Err(Problem::TooManyRows { rows: ROWS }.into());
    }
    let detail = json!({"flag": flag, "from": from, "to": to, "count": gaps.len()});
    db::audit::record(&mut transaction, actor, "worklist.look", "workdays", detail).await?;
    transaction.commit().await?;
    gaps.into_iter().map(|gap| missing(gap, now)).collect()
}

fn missing(gap: Gap, now: Timestamp) -> Result<Missing, Error> {
    let zone = date::zone(&gap.zone)?;
    let time = |at: Option<jiff_sqlx::Timestamp>| at.map(|at| local(at.to_jiff(), &zone));
    Ok(Missing {
        number: gap.number,
        name: gap.name,
        date: gap.date.to_jiff(),
        shift: Some(gap.shift).filter(|shift| !shift.is_empty()),
        status: gap.status,
        first_in: time(gap.first_in),
        last_out: time(gap.last_out),
        open: gap.closes_at.is_some_and(|closes| now <= closes.to_jiff()),
    })
}
