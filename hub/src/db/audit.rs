//! Who did what, and who looked at what.

use sqlx::{PgConnection, Result};

use crate::person::PersonId;

/// Writes a row; in the transaction of what it tells of.
pub async fn record(
    conn: &mut PgConnection,
    actor: impl AsRef<str>,
    action: &str,
    subject: &str,
    detail: serde_json::Value,
) -> Result<()> {
    sqlx::query!(
        "insert into audit (actor, action, subject, detail) values ($1, $2, $3, $4)",
        actor.as_ref(),
        action,
        subject,
        detail
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Writes rows about people at once.
pub async fn record_many(
    conn: &mut PgConnection,
    actor: impl AsRef<str>,
    action: &str,
    told: &[(PersonId, serde_json::Value)],
) -> Result<()> {
    if told.is_empty() {
        return Ok(());
    }
    let (subjects, details): (Vec<PersonId>, Vec<serde_json::Value>) = told.iter().cloned().unzip();
    sqlx::query!(
        "insert into audit (actor, action, subject, detail)
        select $1, $2, subject::text, detail from unnest($3::uuid[], $4::jsonb[]) as g (subject, detail)",
        actor.as_ref(),
        action,
        &subjects,
        &details
    )
    .execute(conn)
    .await
    .map(drop)
}
