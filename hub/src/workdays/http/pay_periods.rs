//! Periods and adjustments over HTTP.

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::db::pay_periods::{Adjustment, AdjustmentState, Period};
use crate::web::error::ProblemDetails;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};
use crate::workdays::http::corrections::Listed;
use crate::workdays::pay_periods::{self, PeriodSetting, Settlement, Step};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_periods, open_period))
        .routes(routes!(approve_period))
        .routes(routes!(lock_period))
        .routes(routes!(reopen_period))
        .routes(routes!(list_adjustments))
        .routes(routes!(settle_adjustment))
}

/// All periods, the latest first.
#[utoipa::path(get, path = "/periods", responses(
    (status = 200, body = [Period])))]
pub async fn list_periods(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Period>>, ApiError> {
    caller.staff()?;
    Ok(Json(pay_periods::list(&app.pool).await?))
}

/// Open a period of one site, or of all.
#[utoipa::path(post, path = "/periods", request_body = PeriodSetting, responses(
    (status = 201, body = Period), (status = 409, body = ProblemDetails, description = "one that overlaps is there")))]
pub async fn open_period(
    State(app): State<App>,
    caller: Caller,
    Json(setting): Json<PeriodSetting>,
) -> Result<(StatusCode, Json<Period>), ApiError> {
    let period = pay_periods::open(&app.pool, caller.staff()?, &setting, clock::now()).await?;
    Ok((StatusCode::CREATED, Json(period)))
}

/// Approve an open period. Its days still follow the facts.
#[utoipa::path(post, path = "/periods/{id}/approve", params(("id" = i64, Path)), responses(
    (status = 200, body = Period), (status = 409, body = ProblemDetails, description = "not open, or days wait to be computed")))]
pub async fn approve_period(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Json<Period>, ApiError> {
    step(&app, &caller, id, Step::Approve).await
}

/// Lock an approved period. Its days never change again, absences that wait for a terminal included: what
/// facts say against them becomes an adjustment.
#[utoipa::path(post, path = "/periods/{id}/lock", params(("id" = i64, Path)), responses(
    (status = 200, body = Period), (status = 409, body = ProblemDetails, description = "not approved, not over, or days wait to be computed")))]
pub async fn lock_period(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Json<Period>, ApiError> {
    step(&app, &caller, id, Step::Lock).await
}

/// Always refused, with the way out: periods are not reopened.
#[utoipa::path(post, path = "/periods/{id}/reopen", params(("id" = i64, Path)), responses(
    (status = 409, body = ProblemDetails)))]
pub async fn reopen_period(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Json<Period>, ApiError> {
    step(&app, &caller, id, Step::Reopen).await
}

async fn step(app: &App, caller: &Caller, id: i64, step: Step) -> Result<Json<Period>, ApiError> {
    Ok(Json(pay_periods::step(&app.pool, caller.staff()?, id, step, clock::now()).await?))
}

/// What facts say against locked days, the oldest first.
#[utoipa::path(get, path = "/adjustments", params(Listed<AdjustmentState>), responses(
    (status = 200, body = [Adjustment])))]
pub async fn list_adjustments(
    State(app): State<App>,
    caller: Caller,
    Query(listed): Query<Listed<AdjustmentState>>,
) -> Result<Json<Vec<Adjustment>>, ApiError> {
    let (after, most) = listed.page();
    let actor = caller.staff()?;
    Ok(Json(pay_periods::adjustments(&app.pool, actor, listed.state, after, most).await?))
}

/// Say that an adjustment has been dealt with. Nobody settles their own.
#[utoipa::path(post, path = "/adjustments/{id}/settle", params(("id" = i64, Path)), request_body = Settlement,
    responses((status = 204), (status = 409, body = ProblemDetails, description = "settled already, or changed since it was read")))]
pub async fn settle_adjustment(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(settlement): Json<Settlement>,
) -> Result<StatusCode, ApiError> {
    pay_periods::settle(&app.pool, caller.staff()?, id, &settlement).await?;
    Ok(StatusCode::NO_CONTENT)
}
