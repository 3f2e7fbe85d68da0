//! What all operations of the API have in common, in its OpenAPI document: so a route says what is its own alone.

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, Deprecated, OpenApi, Ref, RefOr, SecurityRequirement, Server, Tag,
};

use crate::web::error::PROBLEM_JSON;
use crate::web::session::COOKIE;

/// The tags, and the first parts of the paths that have them.
const TAGS: [(&str, &str, &[&str]); 12] = [
    ("sessions", "Logging in and out", &["sessions"]),
    ("people", "Who works here: consent, photos, departments", &["people", "departments"]),
    ("sites", "Where and in which zone they work", &["sites"]),
    ("calendars", "Holidays", &["calendars"]),
    ("schedules", "Shifts, and when who works them", &["schedules", "shifts", "schedule", "days", "leave"]),
    ("punches", "Comings and goings as terminals saw them", &["punches"]),
    ("workdays", "What punches and schedules come to", &["workdays", "worklists", "recompute"]),
    ("corrections", "Requests to change a workday, and decisions", &["corrections"]),
    ("periods", "Pay periods, their locks and what changes after them", &["periods", "adjustments"]),
    ("reports", "Tables to read, to export and to sign", &["reports", "timesheet", "timesheet.csv"]),
    ("terminals", "Devices at doors: pairing, settings, commands", &["terminals", "claims"]),
    ("operations", "Imports and notifications", &["imports", "notifications"]),
];

/// What answers for one release more.
const DEPRECATED: [&str; 2] = ["/api/v1/timesheet", "/api/v1/timesheet.csv"];

/// Answers that many operations give.
const PROBLEMS: [(&str, &str, &str); 7] = [
    ("400", "BadRequest", "The request is wrong: `errors` names the fields."),
    ("401", "Unauthorized", "Nobody is logged in, or the session has ended."),
    ("403", "Forbidden", "Not for this account."),
    ("404", "NotFound", "There is no such thing."),
    ("413", "ContentTooLarge", "The body is too large."),
    ("415", "UnsupportedMediaType", "The body is of another type."),
    ("429", "TooManyRequests", "Too much at once: `retry-after` says when to try again."),
];

/// Adds to the document what its operations have in common.
pub fn complete(document: &mut OpenApi) {
    document.servers = Some(vec![Server::new("/")]);
    document.tags = Some(TAGS.map(|(name, description, _)| tag(name, description)).into());
    document.security =
        Some(["bearer", "cookie"].map(|scheme| SecurityRequirement::new(scheme, [""; 0])).into());
    let components = document.components.get_or_insert_default();
    add_security(components);
    for (_, name, description) in PROBLEMS {
        components.responses.insert(name.to_owned(), RefOr::T(problem(description)));
    }
    for (path, item) in &mut document.paths.paths {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in methods.into_iter().flatten() {
            operation.tags = Some(vec![tag_of(path).to_owned()]);
            operation.deprecated = DEPRECATED.contains(&path.as_str()).then_some(Deprecated::True);
            add_problems(operation, path);
        }
    }
}

fn tag(name: &str, description: &str) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

/// The tag of the last part of a path that has one: leave of a person is planning.
fn tag_of(path: &str) -> &'static str {
    let of = |part: &str| TAGS.iter().find(|(.., parts)| parts.contains(&part)).map(|(name, ..)| *name);
    let mut parts = path.trim_start_matches("/api/v1/").split('/');
    let first = parts.next().and_then(of);
    if first == Some("people") { parts.find_map(of).or(first) } else { first }.unwrap_or("operations")
}

fn add_security(components: &mut Components) {
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The token of a session."));
    let cookie = ApiKeyValue::with_description(COOKIE, "The console's session.");
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDetails"))).build();
    Response::builder().description(description).content(PROBLEM_JSON, content).build()
}

/// The problems that an operation may meet whatever it does.
fn add_problems(operation: &mut Operation, path: &str) {
    let body = operation.request_body.is_some();
    let parameters = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    // An operation without a session says so itself.
    let session = operation.security.is_none();
    for (status, name, _) in PROBLEMS {
        let met = match status {
            "400" => body || parameters,
            "401" | "403" => session,
            "404" => path.contains('{'),
            "413" | "415" => body,
            _ => false,
        };
        let responses = &mut operation.responses.responses;
        // Named without more words by the route, or met whatever it does.
        let bare =
            |response: &RefOr<Response>| matches!(response, RefOr::T(said) if said.description.is_empty());
        if responses.get(status).map_or(met, bare) {
            responses.insert(status.to_owned(), RefOr::Ref(Ref::from_response_name(name)));
        }
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        as_problem(response);
        if response.description.is_empty() {
            response.description = default_description(status).to_owned();
        }
    }
}

/// What an answer is where the route does not say it: the schema says the rest.
fn default_description(status: &str) -> &'static str {
    match status {
        "200" => "What was asked for.",
        "201" => "It was created.",
        "202" => "It was accepted, and is done later.",
        "204" => "It was done.",
        "409" => "Not as things stand: `code` says why.",
        "422" => "The file or the photo can't be used: `errors` says where.",
        _ => "See `detail`.",
    }
}

/// What a route says of a refusal is of the type of all refusals.
fn as_problem(response: &mut Response) {
    let refers = |content: &RefOr<utoipa::openapi::Content>| {
        let text = serde_json::to_string(content).unwrap_or_default();
        text.contains("schemas/ProblemDetails")
    };
    if let Some(content) = response.content.get("application/json").filter(|content| refers(content)).cloned()
    {
        response.content.clear();
        response.content.insert(PROBLEM_JSON.to_owned(), content);
    }
}
