//! What people are told of, and the ways to tell them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody came late.
    Late,
    /// Somebody did not come.
    Absence,
    /// Somebody came, and never left.
    MissingOut,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Late, Self::Absence, Self::MissingOut];

    /// As the database and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Absence => "absence",
            Self::MissingOut => "missing_out",
        }
    }

    /// Reads what [`Kind::as_str`] writes.
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::read(kind.as_str()), Some(kind));
            assert_eq!(json!(kind), json!(kind.as_str()));
        }
        assert_eq!(Kind::read("birthday"), None);
    }
}
