//! Devices that ask to become terminals.

use proto::DeviceId;
use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;

use crate::date::Zoned;
use crate::text::words;

/// Guards the number of claims that wait ("CLAI").
const LOCK: i64 = 0x434C_4149;

words! {
    /// What became of a claim.
    pub enum ClaimState { Pending = "pending", Accepted = "accepted", Rejected = "rejected" }
}

/// A claim, as those see it who decide. Times are local, with their offset.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Waiting)]
pub struct Claim {
    /// The device that asks.
    pub device: String,
    pub state: ClaimState,
    /// From which address it asked.
    pub address: String,
    /// When it first asked.
    pub created_at: Zoned,
    /// When it last asked.
    pub seen_at: Zoned,
    /// Wrong codes that were given for it.
    pub attempts: i32,
    /// The answer, once it is accepted.
    #[serde(skip)]
    pub certificate: Option<String>,
    /// Its request (PEM).
    #[serde(skip)]
    pub request: String,
    /// The hash of its code.
    #[serde(skip)]
    pub code_sha256: Vec<u8>,
}

/// What a device asks with.
pub struct NewRequest<'a> {
    /// Which one.
    pub device: &'a DeviceId,
    /// Its request (PEM).
    pub request: &'a str,
    /// The hash of its code.
    pub code_sha256: &'a [u8],
    /// From where.
    pub address: &'a str,
}

/// Forgets claims that nobody has asked for since so many hours, and says how many wait. Nobody
/// else can add one until the transaction ends.
pub async fn sweep(conn: &mut PgConnection, hours: i32) -> Result<i64> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *conn).await?;
    sqlx::query!("delete from claims where seen_at < now() - make_interval(hours => $1)", hours)
        .execute(&mut *conn)
        .await?;
    sqlx::query_scalar!(r#"select count(*) as "count!" from claims where state = 'pending'"#)
        .fetch_one(conn)
        .await
}

/// How many wait that asked from an address.
pub async fn of_address(conn: &mut PgConnection, address: &str) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from claims where state = 'pending'
            and case family($1::text::inet) when 4 then address = $1 else address::inet <<= set_masklen($1::text::inet, 64) end"#,
        address
    )
    .fetch_one(conn)
    .await
}

/// A device asks, for the first time or anew.
pub async fn ask(conn: &mut PgConnection, asking: &NewRequest<'_>) -> Result<()> {
    sqlx::query!(
        "insert into claims (device, request, code_sha256, address) values ($1, $2, $3, $4)
        on conflict (device) do update set request = excluded.request, code_sha256 = excluded.code_sha256,
            address = excluded.address, state = 'pending', attempts = 0, certificate = null,
            created_at = now(), seen_at = now()",
        asking.device.as_str(),
        asking.request,
        asking.code_sha256,
        asking.address
    )
    .execute(conn)
    .await
    .map(drop)
}

/// It asks again.
pub async fn seen(conn: &mut PgConnection, device: &DeviceId) -> Result<()> {
    sqlx::query!("update claims set seen_at = now() where device = $1", device.as_str())
        .execute(conn)
        .await
        .map(drop)
}

/// A claim, held until the transaction ends.
pub async fn hold(conn: &mut PgConnection, device: &DeviceId) -> Result<Option<Claim>> {
    let device = device.as_str();
    sqlx::query!("select from claims where device = $1 for update", device)
        .fetch_optional(&mut *conn)
        .await?;
    Ok(list(conn, Some(device), "UTC").await?.pop())
}

/// Those that wait or were rejected, the oldest first; or one.
pub async fn list(conn: &mut PgConnection, device: Option<&str>, zone: &str) -> Result<Vec<Claim>> {
    sqlx::query_as!(
        Claim,
        r#"select device, state, address, zoned(created_at, $2) as "created_at!", zoned(seen_at, $2) as "seen_at!",
            attempts, certificate, request, code_sha256
        from claims where device = $1 or $1::text is null and state <> 'accepted' order by claims.created_at, device"#,
        device,
        zone
    )
    .fetch_all(conn)
    .await
}

/// A wrong code was given; too many reject the claim. Returns how many more may be tried.
pub async fn miss(conn: &mut PgConnection, device: &DeviceId, most: i32) -> Result<i32> {
    sqlx::query_scalar!(
        r#"update claims set attempts = attempts + 1,
            state = case when attempts + 1 >= $2 then 'rejected' else state end
        where device = $1 returning greatest($2 - attempts, 0) as "left!""#,
        device.as_str(),
        most
    )
    .fetch_one(conn)
    .await
}

/// Decides about a claim; an accepted one gets its certificate.
pub async fn decide(
    conn: &mut PgConnection,
    device: &DeviceId,
    state: ClaimState,
    certificate: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        "update claims set state = $2, certificate = $3 where device = $1",
        device.as_str(),
        state as _,
        certificate
    )
    .execute(conn)
    .await
    .map(drop)
}
