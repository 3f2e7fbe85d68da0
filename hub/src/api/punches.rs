//! Punches over HTTP.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::error::Refusal;
use crate::api::{ApiError, Caller};
use crate::app::App;
use crate::reports::punches::{self, Row};
use crate::reports::timesheet::parse_date;

/// Which day.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Day {
    /// `YYYY-MM-DD` in the site's zone; today if left out.
    date: Option<String>,
}

/// The punches of a day, the latest first.
#[utoipa::path(get, path = "/punches", params(Day), responses(
    (status = 200, body = [Row]), (status = 400, body = Refusal), (status = 401, body = Refusal),
    (status = 403, body = Refusal)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(day): Query<Day>,
) -> Result<Json<Vec<Row>>, ApiError> {
    let actor = caller.staff()?;
    let date = day.date.as_deref().map(parse_date).transpose().map_err(ApiError::bad)?;
    let date = date.unwrap_or_else(|| app.today());
    Ok(Json(punches::of_date(&app.pool, &app.zone, date, &actor.name).await?))
}
