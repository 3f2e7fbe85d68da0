//! Notifications over HTTP: what was told, what waits, and what could not be.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::db::notifications::{MessageState, Notification};
use crate::error::Problem;
use crate::notifications;
use crate::web::error::ProblemDetails;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// Rows of one answer, unless somebody says otherwise, and at most.
const ROWS: u16 = 100;
const MOST_ROWS: u16 = 500;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_notifications)).routes(routes!(retry_notification))
}

/// Which ones.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// pending, sent or dropped; all if left out.
    state: Option<MessageState>,
    /// The `id` of the last one of the answer before; from the oldest if left out.
    after: Option<Uuid>,
    /// 100 if left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
}

/// Notifications, the oldest first.
#[utoipa::path(get, path = "/notifications", params(Which), responses(
    (status = 200, body = [Notification])))]
pub async fn list_notifications(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Notification>>, ApiError> {
    let actor = caller.staff()?;
    let rows = which.limit.unwrap_or(ROWS);
    if !(1..=MOST_ROWS).contains(&rows) {
        return Err(Problem::OutOfRange { least: 1, most: MOST_ROWS.into() }.of("limit").into());
    }
    let (state, after, zone) = (which.state, which.after, app.zone_name());
    Ok(Json(notifications::list(&app.pool, actor, state, after, rows.into(), zone).await?))
}

/// Have a notification tried again at once.
#[utoipa::path(post, path = "/notifications/{id}/retry", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = 409, body = ProblemDetails, description = "it has been sent")))]
pub async fn retry_notification(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    notifications::retry(&app.pool, caller.staff()?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
