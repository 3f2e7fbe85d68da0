//! Who is at the console: accounts, passwords, sessions.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::date::Timestamp;
use crate::db;
use crate::db::accounts::Account;
use crate::error::{Error, Problem};
use crate::person::{PersonId, PersonNumber};

pub use crate::db::accounts::{Actor, Role};

/// Who acts on the command line.
pub static CLI: LazyLock<Actor> =
    LazyLock::new(|| Actor { name: "cli".to_owned(), role: Role::Admin, person: None });
/// How long a session lasts: a working day.
pub const SESSION: Duration = Duration::from_hours(12);
/// Shortest password.
const SHORTEST: usize = 10;
/// Each check of a password takes 19 MiB: no more than this at once.
static CHECKS: Semaphore = Semaphore::const_new(2);
/// Checked where there is no such account, so that the time taken does not tell.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody has this password").ok());

impl Role {
    /// Whether they see everybody.
    pub fn is_staff(self) -> bool {
        matches!(self, Self::Admin | Self::Hr)
    }
}

impl Actor {
    /// Whose data they may see.
    pub fn scope(&self) -> Scope {
        // Without a person (which the database does not allow) they see nobody.
        let themselves = Some(self.person.unwrap_or(PersonId::NOBODY));
        match self.role {
            Role::Admin | Role::Hr => Scope::default(),
            Role::Manager => Scope { manager: themselves, own: None },
            Role::Employee => Scope { manager: None, own: themselves },
        }
    }

    /// Who they are: somebody may have two accounts, so only people ask and decide.
    pub fn somebody(&self) -> Result<PersonId, Error> {
        self.person.ok_or_else(|| {
            let (account, role) = (self.name.clone(), self.role.to_string());
            Problem::AccountWithoutPerson { account, role }.into()
        })
    }

    /// Who they are, if they are somebody else than the one whose days they decide about.
    pub fn somebody_else(&self, person: PersonId) -> Result<PersonId, Error> {
        let decider = self.somebody()?;
        if decider == person {
            return Err(Problem::OwnDecision.into());
        }
        Ok(decider)
    }
}

/// Whose data somebody may see: everybody's where nobody is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The people of this manager, and the manager.
    pub manager: Option<PersonId>,
    /// This person.
    pub own: Option<PersonId>,
}

impl Scope {
    /// Whether it holds a person, who has such a manager.
    pub fn holds(self, person: PersonId, manager: Option<PersonId>) -> bool {
        let among_people = self.manager.is_none_or(|boss| person == boss || manager == Some(boss));
        among_people && self.own.is_none_or(|own| person == own)
    }
}

/// A session's secret, handed out once. No `Debug`.
pub struct Token(pub String);

fn hash(password: &str) -> Result<String> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    Ok(hashed.map_err(|error| anyhow::anyhow!("the password can't be hashed: {error}"))?.to_string())
}

/// What is kept of a session's token.
pub fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Makes an account, of a person where a number is given; with `replace`, gives an existing one a
/// new password, role and person, and ends its sessions.
pub async fn create(
    pool: &PgPool,
    name: &str,
    role: Role,
    number: Option<&PersonNumber>,
    password: Zeroizing<String>,
    replace: bool,
) -> Result<()> {
    ensure!(password.chars().count() >= SHORTEST, "the password must have at least {SHORTEST} characters");
    ensure!(password.len() <= 256, "the password must have at most 256 bytes");
    ensure!(
        role.is_staff() || number.is_some(),
        "the account of a manager or an employee belongs to a person: name them with --person NUMBER"
    );
    let password_hash = tokio::task::spawn_blocking(move || hash(&password)).await??;
    let mut transaction = pool.begin().await?;
    let person = match number {
        Some(number) => Some(
            db::people::id_of(&mut transaction, number)
                .await?
                .with_context(|| format!("no employee has the number {number}"))?,
        ),
        None => None,
    };
    let account = Account { name: name.to_owned(), password_hash, role, person };
    let done = db::accounts::put(&mut transaction, &account, replace).await;
    let done = done.map_err(|error| match error.as_database_error() {
        Some(refusal) if refusal.is_check_violation() => {
            anyhow::anyhow!("an account's name is made of a-z, 0-9, dot, dash and underscore")
        }
        _ => error.into(),
    })?;
    if !done {
        bail!("there is an account {name} already; --replace gives it a new password");
    }
    let detail = json!({"role": role, "person": person});
    db::audit::record(&mut transaction, &*CLI, "account.create", name, detail).await?;
    transaction.commit().await?;
    Ok(())
}

/// Opens a session. `None`: the name or the password is wrong.
pub async fn log_in(
    pool: &PgPool,
    name: &str,
    password: Zeroizing<String>,
    now: Timestamp,
) -> Result<Option<Token>> {
    let _place = CHECKS.acquire().await?;
    let account = db::accounts::find(&mut *pool.acquire().await?, name).await?;
    let known = account.is_some();
    let expected =
        account.map(|account| account.password_hash).or_else(|| NOBODY.clone()).unwrap_or_default();
    let right = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&expected)
            .is_ok_and(|expected| Argon2::default().verify_password(password.as_bytes(), &expected).is_ok())
    })
    .await?;
    let mut transaction = pool.begin().await?;
    let action = if known && right { "login" } else { "login.refused" };
    let name_said: String = name.chars().take(64).collect();
    db::audit::record(&mut transaction, &name_said, action, &name_said, json!({})).await?;
    let token = if known && right {
        let token = hex::encode(rand::random::<[u8; 32]>());
        let expires_at = now.checked_add(SESSION)?.into();
        db::accounts::open_session(&mut transaction, &token_hash(&token), name, expires_at).await?;
        Some(Token(token))
    } else {
        None
    };
    transaction.commit().await?;
    Ok(token)
}

/// Whose session a token is.
pub async fn recognise(pool: &PgPool, token: &str) -> Result<Option<Actor>> {
    Ok(db::accounts::session(&mut *pool.acquire().await?, &token_hash(token)).await?)
}

/// Ends a session.
pub async fn log_out(pool: &PgPool, token: &str) -> Result<()> {
    Ok(db::accounts::close_session(&mut *pool.acquire().await?, &token_hash(token)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(role: Role, person: Option<PersonId>) -> Actor {
        Actor { name: "somebody".into(), role, person }
    }

    #[test]
    fn managers_see_their_people_and_employees_themselves() {
        let (boss, worker, stranger) =
            (PersonId::from_u128(1), PersonId::from_u128(2), PersonId::from_u128(3));
        let seen = |actor: &Actor| {
            [(boss, None), (worker, Some(boss)), (stranger, Some(worker))]
                .map(|(person, manager)| actor.scope().holds(person, manager))
        };
        assert_eq!(seen(&actor(Role::Admin, None)), [true; 3]);
        assert_eq!(seen(&actor(Role::Hr, Some(worker))), [true; 3]);
        assert_eq!(seen(&actor(Role::Manager, Some(boss))), [true, true, false]);
        assert_eq!(seen(&actor(Role::Employee, Some(worker))), [false, true, false]);
        assert_eq!(seen(&actor(Role::Manager, None)), [false; 3]);
        assert_eq!(seen(&actor(Role::Employee, None)), [false; 3]);
    }
}
