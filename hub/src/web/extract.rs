//! Paths, queries and bodies as handlers take them: what can't be read is a problem that names the field.

use axum::extract::multipart::MultipartError;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Problem;
use crate::web::error::{ApiError, refused};

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
    match located {
        Some((field, reason)) if field != "." => problem(reason).of(field).into(),
        Some((_, reason)) => problem(reason).into(),
        None => problem(text.to_owned()).into(),
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => {
                let located = located::<serde_json::Error>(&rejection);
                wrong(located, &rejection.body_text(), |reason| Problem::BodyInvalid { reason })
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
            StatusCode::BAD_REQUEST => Problem::FormInvalid { reason: error.body_text() }.into(),
            status => refused(status, &error.body_text()),
        }
    }
}
