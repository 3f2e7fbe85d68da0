//! Terminals: who may connect, and how they are.

use jiff_sqlx::{Timestamp, ToSqlx};
use proto::{DeviceId, Heartbeat};
use sqlx::{PgConnection, Result};

/// A terminal as lists show it.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Its id.
    pub device: String,
    /// Where it hangs.
    pub name: String,
    /// accepted or revoked.
    pub state: String,
    /// When its certificate expires.
    pub expires_at: Timestamp,
    /// When it last said anything.
    pub seen_at: Option<Timestamp>,
    /// Its release.
    pub software: Option<String>,
    /// Punches that wait in it.
    pub queued: Option<i64>,
    /// The name of its site.
    pub site: String,
    /// in, out or unknown: which way its door is used.
    pub direction: String,
    /// Everything that it saw up to here has arrived.
    pub reported_through: Option<Timestamp>,
}

/// What somebody says of a terminal; nothing stays as it is.
pub struct Setting<'a> {
    /// Where it hangs.
    pub name: Option<&'a str>,
    /// The name of its site, which must exist.
    pub site: Option<&'a str>,
    /// in, out or unknown.
    pub direction: Option<&'a str>,
}

/// Who may connect with which certificate.
pub struct Admission {
    /// accepted or revoked.
    pub state: String,
    /// The hash of the one certificate that counts.
    pub certificate_sha256: Vec<u8>,
}

/// Accepts a terminal with a certificate. `false`: there is one of that id already, and `replace`
/// was not said.
pub async fn accept(
    conn: &mut PgConnection,
    device: &DeviceId,
    name: &str,
    certificate_sha256: &[u8],
    expires_at: jiff::Timestamp,
    replace: bool,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into terminals (device, name, state, certificate_sha256, expires_at)
        values ($1, $2, 'accepted', $3, $4)
        on conflict (device) do update set name = excluded.name, state = 'accepted',
            certificate_sha256 = excluded.certificate_sha256, expires_at = excluded.expires_at
        where $5",
        device.as_str(),
        name,
        certificate_sha256,
        expires_at.to_sqlx() as _,
        replace
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes a terminal. `false`: there is none of that id.
pub async fn revoke(conn: &mut PgConnection, device: &DeviceId) -> Result<bool> {
    let done = sqlx::query!("update terminals set state = 'revoked' where device = $1", device.as_str())
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// What decides whether a terminal may connect.
pub async fn admission(conn: &mut PgConnection, device: &DeviceId) -> Result<Option<Admission>> {
    sqlx::query_as!(
        Admission,
        "select state, certificate_sha256 from terminals where device = $1",
        device.as_str()
    )
    .fetch_optional(conn)
    .await
}

/// All terminals, by name.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Terminal>> {
    sqlx::query_as!(
        Terminal,
        r#"select t.device, t.name, t.state, t.expires_at as "expires_at: Timestamp",
            t.seen_at as "seen_at: Timestamp", t.software, t.queued, s.name as site, t.direction,
            t.reported_through as "reported_through: Timestamp"
        from terminals t join sites s on s.id = t.site order by t.name, t.device"#
    )
    .fetch_all(conn)
    .await
}

/// Absences at a terminal's site that wait for it.
pub async fn awaited(conn: &mut PgConnection, device: &DeviceId, now: jiff::Timestamp) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from terminals t join people p on p.site = t.site
            join workdays w on w.person = p.id
        where t.device = $1 and t.state = 'accepted' and w.status = 'absent' and w.finalised_at is null
            and t.created_at < w.closes_at and w.starts_at <= $2
            -- Of a window that is open still, one that reports is not expected to know the end.
            and (t.reported_through is null
                or t.reported_through < least(w.closes_at + interval '1 second', $2 - interval '5 minutes'))"#,
        device.as_str(),
        now.to_sqlx() as _
    )
    .fetch_one(conn)
    .await
}

/// Sets what is said of a terminal.
pub async fn set(conn: &mut PgConnection, device: &DeviceId, setting: &Setting<'_>) -> Result<()> {
    sqlx::query!(
        "update terminals set name = coalesce($2, name), direction = coalesce($4, direction),
            site = coalesce((select id from sites where name = $3::text), site)
        where device = $1",
        device.as_str(),
        setting.name,
        setting.site,
        setting.direction
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Keeps what a heartbeat says. `through`: all that the terminal saw up to then has arrived.
pub async fn beat(
    conn: &mut PgConnection,
    device: &DeviceId,
    beat: &Heartbeat,
    through: Option<jiff::Timestamp>,
) -> Result<()> {
    sqlx::query!(
        "update terminals set seen_at = now(), software = $2, queued = $3, roster = $4,
            reported_through = greatest(reported_through, $5) where device = $1",
        device.as_str(),
        beat.software,
        beat.queued as i64,
        beat.roster as i64,
        through.map(jiff::Timestamp::to_sqlx) as _
    )
    .execute(conn)
    .await
    .map(drop)
}
