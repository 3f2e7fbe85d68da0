//! Kinds of notifications, and the channels by which they are sent.

use std::sync::Arc;

use crate::text::words;

words! {
    /// A kind of notification.
    pub enum Kind {
        /// Somebody came late.
        Late = "late",
        /// Somebody did not come.
        Absence = "absence",
        /// Somebody came, and never left.
        MissingOut = "missing_out",
    }
}

impl Kind {
    /// Whether it is about a day that is final: otherwise it is sent when the workday is written.
    pub fn waits_until_final(self) -> bool {
        match self {
            Self::Late => false,
            Self::Absence | Self::MissingOut => true,
        }
    }
}

/// The channels that there are. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    /// Whether there is e-mail.
    pub mail: bool,
    /// Webhooks by name, with the kinds that they take.
    pub webhooks: Arc<[(String, Vec<Kind>)]>,
}
