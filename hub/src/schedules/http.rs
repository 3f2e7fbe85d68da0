//! Schedules over HTTP: shifts, the patterns that they make, imports.

pub mod person;
pub mod sites;

use attendance::Rules;
use axum::extract::State;
use axum::extract::multipart::Multipart;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::Actor;
use crate::clock;
use crate::db::schedules::{Schedule, Shift};
use crate::imports::Outcome;
use crate::imports::http as imports;
use crate::imports::http::{ImportForm, Options, file_limit};
use crate::schedules::patterns::{self, PatternSetting};
use crate::schedules::shifts;
use crate::schedules::{Change, Effect, import};
use crate::web::error::ProblemDetails;
use crate::web::query::DryRun;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_shifts))
        .routes(routes!(put_shift))
        .routes(routes!(list_schedules))
        .routes(routes!(put_schedule))
        .merge(sites::routes())
        .merge(person::routes())
        .merge(OpenApiRouter::new().routes(routes!(import_schedules)).layer(file_limit()))
        .merge(OpenApiRouter::new().routes(routes!(import_leave)).layer(file_limit()))
}

impl App {
    /// A change to the plan, made or only tried by somebody now. A trial takes a permit: it computes much.
    pub fn change<'a>(&'a self, actor: &'a Actor, dry_run: bool) -> Result<Change<'a>, ApiError> {
        let permit = dry_run.then(|| self.permit(actor)).transpose()?;
        let trial = dry_run.then_some(&self.policy);
        Ok(Change { pool: &self.pool, actor, now: clock::now(), trial, permit })
    }
}

/// All shifts.
#[utoipa::path(get, path = "/shifts", responses(
    (status = 200, body = [Shift])))]
pub async fn list_shifts(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Shift>>, ApiError> {
    caller.staff()?;
    Ok(Json(shifts::shifts(&app.pool).await?))
}

/// Make a shift or change it. The days of all who work it are computed again.
#[utoipa::path(put, path = "/shifts/{name}", params(("name" = String, Path), DryRun), request_body = Rules,
    responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn put_shift(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(trial): Query<DryRun>,
    Json(rules): Json<Rules>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(shifts::put(&app.change(caller.staff()?, trial.dry_run)?, &name, &rules).await?))
}

/// All patterns of shifts.
#[utoipa::path(get, path = "/schedules", responses(
    (status = 200, body = [Schedule])))]
pub async fn list_schedules(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Schedule>>, ApiError> {
    caller.staff()?;
    Ok(Json(patterns::schedules(&app.pool).await?))
}

/// Make a pattern of shifts or replace it. The days of all who follow it are computed again.
#[utoipa::path(put, path = "/schedules/{name}", params(("name" = String, Path), DryRun),
    request_body = PatternSetting, responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn put_schedule(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<PatternSetting>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(patterns::put(&app.change(caller.staff()?, trial.dry_run)?, &name, &setting).await?))
}

/// Import who follows which schedule: all of the file, or nothing of it.
///
/// Columns: number, schedule, from; if wanted to. Nobody changes their own schedule: such rows are problems.
///
/// Dates are written YYYY-MM-DD or are a workbook's own. Numbers of people keep their leading zeros in CSV and in
/// cells that are formatted as text only. One import runs at a time.
#[utoipa::path(post, path = "/imports/schedules",
    params(Options), request_body(content = ImportForm, content_type = "multipart/form-data"), responses(
    (status = 200, body = Outcome), (status = 409, body = ProblemDetails, description = "another import is running, or somebody else changed the same things meanwhile"),
    (status = 422, body = ProblemDetails, description = "the file has problems")))]
pub async fn import_schedules(
    State(app): State<App>,
    caller: Caller,
    Query(options): Query<Options>,
    form: Multipart,
) -> Result<Json<Outcome>, ApiError> {
    imports::import::<import::Plan>(&app, &caller, &options, form).await
}

/// Import leave: all of the file, or nothing of it.
///
/// Columns: number, from; if wanted to, half, reason. Nobody changes their own leave: such rows are problems.
///
/// Dates are written YYYY-MM-DD or are a workbook's own. Numbers of people keep their leading zeros in CSV and in
/// cells that are formatted as text only. One import runs at a time.
#[utoipa::path(post, path = "/imports/leave",
    params(Options), request_body(content = ImportForm, content_type = "multipart/form-data"), responses(
    (status = 200, body = Outcome), (status = 409, body = ProblemDetails, description = "another import is running, or somebody else changed the same things meanwhile"),
    (status = 422, body = ProblemDetails, description = "the file has problems")))]
pub async fn import_leave(
    State(app): State<App>,
    caller: Caller,
    Query(options): Query<Options>,
    form: Multipart,
) -> Result<Json<Outcome>, ApiError> {
    imports::import::<import::leave::Plan>(&app, &caller, &options, form).await
}
