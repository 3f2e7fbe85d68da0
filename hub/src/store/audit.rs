//! Who did what, and who looked at what.

use sqlx::{PgConnection, Result};

/// Writes a row; in the transaction of what it tells of.
pub async fn record(
    conn: &mut PgConnection,
    actor: &str,
    action: &str,
    subject: &str,
    detail: serde_json::Value,
) -> Result<()> {
    sqlx::query!(
        "insert into audit (actor, action, subject, detail) values ($1, $2, $3, $4)",
        actor,
        action,
        subject,
        detail
    )
    .execute(conn)
    .await
    .map(drop)
}
