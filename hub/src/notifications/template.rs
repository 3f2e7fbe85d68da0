//! What an e-mail says, in the reader's language and the site's time.

use anyhow::{Context, Result};
use fluent_bundle::FluentArgs;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use crate::date::Timestamp;
use crate::i18n::Language;
use crate::notifications::Message;

/// An e-mail without its headers. No `Debug`: it names people.
pub(super) struct Email {
    pub(super) subject: String,
    pub(super) body: String,
}

pub(super) fn write(message: &Message) -> Result<Email> {
    let language = message.language;
    let arguments = arguments(message, language)?;
    let event = event(message);
    let text = |id: &str| language.text(id, &arguments);
    let part = |part: &str| text(&format!("{event}.{part}"));
    let body = [text("mail-greeting"), part("event"), part("advice"), text("mail-footer")];
    Ok(Email { subject: part("subject").trim().to_owned(), body: format!("{}\n", body.join("\n\n")) })
}

/// The message for whom it is about, or for others.
fn event(message: &Message) -> String {
    format!("mail-{}-{}", message.kind.as_str(), if message.own { "own" } else { "other" })
}

/// What the messages name, written as the language writes it. What is not known is empty.
fn arguments(message: &Message, language: Language) -> Result<FluentArgs<'static>> {
    let zone = TimeZone::get(&message.zone).with_context(|| format!("no time zone {:?}", message.zone))?;
    let times = &message.detail.times;
    let time = |at: Option<Timestamp>| {
        at.map(|at| at.to_zoned(zone.clone()).strftime("%H:%M").to_string()).unwrap_or_default()
    };
    let late = SignedDuration::from_secs(times.late_s.into());
    let arguments = [
        ("recipient", one_line(&message.recipient)),
        ("name", one_line(&message.name)),
        ("number", one_line(&message.number)),
        ("date", language.date(message.detail.date.0)),
        ("shift", one_line(&message.detail.shift)),
        ("due", time(times.first_in.and_then(|at| at.checked_sub(late).ok().map(Timestamp)))),
        ("came", time(times.first_in)),
        ("late", language.duration(times.late_s)),
    ];
    Ok(arguments.into_iter().collect())
}

/// A name as it is written, but on one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::db::channels::Kind;
    use crate::i18n::tests::assert_given;
    use crate::notifications::{Detail, Times};

    fn message(kind: Kind, language: Language, own: bool) -> Message {
        let at = |text: &str| text.parse().ok().map(Timestamp);
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
            language,
            detail: Detail {
                date: jiff::civil::date(2025, 3, 3).into(), shift: "Früh & Spät".into(), times
            },
            created_at: Timestamp::default(),
        }
    }

    fn email(kind: Kind, language: Language, own: bool) -> (String, String) {
        let Email { subject, body } = write(&message(kind, language, own)).expect("an e-mail");
        assert!(!subject.is_empty() && !subject.contains('\n'), "{subject}");
        assert!(!body.contains("\n\n\n") && !body.contains("  ") && body.ends_with(".\n"), "{body}");
        (subject, body)
    }

    #[test]
    fn a_late_arrival_in_english() {
        let (subject, body) = email(Kind::Late, Language::English, true);
        assert_eq!(subject, "You came in late on Monday, 3 March 2025");
        assert!(body.starts_with("Hello Ann Ångström,\n\nyou came in at 10:03"), "{body}");
        for part in ["09:00", "1 hour 3 minutes", "(Früh & Spät)", "correction"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let (subject, body) = email(Kind::Late, Language::English, false);
        assert_eq!(subject, "Ann Ångström came in late on Monday, 3 March 2025");
        assert!(body.starts_with("Hello Zoë O’Neill,\n\nAnn Ångström (1001) came in at 10:03"), "{body}");
    }

    #[test]
    fn a_late_arrival_in_german() {
        let (subject, body) = email(Kind::Late, Language::German, true);
        assert_eq!(subject, "Sie kamen zu spät am Montag, 3. März 2025");
        assert!(body.starts_with("Guten Tag Ann Ångström,\n\nSie kamen um 10:03 Uhr"), "{body}");
        for part in ["09:00 Uhr", "1 Stunde 3 Minuten", "(Früh & Spät)", "Korrektur"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let (subject, body) = email(Kind::Late, Language::German, false);
        assert_eq!(subject, "Ann Ångström kam zu spät am Montag, 3. März 2025");
        assert!(body.starts_with("Guten Tag Zoë O’Neill,\n\nAnn Ångström (1001) kam um 10:03 Uhr"), "{body}");
    }

    #[test]
    fn every_email_names_whom_and_when() {
        for &kind in Kind::ALL {
            for (language, date) in
                [(Language::English, "Monday, 3 March 2025"), (Language::German, "Montag, 3. März 2025")]
            {
                for own in [true, false] {
                    let (subject, body) = email(kind, language, own);
                    assert!(subject.contains(date) && body.contains(date), "{subject}\n{body}");
                    assert_eq!(subject.contains("Ann Ångström"), !own, "{subject}");
                    assert!(body.contains("Ann Ångström"), "{body}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        for &kind in Kind::ALL {
            for &language in Language::ALL {
                let mut bare = message(kind, language, true);
                bare.detail.shift.clear();
                bare.detail.times.first_in = None;
                let body = write(&bare).expect("an e-mail").body;
                assert!(!body.contains("()") && !body.contains("  ") && !body.contains(" ,"), "{body}");
            }
        }
    }

    #[test]
    fn every_email_has_its_messages() {
        for &kind in Kind::ALL {
            for own in [true, false] {
                let message = message(kind, Language::English, own);
                let arguments = arguments(&message, Language::English).expect("a zone");
                for id in [&event(&message), "mail-greeting", "mail-footer"] {
                    assert_given(id, &arguments);
                }
            }
        }
    }

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(one_line("Ann\r\nBcc: all@example.org"), "Ann  Bcc: all@example.org");
        assert_eq!(one_line("李 Ωmega"), "李 Ωmega");
    }
}
