//! Limits on how often one address may ask what costs much or gives much away.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use governor::middleware::NoOpMiddleware;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::{KeyExtractor, PeerIpKeyExtractor};
use tower_governor::{GovernorError, GovernorLayer};

use crate::error::Problem;
use crate::limits::network;
use crate::web::error::ApiError;

/// A limit by address.
pub type Limit = GovernorLayer<Peer, NoOpMiddleware<governor::clock::QuantaInstant>, Body>;

/// The address that a connection comes from: see [`network`].
#[derive(Clone, Debug)]
pub struct Peer;

impl KeyExtractor for Peer {
    type Key = IpAddr;

    fn extract<T>(&self, request: &Request<T>) -> Result<IpAddr, GovernorError> {
        PeerIpKeyExtractor.extract(request).map(network)
    }
}

/// So many at once, then one every so many milliseconds.
pub fn limit(at_once: u32, milliseconds: u64) -> Limit {
    let mut builder = GovernorConfigBuilder::default().key_extractor(Peer);
    let config = builder.per_millisecond(milliseconds).burst_size(at_once).finish();
    GovernorLayer::new(config.expect("limits above zero")).error_handler(refuse)
}

#[expect(clippy::needless_pass_by_value, reason = "as the layer calls it")]
fn refuse(error: GovernorError) -> Response {
    let wait_s = match error {
        GovernorError::TooManyRequests { wait_time, .. } => wait_time.max(1),
        _ => 1,
    };
    ApiError::from(Problem::AddressTooOften).after(wait_s).into_response()
}
