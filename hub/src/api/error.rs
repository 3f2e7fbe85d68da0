//! What the API says when it says no.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use crate::denial::Denial;
use crate::people::PersonError;

/// Bytes of a refusal, at most.
const LONGEST: usize = 16 << 10;

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub struct Refusal {
    /// One sentence for a person.
    pub error: String,
}

/// A refusal with its status.
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// A refusal.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request does not make sense.
    pub fn bad(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(Refusal { error: self.message })).into_response()
    }
}

/// There is nothing at a path.
pub fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing here: /api/v1/openapi.json says what there is")
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
    let refusal = Refusal { error: String::from_utf8_lossy(&text).trim().to_owned() };
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
            PersonError::Named | PersonError::Count => StatusCode::BAD_REQUEST,
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

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        let status = match denial {
            Denial::Missing(_) => StatusCode::NOT_FOUND,
            Denial::Senseless(_) => StatusCode::BAD_REQUEST,
            Denial::Conflict(_) => StatusCode::CONFLICT,
            Denial::Forbidden(_) => StatusCode::FORBIDDEN,
            Denial::Other(error) => return error.into(),
        };
        Self::new(status, denial.to_string())
    }
}
