//! What terminals shall do, until they have said that it is done.

use proto::DeviceId;
use sqlx::{PgConnection, Result};
use uuid::Uuid;

use crate::text::words;

words! {
    /// What a terminal can be asked for.
    #[derive(clap::ValueEnum)]
    pub enum CommandKind {
        /// Blink, so that somebody before it sees which one it is.
        Identify = "identify",
        /// Forget the gallery and ask for it anew.
        Resync = "resync",
        /// Open the door.
        Open = "open",
        Restart = "restart",
    }
}

/// A command that waits.
pub struct Waiting {
    pub id: Uuid,
    pub kind: CommandKind,
    /// Microseconds until it is too late for it.
    pub left_us: i64,
}

/// Asks a terminal for something, by the database's clock: hubs may have several. `false`: there is no accepted terminal of that id.
pub async fn ask(
    conn: &mut PgConnection,
    device: &DeviceId,
    kind: CommandKind,
    asked_by: &str,
    expires_s: i64,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into commands (id, device, kind, asked_by, expires_at)
        select gen_random_uuid(), device, $2, $3, now() + $4 * interval '1 second' from terminals where device = $1 and state = 'accepted'",
        device.as_str(),
        kind as _,
        asked_by,
        expires_s as f64
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The commands that wait for a terminal, the oldest first, a few at a time.
pub async fn waiting(conn: &mut PgConnection, device: &DeviceId) -> Result<Vec<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"select id, kind, (extract(epoch from expires_at - now()) * 1000000)::bigint as "left_us!" from commands
        where device = $1 and done_at is null and expires_at > now() order by asked_at limit 16"#,
        device.as_str()
    )
    .fetch_all(conn)
    .await
}

/// A terminal says that it has done these.
pub async fn done(conn: &mut PgConnection, device: &DeviceId, ids: &[Uuid]) -> Result<()> {
    sqlx::query!(
        "update commands set done_at = now() where device = $1 and id = any($2) and done_at is null",
        device.as_str(),
        ids as &[Uuid]
    )
    .execute(conn)
    .await
    .map(drop)
}
