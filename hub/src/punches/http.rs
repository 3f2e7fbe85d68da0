//! Punches over HTTP.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::clock;
use crate::date::{Day, Moment, local};
use crate::punches::listing::{self, Row};
use crate::punches::undated;
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
    #[param(value_type = Option<String>, format = Date)]
    date: Option<Day>,
}

/// The punches of a day, the latest first.
#[utoipa::path(get, path = "/punches", params(Parameters), responses(
    (status = 200, body = [Row])))]
pub async fn list_punches(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<Parameters>,
) -> Result<Json<Vec<Row>>, ApiError> {
    let actor = caller.staff()?;
    let date = wanted.date.map_or_else(|| app.today(), |day| day.0);
    Ok(Json(listing::of_date(&app.pool, &app.zone, date, &actor.name).await?))
}

/// A punch of a terminal whose clock was never set.
#[derive(Serialize, ToSchema)]
pub struct Undated {
    id: Uuid,
    /// The person's number.
    number: String,
    name: String,
    device: String,
    /// Where the terminal hangs.
    terminal: String,
    /// The start of the terminal in which it was made: punches of one start hang together.
    boot: String,
    /// How long after that start.
    seconds_after_start: i64,
    /// When it arrived: it was made before.
    received_at: String,
}

/// When a punch was made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// With its offset or Z.
    #[schema(value_type = String, example = "2025-03-03T09:00:00+01:00")]
    at: Moment,
}

/// How many punches were placed.
#[derive(Serialize, ToSchema)]
pub struct Placed {
    placed: usize,
}

/// Punches whose time nobody knows: their terminal's clock was not set before it started again.
#[utoipa::path(get, path = "/punches/unplaced", responses((status = 200, body = [Undated])))]
pub async fn list_undated_punches(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Vec<Undated>>, ApiError> {
    let row = |punch: crate::db::boots::Waiting| Undated {
        id: punch.id,
        number: punch.number,
        name: punch.name,
        device: punch.device,
        terminal: punch.terminal,
        boot: punch.boot,
        seconds_after_start: punch.monotonic_us / 1_000_000,
        received_at: local(punch.received_at.to_jiff(), &app.zone),
    };
    Ok(Json(undated::list(&app.pool, &caller.staff()?.name).await?.into_iter().map(row).collect()))
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
    let placed = undated::place(&app.pool, actor, id, placement.at.0, clock::now()).await?;
    Ok(Json(Placed { placed }))
}
