//! The JSON API under `/api/v1`. A handler extracts, authorises, makes one call and answers.

mod access;
mod claims;
mod corrections;
mod error;
mod heavy;
mod imports;
mod notifications;
mod people;
mod periods;
mod plans;
mod punches;
mod rate;
mod reports;
mod sessions;
mod shifts;
mod sites;
mod terminals;
mod timesheet;
mod workdays;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use axum::routing::{any, get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use error::ApiError;
pub use error::wrong_method;
pub use heavy::OF_ACCOUNT;
pub use sessions::{Caller, login_limit, token_of};

#[derive(OpenApi)]
#[openapi(info(
    title = "Rollcall hub",
    description = "People and plans, punches and workdays, corrections, periods, reports and terminals. Log in with POST /api/v1/sessions and send the token as \
        `Authorization: Bearer TOKEN`; the console's cookie serves as well."
))]
struct Document;

/// The routes and the document that describes them.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).nest(
        "/api/v1",
        OpenApiRouter::new()
            .routes(routes!(sessions::close))
            .routes(routes!(people::list, people::add))
            .routes(routes!(people::one, people::set))
            .routes(routes!(people::consent, people::withdraw))
            .routes(routes!(punches::list))
            .routes(routes!(reports::report))
            .routes(routes!(timesheet::json))
            .routes(routes!(timesheet::csv))
            .routes(routes!(punches::unplaced))
            .routes(routes!(punches::place))
            .routes(routes!(terminals::list))
            .routes(routes!(terminals::set))
            .routes(routes!(terminals::revoke))
            .routes(routes!(terminals::command))
            .routes(routes!(terminals::refusals))
            .routes(routes!(claims::list))
            .routes(routes!(claims::accept))
            .routes(routes!(claims::reject))
            .merge(OpenApiRouter::new().routes(routes!(claims::ask)).layer(claims::claim_limit()))
            .merge(planning())
            .merge(judging())
            .merge(OpenApiRouter::new().routes(routes!(sessions::open)).layer(login_limit()))
            .routes(routes!(notifications::list))
            .routes(routes!(notifications::retry))
            .merge(OpenApiRouter::new().routes(routes!(imports::import)).layer(imports::file_limit()))
            .merge(OpenApiRouter::new().routes(routes!(people::enrol)).layer(people::photo_limit())),
    )
}

/// Who should work when and where.
fn planning() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sites::list))
        .routes(routes!(sites::put))
        .routes(routes!(sites::departments))
        .routes(routes!(sites::calendars))
        .routes(routes!(sites::holidays))
        .routes(routes!(sites::put_holiday, sites::remove_holiday))
        .routes(routes!(shifts::list))
        .routes(routes!(shifts::put))
        .routes(routes!(shifts::schedules))
        .routes(routes!(shifts::put_schedule))
        .routes(routes!(plans::plan, plans::assign))
        .routes(routes!(plans::put_day, plans::remove_day))
        .routes(routes!(plans::leave, plans::put_leave, plans::remove_leave))
}

/// What days amount to, and what people say to it.
fn judging() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(workdays::look))
        .routes(routes!(workdays::finalise))
        .routes(routes!(plans::recompute))
        .routes(routes!(corrections::list, corrections::request))
        .routes(routes!(corrections::approve))
        .routes(routes!(corrections::reject))
        .routes(routes!(corrections::missing_in))
        .routes(routes!(corrections::missing_out))
        .routes(routes!(periods::list, periods::open))
        .routes(routes!(periods::approve))
        .routes(routes!(periods::lock))
        .routes(routes!(periods::reopen))
        .routes(routes!(periods::adjustments))
        .routes(routes!(periods::settle))
}

/// The API, and its document at `/api/v1/openapi.json`.
pub fn router() -> Router<App> {
    let (router, document) = routes().split_for_parts();
    let text = document.to_pretty_json().unwrap_or_default();
    router
        .route("/api/v1/openapi.json", get(move || async { ([("content-type", "application/json")], text) }))
        .route("/api/v1/{*rest}", any(|| async { error::unknown() }))
        .layer(from_fn(heavy::to_its_end))
        .layer(map_response(error::in_one_shape))
}

/// The OpenAPI document.
pub fn document() -> anyhow::Result<String> {
    Ok(routes().split_for_parts().1.to_pretty_json()? + "\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_document_is_that_of_the_code() {
        let committed = include_str!("../openapi.json");
        let written = super::document().expect("written");
        assert!(committed == written, "run: cargo run -p hub -- openapi > hub/openapi.json");
    }
}
