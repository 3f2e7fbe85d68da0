//! Limits on how often one address may ask what costs much or gives much away.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use governor::middleware::NoOpMiddleware;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::PeerIpKeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use crate::api::ApiError;

/// A limit by address.
pub type Limit = GovernorLayer<PeerIpKeyExtractor, NoOpMiddleware<governor::clock::QuantaInstant>, Body>;

/// So many at once, then one every so many milliseconds.
pub fn limit(at_once: u32, milliseconds: u64) -> Limit {
    let mut builder = GovernorConfigBuilder::default();
    let config = builder.per_millisecond(milliseconds).burst_size(at_once).finish();
    GovernorLayer::new(config.unwrap_or_default()).error_handler(refuse)
}

#[expect(clippy::needless_pass_by_value, reason = "as the layer calls it")]
fn refuse(error: GovernorError) -> Response {
    let wait_s = match error {
        GovernorError::TooManyRequests { wait_time, .. } => wait_time.max(1),
        _ => 1,
    };
    ApiError::too_many("too many requests from this address: wait a moment", wait_s).into_response()
}
