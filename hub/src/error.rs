//! Why something was not done, as the one who asked should read it. Knows no rule and no HTTP.

use models::photo::PhotoError;

/// A refusal: one sentence, with the way out where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Not as things stand.
    #[error("{0}")]
    Conflict(String),
    /// Not for the one who asked.
    #[error("{0}")]
    Forbidden(String),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Error {
    /// There is no such thing.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::Missing(message.into())
    }

    /// What was asked for makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Not as things stand.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(message.into())
    }

    /// Not for the one who asked.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden(message.into())
    }
}

/// Why something about a person could not be done, as the one who asked should read it.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// There is nobody of that number.
    #[error("there is nobody with the number {0}")]
    Unknown(String),
    /// Somebody has that number.
    #[error("the number {0} is taken")]
    Taken(String),
    /// A number or a name is empty or too long.
    #[error(
        "a number has 1 to 64 characters and a name 1 to 200, no blanks at the ends and no control characters"
    )]
    Named,
    /// Consent is missing.
    #[error("{0} has not consented to the use of their face: record the consent first")]
    NoConsent(String),
    /// A photo can't be used.
    #[error("{photo}: {reason}")]
    Photo {
        /// Which one.
        photo: String,
        /// Why not.
        reason: PhotoError,
    },
    /// A photo shows somebody else than the others.
    #[error(
        "{0} shows somebody else than the other photos of this person: leave it out, or withdraw the consent and record it anew if those are wrong"
    )]
    SomebodyElse(String),
    /// No photos, or too many.
    #[error(
        "one to {most} photos at a time, {kept} a person: withdraw the consent and record it anew to start again"
    )]
    Count {
        /// Photos at a time, at most.
        most: usize,
        /// Photos of a person, at most.
        kept: usize,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<sqlx::Error> for PersonError {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Refuses a text that is empty, too long, has blanks at its ends or holds control characters.
pub fn check_text(what: &str, text: &str, most: usize) -> Result<(), Error> {
    let length = text.chars().count();
    if (1..=most).contains(&length) && text.trim() == text && !text.contains(char::is_control) {
        return Ok(());
    }
    let rule = "characters, no blanks at its ends and no control characters";
    Err(Error::invalid(format!("{what} has 1 to {most} {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_limits() {
        assert!(check_text("a name", "Früh 1", 100).is_ok());
        assert!(check_text("a name", &"ü".repeat(100), 100).is_ok());
        for wrong in ["", " ", "early ", "two\nlines", &"x".repeat(101)] {
            assert!(matches!(check_text("a name", wrong, 100), Err(Error::Invalid(_))), "{wrong:?}");
        }
    }
}
