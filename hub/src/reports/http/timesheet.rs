//! The timesheet over HTTP.

use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::date::Date;
use crate::reports::days::Day;
use crate::reports::timesheet::{self, Period, timesheet};
use crate::web::error::ProblemDetails;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Query};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_timesheet)).routes(routes!(get_timesheet_csv))
}

/// Which days, both inclusive, in the site's zone.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Days {
    /// `YYYY-MM-DD`; today if left out.
    from: Option<Date>,
    /// `YYYY-MM-DD`; the same day if left out.
    to: Option<Date>,
}

impl Days {
    fn period(&self, app: &App) -> Result<Period, ApiError> {
        Ok(Period::asked(self.from, self.to, app.today())?)
    }
}

async fn rows(app: App, caller: &Caller, period: Period) -> Result<Vec<Day>, ApiError> {
    let _turn = app.permit(&caller.0)?;
    Ok(timesheet(&app.pool, period, &caller.0, clock::now()).await?)
}

/// The timesheet.
#[utoipa::path(get, path = "/timesheet", params(Days), responses(
    (status = 200, body = [Day]), (status = 429, body = ProblemDetails)))]
pub async fn get_timesheet(
    State(app): State<App>,
    caller: Caller,
    Query(days): Query<Days>,
) -> Result<Json<Vec<Day>>, ApiError> {
    Ok(Json(rows(app.clone(), &caller, days.period(&app)?).await?))
}

/// The timesheet as CSV.
#[utoipa::path(get, path = "/timesheet.csv", params(Days), responses(
    (status = 200, body = String, content_type = "text/csv"), (status = 429, body = ProblemDetails)))]
pub async fn get_timesheet_csv(
    State(app): State<App>,
    caller: Caller,
    Query(days): Query<Days>,
) -> Result<impl IntoResponse, ApiError> {
    let period = days.period(&app)?;
    let rows = rows(app, &caller, period).await?;
    let name = format!("attachment; filename=\"timesheet-{}-{}.csv\"", period.from, period.to);
    let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, timesheet::csv(rows)))
}
