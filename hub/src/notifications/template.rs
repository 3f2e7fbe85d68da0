//! Letters: what is told in the reader's language and the site's time.

use anyhow::{Context, Result};
use askama::Template;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::db::channels::Kind;
use crate::notifications::Message;

const GERMAN_DAYS: [&str; 7] =
    ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"];
const GERMAN_MONTHS: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];

/// A letter without its headers. No `Debug`: it names people.
pub(super) struct Email {
    pub(super) subject: String,
    pub(super) body: String,
}

/// What the templates say, written as the language writes it. What is not known is empty.
struct Words {
    /// Whether the reader is the one whom it is about.
    own: bool,
    /// The reader.
    to: String,
    name: String,
    number: String,
    date: String,
    shift: String,
    /// When they should have come.
    due: String,
    came: String,
    /// How much later they came.
    late: String,
}

#[derive(Template)]
#[template(path = "mail/late.en.txt")]
struct LateInEnglish<'a> {
    w: &'a Words,
}

#[derive(Template)]
#[template(path = "mail/late.de.txt")]
struct LateInGerman<'a> {
    w: &'a Words,
}

#[derive(Template)]
#[template(path = "mail/absence.en.txt")]
struct AbsenceInEnglish<'a> {
    w: &'a Words,
}

#[derive(Template)]
#[template(path = "mail/absence.de.txt")]
struct AbsenceInGerman<'a> {
    w: &'a Words,
}

#[derive(Template)]
#[template(path = "mail/missing_out.en.txt")]
struct MissingOutInEnglish<'a> {
    w: &'a Words,
}

#[derive(Template)]
#[template(path = "mail/missing_out.de.txt")]
struct MissingOutInGerman<'a> {
    w: &'a Words,
}

/// The codes of the languages that letters are written in.
pub const LANGUAGES: [&str; 2] = ["en", "de"];

/// The languages that letters are written in.
#[derive(Clone, Copy)]
enum Language {
    English,
    German,
}

impl Language {
    /// English, unless the reader's is another that is known here.
    fn of(code: &str) -> Self {
        if code == "de" { Self::German } else { Self::English }
    }

    fn date(self, date: Date) -> String {
        match self {
            Self::English => date.strftime("%A, %-d %B %Y").to_string(),
            Self::German => {
                let day = GERMAN_DAYS[date.weekday().to_monday_zero_offset() as usize];
                let month = GERMAN_MONTHS[date.month() as usize - 1];
                format!("{day}, {}. {month} {}", date.day(), date.year())
            }
        }
    }

    /// Hours and minutes; seconds do not matter.
    fn duration(self, seconds: i32) -> String {
        let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
        let (hour, minute, less) = match self {
            Self::English => (["hour", "hours"], ["minute", "minutes"], "less than a minute"),
            Self::German => (["Stunde", "Stunden"], ["Minute", "Minuten"], "weniger als eine Minute"),
        };
        let counted = |count: i32, [one, many]: [&str; 2]| {
            (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
        };
        let parts: Vec<String> = counted(hours, hour).into_iter().chain(counted(minutes, minute)).collect();
        if parts.is_empty() { less.to_owned() } else { parts.join(" ") }
    }
}

/// Writes a letter.
pub(super) fn write(message: &Message) -> Result<Email> {
    let zone = TimeZone::get(&message.zone).with_context(|| format!("no time zone {:?}", message.zone))?;
    let language = Language::of(&message.language);
    let w = &words(message, language, &zone);
    let text = match (message.kind, language) {
        (Kind::Late, Language::English) => LateInEnglish { w }.render(),
        (Kind::Late, Language::German) => LateInGerman { w }.render(),
        (Kind::Absence, Language::English) => AbsenceInEnglish { w }.render(),
        (Kind::Absence, Language::German) => AbsenceInGerman { w }.render(),
        (Kind::MissingOut, Language::English) => MissingOutInEnglish { w }.render(),
        (Kind::MissingOut, Language::German) => MissingOutInGerman { w }.render(),
    };
    let text = text.context("the letter's template")?;
    let (subject, body) = text.split_once('\n').context("a letter without a body")?;
    Ok(Email { subject: subject.trim().to_owned(), body: format!("{}\n", body.trim()) })
}

fn words(message: &Message, language: Language, zone: &TimeZone) -> Words {
    let times = &message.detail.times;
    let time = |at: Option<Timestamp>| {
        at.map(|at| at.to_zoned(zone.clone()).strftime("%H:%M").to_string()).unwrap_or_default()
    };
    let late = SignedDuration::from_secs(times.late_s.into());
    Words {
        own: message.own,
        to: one_line(&message.recipient),
        name: one_line(&message.name),
        number: one_line(&message.number),
        date: language.date(message.detail.date),
        shift: one_line(&message.detail.shift),
        due: time(times.first_in.and_then(|at| at.checked_sub(late).ok())),
        came: time(times.first_in),
        late: language.duration(times.late_s),
    }
}

/// A name as it is written, but on one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::notifications::{Detail, Times};

