//! Terminals: who may connect, and how they are.

use std::collections::HashMap;

use proto::{DeviceId, Heartbeat};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::date::{Timestamp, Zoned};
use crate::db::TERMINAL_CHANNEL;
use crate::db::punches::Direction;
use crate::text::{NameText, ShortNameText, words};

words! {
    /// Whether a terminal may connect.
    pub enum TerminalState { Accepted = "accepted", Revoked = "revoked" }
}

/// A terminal. Times are local, with their offset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Terminal {
    pub device: String,
    pub name: String,
    pub state: TerminalState,
    /// When its certificate expires.
    pub expires_at: Zoned,
    /// When it last said anything.
    pub seen_at: Option<Zoned>,
    pub software: Option<String>,
    /// Punches that wait in it.
    pub queued: Option<i64>,
    /// The name of its site.
    pub site: String,
    /// in or out where its door is used one way only, else unknown.
    pub direction: Direction,
    /// Everything that it saw up to here has arrived.
    pub reported_through: Option<Zoned>,
    /// What somebody should know of it; empty: all is well.
    pub alarm: String,
    /// What else it last said of itself, if it did.
    #[schema(value_type = Option<Health>)]
    pub health: Option<Json<Health>>,
}

/// What a terminal last said of itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Health {
    /// What kind of machine it is, and what it runs.
    pub system: String,
    /// Seconds since its daemon started.
    pub up_s: u64,
    /// Which start of its daemon this was.
    pub run: Uuid,
    /// Frames that it has looked at since.
    pub frames: u64,
    /// Its camera.
    pub camera: Camera,
    /// Whether its clock is known to be right.
    pub synchronised: bool,
    /// Megabytes free for its outbox.
    pub free_mb: u64,
    /// Degrees Celsius, where the machine can tell.
    pub temperature_c: Option<f32>,
    /// Whether its case is open, and how often it was opened since the start.
    pub tampered: bool,
    /// How often its case was opened since the start.
    pub tampers: u32,
    /// Whether it has a lock to open.
    pub relay: bool,
}

/// How a terminal's camera is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Camera {
    /// Whether frames come.
    pub up: bool,
    /// Why not, or why not before.
    pub fault: String,
    /// How often it failed since the start.
    pub faults: u64,
}

impl Health {
    /// What a heartbeat says; texts are cut where they are too long.
    pub fn of(beat: &Heartbeat, run: Uuid) -> Self {
        let camera = beat.camera.clone().unwrap_or_default();
        Self {
            system: short(&beat.system, 200),
            up_s: beat.up_s,
            run,
            frames: beat.frames,
            camera: Camera { up: camera.up, fault: short(&camera.fault, 200), faults: camera.faults },
            synchronised: beat.synchronised,
            free_mb: beat.free_mb,
            temperature_c: beat.temperature_c.filter(|degrees| degrees.is_finite()),
            tampered: beat.tampered,
            tampers: beat.tampers,
            relay: beat.relay,
        }
    }

    /// How often the case was opened since an earlier heartbeat.
    pub fn new_tampers(&self, earlier: &Self) -> u32 {
        let before = if earlier.run == self.run { earlier.tampers } else { 0 };
        self.tampers.saturating_sub(before)
    }
}

