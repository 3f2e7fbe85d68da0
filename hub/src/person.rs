//! Which person.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

/// A person's id. In queries a uuid is one where `hub/sqlx.toml` says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct PersonId(pub Uuid);

impl PersonId {
    /// Of nobody.
    pub const NOBODY: Self = Self(Uuid::nil());

    /// The id of somebody new.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// One that a test writes.
    #[cfg(test)]
    pub const fn from_u128(id: u128) -> Self {
        Self(Uuid::from_u128(id))
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
