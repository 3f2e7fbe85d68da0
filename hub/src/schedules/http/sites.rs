//! Sites, departments and calendars over HTTP.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::date::Date;
use crate::db::sites::{Holiday, Site};
use crate::schedules::Effect;
use crate::schedules::calendars::{self, HolidaySetting};
use crate::schedules::sites::{self, SiteSetting};
use crate::web::error::ProblemDetails;
use crate::web::query::DryRun;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path, Query};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_sites))
        .routes(routes!(put_site))
        .routes(routes!(list_departments))
        .routes(routes!(list_calendars))
        .routes(routes!(list_holidays))
        .routes(routes!(put_holiday, remove_holiday))
}

/// All sites.
#[utoipa::path(get, path = "/sites", responses(
    (status = 200, body = [Site])))]
pub async fn list_sites(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Site>>, ApiError> {
    caller.staff()?;
    Ok(Json(sites::sites(&app.pool).await?))
}

/// Make a site or change it. Another zone or calendar lets all its people's days be computed again.
#[utoipa::path(put, path = "/sites/{name}", params(("name" = String, Path), DryRun), request_body = SiteSetting,
    responses((status = 200, body = Effect), (status = 409, body = ProblemDetails),
    (status = 429, body = ProblemDetails)))]
pub async fn put_site(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<SiteSetting>,
) -> Result<Json<Effect>, ApiError> {
    Ok(Json(sites::put(&app.change(caller.admin()?, trial.dry_run)?, &name, &setting).await?))
}

/// The names of all departments.
#[utoipa::path(get, path = "/departments", responses(
    (status = 200, body = [String])))]
pub async fn list_departments(State(app): State<App>, caller: Caller) -> Result<Json<Vec<String>>, ApiError> {
    caller.staff()?;
    Ok(Json(sites::departments(&app.pool).await?))
}

/// The names of all calendars of holidays.
#[utoipa::path(get, path = "/calendars", responses(
    (status = 200, body = [String])))]
pub async fn list_calendars(State(app): State<App>, caller: Caller) -> Result<Json<Vec<String>>, ApiError> {
    caller.staff()?;
    Ok(Json(calendars::calendars(&app.pool).await?))
}

/// The holidays of a calendar.
#[utoipa::path(get, path = "/calendars/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = [Holiday])))]
pub async fn list_holidays(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Vec<Holiday>>, ApiError> {
    caller.staff()?;
    Ok(Json(calendars::holidays(&app.pool, &name).await?))
}

/// Add a holiday to a calendar, which is made if it is not there.
#[utoipa::path(put, path = "/calendars/{name}/holidays/{date}",
    params(("name" = String, Path), ("date" = Date, Path, description = "`YYYY-MM-DD`"), DryRun),
    request_body = HolidaySetting, responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn put_holiday(
    State(app): State<App>,
    caller: Caller,
    Path((name, date)): Path<(String, Date)>,
    Query(trial): Query<DryRun>,
    Json(setting): Json<HolidaySetting>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, trial.dry_run)?;
    Ok(Json(calendars::put(&change, &name, date, &setting).await?))
}

/// Make a holiday an ordinary day again.
#[utoipa::path(delete, path = "/calendars/{name}/holidays/{date}",
    params(("name" = String, Path), ("date" = Date, Path, description = "`YYYY-MM-DD`"), DryRun),
    responses((status = 200, body = Effect), (status = 429, body = ProblemDetails)))]
pub async fn remove_holiday(
    State(app): State<App>,
    caller: Caller,
    Path((name, date)): Path<(String, Date)>,
    Query(trial): Query<DryRun>,
) -> Result<Json<Effect>, ApiError> {
    let change = app.change(caller.staff()?, trial.dry_run)?;
    Ok(Json(calendars::remove(&change, &name, date).await?))
}
