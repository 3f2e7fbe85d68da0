//! Notifications over HTTP: what was told, what waits, and what could not be.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::date::local;
use crate::db::notifications::Notice;
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
    state: Option<String>,
    /// The `id` of the last one of the answer before; from the oldest if left out.
    after: Option<Uuid>,
    /// 1 to 500; 100 if left out.
    limit: Option<u16>,
}

/// A notification.
#[derive(Serialize, ToSchema)]
pub struct Notification {
    id: Uuid,
    /// late, absence or `missing_out`.
    kind: String,
    /// The number of the person of whom it tells.
    number: String,
    /// The number of the one whom it is for; with a webhook, that of the person.
    recipient: String,
    /// mail, or the name of a webhook.
    channel: String,
    /// pending, sent or dropped.
    state: String,
    /// How often it was tried.
    attempts: i32,
    /// When it is tried next; null unless it is pending.
    next_at: Option<String>,
    /// What went wrong the last time.
    error: Option<String>,
    created_at: String,
    sent_at: Option<String>,
}

/// Notifications, the oldest first.
#[utoipa::path(get, path = "/notifications", params(Which), responses(
    (status = 200, body = [Notification])))]
pub async fn list_notifications(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Notification>>, ApiError> {
    caller.staff()?;
    let state = which.state.as_deref();
    if state.is_some_and(|state| !["pending", "sent", "dropped"].contains(&state)) {
        return Err(Problem::NotOneOf { allowed: "pending, sent, dropped".into() }.of("state").into());
    }
    let rows = which.limit.unwrap_or(ROWS);
    if !(1..=MOST_ROWS).contains(&rows) {
        return Err(Problem::OutOfRange { least: 1, most: MOST_ROWS.into() }.of("limit").into());
    }
    let notices = notifications::list(&app.pool, &caller.0.name, state, which.after, rows.into()).await?;
    Ok(Json(notices.into_iter().map(|notice| shown(notice, &app)).collect()))
}

fn shown(notice: Notice, app: &App) -> Notification {
    let pending = notice.state == "pending";
    Notification {
        id: notice.id,
        kind: notice.kind,
        number: notice.number,
        recipient: notice.recipient,
        channel: notice.channel,
        state: notice.state,
        attempts: notice.attempts,
        next_at: pending.then(|| local(notice.next_at.to_jiff(), &app.zone)),
        error: notice.error,
        created_at: local(notice.created_at.to_jiff(), &app.zone),
        sent_at: notice.sent_at.map(|at| local(at.to_jiff(), &app.zone)),
    }
}

/// Have a notification tried again at once.
#[utoipa::path(post, path = "/notifications/{id}/retry", params(("id" = Uuid, Path)), responses(
    (status = 204), (status = 409, body = ProblemDetails, description = "it has been sent")))]
pub async fn retry_notification(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    caller.staff()?;
    notifications::retry(&app.pool, &caller.0.name, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
