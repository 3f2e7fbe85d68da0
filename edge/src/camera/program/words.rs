//! What a program said on its standard error, without the passwords and paths of addresses, the arguments in
//! which there may be a password, and what follows an option that is called so.

use crate::config::Command;

/// Bytes that are kept: the last ones.
pub const KEPT: usize = 4096;
/// Characters that are told.
const TOLD: usize = 200;
/// What stands in place of what is not told.
const HIDDEN: &str = "***";

/// The last words.
pub struct Words {
    text: Vec<u8>,
    heard: usize,
    /// Arguments that hold an address, or follow an option that is called like a secret.
    secrets: Vec<String>,
}

impl Words {
    /// None yet.
    pub fn new(command: &Command) -> Self {
        let arguments = command.arguments();
        let of_option = arguments.windows(2).filter(|pair| announces_secret(&pair[0])).map(|pair| &pair[1]);
        let addresses = arguments.iter().filter(|word| word.contains("://"));
        let secrets = addresses.chain(of_option).filter(|word| !word.is_empty()).cloned().collect();
        Self { text: Vec::new(), heard: 0, secrets }
    }

    /// Takes what was said, and forgets what was said long before.
    pub fn hear(&mut self, said: &[u8]) {
        self.heard += said.len();
        self.text.extend_from_slice(said);
        let surplus = self.text.len().saturating_sub(KEPT);
        self.text.drain(..surplus);
    }

    /// Bytes that were said in all.
    pub fn heard(&self) -> usize {
        self.heard
    }

    /// The last line that speaks of an error, else the last one.
    pub fn last(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.text);
        // Of a line that lost its beginning nobody knows what it holds.
        let skipped = usize::from(self.heard > KEPT);
        let mut lines: Vec<String> = text
            .split(['\n', '\r'])
            .skip(skipped)
            .map(|line| self.hide(line.trim()))
            .filter(|line| !line.is_empty())
            .collect();
        let error = lines.iter().rposition(|line| line.to_lowercase().contains("error"));
        let last = error.unwrap_or(lines.len().checked_sub(1)?);
        Some(lines.swap_remove(last).chars().take(TOLD).collect())
    }

    /// Leaves of each address its scheme and host alone.
    fn hide(&self, line: &str) -> String {
        let mut line = line.replace(|letter: char| letter.is_control(), "");
        for secret in &self.secrets {
            line = line.replace(secret.as_str(), HIDDEN);
        }
        let mut before = "";
        let told = line.split(' ').map(|word| {
            if word.is_empty() {
                return String::new(); // between two spaces
            }
            let hidden = announces_secret(before);
            before = word;
            if hidden { HIDDEN.to_owned() } else { hide_in_word(word) }
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[cfg(test)]
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// Whether the next word is a secret, as in `--password hunter2`, `token: abc` and `Bearer abc`.
fn announces_secret(word: &str) -> bool {
    let named = (word.starts_with('-') && !word.contains('=')) || word.ends_with([':', '=']);
    named && names_secret(word) || word.eq_ignore_ascii_case("bearer")
}

/// Whether a word holds what secrets are called.
fn names_secret(word: &str) -> bool {
    let word = word.to_lowercase();
    ["pass", "pwd", "secret", "token"].iter().any(|name| word.contains(name))
}

fn hide_in_word(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return match word.split_once('=') {
            Some((name, _)) if names_secret(name) => format!("{name}={HIDDEN}"),
            _ => word.to_owned(),
        };
    };
    // Some write user and password unescaped, with any letter in them.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let host: String =
        place.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(*c)).collect();
    let user = if place.len() < rest.len() { format!("{HIDDEN}@") } else { String::new() };
    let path = if host.len() < place.len() { "/..." } else { "" };
    format!("{scheme}://{user}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(arguments: &[&str], said: &[u8]) -> Words {
        let words = ["ffmpeg"].iter().chain(arguments).map(|word| toml::Value::from(*word)).collect();
        let mut words = Words::new(&Command::try_from(toml::Value::Array(words)).expect("a command"));
        words.hear(said);
        words
    }

    fn last(arguments: &[&str], said: &str) -> String {
        words(arguments, said.as_bytes()).last().expect("words")
    }

    #[test]
    fn the_line_with_the_error_is_told() {
        assert_eq!(
            last(&[], "one\nERROR: *** no cameras available ***\nbye\n"),
            "ERROR: *** no cameras available ***"
        );
        assert_eq!(last(&[], "frame=1\rframe=2\r\n\n"), "frame=2");
        assert!(words(&[], b" \n").last().is_none());
        assert_eq!(last(&[], &"x".repeat(900)).len(), TOLD);
    }

    #[test]
    fn no_password_is_told() {
        let said = "rtsp://admin:hunter2@10.0.0.9:554/live?a=1: 401 Unauthorized";
        assert_eq!(last(&[], said), "rtsp://***@10.0.0.9:554/... 401 Unauthorized");
        let odd = "Error opening rtsp://admin:a/b@c@cam/x and rtsp://cam/user=admin&password=hunter2&x";
        assert_eq!(last(&[], odd), "Error opening rtsp://***@cam/... and rtsp://cam/...");
        let address = "rtsp://admin:my pass@cam/";
        assert_eq!(last(&["-i", address], &format!("{address}: refused")), "***: refused");
        let option = "location=rtsp://admin:my pass@cam/";
        assert_eq!(last(&[option], &format!("no {option}")), "no ***");
        let named =
            "error: --password hunter2 user=a password=hunter2 token: hunter2 Bearer hunter2 wrong password";
        let told = "error: --password *** user=a password=*** token: *** Bearer *** wrong password";
        assert_eq!(last(&[], named), told);
        assert_eq!(last(&["--pass", "hunter2"], "no such option: hunter2"), "no such option: ***");
        assert_eq!(last(&["--pass", ""], "password:  hunter2"), "password:  ***");
    }

    #[test]
    fn a_line_that_lost_its_beginning_is_not_told() {
        let said = format!("rtsp://admin:{}@cam\n", "p".repeat(KEPT));
        assert!(words(&[], said.as_bytes()).last().is_none());
    }
}
