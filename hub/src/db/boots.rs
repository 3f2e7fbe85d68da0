//! When terminals started, and the punches that wait to be told.

use std::collections::HashMap;

use proto::DeviceId;
use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::date::{Timestamp, Zoned};
use crate::db::punches::Arrival;
use crate::person::{PersonId, PersonNumber};
use crate::text::words;

words! {
    /// Who said when a terminal started.
    pub enum Source { Terminal = "terminal", Hub = "hub", Person = "person" }
}

/// A start of a terminal: the wall clock when its monotonic clock was at zero.
pub struct Start<'a> {
    /// The kernel's id of the start.
    pub boot: &'a str,
    /// Microseconds since 1970, UTC.
    pub start_us: i64,
    pub source: Source,
}

/// Remembers starts. What a terminal's own clock said counts more than when its messages arrived,
/// and that more than what a person said; of arrivals the earliest is the nearest.
pub async fn remember(conn: &mut PgConnection, device: &DeviceId, starts: &[Start<'_>]) -> Result<()> {
    let boots: Vec<String> = starts.iter().map(|start| start.boot.to_owned()).collect();
    let times: Vec<i64> = starts.iter().map(|start| start.start_us).collect();
    let sources: Vec<Source> = starts.iter().map(|start| start.source).collect();
    sqlx::query!(
        "insert into anchors as a (device, boot, start_us, source)
        select $1, * from unnest($2::text[], $3::bigint[], $4::text[])
        on conflict (device, boot) do update set source = excluded.source, start_us = excluded.start_us
        where (excluded.source = 'terminal' and (a.source <> 'terminal' or a.start_us <> excluded.start_us))
            or (excluded.source = 'hub' and (a.source = 'person' or (a.source = 'hub' and excluded.start_us < a.start_us)))",
        device.as_str(),
        &boots,
        &times,
        &sources as _
    )
    .execute(conn)
    .await
    .map(drop)
}

/// What is known of some starts, by terminal and boot.
pub async fn known(
    conn: &mut PgConnection,
    starts: &[(String, String)],
) -> Result<HashMap<(String, String), i64>> {
    let (devices, boots): (Vec<String>, Vec<String>) = starts.iter().cloned().unzip();
    let rows = sqlx::query!(
        "select device, boot, start_us from anchors
        where (device, boot) in (select * from unnest($1::text[], $2::text[]))",
        &devices,
        &boots
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.device, row.boot), row.start_us)).collect())
}

/// A punch whose time nobody knows yet.
pub struct Undated {
    /// The punch; its time is what the clock that was never set said.
    pub arrival: Arrival,
    /// The start in which it was made.
    pub boot: String,
    /// When, since that start, in microseconds.
    pub monotonic_us: i64,
}

/// Puts a punch on the worklist. `false`: its id is there or counted already.
pub async fn set_aside(conn: &mut PgConnection, punch: &Undated, received_at: Timestamp) -> Result<bool> {
    let Undated { arrival, boot, monotonic_us } = punch;
    let done = sqlx::query!(
        "insert into unplaced
            (id, device, epoch, seq, person, boot, monotonic_us, claimed_us, direction, distance, hash, received_at)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 where not exists (select from punches where id = $1)
        on conflict do nothing",
        arrival.id as Uuid,
        arrival.number.device,
        arrival.number.epoch,
        arrival.number.seq,
        arrival.person,
        boot,
        monotonic_us,
        arrival.at_us,
        arrival.direction as _,
        arrival.distance,
        arrival.hash,
        received_at
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A punch that was placed.
pub struct Placed {
    pub id: Uuid,
    pub person: PersonId,
    /// Microseconds since 1970, UTC.
    pub at_us: i64,
}

/// Turns the waiting punches of starts that are known now into punches. None is later than it
/// arrived.
pub async fn place(conn: &mut PgConnection, device: &str) -> Result<Vec<Placed>> {
    sqlx::query_as!(
        Placed,
        r#"with placed as (
            update unplaced u set placed_at = now() from anchors a
            where u.device = $1 and u.placed_at is null and a.device = u.device and a.boot = u.boot
            returning u.*, least('epoch'::timestamptz + (a.start_us + u.monotonic_us) * interval '1 microsecond',
                u.received_at) as at)
        insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash, received_at)
        select p.id, p.device, p.epoch, p.seq, p.person, p.at, 'estimated',
            case p.direction when 'unknown' then t.direction else p.direction end, p.distance, p.hash, p.received_at
        from placed p join terminals t on t.device = p.device
        on conflict do nothing
        returning id, person, (extract(epoch from at) * 1000000)::bigint as "at_us!""#,
        device
    )
    .fetch_all(conn)
    .await
}

/// Whether a punch of somebody waits in a start.
pub async fn waits_for(conn: &mut PgConnection, device: &str, boot: &str, person: PersonId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from unplaced
            where placed_at is null and device = $1 and boot = $2 and person = $3) as "there!""#,
        device,
        boot,
        person
    )
    .fetch_one(conn)
    .await
}

/// A punch of a terminal whose clock was never set.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Undated)]
pub struct Waiting {
    pub id: Uuid,
    /// The person's number.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    pub name: String,
    pub device: String,
    /// Where the terminal hangs.
    pub terminal: String,
    /// The start of the terminal in which it was made: punches of one start hang together.
    pub boot: String,
    /// How long after that start.
    pub seconds_after_start: i64,
    #[serde(skip)]
    pub monotonic_us: i64,
    /// When it arrived: it was made before.
    pub received_at: Zoned,
}

/// The worklist, by terminal, start and order.
pub async fn waiting(conn: &mut PgConnection, zone: &str) -> Result<Vec<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"select u.id, p.number, p.name, u.device, t.name as terminal, u.boot,
            u.monotonic_us / 1000000 as "seconds_after_start!", u.monotonic_us, zoned(u.received_at, $1) as "received_at!"
        from unplaced u join people p on p.id = u.person join terminals t on t.device = u.device
        where u.placed_at is null order by t.name, u.device, u.received_at, u.boot, u.monotonic_us limit 10000"#,
        zone
    )
    .fetch_all(conn)
    .await
}
