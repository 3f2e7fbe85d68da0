//! Shifts and the patterns that they make over HTTP.

use axum::Json;
use axum::extract::{Path, Query, State};

use crate::api::access::Trial;
use crate::api::error::Refusal;
use crate::api::{ApiError, Caller};
use crate::app::App;
use crate::attendance::Rules;
use crate::planning::Effect;
use crate::planning::schedules::{self, Pattern, PatternSetting};
use crate::planning::shifts::{self, NamedShift};

/// All shifts.
#[utoipa::path(get, path = "/shifts", responses(
    (status = 200, body = [NamedShift]), (status = 401, body = Refusal), (status = 403, body = Refusal)))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<NamedShift>>, ApiError> {
    caller.staff()?;
    Ok(Json(shifts::shifts(&app.pool).await?))
}

/// Make a shift or change it. The days of all who work it are computed again.
#[utoipa::path(put, path = "/shifts/{name}", params(("name" = String, Path), Trial), request_body = Rules,
    responses((status = 200, body = Effect), (status = 400, body = Refusal), (status = 403, body = Refusal),
    (status = 429, body = Refusal, description = "the account has two reports or dry runs under way")))]
pub async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(trial): Query<Trial>,
    Json(rules): Json<Rules>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(shifts::put(&app.change(caller.staff()?, trial.dry_run)?, &name, &rules).await?))
}

/// All patterns of shifts.
#[utoipa::path(get, path = "/schedules", responses(
    (status = 200, body = [Pattern]), (status = 401, body = Refusal), (status = 403, body = Refusal)))]
pub async fn schedules(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Pattern>>, ApiError> {
    caller.staff()?;
    Ok(Json(schedules::schedules(&app.pool).await?))
}

/// Make a pattern of shifts or replace it. The days of all who follow it are computed again.
#[utoipa::path(put, path = "/schedules/{name}", params(("name" = String, Path), Trial),
    request_body = PatternSetting, responses((status = 200, body = Effect), (status = 400, body = Refusal),
    (status = 403, body = Refusal),
    (status = 429, body = Refusal, description = "the account has two reports or dry runs under way")))]
pub async fn put_schedule(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(trial): Query<Trial>,
    Json(setting): Json<PatternSetting>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(schedules::put(&app.change(caller.staff()?, trial.dry_run)?, &name, &setting).await?))
}
