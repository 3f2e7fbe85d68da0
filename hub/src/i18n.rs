//! Text in the reader's language. Each language has a file of [Fluent](https://projectfluent.org) messages in
//! `hub/i18n`; what a language lacks is English.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use jiff::civil::Date;
use tracing::error;

use crate::text::words;

type Bundle = FluentBundle<FluentResource>;

words! {
    /// A language, by its code.
    pub enum Language { English = "en", German = "de" }
}

impl Language {
    fn bundle(self) -> &'static Bundle {
        static ENGLISH: LazyLock<Bundle> = LazyLock::new(|| load("en", include_str!("../i18n/en.ftl")));
        static GERMAN: LazyLock<Bundle> = LazyLock::new(|| load("de", include_str!("../i18n/de.ftl")));
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }

    /// A message (`ID`), or an attribute of one (`ID.ATTRIBUTE`).
    pub fn text(self, id: &str, arguments: &FluentArgs) -> String {
        let (message, attribute) =
            id.split_once('.').map_or((id, None), |(id, attribute)| (id, Some(attribute)));
        let found = [self, Self::English].into_iter().find_map(|language| {
            let message = language.bundle().get_message(message)?;
            let pattern = match attribute {
                Some(attribute) => message.get_attribute(attribute)?.value(),
                None => message.value()?,
            };
            Some((language.bundle(), pattern))
        });
        let Some((bundle, pattern)) = found else {
            error!(id, "no language has this message");
            return id.to_owned();
        };
        let mut errors = Vec::new();
        let text = bundle.format_pattern(pattern, Some(arguments), &mut errors).into_owned();
        if !errors.is_empty() {
            error!(id, ?errors, "a message that can't be written in full");
        }
        text
    }

    /// A date with its day of the week.
    pub fn date(self, date: Date) -> String {
        let parts = [
            ("weekday", i64::from(date.weekday().to_monday_one_offset())),
            ("day", i64::from(date.day())),
            ("month", i64::from(date.month())),
            ("year", i64::from(date.year())),
        ];
        self.text("date", &parts.into_iter().collect())
    }

    /// Hours and minutes; seconds do not matter.
    pub fn duration(self, seconds: i32) -> String {
        let counted = |unit: &str, count: i32| {
            (count > 0).then(|| self.text(unit, &FluentArgs::from_iter([(unit, count)])))
        };
        let parts: Vec<String> = counted("hours", seconds / 3600)
            .into_iter()
            .chain(counted("minutes", seconds % 3600 / 60))
            .collect();
        if parts.is_empty() {
            self.text("duration-below-minute", &FluentArgs::new())
        } else {
            parts.join(" ")
        }
    }
}

fn load(code: &str, messages: &str) -> Bundle {
    let messages = FluentResource::try_new(messages.to_owned())
        .unwrap_or_else(|(_, errors)| panic!("{code}.ftl can't be read: {errors:?}"));
    let mut bundle = Bundle::new_concurrent(vec![code.parse().expect("the code of a language")]);
    // The marks around an argument are for text of both directions; mail clients show them.
    bundle.set_use_isolating(false);
    bundle.add_function("KNOWN", |given, _| known(given)).expect("one function of the name");
    bundle.add_function("HMS", |given, _| hours_minutes_seconds(given)).expect("one function of the name");
    bundle.add_resource(messages).expect("each message once");
    bundle
}

fn known<'a>(given: &[FluentValue<'a>]) -> FluentValue<'a> {
    let known = matches!(given, [FluentValue::String(text)] if !text.is_empty());
    FluentValue::from(if known { "yes" } else { "no" })
}

fn hours_minutes_seconds<'a>(given: &[FluentValue<'a>]) -> FluentValue<'a> {
    let [FluentValue::Number(seconds)] = given else { return FluentValue::Error };
    let seconds = seconds.value as i64;
    FluentValue::from(format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60))
}

#[cfg(test)]
pub mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const ENGLISH: &str = include_str!("../i18n/en.ftl");
    const GERMAN: &str = include_str!("../i18n/de.ftl");

    /// The messages of a file, each with its source.
    fn messages(file: &str) -> BTreeMap<&str, String> {
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        let mut current = None;
        for line in file.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
                current = line.split(' ').next();
            }
            if let Some(id) = current {
                found.entry(id).or_default().extend([line, "\n"]);
            }
        }
        found
    }

    /// The names that follow a mark in a message.
    fn names<'a>(source: &'a str, mark: &str) -> BTreeSet<&'a str> {
        let end = |c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c);
        source
            .split(mark)
            .skip(1)
            .filter_map(|rest| rest.split(end).next())
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// Fails unless there is an English message, and in no language does any of its variants name an argument that
    /// is not given.
    pub fn assert_given(id: &str, arguments: &FluentArgs) {
        assert!(messages(ENGLISH).contains_key(id), "en.ftl lacks {id}");
        for file in [ENGLISH, GERMAN] {
            let messages = messages(file);
            let mut wanted = vec![id];
            while let Some(id) = wanted.pop() {
                let Some(source) = messages.get(id) else { continue };
                for name in names(source, "$") {
                    assert!(arguments.get(name).is_some(), "{id} names ${name}, which is not given");
                }
                wanted.extend(names(source, "{ ").into_iter().filter(|name| messages.contains_key(name)));
            }
        }
    }

    #[test]
    fn every_message_is_there_in_english() {
        let (english, german) = (messages(ENGLISH), messages(GERMAN));
        assert!(english.len() > 40, "{english:?}");
        for (id, source) in &german {
            let lacked: Vec<&str> = names(source, "\n    .")
                .into_iter()
                .filter(|name| !english[id].contains(&format!("\n    .{name} =")))
                .collect();
            assert_eq!(lacked, Vec::<&str>::new(), "{id}");
        }
        for file in [&english, &german] {
            for (id, source) in file {
                let unknown = names(source, "{ ").into_iter().filter(|name| {
                    name.starts_with(|c: char| c.is_ascii_lowercase()) && !english.contains_key(name)
                });
                assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new(), "{id}");
            }
        }
    }

    #[test]
    fn what_german_lacks_is_english() {
        assert!(!messages(GERMAN).contains_key("reason-holiday"));
        let text = Language::German.text("reason-holiday", &FluentArgs::new());
        assert_eq!(text, "status holiday: the date is a holiday");
    }

    #[test]
    fn dates_are_written_as_the_language_writes_them() {
        let mut written = Vec::new();
        for month in 1..=12 {
            let date = jiff::civil::date(2025, month, 3);
            assert_eq!(Language::English.date(date), date.strftime("%A, %-d %B %Y").to_string());
            written.push(Language::German.date(date));
        }
        assert_eq!(written[0], "Freitag, 3. Januar 2025");
        assert_eq!(written[2], "Montag, 3. März 2025");
        assert_eq!(written[11], "Mittwoch, 3. Dezember 2025");
    }

    #[test]
    fn durations_are_hours_and_minutes() {
        let english = [59, 60, 601, 3_600, 7_320].map(|seconds| Language::English.duration(seconds));
        assert_eq!(english, ["less than a minute", "1 minute", "10 minutes", "1 hour", "2 hours 2 minutes"]);
        let german = [0, 3_660, 7_320].map(|seconds| Language::German.duration(seconds));
        assert_eq!(german, ["weniger als eine Minute", "1 Stunde 1 Minute", "2 Stunden 2 Minuten"]);
    }
}
