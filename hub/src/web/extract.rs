//! Paths, queries and bodies as handlers take them: what can't be read is a problem that names the field.

use axum::extract::multipart::MultipartError;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Problem;
use crate::web::error::{ApiError, UNSUPPORTED, refused};

const NOT_JSON: &str = "send JSON, with the header content-type: application/json";

/// A body in JSON, read or written.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub struct Json<T>(pub T);

/// The parameters of a query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

/// The parameters of a path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

impl<T, S> OptionalFromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let body = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await?;
        Ok(body.map(|axum::Json(body)| Self(body)))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Where the reader stopped, and why.
fn located<E: std::error::Error + 'static>(
    error: &(dyn std::error::Error + 'static),
) -> Option<(String, String)> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<serde_path_to_error::Error<E>>() {
            let reason = found.inner().to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            return Some((found.path().to_string(), reason));
        }
        cause = error.source();
    }
    None
}

fn wrong(located: Option<(String, String)>, text: &str, problem: impl Fn(String) -> Problem) -> ApiError {
    let Some((place, reason)) = located else { return problem(text.to_owned()).into() };
    let place = if place == "." || place == "?" { "" } else { &place };
    if let Some((field, problem)) = of_field(&reason) {
        let field = if place.is_empty() || place == field { field } else { format!("{place}.{field}") };
        return problem.of(field).into();
    }
    let problem = word(&reason).unwrap_or_else(|| problem(reason));
    if place.is_empty() { problem.into() } else { problem.of(place.to_owned()).into() }
}

/// What serde says of a field that the place does not name.
fn of_field(reason: &str) -> Option<(String, Problem)> {
    if let Some(rest) = reason.strip_prefix("missing field `") {
        return Some((rest.split('`').next()?.to_owned(), Problem::FieldMissing));
    }
    let (field, known) = reason.strip_prefix("unknown field `")?.split_once("`, ")?;
    Some((field.to_owned(), Problem::FieldUnknown { known: listed(known) }))
}

/// What serde says of a word that is none of a closed set.
fn word(reason: &str) -> Option<Problem> {
    let (word, known) = reason.strip_prefix("unknown variant `")?.split_once("`, ")?;
    Some(Problem::NotOneOf { word: word.to_owned(), known: listed(known) })
}

/// The names in "expected one of `a`, `b`".
fn listed(known: &str) -> String {
    known.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(", ")
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => {
                let located = located::<serde_json::Error>(&rejection);
                wrong(located, &rejection.body_text(), |reason| Problem::BodyInvalid { reason })
            }
            JsonRejection::MissingJsonContentType(_) => {
                ApiError::coded(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNSUPPORTED, NOT_JSON)
            }
            other => refused(other.status(), &other.body_text()),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        let located = located::<serde::de::value::Error>(&rejection);
        wrong(located, &rejection.body_text(), |reason| Problem::QueryInvalid { reason })
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        let text = rejection.body_text();
        let reason = text.strip_prefix("Invalid URL: ").unwrap_or(&text).to_owned();
        Problem::PathInvalid { reason }.into()
    }
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        match error.status() {
            StatusCode::BAD_REQUEST => Problem::FormInvalid.into(),
            status => refused(status, &error.body_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Body {
        name: String,
        kind: Option<crate::i18n::Language>,
    }

    #[test]
    fn a_wrong_body_names_the_field_and_the_way_out() {
        let problem = |text: &str| {
            let error = serde_json::from_str::<Body>(text).expect_err("wrong").to_string();
            let reason = error.split(" at line ").next().expect("a reason").to_owned();
            of_field(&reason)
                .map_or_else(|| (String::new(), word(&reason)), |(field, problem)| (field, Some(problem)))
        };
        assert_eq!(problem("{}"), ("name".into(), Some(Problem::FieldMissing)));
        let unknown = Problem::FieldUnknown { known: "name, kind".into() };
        assert_eq!(problem(r#"{"name": "", "nme": ""}"#), ("nme".into(), Some(unknown)));
        let word = Problem::NotOneOf { word: "fr".into(), known: "en, de".into() };
        assert_eq!(problem(r#"{"name": "", "kind": "fr"}"#), (String::new(), Some(word)));
        assert_eq!(problem(r#"{"name": 1}"#), (String::new(), None));
    }
}
