//! One person's day over HTTP.

pub mod corrections;
pub mod pay_periods;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::date::Date;
use crate::person::PersonNumber;
use crate::web::error::ProblemDetails;
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path};
use crate::workdays::day::{self, PersonDay};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_workday))
        .routes(routes!(finalise_workday))
        .merge(corrections::routes())
        .merge(pay_periods::routes())
}

/// A person's day: what stands, in which revision, what the facts say now, and why. For
/// themselves, their manager, admin and hr.
#[utoipa::path(get, path = "/workdays/{number}/{date}",
    params(("number" = String, Path), ("date" = Date, Path, description = "`YYYY-MM-DD`")), responses(
    (status = 200, body = PersonDay)))]
pub async fn get_workday(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((number, date)): Path<(PersonNumber, Date)>,
) -> Result<Json<PersonDay>, ApiError> {
    let now = clock::now();
    Ok(Json(day::look(&app.pool, &actor, &number, date, &app.policy, now).await?))
}

/// Make a person's day final once its windows have closed, whatever terminals still have to report.
#[utoipa::path(post, path = "/workdays/{number}/{date}/finalise",
    params(("number" = String, Path), ("date" = Date, Path, description = "`YYYY-MM-DD`")), responses(
    (status = 204), (status = 409, body = ProblemDetails, description = "a window is open still")))]
pub async fn finalise_workday(
    State(app): State<App>,
    caller: Caller,
    Path((number, date)): Path<(PersonNumber, Date)>,
) -> Result<StatusCode, ApiError> {
    day::finalise(&app.pool, caller.staff()?, &number, date, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
