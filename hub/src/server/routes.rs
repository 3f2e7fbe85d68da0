//! The JSON API under `/api/v1`. A handler extracts, authorises, makes one call and answers.

use axum::Router;
use axum::middleware::{from_fn, map_response};
use axum::routing::{any, get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::web::state::App;
use crate::web::{error, heavy, session};
use crate::{notifications, people, punches, reports, schedules, terminals, workdays};

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
            .merge(session::routes())
            .merge(people::http::routes())
            .merge(schedules::http::routes())
            .merge(punches::http::routes())
            .merge(workdays::http::routes())
            .merge(reports::http::routes())
            .merge(terminals::http::routes())
            .merge(notifications::http::routes()),
    )
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
        let committed = include_str!("../../openapi.json");
        let written = super::document().expect("written");
        assert!(committed == written, "run: cargo run -p hub -- openapi > hub/openapi.json");
    }
}
