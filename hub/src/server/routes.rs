//! The JSON API under `/api/v1`. A handler extracts, authorises, makes one call and answers.

use axum::Router;
use axum::middleware::{from_fn, map_response};
use axum::routing::{any, get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::error::Problem;
use crate::web::error::ProblemDetails;
use crate::web::state::App;
use crate::web::{ApiError, document, error, heavy, session};
use crate::{notifications, people, punches, reports, schedules, terminals, workdays};

#[derive(OpenApi)]
#[openapi(
    components(schemas(ProblemDetails, reports::Report, reports::Step, reports::http::Shape)),
    info(
        title = "Rollcall hub",
        description = "People and plans, punches and workdays, corrections, periods, reports and terminals. Log in with POST /api/v1/sessions and send the token as \
        `Authorization: Bearer TOKEN`; the console's cookie serves as well."
    )
)]
struct Document;

/// The routes, and the document that describes them.
fn parts() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut api) = routes().split_for_parts();
    document::complete(&mut api);
    (router, api)
}

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
    let (router, api) = parts();
    let text = api.to_pretty_json().unwrap_or_default();
    router
        .route("/api/v1/openapi.json", get(move || async { ([("content-type", "application/json")], text) }))
        .route("/api/v1/{*rest}", any(|| async { ApiError::from(Problem::PathUnknown) }))
        .layer(from_fn(heavy::to_its_end))
        .layer(map_response(error::in_one_shape))
}

/// The OpenAPI document.
pub fn document() -> anyhow::Result<String> {
    Ok(parts().1.to_pretty_json()? + "\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    fn document() -> Value {
        serde_json::from_str(&super::document().expect("written")).expect("JSON")
    }

    fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
        let paths = document["paths"].as_object().expect("paths").iter();
        paths.flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").iter();
            methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
    }

    #[test]
    fn the_committed_document_is_that_of_the_code() {
        let committed = include_str!("../../openapi.json");
        let written = super::document().expect("written");
        assert!(committed == written, "run: cargo run -p hub -- openapi > hub/openapi.json");
    }

    #[test]
    fn each_operation_says_what_generators_ask_for() {
        let document = document();
        let tags: Vec<_> =
            document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
        let mut ids = BTreeSet::new();
        for (name, operation) in operations(&document) {
            assert!(
                ids.insert(operation["operationId"].as_str().expect("an id")),
                "{name}: its id stands twice"
            );
            assert!(tags.contains(&&operation["tags"][0]), "{name}: no tag");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("401") || !operation["security"].is_null(), "{name}: who may?");
            for (status, response) in responses {
                let described = response["$ref"].is_string() || response["description"] != "";
                assert!(described, "{name}: {status} is not described");
            }
        }
        assert!(ids.len() > 60, "{ids:?}");
    }

    #[test]
    fn each_reference_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        let mut count = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let path = reference.strip_prefix('#').expect("within the document");
                        assert!(document.pointer(path).is_some(), "{reference} leads nowhere");
                        count += 1;
                    }
                    open.extend(members.values());
                }
                _ => {}
            }
        }
        assert!(count > 100);
    }
}
