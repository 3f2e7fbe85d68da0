//! One person's day over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::api::error::Refusal;
use crate::api::{ApiError, Caller};
use crate::app::App;
use crate::clock;
use crate::day::Day;
use crate::revisions::{self, PersonDay};

/// A person's day: what stands, in which revision, what the facts say now, and why. For
/// themselves, their manager, admin and hr.
#[utoipa::path(get, path = "/workdays/{number}/{date}",
    params(("number" = String, Path), ("date" = String, Path, description = "`YYYY-MM-DD`")), responses(
    (status = 200, body = PersonDay), (status = 403, body = Refusal), (status = 404, body = Refusal)))]
pub async fn look(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((number, date)): Path<(String, Day)>,
) -> Result<Json<PersonDay>, ApiError> {
    let now = clock::now();
    Ok(Json(revisions::look(&app.pool, &actor, &number, date.0, &app.policy, now).await?))
}

/// Make a person's day final once its windows have closed, whatever terminals still have to report.
#[utoipa::path(post, path = "/workdays/{number}/{date}/finalise",
    params(("number" = String, Path), ("date" = String, Path, description = "`YYYY-MM-DD`")), responses(
    (status = 204), (status = 403, body = Refusal), (status = 404, body = Refusal),
    (status = 409, body = Refusal, description = "a window is open still")))]
pub async fn finalise(
    State(app): State<App>,
    caller: Caller,
    Path((number, date)): Path<(String, Day)>,
) -> Result<StatusCode, ApiError> {
    revisions::finalise(&app.pool, caller.staff()?, &number, date.0, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
