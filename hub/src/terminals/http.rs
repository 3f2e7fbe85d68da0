//! Terminals over HTTP.

pub mod pairing;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db;
use crate::db::commands::CommandKind;
use crate::db::terminals::{Setting, Terminal};
use crate::mqtt::rejections::RejectionKind;
use crate::schedules::sites::set_terminal;
use crate::terminals::commands;
use crate::terminals::http::pairing::named;
use crate::web::error::ProblemDetails;
use crate::web::query::DryRun;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_terminals))
        .routes(routes!(change_terminal))
        .routes(routes!(revoke_terminal))
        .routes(routes!(command_terminal))
        .routes(routes!(list_rejections))
        .merge(pairing::routes())
}

/// What a terminal shall do, once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// identify (blink, so that somebody before it sees which one it is), resync (forget the gallery and
    /// ask for it anew), open (open the door; within 40 seconds or not at all) or restart.
    kind: CommandKind,
}

/// How many were not let in since this hub started.
#[derive(Serialize, ToSchema)]
pub struct Rejections {
    /// Why.
    kind: RejectionKind,
    count: u64,
}

/// All terminals.
#[utoipa::path(get, path = "/terminals", responses((status = 200, body = [Terminal])))]
pub async fn list_terminals(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Terminal>>, ApiError> {
    caller.staff()?;
    let mut conn = app.pool.acquire().await?;
    Ok(Json(db::terminals::list(&mut conn, app.zone_name()).await?))
}

/// Say where a terminal hangs and which way its door is used.
#[utoipa::path(patch, path = "/terminals/{device}", params(("device" = String, Path), DryRun),
    request_body = Setting, responses((status = 204), (status = 409, body = ProblemDetails, description = "absences wait for it"),
    (status = 429, body = ProblemDetails)))]
pub async fn change_terminal(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<Setting>,
) -> Result<StatusCode, ApiError> {
    set_terminal(&app.change(caller.admin()?, trial.dry_run)?, &device, &setting).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke a terminal: its connection ends within a second, and it is not heard any more.
#[utoipa::path(post, path = "/terminals/{device}/revoke", params(("device" = String, Path)), responses(
    (status = 204)))]
pub async fn revoke_terminal(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    commands::revoke(&app.pool, caller.admin()?, &named(&device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have a terminal do something, once, within five minutes (open: 40 seconds).
#[utoipa::path(post, path = "/terminals/{device}/commands", params(("device" = String, Path)), request_body = Command,
    responses((status = 202), (status = 409, body = ProblemDetails, description = "it has no door to open")))]
pub async fn command_terminal(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
    Json(command): Json<Command>,
) -> Result<StatusCode, ApiError> {
    commands::command(&app.pool, caller.admin()?, &named(&device)?, command.kind).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Who was not let in, by this hub since it started: counts by reason. The log has each.
#[utoipa::path(get, path = "/terminals/refusals", responses((status = 200, body = [Rejections])))]
pub async fn list_rejections(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Vec<Rejections>>, ApiError> {
    caller.admin()?;
    Ok(Json(app.rejections.counts().into_iter().map(|(kind, count)| Rejections { kind, count }).collect()))
}
