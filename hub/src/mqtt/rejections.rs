//! Who was not let in, and why: logged and counted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use tracing::warn;

use crate::text::words;

/// Lines in the log a second; the others are counted alone. Somebody who knocks all the time must
/// not fill a disk.
const LINES: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

words! {
    /// Why somebody was rejected, as it is counted.
    pub enum RejectionKind {
        Batch = "batch",
        Certificate = "certificate",
        Claim = "claim",
        ClientId = "client-id",
        Code = "code",
        NotMqtt = "not-mqtt",
        Other = "other",
        Packet = "packet",
        Publish = "publish",
        Replaced = "replaced",
        Retain = "retain",
        Revoked = "revoked",
        Session = "session",
        Signature = "signature",
        Subscribe = "subscribe",
        Tls = "tls",
        TooLarge = "too-large",
        TooMany = "too-many",
        TooOften = "too-often",
        TooSlow = "too-slow",
        Unknown = "unknown",
        Will = "will",
    }
}

/// Somebody was rejected.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    /// The kind of reason, as it is counted.
    pub kind: RejectionKind,
    detail: String,
}

/// A rejection of a kind, with what somebody who reads the log should know.
pub fn reject(kind: RejectionKind, detail: impl Display) -> anyhow::Error {
    Rejection { kind, detail: detail.to_string() }.into()
}

/// The counts since the hub started.
pub struct Rejections {
    counts: Mutex<BTreeMap<RejectionKind, u64>>,
    lines: DefaultDirectRateLimiter,
}

impl Default for Rejections {
    fn default() -> Self {
        Self { counts: Mutex::default(), lines: RateLimiter::direct(Quota::per_second(LINES)) }
    }
}

impl Rejections {
    /// Counts and logs one. What is no [`Rejection`] counts as `other`.
    pub fn note(&self, who: &dyn Display, reason: &anyhow::Error) {
        let kind =
            reason.downcast_ref::<Rejection>().map_or(RejectionKind::Other, |rejection| rejection.kind);
        *self.counts.lock().entry(kind).or_default() += 1;
        if self.lines.check().is_ok() {
            warn!(%who, kind = kind.as_str(), reason = format!("{reason:#}"), "rejected");
        }
    }

    /// How many of each kind.
    pub fn counts(&self) -> BTreeMap<RejectionKind, u64> {
        self.counts.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn rejections_are_counted_by_kind_whatever_context_was_added() {
        let rejections = Rejections::default();
        let rejection: anyhow::Result<()> = Err(reject(RejectionKind::Revoked, "a terminal"));
        rejections.note(&"peer", &rejection.context("at the door").expect_err("rejected"));
        rejections.note(&"peer", &anyhow::anyhow!("a socket broke"));
        rejections.note(&"peer", &reject(RejectionKind::Revoked, "again"));
        assert_eq!(
            rejections.counts(),
            BTreeMap::from([(RejectionKind::Other, 1), (RejectionKind::Revoked, 2)])
        );
    }
}
