//! Punches as they arrived, and everything that arrived but can't be one.

use std::collections::HashMap;

use jiff_sqlx::{Timestamp, ToSqlx};
use proto::DeviceId;
use sqlx::{PgConnection, Result};
use uuid::Uuid;

use crate::store::PUNCH_CHANNEL;

/// Where a batch came from: a terminal's store.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    /// The terminal.
    pub device: &'a DeviceId,
    /// Its store.
    pub epoch: i64,
}

/// A punch that can stand in a timesheet.
pub struct Arrival {
    /// Its number in the stream.
    pub seq: i64,
    /// Its own id.
    pub id: Uuid,
    /// Who.
    pub person: Uuid,
    /// Microseconds since 1970, UTC.
    pub at_us: i64,
    /// synchronised or estimated.
    pub clock: &'static str,
    /// in, out or unknown.
    pub direction: &'static str,
    /// To the template.
    pub distance: f32,
    /// The sha256 of the bytes that arrived.
    pub hash: Vec<u8>,
    /// The bytes that arrived.
    pub punch: Vec<u8>,
}

/// One that can't.
pub struct DeadLetter {
    /// Its number in the stream.
    pub seq: i64,
    /// The sha256 of its bytes.
    pub hash: Vec<u8>,
    /// Its bytes.
    pub punch: Vec<u8>,
    /// Why not.
    pub reason: String,
}

/// A punch as lists show it.
#[derive(Clone, Debug)]
pub struct Punch {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// The person's number.
    pub number: String,
    /// The person's name.
    pub name: String,
    /// Where the terminal hangs.
    pub terminal: String,
    /// in, out or unknown.
    pub direction: String,
    /// synchronised or estimated.
    pub clock: String,
}

/// Locks a stream until the transaction ends and returns its watermark: all punches up to it have
/// arrived.
pub async fn lock_stream(conn: &mut PgConnection, stream: Stream<'_>) -> Result<i64> {
    sqlx::query!(
        "insert into streams (device, epoch) values ($1, $2) on conflict do nothing",
        stream.device.as_str(),
        stream.epoch
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(
        "select watermark from streams where device = $1 and epoch = $2 for update",
        stream.device.as_str(),
        stream.epoch
    )
    .fetch_one(conn)
    .await
}

/// The hashes of those numbers that have arrived before.
pub async fn arrived(
    conn: &mut PgConnection,
    stream: Stream<'_>,
    seqs: &[i64],
) -> Result<HashMap<i64, Vec<u8>>> {
    let rows = sqlx::query!(
        r#"select seq as "seq!", hash as "hash!" from punches where device = $1 and epoch = $2 and seq = any($3)
        union all
        select seq, hash from dead_letters where device = $1 and epoch = $2 and seq = any($3)"#,
        stream.device.as_str(),
        stream.epoch,
        seqs
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.seq, row.hash)).collect())
}

/// Stores punches and announces them. Returns the numbers that were stored: the others carry an id
/// that has been counted under another number.
pub async fn insert(
    conn: &mut PgConnection,
    stream: Stream<'_>,
    arrivals: &[Arrival],
    received_at: jiff::Timestamp,
) -> Result<Vec<i64>> {
    let ids: Vec<Uuid> = arrivals.iter().map(|a| a.id).collect();
    let seqs: Vec<i64> = arrivals.iter().map(|a| a.seq).collect();
    let people: Vec<Uuid> = arrivals.iter().map(|a| a.person).collect();
    let times: Vec<i64> = arrivals.iter().map(|a| a.at_us).collect();
    let clocks: Vec<String> = arrivals.iter().map(|a| a.clock.to_owned()).collect();
    let directions: Vec<String> = arrivals.iter().map(|a| a.direction.to_owned()).collect();
    let distances: Vec<f32> = arrivals.iter().map(|a| a.distance).collect();
    let hashes: Vec<Vec<u8>> = arrivals.iter().map(|a| a.hash.clone()).collect();
    let rows = sqlx::query!(
        r#"with stored as (
            insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash, received_at)
            select id, $1, $2, seq, person, 'epoch'::timestamptz + at_us * interval '1 microsecond',
                clock,
                -- A door that is used one way only says which.
                case direction when 'unknown' then (select t.direction from terminals t where t.device = $1)
                    else direction end,
                distance, hash, $11
            from unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::bigint[], $7::text[], $8::text[], $9::real[],
                $10::bytea[]) as given (id, seq, person, at_us, clock, direction, distance, hash)
            on conflict do nothing
            returning id, seq)
        select seq as "seq!", pg_notify($12, id::text) as told from stored order by seq"#,
        stream.device.as_str(),
        stream.epoch,
        &ids,
        &seqs,
        &people,
        &times,
        &clocks,
        &directions,
        &distances,
        &hashes,
        received_at.to_sqlx() as _,
        PUNCH_CHANNEL
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.seq).collect())
}