/// A terminal's words as they may be shown: cut, and without what a console would obey.
pub fn short(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// What is said of a terminal; what is left out stays as it is.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TerminalSetting)]
pub struct Setting {
    /// Where it hangs.
    #[schema(value_type = Option<NameText>)]
    pub name: Option<String>,
    /// The name of its site.
    #[schema(value_type = Option<ShortNameText>)]
    pub site: Option<String>,
    /// in or out where its door is used one way only, else unknown.
    pub direction: Option<Direction>,
}

/// Who may connect with which certificate.
pub struct Admission {
    pub state: TerminalState,
    /// The hash of the one certificate that counts.
    pub certificate_sha256: Vec<u8>,
    /// The hash of the one that was signed to follow it.
    pub renewed_sha256: Option<Vec<u8>>,
    /// Whether its public key is kept.
    pub has_key: bool,
}

impl Admission {
    /// Whether a terminal that shows a certificate with this hash may be connected.
    pub fn admits(&self, sha256: &[u8]) -> bool {
        self.state == TerminalState::Accepted
            && (self.certificate_sha256 == sha256 || self.renewed_sha256.as_deref() == Some(sha256))
    }
}

/// A certificate that was signed for a terminal.
pub struct Certificate<'a> {
    /// Its hash.
    pub sha256: &'a [u8],
    /// The terminal's public key in it, as what goes up is verified with it.
    pub public_key: &'a [u8],
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// Accepts a terminal with a certificate. `false`: there is one of that id already, and `replace`
/// was not said.
pub async fn accept(
    conn: &mut PgConnection,
    device: &DeviceId,
    name: &str,
    certificate: &Certificate<'_>,
    replace: bool,
) -> Result<bool> {
    let done = sqlx::query!(
        "insert into terminals (device, name, state, certificate_sha256, expires_at, public_key)
        values ($1, $2, 'accepted', $3, $4, $6)
        on conflict (device) do update set name = excluded.name, state = 'accepted',
            certificate_sha256 = excluded.certificate_sha256, expires_at = excluded.expires_at,
            public_key = excluded.public_key, renewed_sha256 = null, renewed_expires_at = null, renewed = null
        where $5",
        device.as_str(),
        name,
        certificate.sha256,
        certificate.expires_at,
        replace,
        certificate.public_key
    )
    .execute(&mut *conn)
    .await?;
    announce(conn, device).await?;
    Ok(done.rows_affected() == 1)
}

/// When the certificate of the accepted terminal with an id and a public key ends (those that were accepted
/// long ago have no key here; the id is made of it). The terminal is held until the transaction ends.
pub async fn certificate_end(
    conn: &mut PgConnection,
    device: &DeviceId,
    public_key: &[u8],
) -> Result<Option<Timestamp>> {
    sqlx::query_scalar!(
        r#"select expires_at from terminals
        where device = $1 and (public_key = $2 or public_key is null) and state = 'accepted' for update"#,
        device.as_str(),
        public_key
    )
    .fetch_optional(conn)
    .await
}

/// The certificate (PEM) that was handed out to follow a terminal's present one, is valid and not used
/// yet. The terminal is held until the transaction ends, so that only one is ever handed out.
pub async fn renewed(conn: &mut PgConnection, device: &DeviceId, now: Timestamp) -> Result<Option<String>> {
    let renewed = sqlx::query_scalar!(
        r#"select case when renewed_expires_at > $2 then renewed end as "renewed" from terminals
        where device = $1 for update"#,
        device.as_str(),
        now
    );
    Ok(renewed.fetch_optional(conn).await?.flatten())
}

/// Keeps the certificate (PEM) that is to follow a terminal's present one, for the same key.
pub async fn renew(
    conn: &mut PgConnection,
    device: &DeviceId,
    certificate: &Certificate<'_>,
    pem: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        "update terminals set renewed_sha256 = $2, renewed_expires_at = $3, renewed = $5, public_key = $4
        where device = $1 and (public_key = $4 or public_key is null) and state = 'accepted'",
        device.as_str(),
        certificate.sha256,
        certificate.expires_at,
        certificate.public_key,
        pem
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The terminal came with its new certificate: the one before stops counting.
pub async fn follow(conn: &mut PgConnection, device: &DeviceId, sha256: &[u8]) -> Result<()> {
    sqlx::query!(
        "update terminals set certificate_sha256 = renewed_sha256, expires_at = renewed_expires_at,
            renewed_sha256 = null, renewed_expires_at = null, renewed = null
        where device = $1 and renewed_sha256 = $2",
        device.as_str(),
        sha256
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The ids of all accepted terminals.
pub async fn accepted(conn: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar!("select device from terminals where state = 'accepted'").fetch_all(conn).await
}

/// The public keys of those terminals that are accepted.
pub async fn keys(conn: &mut PgConnection, devices: &[String]) -> Result<HashMap<String, Vec<u8>>> {
    let rows = sqlx::query!(
        r#"select device, public_key as "public_key!" from terminals
        where device = any($1) and state = 'accepted' and public_key is not null"#,
        devices
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.device, row.public_key)).collect())
}

/// Tells every hub that something about a terminal changed.
pub async fn announce(conn: &mut PgConnection, device: &DeviceId) -> Result<()> {
    sqlx::query!("select pg_notify($1, $2)", TERMINAL_CHANNEL, device.as_str()).execute(conn).await.map(drop)
}

/// Revokes a terminal. `false`: there is none of that id.
pub async fn revoke(conn: &mut PgConnection, device: &DeviceId) -> Result<bool> {
    let done = sqlx::query!("update terminals set state = 'revoked' where device = $1", device.as_str())
        .execute(&mut *conn)
        .await?;
    announce(conn, device).await?;
    Ok(done.rows_affected() == 1)
}

/// What decides whether a terminal may connect.
pub async fn admission(conn: &mut PgConnection, device: &DeviceId) -> Result<Option<Admission>> {
    sqlx::query_as!(
        Admission,
        r#"select state, certificate_sha256, renewed_sha256, public_key is not null as "has_key!"
        from terminals where device = $1"#,
        device.as_str()
    )
    .fetch_optional(conn)
    .await
}

/// Keeps the public key of a terminal that was accepted without.
pub async fn learn_key(conn: &mut PgConnection, device: &DeviceId, public_key: &[u8]) -> Result<()> {
    sqlx::query!(
        "update terminals set public_key = $2 where device = $1 and public_key is null",
        device.as_str(),
        public_key
    )
    .execute(conn)
    .await
    .map(drop)
}

/// All terminals, by name.
pub async fn list(conn: &mut PgConnection, zone: &str) -> Result<Vec<Terminal>> {
    sqlx::query_as!(
        Terminal,
        r#"select t.device, t.name, t.state, zoned(t.expires_at, $1) as "expires_at!", zoned(t.seen_at, $1) as seen_at,
            t.software, t.queued, s.name as site, t.direction, zoned(t.reported_through, $1) as reported_through,
            t.alarm, t.health as "health: Json<Health>"
        from terminals t join sites s on s.id = t.site order by t.name, t.device"#,
        zone
    )
    .fetch_all(conn)
    .await
}

/// What a terminal last said of itself. It is held until the transaction ends.
pub async fn health(conn: &mut PgConnection, device: &DeviceId) -> Result<Option<Health>> {
    let health = sqlx::query_scalar!(
        r#"select health as "health: Json<Health>" from terminals where device = $1 for update"#,
        device.as_str()
    );
    Ok(health.fetch_optional(conn).await?.flatten().map(|Json(health)| health))
}

/// Whether a terminal may have a lock to open: `false` where it said that it has none.
pub async fn has_relay(conn: &mut PgConnection, device: &DeviceId) -> Result<bool> {
    Ok(health(conn, device).await?.is_none_or(|health| health.relay))
}

/// Absences at a terminal's site that wait for it.
pub async fn awaited(conn: &mut PgConnection, device: &DeviceId, now: Timestamp) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from heard h join people p on p.site = h.site
            join workdays_at($2) w on w.person = p.id
        where h.device = $1 and w.provisional and w.judged = 'absent'
            -- Of a window that is open still, one that reports is not expected to know the end.
            and unreported(w.closes_at, h.through, $2) and h.through < $2 - interval '5 minutes'"#,
        device.as_str(),
        now
    )
    .fetch_one(conn)
    .await
}

/// Sets what is said of a terminal.
pub async fn set(conn: &mut PgConnection, device: &DeviceId, setting: &Setting) -> Result<()> {
    sqlx::query!(
        "update terminals set name = coalesce($2, name), direction = coalesce($4, direction),
            site = coalesce((select id from sites where name = $3::text), site)
        where device = $1",
        device.as_str(),
        setting.name,
        setting.site,
        setting.direction as _
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
    health: &Health,
    through: Option<Timestamp>,
) -> Result<()> {
    sqlx::query!(
        "update terminals set seen_at = now(), software = $2, queued = $3, roster = $4,
            reported_through = greatest(reported_through, $5), alarm = $6, health = $7
        where device = $1",
        device.as_str(),
        short(&beat.software, 100),
        beat.queued as i64,
        beat.gallery_version as i64,
        through,
        short(&beat.alarm, 500),
        Json(health) as _
    )
    .execute(conn)
    .await
    .map(drop)
}
