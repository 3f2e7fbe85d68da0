//! Corrections, and the worklists that call for them, over HTTP.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::db::corrections::{Correction, CorrectionState, Gap, Request};
use crate::text::RemarkText;
use crate::web::error::ProblemDetails;
use crate::web::query::Between;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};
use crate::workdays::corrections;
use crate::workdays::missing_punches::{self, Side};

/// Rows of a page, where nothing is said.
const PAGE: i64 = 100;
/// And at most.
const LONGEST_PAGE: i64 = 1000;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_corrections, request_correction))
        .routes(routes!(approve_correction))
        .routes(routes!(reject_correction))
        .routes(routes!(list_missing_in))
        .routes(routes!(list_missing_out))
}

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listed<S: ToSchema> {
    /// Those in this state; all if left out.
    pub state: Option<S>,
    /// Those after this id: the last of the page before.
    #[serde(default)]
    after: i64,
    /// At most so many: 100 if left out, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

impl<S: ToSchema> Listed<S> {
    /// After which id, and how many at most.
    pub fn page(&self) -> (i64, i64) {
        (self.after, self.limit.map_or(PAGE, |limit| i64::from(limit).clamp(1, LONGEST_PAGE)))
    }
}

/// A request that was taken.
#[derive(Serialize, ToSchema)]
pub struct Requested {
    id: i64,
}

/// Ask for a correction: for oneself; managers for their people, too; admin and hr for everybody.
#[utoipa::path(post, path = "/corrections", request_body = Request, responses(
    (status = 201, body = Requested), (status = 404, body = ProblemDetails, description = "there is no such person"),
    (status = 409, body = ProblemDetails, description = "too many of the person's requests wait, or what is to be revoked has been")))]
pub async fn request_correction(
    State(app): State<App>,
    Caller(actor): Caller,
    Json(request): Json<Request>,
) -> Result<(StatusCode, Json<Requested>), ApiError> {
    let id = corrections::request(&app.pool, &actor, &request, clock::now()).await?;
    Ok((StatusCode::CREATED, Json(Requested { id })))
}

/// Requests, the oldest first: those that concern people whom the caller may see.
#[utoipa::path(get, path = "/corrections", params(Listed<CorrectionState>), responses(
    (status = 200, body = [Correction])))]
pub async fn list_corrections(
    State(app): State<App>,
    caller: Caller,
    Query(listed): Query<Listed<CorrectionState>>,
) -> Result<Json<Vec<Correction>>, ApiError> {
    let (after, most) = listed.page();
    Ok(Json(corrections::list(&app.pool, &caller.0, listed.state, after, most).await?))
}

/// What somebody says to their decision.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verdict {
    #[schema(value_type = Option<RemarkText>)]
    note: Option<String>,
}

/// Approve a request: it is laid over the punches, and the day computed again. For the person's
/// manager, admin and hr, but neither for the one who asked nor for the person.
#[utoipa::path(post, path = "/corrections/{id}/approve", params(("id" = i64, Path)), request_body = Option<Verdict>,
    responses((status = 200, body = Correction), (status = 409, body = ProblemDetails, description = "decided already")))]
pub async fn approve_correction(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<i64>,
    verdict: Option<Json<Option<Verdict>>>,
) -> Result<Json<Correction>, ApiError> {
    let note = verdict.and_then(|Json(verdict)| verdict?.note);
    let now = clock::now();
    Ok(Json(
        corrections::approve(&app.pool, &actor, id, note.as_deref(), &app.policy, &app.channels, now).await?,
    ))
}

/// Reject a request; for the same people.
#[utoipa::path(post, path = "/corrections/{id}/reject", params(("id" = i64, Path)), request_body = Option<Verdict>,
    responses((status = 200, body = Correction), (status = 409, body = ProblemDetails, description = "decided already")))]
pub async fn reject_correction(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<i64>,
    verdict: Option<Json<Option<Verdict>>>,
) -> Result<Json<Correction>, ApiError> {
    let note = verdict.and_then(|Json(verdict)| verdict?.note);
    Ok(Json(corrections::reject(&app.pool, &actor, id, note.as_deref(), clock::now()).await?))
}

/// Workdays without a punch of coming, of people whom the caller may see.
#[utoipa::path(get, path = "/worklists/missing_in", params(Between), responses(
    (status = 200, body = [Gap]), (status = 429, body = ProblemDetails)))]
pub async fn list_missing_in(
    State(app): State<App>,
    caller: Caller,
    Query(between): Query<Between>,
) -> Result<Json<Vec<Gap>>, ApiError> {
    worklist(&app, &caller, Side::In, &between).await
}

/// Workdays without a punch of leaving, of people whom the caller may see.
#[utoipa::path(get, path = "/worklists/missing_out", params(Between), responses(
    (status = 200, body = [Gap]), (status = 429, body = ProblemDetails)))]
pub async fn list_missing_out(
    State(app): State<App>,
    caller: Caller,
    Query(between): Query<Between>,
) -> Result<Json<Vec<Gap>>, ApiError> {
    worklist(&app, &caller, Side::Out, &between).await
}

async fn worklist(
    app: &App,
    caller: &Caller,
    side: Side,
    between: &Between,
) -> Result<Json<Vec<Gap>>, ApiError> {
    let _turn = app.permit(&caller.0)?;
    Ok(Json(missing_punches::worklist(&app.pool, &caller.0, side, between.dates()?, clock::now()).await?))
}
