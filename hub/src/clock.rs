//! The only place that asks what time it is.

use crate::date::Timestamp;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the one place that may ask")]
pub fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}