/// Keeps what can't be a punch.
pub async fn bury(conn: &mut PgConnection, stream: Stream<'_>, letter: &DeadLetter) -> Result<()> {
    sqlx::query!(
        "insert into dead_letters (device, epoch, seq, hash, punch, reason) values ($1, $2, $3, $4, $5, $6)
        on conflict do nothing",
        stream.device.as_str(),
        stream.epoch,
        letter.seq,
        letter.hash,
        letter.punch,
        letter.reason
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Sets a number aside that arrived again with other contents.
pub async fn quarantine(conn: &mut PgConnection, stream: Stream<'_>, letter: &DeadLetter) -> Result<()> {
    sqlx::query!(
        "insert into quarantine (device, epoch, seq, hash, punch) values ($1, $2, $3, $4, $5) on conflict do nothing",
        stream.device.as_str(),
        stream.epoch,
        letter.seq,
        letter.hash,
        letter.punch
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The numbers above the watermark that have arrived, in order.
pub async fn beyond(conn: &mut PgConnection, stream: Stream<'_>, watermark: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"select seq as "seq!" from (
            select seq from punches where device = $1 and epoch = $2 and seq > $3
            union all
            select seq from dead_letters where device = $1 and epoch = $2 and seq > $3) arrived
        order by 1 limit 10000"#,
        stream.device.as_str(),
        stream.epoch,
        watermark
    )
    .fetch_all(conn)
    .await
}

/// Moves the watermark.
pub async fn advance(conn: &mut PgConnection, stream: Stream<'_>, watermark: i64) -> Result<()> {
    sqlx::query!(
        "update streams set watermark = $3 where device = $1 and epoch = $2",
        stream.device.as_str(),
        stream.epoch,
        watermark
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The punches from one instant up to another, by time.
pub async fn between(
    conn: &mut PgConnection,
    from: jiff::Timestamp,
    until: jiff::Timestamp,
) -> Result<Vec<Punch>> {
    sqlx::query_as!(
        Punch,
        r#"select p.id, p.at as "at: Timestamp", e.number, e.name, t.name as terminal,
            p.direction, p.clock
        from punches p join people e on e.id = p.person join terminals t on t.device = p.device
        where p.at >= $1 and p.at < $2 order by p.at, p.id"#,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}

/// One punch.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Punch>> {
    sqlx::query_as!(
        Punch,
        r#"select p.id, p.at as "at: Timestamp", e.number, e.name, t.name as terminal,
            p.direction, p.clock
        from punches p join people e on e.id = p.person join terminals t on t.device = p.device
        where p.id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await
}

/// Punches and dead letters of anybody but the people with these numbers.
pub async fn of_others(conn: &mut PgConnection, numbers: &[String]) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select ((select count(*) from punches p join people e on e.id = p.person where e.number <> all($1))
            + (select count(*) from dead_letters)) as "count!""#,
        numbers
    )
    .fetch_one(conn)
    .await
}

/// A punch as the law needs it.
pub struct Raw {
    /// Its id.
    pub id: Uuid,
    /// Who.
    pub person: Uuid,
    /// When.
    pub at: Timestamp,
    /// The terminal.
    pub device: String,
    /// in, out or unknown.
    pub direction: String,
    /// synchronised or estimated.
    pub clock: String,
}

/// People's punches from one instant up to another.
pub async fn of_people(
    conn: &mut PgConnection,
    people: &[Uuid],
    from: jiff::Timestamp,
    until: jiff::Timestamp,
) -> Result<Vec<Raw>> {
    // Each person by themselves (`offset 0` keeps it so): asked for all of them at once, PostgreSQL
    // reads everybody's punches of these dates, which takes several times as long.
    sqlx::query_as!(
        Raw,
        r#"select p.id, p.person, p.at as "at: Timestamp", p.device, p.direction, p.clock
        from unnest($1::uuid[]) as who (person) cross join lateral (
            select * from punches where punches.person = who.person and at >= $2 and at < $3 offset 0) p"#,
        people,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}
