//! What one person is to work, and when they are on leave, over HTTP.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::date::{Date, range};
use crate::db::leave::LeaveDay;
use crate::person::PersonNumber;
use crate::schedules::leave::{self, LeaveSetting};
use crate::schedules::patterns::{self, AssignmentSetting, Override, Plan};
use crate::schedules::{self, Effect};
use crate::web::error::ProblemDetails;
use crate::web::query::{Between, DryRun};
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// Days to be computed again at a time, at most: some ten years.
const RECOMPUTED_DAYS: i32 = 3660;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_plan, assign_schedule))
        .routes(routes!(put_override, remove_override))
        .routes(routes!(list_leave, put_leave, remove_leave))
        .routes(routes!(recompute_workdays))
}

/// What a person is to work: for themselves, their manager, admin and hr.
#[utoipa::path(get, path = "/people/{number}/schedule", params(("number" = String, Path), Between), responses(
    (status = 200, body = Plan)))]
pub async fn get_plan(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(number): Path<PersonNumber>,
    Query(between): Query<Between>,
) -> Result<Json<Plan>, ApiError> {
    Ok(Json(patterns::plan(&app.pool, &actor, &number, between.dates()?).await?))
}

/// Let a person follow a pattern of shifts, or none, from one date to another.
#[utoipa::path(put, path = "/people/{number}/schedule", params(("number" = String, Path), DryRun),
    request_body = AssignmentSetting, responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn assign_schedule(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<AssignmentSetting>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(patterns::assign(&app.change(caller.staff()?, trial.dry_run)?, &number, &setting).await?))
}

/// Set what one date of a person holds, whatever the pattern says.
#[utoipa::path(put, path = "/people/{number}/days/{date}",
    params(("number" = String, Path), ("date" = Date, Path, description = "`YYYY-MM-DD`"), DryRun),
    request_body = Override, responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn put_override(
    State(app): State<App>,
    caller: Caller,
    Path((number, date)): Path<(PersonNumber, Date)>,
    Query(trial): Query<DryRun>,
    Json(day): Json<Override>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, trial.dry_run)?;
    Ok(Json(patterns::put_day(&change, &number, date, &day).await?))
}

/// Let the pattern hold again on one date of a person.
#[utoipa::path(delete, path = "/people/{number}/days/{date}",
    params(("number" = String, Path), ("date" = Date, Path, description = "`YYYY-MM-DD`"), DryRun),
    responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn remove_override(
    State(app): State<App>,
    caller: Caller,
    Path((number, date)): Path<(PersonNumber, Date)>,
    Query(trial): Query<DryRun>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, trial.dry_run)?;
    Ok(Json(patterns::remove_day(&change, &number, date).await?))
}

/// A person's leave: for themselves, their manager, admin and hr.
#[utoipa::path(get, path = "/people/{number}/leave", params(("number" = String, Path), Between), responses(
    (status = 200, body = [LeaveDay])))]
pub async fn list_leave(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(number): Path<PersonNumber>,
    Query(between): Query<Between>,
) -> Result<Json<Vec<LeaveDay>>, ApiError> {
    Ok(Json(leave::leave(&app.pool, &actor, &number, between.dates()?).await?))
}

/// Give a person leave, or change it.
#[utoipa::path(put, path = "/people/{number}/leave", params(("number" = String, Path), DryRun),
    request_body = LeaveSetting, responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn put_leave(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<LeaveSetting>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(leave::put(&app.change(caller.staff()?, trial.dry_run)?, &number, &setting).await?))
}

/// Take back a person's leave.
#[utoipa::path(delete, path = "/people/{number}/leave", params(("number" = String, Path), Between), responses(
    (status = 200, body = Effect)))]
pub async fn remove_leave(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<PersonNumber>,
    Query(between): Query<Between>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, false)?;
    Ok(Json(leave::remove(&change, &number, between.dates()?).await?))
}

/// Which days to compute again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recomputation {
    /// First date.
    from: Date,
    /// Last date; at most 3660 days.
    to: Date,
    /// One person's number; everybody's days if left out.
    number: Option<PersonNumber>,
}

/// Let workdays be computed again. Where nothing changed since, they stay as they are.
#[utoipa::path(post, path = "/recompute", params(DryRun), request_body = Recomputation, responses(
    (status = 200, body = Effect), (status = 404, body = ProblemDetails), (status = 429, body = ProblemDetails)))]
pub async fn recompute_workdays(
    State(app): State<App>,
    caller: Caller,
    Query(trial): Query<DryRun>,
    Json(asked): Json<Recomputation>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, trial.dry_run)?;
    let dates = range(asked.from, asked.to, RECOMPUTED_DAYS)?;
    Ok(Json(schedules::recompute(&change, asked.number.as_ref(), dates).await?))
}
