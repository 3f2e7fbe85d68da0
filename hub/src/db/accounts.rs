//! Accounts of the console and their sessions. Only hashes of passwords and tokens are kept.

use sqlx::{PgConnection, Result};

use crate::date::Timestamp;
use crate::person::PersonId;
use crate::text::words;

words! {
    /// What somebody may do.
    #[derive(clap::ValueEnum)]
    pub enum Role {
        /// Everything.
        Admin = "admin",
        /// People, plans, corrections and reports.
        Hr = "hr",
        /// Their own people, and themselves.
        Manager = "manager",
        /// Themselves.
        Employee = "employee",
    }
}

/// An account.
pub struct Account {
    pub name: String,
    /// Argon2id, in PHC format.
    pub password_hash: String,
    pub role: Role,
    /// Whose it is; managers' and employees' always belong to a person.
    pub person: Option<PersonId>,
}

/// Somebody who does something: with an account, or on the command line.
#[derive(Clone, Debug)]
pub struct Actor {
    pub name: String,
    pub role: Role,
    /// Who they are, where the account belongs to a person.
    pub person: Option<PersonId>,
}

impl AsRef<str> for Actor {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// Adds an account, or gives an existing one a new password, role and person (`replace`). `false`:
/// it exists, and `replace` was not said.
pub async fn put(conn: &mut PgConnection, account: &Account, replace: bool) -> Result<bool> {
    let done = sqlx::query!(
        "insert into accounts (name, password_hash, role, person) values ($1, $2, $3, $4)
        on conflict (name) do update set password_hash = excluded.password_hash, role = excluded.role,
            person = excluded.person
        where $5",
        account.name,
        account.password_hash,
        account.role as _,
        account.person,
        replace
    )
    .execute(&mut *conn)
    .await?;
    if replace {
        sqlx::query!("delete from sessions where account = $1", account.name).execute(conn).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// The account of a name, unless its person's employment has ended.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        "select name, password_hash, role, person from accounts
        where name = $1 and not coalesce(employment_ended(person, now()), false)",
        name
    )
    .fetch_optional(conn)
    .await
}

/// Opens a session and drops those that have ended.
pub async fn open_session(
    conn: &mut PgConnection,
    token_hash: &[u8],
    account: &str,
    expires_at: Timestamp,
) -> Result<()> {
    sqlx::query!("delete from sessions where expires_at < now()").execute(&mut *conn).await?;
    sqlx::query!(
        "insert into sessions (token_hash, account, expires_at) values ($1, $2, $3)",
        token_hash,
        account,
        expires_at
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Whose a session that stands is. Nobody's stands whose employment has ended.
pub async fn session(conn: &mut PgConnection, token_hash: &[u8]) -> Result<Option<Actor>> {
    sqlx::query_as!(
        Actor,
        "select a.name, a.role, a.person from sessions s join accounts a on a.name = s.account
        where s.token_hash = $1 and s.expires_at > now()
            and not coalesce(employment_ended(a.person, now()), false)",
        token_hash
    )
    .fetch_optional(conn)
    .await
}

/// Ends a session.
pub async fn close_session(conn: &mut PgConnection, token_hash: &[u8]) -> Result<()> {
    sqlx::query!("delete from sessions where token_hash = $1", token_hash).execute(conn).await.map(drop)
}
