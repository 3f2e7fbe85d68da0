//! The JSON API under `/api/v1`. A handler extracts, authorises, makes one call and answers.

mod error;
mod people;
mod punches;
mod reports;
mod sessions;
mod terminals;
mod timesheet;

use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use error::ApiError;
pub use sessions::{Caller, login_limit, token_of};

#[derive(OpenApi)]
#[openapi(info(
    title = "Rollcall hub",
    description = "Punches and timesheets. Log in with POST /api/v1/sessions and send the token as \
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
            .routes(routes!(people::consent, people::withdraw))
            .routes(routes!(punches::list))
            .routes(routes!(reports::report))
            .routes(routes!(timesheet::json))
            .routes(routes!(timesheet::csv))
            .routes(routes!(terminals::list))
            .merge(OpenApiRouter::new().routes(routes!(sessions::open)).layer(login_limit()))
            .merge(OpenApiRouter::new().routes(routes!(people::enrol)).layer(people::photo_limit())),
    )
}

/// The API, and its document at `/api/v1/openapi.json`.
pub fn router() -> Router<App> {
    let (router, document) = routes().split_for_parts();
    let text = document.to_pretty_json().unwrap_or_default();
    router
        .route("/api/v1/openapi.json", get(move || async { ([("content-type", "application/json")], text) }))
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
