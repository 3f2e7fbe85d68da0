//! What the API says when it says no.

use axum::Json;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use crate::error::{Error, PersonError};

/// Bytes of a refusal, at most.
const LONGEST: usize = 16 << 10;

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub struct ProblemDetails {
    /// One sentence for a person.
    pub error: String,
}

/// A refusal with its status.
pub struct ApiError {
    status: StatusCode,
    message: String,
    /// In seconds, where trying again helps.
    retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// Too much is asked for at once: it may be asked again after so many seconds.
    pub fn too_many(message: impl Into<String>, after_s: u64) -> Self {
        Self { retry_after: Some(after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// The request does not make sense.
    pub fn bad(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(ProblemDetails { error: self.message })).into_response();
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// There is nothing at a path.
pub fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing here: /api/v1/openapi.json says what there is")
}

/// A path does not take a method; the header `allow` says which it takes.
pub async fn wrong_method(method: Method) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not possible here: see the header allow"),
    )
}

/// Refusals that the framework writes as text, such as of a body that can't be read, become objects as
/// all others.
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
    let refusal = ProblemDetails { error: String::from_utf8_lossy(&text).trim().to_owned() };
    (parts, Json(refusal)).into_response()
}

/// What was not foreseen is logged here and told to nobody.
impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        let refusal = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        // PostgreSQL keeps no zero byte, wherever somebody put it.
        let code = refusal.and_then(sqlx::error::DatabaseError::code);
        if matches!(code.as_deref(), Some("22021" | "22P05")) {
            return Self::bad("a text holds a character that can't be kept");
        }
        error!(error = format!("{error:#}"), "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the hub could not do that; its log says why")
    }
}

impl From<PersonError> for ApiError {
    fn from(error: PersonError) -> Self {
        let status = match error {
            PersonError::Unknown(_) => StatusCode::NOT_FOUND,
            PersonError::Taken(_) | PersonError::NoConsent(_) => StatusCode::CONFLICT,
            PersonError::Named | PersonError::Count { .. } => StatusCode::BAD_REQUEST,
            PersonError::Photo { reason: models::photo::PhotoError::Eyes(ref inner), .. }
                if !matches!(inner, models::Error::Picture(_)) =>
            {
                // A photo's name is often a person's, and this goes to the log.
                return anyhow::anyhow!("a photo could not be looked at: {inner}").into();
            }
            PersonError::Photo { .. } | PersonError::SomebodyElse(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PersonError::Other(error) => return error.into(),
        };
        Self::new(status, error.to_string())
    }
}

impl From<Error> for ApiError {
    fn from(denial: Error) -> Self {
        let status = match denial {
            Error::Missing(_) => StatusCode::NOT_FOUND,
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::Other(error) => return error.into(),
        };
        Self::new(status, denial.to_string())
    }
}
