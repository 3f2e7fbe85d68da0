//! What people are told of, and the ways to tell them.

use std::sync::Arc;

use crate::text::words;

words! {
    /// What is told.
    pub enum Kind {
        /// Somebody came late.
        Late = "late",
        /// Somebody did not come.
        Absence = "absence",
        /// Somebody came, and never left.
        MissingOut = "missing_out",
    }
}

/// The channels that there are. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    /// Whether there is e-mail.
    pub mail: bool,
    /// Webhooks by name, with what they want to be told.
    pub webhooks: Arc<[(String, Vec<Kind>)]>,
}
