//! Why something was not done, as the one who asked should read it. Knows no rule and no HTTP.

/// A refusal: one sentence, with the way out where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Denial {
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Senseless(String),
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

impl From<sqlx::Error> for Denial {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<serde_json::Error> for Denial {
    fn from(error: serde_json::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Denial {
    /// There is no such thing.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::Missing(message.into())
    }

    /// What was asked for makes no sense.
    pub fn senseless(message: impl Into<String>) -> Self {
        Self::Senseless(message.into())
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

/// Refuses a text that is empty, too long, has blanks at its ends or holds control characters.
pub fn worded(what: &str, text: &str, most: usize) -> Result<(), Denial> {
    let length = text.chars().count();
    if (1..=most).contains(&length) && text.trim() == text && !text.contains(char::is_control) {
        return Ok(());
    }
    let rule = "characters, no blanks at its ends and no control characters";
    Err(Denial::senseless(format!("{what} has 1 to {most} {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_limits() {
        assert!(worded("a name", "Früh 1", 100).is_ok());
        assert!(worded("a name", &"ü".repeat(100), 100).is_ok());
        for wrong in ["", " ", "early ", "two\nlines", &"x".repeat(101)] {
            assert!(matches!(worded("a name", wrong, 100), Err(Denial::Senseless(_))), "{wrong:?}");
        }
    }
}
