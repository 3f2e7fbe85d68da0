//! The command of a camera that is a program.

use std::fmt;

use serde::Deserialize;

/// A program and its arguments, which may contain a password: never shown, not even by `Debug`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Command(Vec<String>);

/// The format of the program's output.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEGs, each of its own size.
    #[default]
    Mjpeg,
    /// Raw YUYV without padding.
    Yuyv,
}

/// The error about a command, which it must not repeat.
const SHAPE: &str = "camera.command must be a list of strings: the program and each of its arguments, such as \
    [\"rpicam-vid\", \"-t\", \"0\", \"--codec\", \"mjpeg\", \"-o\", \"-\"]";

impl Command {
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }
}

impl TryFrom<toml::Value> for Command {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, &'static str> {
        let words: Vec<String> = value.try_into().map_err(|_| SHAPE)?;
        let usable = words.first().is_some_and(|program| !program.is_empty())
            && words.iter().all(|word| !word.contains('\0'));
        if usable { Ok(Self(words)) } else { Err(SHAPE) }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {} arguments", self.program(), self.arguments().len())
    }
}
