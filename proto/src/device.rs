//! The name of a terminal: what its certificate says and what its topics start with.

use std::fmt;
use std::str::FromStr;

/// 32 lower-case hexadecimal characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(String);

/// What was given is no [`DeviceId`].
#[derive(Debug, thiserror::Error)]
#[error("a terminal is named by 32 characters from 0-9 and a-f")]
pub struct NotADevice;

impl DeviceId {
    /// Names a terminal by 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = NotADevice;

    fn from_str(text: &str) -> Result<Self, NotADevice> {
        let fits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        fits.then(|| Self(text.to_owned())).ok_or(NotADevice)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_lower_case_hexadecimal_characters_name_a_terminal() {
        assert!("0123456789abcdef0123456789abcdef".parse::<DeviceId>().is_ok());
        for wrong in
            ["", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef", "../../up/0123456789abcdef0123456"]
        {
            assert!(wrong.parse::<DeviceId>().is_err(), "{wrong}");
        }
    }
}
