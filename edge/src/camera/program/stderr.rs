//! The end of a program's standard error, with secrets masked: passwords and paths of URLs, arguments that may contain
//! one, and what follows an option that is named like one.

use crate::config::Command;

/// Last bytes that are kept.
pub const KEPT: usize = 4096;
/// Characters that are shown, at most.
const SHOWN: usize = 200;
const MASK: &str = "***";

pub struct Tail {
    text: Vec<u8>,
    total: usize,
    /// Arguments that contain a URL, or follow an option that is named like a secret.
    secrets: Vec<String>,
}

impl Tail {
    pub fn new(command: &Command) -> Self {
        let arguments = command.arguments();
        let of_option = arguments.windows(2).filter(|pair| announces_secret(&pair[0])).map(|pair| &pair[1]);
        let addresses = arguments.iter().filter(|word| word.contains("://"));
        let secrets = addresses.chain(of_option).filter(|word| !word.is_empty()).cloned().collect();
        Self { text: Vec::new(), total: 0, secrets }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        self.text.extend_from_slice(bytes);
        let surplus = self.text.len().saturating_sub(KEPT);
        self.text.drain(..surplus);
    }

    /// Bytes that were added in all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The last line with the word error, else the last one.
    pub fn last(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.text);
        // A truncated line may be the rest of a secret.
        let skipped = usize::from(self.total > KEPT);
        let mut lines: Vec<String> = text
            .split(['\n', '\r'])
            .skip(skipped)
            .map(|line| self.mask(line.trim()))
            .filter(|line| !line.is_empty())
            .collect();
        let error = lines.iter().rposition(|line| line.to_lowercase().contains("error"));
        let last = error.unwrap_or(lines.len().checked_sub(1)?);
        Some(lines.swap_remove(last).chars().take(SHOWN).collect())
    }

    /// Masks secrets; of each URL only scheme and host are left.
    fn mask(&self, line: &str) -> String {
        let mut line = line.replace(|letter: char| letter.is_control(), "");
        for secret in &self.secrets {
            line = line.replace(secret.as_str(), MASK);
        }
        let mut before = "";
        let masked = line.split(' ').map(|word| {
            if word.is_empty() {
                return String::new(); // between two spaces
            }
            let secret = announces_secret(before);
            before = word;
            if secret { MASK.to_owned() } else { mask_word(word) }
        });
        masked.collect::<Vec<_>>().join(" ")
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

fn names_secret(word: &str) -> bool {
    let word = word.to_lowercase();
    ["pass", "pwd", "secret", "token"].iter().any(|name| word.contains(name))
}

fn mask_word(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return match word.split_once('=') {
            Some((name, _)) if names_secret(name) => format!("{name}={MASK}"),
            _ => word.to_owned(),
        };
    };
    // User and password may be unescaped and contain any character.
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let host: String =
        place.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(*c)).collect();
    let user = if place.len() < rest.len() { format!("{MASK}@") } else { String::new() };
    let path = if host.len() < place.len() { "/..." } else { "" };
    format!("{scheme}://{user}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(arguments: &[&str], bytes: &[u8]) -> Tail {
        let words = ["ffmpeg"].iter().chain(arguments).map(|word| toml::Value::from(*word)).collect();
        let mut tail = Tail::new(&Command::try_from(toml::Value::Array(words)).expect("a command"));
        tail.push(bytes);
        tail
    }

    fn last(arguments: &[&str], said: &str) -> String {
        tail(arguments, said.as_bytes()).last().expect("words")
    }

    #[test]
    fn the_line_with_the_error_is_shown() {
        assert_eq!(
            last(&[], "one\nERROR: *** no cameras available ***\nbye\n"),
            "ERROR: *** no cameras available ***"
        );
        assert_eq!(last(&[], "frame=1\rframe=2\r\n\n"), "frame=2");
        assert!(tail(&[], b" \n").last().is_none());
        assert_eq!(last(&[], &"x".repeat(900)).len(), SHOWN);
    }

    #[test]
    fn no_password_is_shown() {
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
    fn a_truncated_line_is_not_shown() {
        let said = format!("rtsp://admin:{}@cam\n", "p".repeat(KEPT));
        assert!(tail(&[], said.as_bytes()).last().is_none());
    }
}
