//! Logging in and out, and who is asking.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::accounts::{self, Actor};
use crate::clock;
use crate::error::Problem;
use crate::web::error::{ApiError, ProblemDetails};
use crate::web::extract::Json;
use crate::web::rate::{Limit, limit};
use crate::web::state::App;

/// The cookie of a session. The prefix makes browsers insist on HTTPS and on this host alone.
pub const COOKIE: &str = "__Host-rollcall";
/// Attempts to log in, for one address: so many at once, then one every so many milliseconds.
const ATTEMPTS: u32 = 10;
const MILLISECONDS_AN_ATTEMPT: u64 = 3000;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(log_out))
        .merge(OpenApiRouter::new().routes(routes!(log_in)).layer(login_limit()))
}

/// A limit on attempts to log in.
pub fn login_limit() -> Limit {
    limit(ATTEMPTS, MILLISECONDS_AN_ATTEMPT)
}

/// Somebody who has logged in; anybody else is refused.
pub struct Caller(pub Actor);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = token_of(parts).ok_or(Problem::LoginRequired)?;
        Ok(Self(accounts::recognise(&app.pool, &token).await?.ok_or(Problem::LoginRequired)?))
    }
}

/// The token of a request: a bearer's, else the console's cookie.
pub fn token_of(parts: &Parts) -> Option<String> {
    let bearer =
        parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    bearer
        .map(str::to_owned)
        .or_else(|| CookieJar::from_headers(&parts.headers).get(COOKIE).map(|c| c.value().to_owned()))
}

// No `Debug`: the password is a secret.
/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The account.
    name: String,
    /// Its password.
    password: String,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub struct Opened {
    /// To be sent as `Authorization: Bearer TOKEN`.
    token: String,
    /// How long it lasts.
    expires_in_s: u64,
}

/// Log in.
#[utoipa::path(post, path = "/sessions", request_body = Login, security(()), responses(
    (status = 200, body = Opened), (status = 401, body = ProblemDetails), (status = 429, body = ProblemDetails, description = "too many attempts")))]
pub async fn log_in(State(app): State<App>, Json(login): Json<Login>) -> Result<Json<Opened>, ApiError> {
    let password = Zeroizing::new(login.password);
    let token = accounts::log_in(&app.pool, &login.name, password, clock::now()).await?;
    let token = token.ok_or(Problem::LoginFailed)?;
    Ok(Json(Opened { token: token.0, expires_in_s: accounts::SESSION.as_secs() }))
}

/// Log out.
#[utoipa::path(delete, path = "/sessions", responses((status = 204)))]
pub async fn log_out(State(app): State<App>, _caller: Caller, parts: Parts) -> Result<StatusCode, ApiError> {
    if let Some(token) = token_of(&parts) {
        accounts::log_out(&app.pool, &token).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
