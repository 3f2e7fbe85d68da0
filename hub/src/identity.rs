//! Who is at the console: accounts, passwords, sessions.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::store;
use crate::store::accounts::Account;

/// How long a session lasts: a working day.
pub const SESSION: Duration = Duration::from_hours(12);
/// Shortest password.
const SHORTEST: usize = 10;
/// Each check of a password takes 19 MiB: no more than this at once.
static CHECKS: Semaphore = Semaphore::const_new(2);
/// Checked where there is no such account, so that the time taken does not tell.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody has this password").ok());

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything.
    Admin,
    /// People, punches and reports.
    Hr,
}

impl Role {
    /// As the database and the console write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Hr => "hr",
        }
    }
}

/// Somebody who has logged in.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The account's name.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// A session's secret, handed out once. No `Debug`.
pub struct Token(pub String);

fn hash(password: &str) -> Result<String> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    Ok(hashed.map_err(|error| anyhow::anyhow!("the password can't be hashed: {error}"))?.to_string())
}

fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Makes an account; with `replace`, gives an existing one a new password and ends its sessions.
pub async fn create(
    pool: &PgPool,
    name: &str,
    role: Role,
    password: Zeroizing<String>,
    replace: bool,
) -> Result<()> {
    ensure!(password.chars().count() >= SHORTEST, "the password must have at least {SHORTEST} characters");
    ensure!(password.len() <= 256, "the password must have at most 256 bytes");
    let password_hash = tokio::task::spawn_blocking(move || hash(&password)).await??;
    let account = Account { name: name.to_owned(), password_hash, role: role.as_str().into() };
    let mut transaction = pool.begin().await?;
    let done = store::accounts::put(&mut transaction, &account, replace).await;
    let done = done.map_err(|error| match error.as_database_error() {
        Some(refusal) if refusal.is_check_violation() => {
            anyhow::anyhow!("an account's name is made of a-z, 0-9, dot, dash and underscore")
        }
        _ => error.into(),
    })?;
    if !done {
        bail!("there is an account {name} already; --replace gives it a new password");
    }
    store::audit::record(&mut transaction, "cli", "account.create", name, json!({"role": role.as_str()}))
        .await?;
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
    let account = store::accounts::find(&mut *pool.acquire().await?, name).await?;
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
    let actor: String = name.chars().take(64).collect();
    store::audit::record(&mut transaction, &actor, action, &actor, json!({})).await?;
    let token = if known && right {
        let token = hex::encode(rand::random::<[u8; 32]>());
        let expires_at = now.checked_add(SignedDuration::try_from(SESSION)?)?;
        store::accounts::open_session(&mut transaction, &token_hash(&token), name, expires_at).await?;
        Some(Token(token))
    } else {
        None
    };
    transaction.commit().await?;
    Ok(token)
}

/// Whose session a token is.
pub async fn recognise(pool: &PgPool, token: &str) -> Result<Option<Actor>> {
    let found = store::accounts::session(&mut *pool.acquire().await?, &token_hash(token)).await?;
    found
        .map(|(name, role)| {
            let role = match role.as_str() {
                "admin" => Role::Admin,
                "hr" => Role::Hr,
                other => bail!("an unknown role {other}"),
            };
            Ok(Actor { name, role })
        })
        .transpose()
        .context("reading a session")
}

/// Ends a session.
pub async fn log_out(pool: &PgPool, token: &str) -> Result<()> {
    Ok(store::accounts::close_session(&mut *pool.acquire().await?, &token_hash(token)).await?)
}
