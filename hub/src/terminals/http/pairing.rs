//! Devices that ask to become terminals, over HTTP.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use proto::DeviceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::db;
use crate::db::pairing::ClaimState;
use crate::error::Problem;
use crate::mqtt::rejections::{RejectionKind, reject};
use crate::terminals::pairing::{self, Outcome};
use crate::text::NameText;
use crate::web::error::ProblemDetails;
use crate::web::rate::{Limit, limit};
use crate::web::state::App;
use crate::web::{ApiError, Caller, Json, Path};

/// Questions of one address: so many at once, then one every so many milliseconds. A hundred new
/// terminals behind one address ask every ten seconds.
const AT_ONCE: u32 = 100;
const MILLISECONDS: u64 = 50;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_claims))
        .routes(routes!(accept_terminal))
        .routes(routes!(reject_terminal))
        .merge(OpenApiRouter::new().routes(routes!(request_pairing)).layer(claim_limit()))
}

/// A limit on asking.
pub fn claim_limit() -> Limit {
    limit(AT_ONCE, MILLISECONDS)
}

// No `Debug`: the code is a secret.
/// What a device asks with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its request for a certificate (PEM), signed with its key.
    request: String,
    /// The code that it shows: 8 letters and digits.
    code: String,
}

/// What it is outcome.
#[derive(Serialize, ToSchema)]
pub struct Answer {
    state: ClaimState,
    /// Its certificate (PEM), once it is accepted.
    certificate: Option<String>,
    /// The hub's authority and signing key (PEM), once it is accepted.
    ca: Option<String>,
}

/// How a device is accepted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The code that the device shows.
    code: String,
    /// Where it hangs.
    #[schema(value_type = NameText, example = "Front door")]
    name: String,
}

/// Ask to become a terminal. Nobody needs to log in for it; repeat it until somebody has decided.
#[utoipa::path(post, path = "/claims", security(()), request_body = Claim, responses(
    (status = 200, body = Answer, description = "accepted or rejected"), (status = 202, body = Answer, description = "nobody has decided"),
    (status = 409, body = ProblemDetails, description = "too many devices wait"),
    (status = 429, body = ProblemDetails, description = "too often")))]
pub async fn request_pairing(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Json(claim): Json<Claim>,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    let Claim { request, code } = claim;
    let address = peer.ip().to_canonical().to_string();
    let outcome = pairing::ask(&app, &request, &code, &address).await;
    let outcome =
        outcome.inspect_err(|error| app.rejections.note(&peer, &reject(RejectionKind::Claim, error)))?;
    let answer = |state, certificate, ca| Json(Answer { state, certificate, ca });
    Ok(match outcome {
        Outcome::Pending => (StatusCode::ACCEPTED, answer(ClaimState::Pending, None, None)),
        Outcome::Rejected => (StatusCode::OK, answer(ClaimState::Rejected, None, None)),
        Outcome::Accepted(certificate) => (
            StatusCode::OK,
            answer(ClaimState::Accepted, Some(certificate), Some(app.authority.pem().to_owned())),
        ),
    })
}

/// Devices that ask.
#[utoipa::path(get, path = "/claims", responses((status = 200, body = [db::pairing::Claim])))]
pub async fn list_claims(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Vec<db::pairing::Claim>>, ApiError> {
    caller.admin()?;
    Ok(Json(pairing::list(&app.pool, app.zone_name()).await?))
}

/// Accept a device, with the code that it shows.
#[utoipa::path(post, path = "/claims/{device}/accept", params(("device" = String, Path)), request_body = Acceptance,
    responses((status = 204), (status = 403, body = ProblemDetails, description = "the code is wrong"),
    (status = 409, body = ProblemDetails)))]
pub async fn accept_terminal(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
    Json(acceptance): Json<Acceptance>,
) -> Result<StatusCode, ApiError> {
    let actor = caller.admin()?;
    let device = named(&device)?;
    let Acceptance { code, name } = acceptance;
    let accepted = pairing::accept(&app.pool, &app.authority, actor, &device, &code, &name).await;
    accepted.inspect_err(|error| app.rejections.note(&device, &reject(RejectionKind::Code, error)))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reject a device.
#[utoipa::path(post, path = "/claims/{device}/reject", params(("device" = String, Path)), responses((status = 204),
    (status = 409, body = ProblemDetails)))]
pub async fn reject_terminal(
    State(app): State<App>,
    caller: Caller,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    pairing::reject(&app.pool, caller.admin()?, &named(&device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A terminal's id in a path.
pub fn named(device: &str) -> Result<DeviceId, ApiError> {
    device.parse().map_err(|error: <DeviceId as std::str::FromStr>::Err| {
        Problem::PathInvalid { reason: error.to_string() }.into()
    })
}
