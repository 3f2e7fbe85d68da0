//! People: adding them, looking them up, their consent.

use models::photo::PhotoError;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::denial::{Denial, worded};
use crate::enrolment::{KEPT, PHOTOS};
use crate::identity::Actor;
use crate::store;
use crate::store::people::{Entry, Known, Person, Sought};

/// Characters of a number, at most.
const NUMBER: usize = 64;
/// Characters of a name, at most.
const NAME: usize = 200;

/// Why something about a person could not be done, as the one who asked should read it.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// There is nobody of that number.
    #[error("there is nobody with the number {0}")]
    Unknown(String),
    /// Somebody has that number.
    #[error("the number {0} is taken")]
    Taken(String),
    /// A number or a name is empty or too long.
    #[error(
        "a number has 1 to 64 characters and a name 1 to 200, no blanks at the ends and no control characters"
    )]
    Named,
    /// Consent is missing.
    #[error("{0} has not consented to the use of their face: record the consent first")]
    NoConsent(String),
    /// A photo can't be used.
    #[error("{photo}: {reason}")]
    Photo {
        /// Which one.
        photo: String,
        /// Why not.
        reason: PhotoError,
    },
    /// A photo shows somebody else than the others.
    #[error(
        "{0} shows somebody else than the other photos of this person: leave it out, or withdraw the consent and record it anew if those are wrong"
    )]
    SomebodyElse(String),
    /// No photos, or too many.
    #[error(
        "one to {PHOTOS} photos at a time, {KEPT} a person: withdraw the consent and record it anew to start again"
    )]
    Count,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<sqlx::Error> for PersonError {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Adds a person.
pub async fn add(pool: &PgPool, actor: &str, number: &str, name: &str) -> Result<Uuid, PersonError> {
    let worded = worded("number", number, NUMBER).and_then(|()| worded("name", name, NAME));
    worded.map_err(|_| PersonError::Named)?;
    let id = Uuid::now_v7();
    let mut transaction = pool.begin().await?;
    store::people::insert(&mut transaction, id, number, name).await.map_err(|error| {
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => PersonError::Taken(number.to_owned()),
            Some(refusal) if refusal.is_check_violation() => PersonError::Named,
            _ => error.into(),
        }
    })?;
    store::audit::record(&mut transaction, actor, "person.add", &id.to_string(), json!({"number": number}))
        .await?;
    transaction.commit().await?;
    Ok(id)
}

/// Everybody; a look at personal data, audited.
pub async fn list(pool: &PgPool, actor: &str) -> Result<Vec<Person>, PersonError> {
    let mut transaction = pool.begin().await?;
    let people = store::people::list(&mut transaction).await?;
    store::audit::record(&mut transaction, actor, "person.list", "people", json!({"count": people.len()}))
        .await?;
    transaction.commit().await?;
    Ok(people)
}

/// The person with a number, for somebody who may see them. Whether there is anybody of that
/// number is not told to those who may not.
pub async fn seen_by(conn: &mut PgConnection, actor: &Actor, number: &str) -> Result<Known, Denial> {
    let scope = actor.scope();
    match store::people::known(conn, number).await? {
        Some(person) if scope.holds(person.id, person.manager) => Ok(person),
        None if actor.role.is_staff() => {
            Err(Denial::missing(format!("there is nobody with the number {number:?}")))
        }
        _ => Err(Denial::forbidden(format!(
            "there is nobody with the number {number:?} among those whom you may see"
        ))),
    }
}

/// The person with a number, for somebody who may see them and is not themselves: nobody changes
/// their own days alone.
pub async fn someone_else(conn: &mut PgConnection, actor: &Actor, number: &str) -> Result<Known, Denial> {
    let person = seen_by(conn, actor, number).await?;
    if actor.person == Some(person.id) {
        return Err(Denial::forbidden("nobody changes their own days: ask somebody else"));
    }
    Ok(person)
}

/// People by number, at most so many; a look at personal data, audited.
pub async fn search(
    pool: &PgPool,
    actor: &Actor,
    sought: Sought<'_>,
    most: i64,
) -> Result<Vec<Entry>, Denial> {
    let mut transaction = pool.begin().await?;
    let people = store::people::search(&mut transaction, sought, most).await?;
    let detail = json!({"count": people.len(), "department": sought.department, "site": sought.site,
        "manager": sought.manager, "text": sought.text});
    store::audit::record(&mut transaction, &actor.name, "person.list", "people", detail).await?;
    transaction.commit().await?;
    Ok(people)
}

/// All that is kept of a person; a look at personal data, audited.
pub async fn entry(pool: &PgPool, actor: &Actor, number: &str) -> Result<Entry, Denial> {
    let mut transaction = pool.begin().await?;
    let person = seen_by(&mut transaction, actor, number).await?;
    let entry = store::people::entry(&mut transaction, person.id).await?;
    let entry = entry.ok_or_else(|| Denial::missing(format!("{number:?} is gone")))?;
    let subject = person.id.to_string();
    store::audit::record(&mut transaction, &actor.name, "person.look", &subject, json!({})).await?;
    transaction.commit().await?;
    Ok(entry)
}

/// Records that a person consented to the use of their face.
pub async fn consent(pool: &PgPool, actor: &str, number: &str) -> Result<(), PersonError> {
    let mut transaction = pool.begin().await?;
    let person = locked(&mut transaction, number).await?;
    store::people::give_consent(&mut transaction, person.id, actor).await?;
    store::audit::record(&mut transaction, actor, "consent.give", &person.id.to_string(), json!({})).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends consent: the templates are deleted here and, as soon as they hear of it, on all terminals.
pub async fn withdraw(pool: &PgPool, actor: &str, number: &str) -> Result<u64, PersonError> {
    let mut transaction = pool.begin().await?;
    let person = locked(&mut transaction, number).await?;
    store::people::withdraw_consent(&mut transaction, person.id).await?;
    let templates = store::templates::delete_of(&mut transaction, person.id).await?;
    store::roster::touch(&mut transaction, person.id).await?;
    let detail = json!({"templates": templates});
    store::audit::record(&mut transaction, actor, "consent.withdraw", &person.id.to_string(), detail).await?;
    transaction.commit().await?;
    Ok(templates)
}

/// The person with a number, held until the transaction ends.
pub async fn locked(conn: &mut PgConnection, number: &str) -> Result<Person, PersonError> {
    store::people::lock(conn, number).await?.ok_or_else(|| PersonError::Unknown(number.to_owned()))
}
