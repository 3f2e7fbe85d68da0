//! What the API says when it says no: RFC 9457 problem details, with a code and its parameters.

use axum::Json;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tracing::error;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::error::{Error, Kind, Problem};
use crate::i18n::Language;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Bytes of the text of a framework's refusal, at most.
const LONGEST: usize = 16 << 10;
/// When to try again, in seconds, where nothing better is known.
const RETRY_AFTER_S: u64 = 2;

/// The body of every answer from 400 on (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct ProblemDetails {
    /// What the status means.
    title: String,
    /// The status again.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, and the way out, for a person.
    detail: String,
    /// What is wrong, for a program.
    code: Code,
    /// What the detail names, by name.
    #[schema(value_type = Object)]
    parameters: Value,
    /// The fields of the request that are wrong.
    errors: Vec<FieldProblem>,
    /// The detail.
    #[schema(deprecated)]
    error: String,
    /// Of a file: its problems, as in `errors`.
    #[schema(deprecated)]
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Value>,
    /// Of a file: how many problems more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
}

/// What is wrong with a field.
#[derive(Serialize, ToSchema)]
pub struct FieldProblem {
    /// The parameter, the member of the body (`days[2]`), or the column of the file.
    pub field: String,
    /// Of a file: the row, as the spreadsheet numbers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// What is wrong, for a program.
    pub code: Code,
    /// What the detail names, by name.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// What is wrong, and the way out, for a person.
    pub detail: String,
}

/// The code of a problem.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Code(pub String);

/// The code of a body of another type than the route takes.
pub const UNSUPPORTED: &str = "unsupported-media-type";

/// What has no problem of its own: the framework's refusals, what went wrong in the hub.
const OTHER_CODES: [&str; 5] =
    ["internal", "method-not-allowed", "request-invalid", "too-large", UNSUPPORTED];

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let codes = Problem::codes().chain(OTHER_CODES.map(str::to_owned));
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).into()
    }
}

impl ToSchema for Code {
    fn name() -> std::borrow::Cow<'static, str> {
        "ProblemCode".into()
    }
}

/// A refusal with its status.
pub struct ApiError {
    status: StatusCode,
    details: Box<ProblemDetails>,
    /// In seconds, where trying again helps.
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, (code, parameters): (String, Value), detail: String) -> Self {
        let details = ProblemDetails {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            error: detail.clone(),
            detail,
            code: Code(code),
            parameters,
            errors: Vec::new(),
            problems: None,
            more: None,
        };
        let retry_after = (status == StatusCode::TOO_MANY_REQUESTS).then_some(RETRY_AFTER_S);
        Self { status, details: Box::new(details), retry_after }
    }

    pub fn coded(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self::new(status, (code.to_owned(), Value::Object(serde_json::Map::new())), detail.into())
    }

    /// It may be asked again after so many seconds.
    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// A file's problems, and how many more there are.
    #[must_use]
    pub fn with_rows(mut self, errors: Vec<FieldProblem>, problems: Value, more: usize) -> Self {
        self.details.errors = errors;
        (self.details.problems, self.details.more) = (Some(problems), Some(more));
        self
    }
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unusable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::NotBuilt => StatusCode::NOT_IMPLEMENTED,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(self.details)).into_response();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// There is nothing at a path.
pub async fn unknown_path() -> ApiError {
    Problem::PathUnknown.into()
}

/// A path does not take a method; the header `allow` says which it takes.
pub async fn wrong_method(method: Method) -> ApiError {
    let detail = format!("{method} is not possible here: see the header allow");
    ApiError::coded(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// Refusals that the framework writes as text, such as of a body that is too large, become problems as all others.
pub async fn in_one_shape(answer: Response) -> Response {
    let status = answer.status();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !(status.is_client_error() && kind.starts_with("text/plain")) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let text = axum::body::to_bytes(body, LONGEST).await.unwrap_or_default();
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    let error = refused(status, String::from_utf8_lossy(&text).trim());
    let mut answer = error.into_response();
    answer.headers_mut().extend(parts.headers);
    answer
}

/// What the framework refuses with a status and a sentence.
pub fn refused(status: StatusCode, text: &str) -> ApiError {
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => UNSUPPORTED,
        _ => "request-invalid",
    };
    let too_large =
        "the body is too large: the API document says how large files and photos may be; divide it";
    ApiError::coded(status, code, if code == "too-large" { too_large } else { text })
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::new(status(problem.kind()), problem.data(), problem.to_string())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Problem { problem, field: None } => problem.into(),
            Error::Problem { problem, field: Some(field) } => {
                let mut refusal = Self::new(StatusCode::BAD_REQUEST, problem.data(), detail);
                let (code, parameters) = problem.data();
                let detail = problem.text(Language::English);
                let field = field.into_owned();
                refusal.details.errors =
                    vec![FieldProblem { field, row: None, code: Code(code), parameters, detail }];
                refusal
            }
            Error::Other(error) => error.into(),
        }
    }
}

/// What was not foreseen is logged here and told to nobody.
impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        let refusal = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        // PostgreSQL keeps no zero byte, wherever somebody put it.
        let code = refusal.and_then(sqlx::error::DatabaseError::code);
        if matches!(code.as_deref(), Some("22021" | "22P05")) {
            return Problem::CharacterNotStored.into();
        }
        error!(error = format!("{error:#}"), "request failed");
        let detail = "the hub could not do that; its log says why";
        Self::coded(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}
