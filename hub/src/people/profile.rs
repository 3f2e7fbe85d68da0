//! What is said of people besides their face: where they work, for whom, since when, and how mail
//! reaches them.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::access::seen_by;
use crate::date::Date;
use crate::db;
use crate::db::channels::Kind;
use crate::db::people::Person;
use crate::error::{Error, Problem, check_text};
use crate::i18n::Language;
use crate::person::PersonNumber;
use crate::schedules::{Change, Dates, Effect, Touched};
use crate::text::{NAME, NameText, SHORT_NAME, ShortNameText};

/// Letters of an address, at most.
pub const EMAIL: usize = 254;

/// What a key of a change says: nothing, or a value, or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// It was left out.
    #[default]
    Kept,
    /// A value, or null.
    Set(Option<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(Self::Set)
    }
}

impl<T> Field<T> {
    /// Puts what was said in the place of what was there.
    fn onto(self, place: &mut Option<T>) {
        if let Self::Set(value) = self {
            *place = value;
        }
    }
}

/// What shall be different about a person; what is left out stays as it is.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonSetting {
    /// As written in reports.
    #[schema(value_type = Option<NameText>)]
    name: Option<String>,
    /// Where mail reaches them, or null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Field<String>,
    /// The number of their manager, or null.
    #[serde(default)]
    #[schema(value_type = Option<PersonNumber>)]
    manager: Field<PersonNumber>,
    /// Their department, which is made if it is not there, or null.
    #[serde(default)]
    #[schema(value_type = Option<ShortNameText>)]
    department: Field<String>,
    /// The name of their site.
    #[schema(value_type = Option<ShortNameText>)]
    site: Option<String>,
    /// Of their messages.
    language: Option<Language>,
    /// First day of employment, or null.
    #[serde(default)]
    #[schema(value_type = Option<Date>)]
    employed_from: Field<Date>,
    /// Last day of employment, or null.
    #[serde(default)]
    #[schema(value_type = Option<Date>)]
    employed_to: Field<Date>,
    /// Kinds of messages that they do not want.
    muted: Option<Vec<Kind>>,
}

/// Changes what is said of a person.
pub async fn set(
    change: &Change<'_>,
    number: &PersonNumber,
    setting: PersonSetting,
) -> Result<Effect, Error> {
    let mut transaction = change.begin().await?;
    let person = seen_by(&mut transaction, change.actor, number).await?;
    db::recompute_queue::hold(&mut transaction, &[person.id]).await?;
    let before = db::people::find(&mut transaction, person.id).await?;
    let before = before.ok_or_else(|| Problem::PersonUnknown { number: number.clone() })?;
    let mut after = before.clone();
    setting.onto(&mut after);
    check(&after)?;
    let bound = terms(&before) != terms(&after) || before.manager != after.manager;
    if change.actor.person == Some(person.id) && bound {
        return Err(Problem::OwnEmployment.into());
    }
    find(&mut transaction, &before, &after).await?;
    if before.site != after.site {
        db::pay_periods::steady(&mut transaction).await?;
        db::pay_periods::note_leaving(&mut transaction, &[person.id]).await?;
    }
    db::people::change(&mut transaction, std::slice::from_ref(&after)).await?;
    let people = if terms(&before) == terms(&after) {
        0
    } else {
        change.ask(&mut transaction, Touched::Person(person.id), Dates::ALL).await?
    };
    let detail = json!({"before": shown(&before), "after": shown(&after)});
    change.record(&mut transaction, "person.set", &person.id.to_string(), detail).await?;
    change.finish(transaction, people).await
}

impl PersonSetting {
    fn onto(self, entry: &mut Person) {
        entry.name = self.name.unwrap_or_else(|| std::mem::take(&mut entry.name));
        entry.site = self.site.unwrap_or_else(|| std::mem::take(&mut entry.site));
        entry.language = self.language.unwrap_or(entry.language);
        entry.muted = self.muted.unwrap_or_else(|| std::mem::take(&mut entry.muted));
        self.email.onto(&mut entry.email);
        self.manager.onto(&mut entry.manager);
        self.department.onto(&mut entry.department);
        self.employed_from.onto(&mut entry.employed_from);
        self.employed_to.onto(&mut entry.employed_to);
    }
}

