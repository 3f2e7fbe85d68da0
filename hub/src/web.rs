//! What every HTTP handler stands on: the hub's state, who asks, what they may, limits, refusals.

pub mod access;
pub mod document;
pub mod error;
pub mod extract;
pub mod heavy;
pub mod query;
pub mod rate;
pub mod session;
pub mod state;

pub use error::ApiError;
pub use extract::{Json, Path, Query};
pub use session::Caller;
