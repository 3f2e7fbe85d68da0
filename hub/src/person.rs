//! Which person.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::text::{NUMBER, line};

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

/// An employee number, as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct PersonNumber(String);

impl PersonNumber {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for PersonNumber {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PersonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for PersonNumber {
    fn from(number: String) -> Self {
        Self(number)
    }
}

impl From<&str> for PersonNumber {
    fn from(number: &str) -> Self {
        Self(number.to_owned())
    }
}

impl From<PersonNumber> for String {
    fn from(number: PersonNumber) -> Self {
        number.0
    }
}

/// As a request takes it; a field of an answer says `value_type = String`.
impl PartialSchema for PersonNumber {
    fn schema() -> RefOr<Schema> {
        line(NUMBER)
    }
}

impl ToSchema for PersonNumber {
    fn name() -> Cow<'static, str> {
        "NumberText".into()
    }
}
