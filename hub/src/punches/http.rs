//! Punches over HTTP.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::clock;
use crate::date::{Date, Timestamp};
use crate::db::boots::Waiting;
use crate::db::punches::Punch;
use crate::punches::{listing, undated};
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_punches))
        .routes(routes!(list_undated_punches))
        .routes(routes!(date_punch))
}

/// Which day.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// `YYYY-MM-DD` in the site's zone; today if left out.
    date: Option<Date>,
}

/// The punches of a day, the latest first.
#[utoipa::path(get, path = "/punches", params(Parameters), responses(
    (status = 200, body = [Punch])))]
pub async fn list_punches(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<Parameters>,
) -> Result<Json<Vec<Punch>>, ApiError> {
    let actor = caller.staff()?;
    let date = wanted.date.unwrap_or_else(|| app.today());
    Ok(Json(listing::of_date(&app.pool, &app.zone, date, actor).await?))
}

/// When a punch was made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// With its offset or Z.
    #[schema(example = "2025-03-03T09:00:00+01:00")]
    at: Timestamp,
}

/// How many punches were placed.
#[derive(Serialize, ToSchema)]
pub struct Placed {
    placed: usize,
}

/// Punches whose time nobody knows: their terminal's clock was not set before it started again.
#[utoipa::path(get, path = "/punches/unplaced", responses((status = 200, body = [Waiting])))]
pub async fn list_undated_punches(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Vec<Waiting>>, ApiError> {
    Ok(Json(undated::list(&app.pool, caller.staff()?, app.zone_name()).await?))
}

/// Say when one of them was made: it and all others of the same start are placed, as estimated. Nobody dates
/// their own punches: of a start that holds one, somebody else says it.
#[utoipa::path(post, path = "/punches/unplaced/{id}", params(("id" = Uuid, Path)), request_body = Placement,
    responses((status = 200, body = Placed)))]
pub async fn date_punch(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(placement): Json<Placement>,
) -> Result<Json<Placed>, ApiError> {
    let actor = caller.staff()?;
    let placed = undated::place(&app.pool, actor, id, placement.at, clock::now()).await?;
    Ok(Json(Placed { placed }))
}
