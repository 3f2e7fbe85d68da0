//! People: adding them, looking them up, their consent.

pub mod enrolment;
pub mod gallery;
pub mod http;
pub mod import;
pub mod profile;

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::access::seen_by;
use crate::accounts::Actor;
use crate::db;
use crate::db::people::{Person, PersonFilter};
use crate::error::{Error, Problem, check_text};
use crate::person::{PersonId, PersonNumber};
use crate::text::{NAME, NUMBER};

/// Adds a person.
pub async fn add(pool: &PgPool, actor: &Actor, number: &PersonNumber, name: &str) -> Result<PersonId, Error> {
    check_text("number", number, NUMBER)?;
    check_text("name", name, NAME)?;
    let mut transaction = pool.begin().await?;
    let site = db::sites::default(&mut transaction).await?;
    let person = Person::new(number.clone(), name, &site);
    let id = person.id;
    db::people::add(&mut transaction, &[person]).await.map_err(|error| match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => {
            Problem::NumberTaken { number: number.clone() }.into()
        }
        Some(refusal) if refusal.is_check_violation() => Problem::TextInvalid { most: NAME }.of("name"),
        _ => error.into(),
    })?;
    db::audit::record(&mut transaction, actor, "person.add", &id.to_string(), json!({"number": number}))
        .await?;
    transaction.commit().await?;
    Ok(id)
}

/// People by number, at most so many; a look at personal data, audited.
pub async fn search(
    pool: &PgPool,
    actor: &Actor,
    filter: PersonFilter<'_>,
    most: i64,
) -> Result<Vec<Person>, Error> {
    let mut transaction = pool.begin().await?;
    let people = db::people::search(&mut transaction, filter, most).await?;
    let detail = json!({"count": people.len(), "department": filter.department, "site": filter.site,
        "manager": filter.manager, "text": filter.text});
    db::audit::record(&mut transaction, actor, "person.list", "people", detail).await?;
    transaction.commit().await?;
    Ok(people)
}

/// All that is kept of a person; a look at personal data, audited.
pub async fn look(pool: &PgPool, actor: &Actor, number: &PersonNumber) -> Result<Person, Error> {
    let mut transaction = pool.begin().await?;
    let person = seen_by(&mut transaction, actor, number).await?;
    let subject = person.id.to_string();
    db::audit::record(&mut transaction, actor, "person.look", &subject, json!({})).await?;
    transaction.commit().await?;
    Ok(person)
}

/// Records that a person consented to the use of their face.
pub async fn consent(pool: &PgPool, actor: &Actor, number: &PersonNumber) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    let person = locked(&mut transaction, number).await?;
    db::people::give_consent(&mut transaction, person.id, &actor.name).await?;
    db::audit::record(&mut transaction, actor, "consent.give", &person.id.to_string(), json!({})).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends consent: the templates are deleted here and, as soon as they hear of it, on all terminals.
pub async fn withdraw(pool: &PgPool, actor: &Actor, number: &PersonNumber) -> Result<u64, Error> {
    let mut transaction = pool.begin().await?;
    let person = locked(&mut transaction, number).await?;
    db::people::withdraw_consent(&mut transaction, person.id).await?;
    let templates = db::templates::delete_of(&mut transaction, person.id).await?;
    db::gallery::touch(&mut transaction, person.id).await?;
    let detail = json!({"templates": templates});
    db::audit::record(&mut transaction, actor, "consent.withdraw", &person.id.to_string(), detail).await?;
    transaction.commit().await?;
    Ok(templates)
}

/// The person with a number, held until the transaction ends.
pub async fn locked(conn: &mut PgConnection, number: &PersonNumber) -> Result<Person, Error> {
    db::people::lock(conn, number)
        .await?
        .ok_or_else(|| Problem::PersonUnknown { number: number.clone() }.into())
}
