//! A camera that is a program: its command.

use std::fmt;

use serde::Deserialize;

/// A program and its arguments, in which there may be a camera's password: never shown, not even as `Debug`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Command(Vec<String>);

/// How the program's pictures are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JPEG after the other, each of its own size.
    #[default]
    Mjpeg,
    /// Raw YUYV, row after row without padding.
    Yuyv,
}

/// What is wrong with a command. It must not repeat it.
const SHAPE: &str = "camera.command is a list of texts: the program, then each of its arguments by itself, such as \
    [\"rpicam-vid\", \"-t\", \"0\", \"--codec\", \"mjpeg\", \"-o\", \"-\"]";

impl Command {
    /// The program, as it is configured.
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// Its arguments.
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
