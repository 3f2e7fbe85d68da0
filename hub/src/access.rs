//! Who may see and change whom.

use sqlx::PgConnection;

use crate::accounts::Actor;
use crate::db;
use crate::db::people::Person;
use crate::error::{Error, Problem};
use crate::person::PersonNumber;

/// The person with a number, for somebody who may see them. Whether there is anybody of that
/// number is not told to those who may not.
pub async fn seen_by(conn: &mut PgConnection, actor: &Actor, number: &PersonNumber) -> Result<Person, Error> {
    let scope = actor.scope();
    match db::people::known(conn, number).await? {
        Some(person) if scope.holds(person.id, person.manager_id) => Ok(person),
        None if actor.role.is_staff() => Err(Problem::PersonUnknown { number: number.clone() }.into()),
        _ => Err(Problem::PersonOutOfScope { number: number.clone() }.into()),
    }
}

/// The person with a number, for somebody who may see them and is not themselves: nobody changes
/// their own days alone.
pub async fn someone_else(
    conn: &mut PgConnection,
    actor: &Actor,
    number: &PersonNumber,
) -> Result<Person, Error> {
    let person = seen_by(conn, actor, number).await?;
    if actor.person == Some(person.id) {
        return Err(Problem::OwnDays.into());
    }
    Ok(person)
}