    fn message(kind: Kind, language: &str, own: bool) -> Message {
        let at = |text: &str| text.parse().ok();
        let times = Times {
            late_s: 3_780,
            first_in: at("2025-03-03T09:03:30Z"),
            last_out: None,
            starts_at: at("2025-03-03T08:00:00Z"),
        };
        Message {
            id: Uuid::nil(),
            kind,
            own,
            number: "1001".into(),
            name: "Ann Ångström".into(),
            zone: "Europe/Berlin".into(),
            recipient: if own { "Ann Ångström" } else { "Zoë O’Neill" }.into(),
            email: None,
            language: language.into(),
            detail: Detail { date: jiff::civil::date(2025, 3, 3), shift: "Früh & Spät".into(), times },
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn letter(kind: Kind, language: &str, own: bool) -> (String, String) {
        let Email { subject, body } = write(&message(kind, language, own)).expect("a letter");
        assert!(!subject.is_empty() && !subject.contains('\n'), "{subject}");
        assert!(!body.contains("\n\n\n") && !body.contains("  ") && body.ends_with(".\n"), "{body}");
        (subject, body)
    }

    #[test]
    fn a_late_arrival_in_english() {
        let (subject, body) = letter(Kind::Late, "en", true);
        assert_eq!(subject, "You came in late on Monday, 3 March 2025");
        assert!(body.starts_with("Hello Ann Ångström,\n\nyou came in at 10:03"), "{body}");
        for part in ["09:00", "1 hour 3 minutes", "(Früh & Spät)", "correction"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let (subject, body) = letter(Kind::Late, "en", false);
        assert_eq!(subject, "Ann Ångström came in late on Monday, 3 March 2025");
        assert!(body.starts_with("Hello Zoë O’Neill,\n\nAnn Ångström (1001) came in at 10:03"), "{body}");
    }

    #[test]
    fn a_late_arrival_in_german() {
        let (subject, body) = letter(Kind::Late, "de", true);
        assert_eq!(subject, "Sie kamen zu spät am Montag, 3. März 2025");
        assert!(body.starts_with("Guten Tag Ann Ångström,\n\nSie kamen um 10:03 Uhr"), "{body}");
        for part in ["09:00 Uhr", "1 Stunde 3 Minuten", "(Früh & Spät)", "Korrektur"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let (subject, body) = letter(Kind::Late, "de", false);
        assert_eq!(subject, "Ann Ångström kam zu spät am Montag, 3. März 2025");
        assert!(body.starts_with("Guten Tag Zoë O’Neill,\n\nAnn Ångström (1001) kam um 10:03 Uhr"), "{body}");
    }

    #[test]
    fn every_letter_names_whom_and_when() {
        for kind in Kind::ALL {
            for (language, date) in [("en", "Monday, 3 March 2025"), ("de", "Montag, 3. März 2025")] {
                for own in [true, false] {
                    let (subject, body) = letter(kind, language, own);
                    assert!(subject.contains(date) && body.contains(date), "{subject}\n{body}");
                    assert_eq!(subject.contains("Ann Ångström"), !own, "{subject}");
                    assert!(body.contains("Ann Ångström"), "{body}");
                }
            }
        }
        // A language that nobody has written letters in.
        assert_eq!(letter(Kind::Absence, "fr", true), letter(Kind::Absence, "en", true));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        for kind in Kind::ALL {
            for language in ["en", "de"] {
                let mut bare = message(kind, language, true);
                bare.detail.shift.clear();
                bare.detail.times.first_in = None;
                let body = write(&bare).expect("a letter").body;
                assert!(!body.contains("()") && !body.contains("  ") && !body.contains(" ,"), "{body}");
            }
        }
    }

    #[test]
    fn durations_are_hours_and_minutes() {
        let (english, german) = (Language::English, Language::German);
        let told = [59, 60, 601, 3_600, 7_320].map(|seconds| english.duration(seconds));
        assert_eq!(told, ["less than a minute", "1 minute", "10 minutes", "1 hour", "2 hours 2 minutes"]);
        assert_eq!(german.duration(3_660), "1 Stunde 1 Minute");
        assert_eq!(german.duration(0), "weniger als eine Minute");
    }

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(one_line("Ann\r\nBcc: all@example.org"), "Ann  Bcc: all@example.org");
        assert_eq!(one_line("李 Ωmega"), "李 Ωmega");
    }
}
