//! Accounts of the console and their sessions. Only hashes of passwords and tokens are kept.

use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, Result};

/// An account.
pub struct Account {
    /// Its name.
    pub name: String,
    /// Argon2id, in PHC format.
    pub password_hash: String,
    /// admin or hr.
    pub role: String,
}

/// Adds an account, or gives an existing one a new password and role (`replace`). `false`: it
/// exists, and `replace` was not said.
pub async fn put(conn: &mut PgConnection, account: &Account, replace: bool) -> Result<bool> {
    let done = sqlx::query!(
        "insert into accounts (name, password_hash, role) values ($1, $2, $3)
        on conflict (name) do update set password_hash = excluded.password_hash, role = excluded.role where $4",
        account.name,
        account.password_hash,
        account.role,
        replace
    )
    .execute(&mut *conn)
    .await?;
    if replace {
        sqlx::query!("delete from sessions where account = $1", account.name).execute(conn).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// The account of a name.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Account>> {
    sqlx::query_as!(Account, "select name, password_hash, role from accounts where name = $1", name)
        .fetch_optional(conn)
        .await
}

/// Opens a session and drops those that have ended.
pub async fn open_session(
    conn: &mut PgConnection,
    token_hash: &[u8],
    account: &str,
    expires_at: jiff::Timestamp,
) -> Result<()> {
    sqlx::query!("delete from sessions where expires_at < now()").execute(&mut *conn).await?;
    sqlx::query!(
        "insert into sessions (token_hash, account, expires_at) values ($1, $2, $3)",
        token_hash,
        account,
        expires_at.to_sqlx() as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The account and role of a session that stands.
pub async fn session(conn: &mut PgConnection, token_hash: &[u8]) -> Result<Option<(String, String)>> {
    let found = sqlx::query!(
        "select a.name, a.role from sessions s join accounts a on a.name = s.account
        where s.token_hash = $1 and s.expires_at > now()",
        token_hash
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| (row.name, row.role)))
}

/// Ends a session.
pub async fn close_session(conn: &mut PgConnection, token_hash: &[u8]) -> Result<()> {
    sqlx::query!("delete from sessions where token_hash = $1", token_hash).execute(conn).await.map(drop)
}