/// Refuses what makes no sense, whatever else there is.
fn check(entry: &Person) -> Result<(), Error> {
    check_text("name", &entry.name, NAME)?;
    if let Some(department) = &entry.department {
        check_text("department", department, SHORT_NAME)?;
    }
    if entry.email.as_deref().is_some_and(|email| !is_address(email)) {
        return Err(Problem::EmailInvalid { most: EMAIL }.of("email"));
    }
    if entry.employed_from.zip(entry.employed_to).is_some_and(|(from, to)| from > to) {
        return Err(Problem::EmploymentEndsBeforeStart.of("employed_to"));
    }
    let mut seen = BTreeSet::new();
    if !entry.muted.iter().all(|kind| seen.insert(kind)) {
        return Err(Problem::NotEachOnce {
            allowed: Kind::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
        .of("muted"));
    }
    if entry.manager.as_ref() == Some(&entry.number) {
        return Err(Problem::OwnManager.of("manager"));
    }
    Ok(())
}

/// One name, one host, and nothing that could begin another line of a mail's head.
pub fn is_address(text: &str) -> bool {
    let strange = |letter: char| letter.is_whitespace() || letter.is_control();
    let parts = text.split_once('@');
    text.chars().count() <= EMAIL
        && !text.contains(strange)
        && parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

/// Finds the manager and the site that an entry names, and makes its department.
async fn find(conn: &mut PgConnection, before: &Person, after: &Person) -> Result<(), Error> {
    if let Some(manager) = after.manager.as_ref().filter(|manager| before.manager.as_ref() != Some(*manager))
        && db::people::id_of(conn, manager).await?.is_none()
    {
        return Err(Problem::PersonUnknown { number: manager.clone() }.of("manager"));
    }
    if after.site != before.site && !db::sites::list(conn).await?.iter().any(|site| site.name == after.site) {
        return Err(Problem::SiteUnknown { site: after.site.clone() }.of("site"));
    }
    if let Some(department) = &after.department {
        db::sites::put_departments(conn, std::slice::from_ref(department)).await?;
    }
    Ok(())
}

/// What the law looks at.
fn terms(entry: &Person) -> (&str, Option<Date>, Option<Date>) {
    (&entry.site, entry.employed_from, entry.employed_to)
}

/// An entry as the audit shows it.
fn shown(entry: &Person) -> serde_json::Value {
    let (site, from, to) = terms(entry);
    json!({"name": entry.name, "email": entry.email, "manager": entry.manager, "department": entry.department,
        "site": site, "language": entry.language, "employed_from": from, "employed_to": to, "muted": entry.muted})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Person {
        Person {
            department: Some("Kitchen".into()),
            email: Some("seven@example.org".into()),
            muted: vec![Kind::Late],
            ..Person::new("7".into(), "Seven", "Main")
        }
    }

    fn changed(setting: &str) -> Result<Person, Error> {
        let mut entry = entry();
        let setting: PersonSetting = serde_json::from_str(setting)?;
        setting.onto(&mut entry);
        check(&entry)?;
        Ok(entry)
    }

    #[test]
    fn what_is_left_out_stays_and_null_removes() {
        let same = changed("{}").expect("nothing");
        assert_eq!(shown(&same), shown(&entry()));
        let after =
            changed(r#"{"email": null, "department": null, "name": "VII", "muted": []}"#).expect("a change");
        assert_eq!((after.email, after.department, after.name.as_str()), (None, None, "VII"));
        assert_eq!((after.site.as_str(), after.muted.len()), ("Main", 0));
        let after = changed(r#"{"employed_from": "2025-01-01", "manager": "8"}"#).expect("a change");
        assert_eq!(terms(&after).1, Some(jiff::civil::date(2025, 1, 1).into()));
        assert_eq!(after.manager.as_deref(), Some("8"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            r#"{"name": ""}"#,
            r#"{"email": "nobody"}"#,
            r#"{"email": "a@b@c"}"#,
            r#"{"email": "a@b\r\nBcc: x@y"}"#,
            r#"{"language": "EN"}"#,
            r#"{"language": "fr"}"#,
            r#"{"employed_from": "2025-02-01", "employed_to": "2025-01-01"}"#,
            r#"{"muted": ["everything"]}"#,
            r#"{"muted": ["late", "late"]}"#,
            r#"{"manager": "7"}"#,
            r#"{"nmae": "x"}"#,
        ] {
            assert!(changed(wrong).is_err(), "{wrong}");
        }
    }
}
