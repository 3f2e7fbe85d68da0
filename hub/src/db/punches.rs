//! Punches as they arrived, and everything that arrived but can't be one.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::{PgConnection, Result};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::date::{Timestamp, Zoned};
use crate::db::PUNCH_CHANNEL;
use crate::person::{PersonId, PersonNumber};
use crate::text::words;

words! {
    /// Which way, where it is known.
    pub enum Direction { In = "in", Out = "out", Unknown = "unknown" }
}

impl From<Direction> for attendance::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::In,
            Direction::Out => Self::Out,
            Direction::Unknown => Self::Unknown,
        }
    }
}

words! {
    /// Whether the time is the clock's or the hub's best guess.
    pub enum ClockState { Synchronised = "synchronised", Estimated = "estimated" }
}

impl From<ClockState> for attendance::ClockState {
    fn from(clock: ClockState) -> Self {
        match clock {
            ClockState::Synchronised => Self::Synchronised,
            ClockState::Estimated => Self::Estimated,
        }
    }
}

/// A terminal's store, and up to where its punches have arrived without a gap.
#[derive(Clone, Debug)]
pub struct Stream {
    pub device: String,
    pub epoch: i64,
    /// All punches up to this number have arrived.
    pub watermark: i64,
}

/// A number of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number {
    pub device: String,
    pub epoch: i64,
    pub seq: i64,
}

/// A punch that can stand in a timesheet.
pub struct Arrival {
    pub number: Number,
    pub id: Uuid,
    pub person: PersonId,
    /// Microseconds since 1970, UTC.
    pub at_us: i64,
    pub clock: ClockState,
    pub direction: Direction,
    /// To the template.
    pub distance: f32,
    /// The sha256 of the bytes that arrived.
    pub hash: Vec<u8>,
    /// The bytes that arrived.
    pub punch: Vec<u8>,
}

/// One that can't.
pub struct DeadLetter {
    pub number: Number,
    /// The sha256 of its bytes.
    pub hash: Vec<u8>,
    pub punch: Vec<u8>,
    /// Why not.
    pub reason: String,
}

/// A punch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Punch {
    /// Its id, as the terminal printed it.
    pub id: Uuid,
    /// Local time with its offset.
    pub at: Zoned,
    /// The person's number.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    /// The person's name.
    pub name: String,
    /// Where the terminal hangs.
    pub terminal: String,
    pub direction: Direction,
    pub clock: ClockState,
}

/// Numbers as PostgreSQL takes them.
struct Columns {
    devices: Vec<String>,
    epochs: Vec<i64>,
    seqs: Vec<i64>,
}

fn columns<'a>(numbers: impl Iterator<Item = &'a Number>) -> Columns {
    let mut columns = Columns { devices: Vec::new(), epochs: Vec::new(), seqs: Vec::new() };
    for number in numbers {
        columns.devices.push(number.device.clone());
        columns.epochs.push(number.epoch);
        columns.seqs.push(number.seq);
    }
    columns
}

/// Locks streams until the transaction ends, always in the same order, and returns them with their
/// watermarks. Those that are new begin at 0.
pub async fn lock_streams(conn: &mut PgConnection, streams: &[(String, i64)]) -> Result<Vec<Stream>> {
    let (devices, epochs): (Vec<String>, Vec<i64>) = streams.iter().cloned().unzip();
    let locked = locked(conn, &devices, &epochs).await?;
    if locked.len() == streams.len() {
        return Ok(locked);
    }
    sqlx::query!(
        "insert into streams (device, epoch) select * from unnest($1::text[], $2::bigint[]) order by 1, 2
        on conflict do nothing",
        &devices,
        &epochs
    )
    .execute(&mut *conn)
    .await?;
    self::locked(conn, &devices, &epochs).await
}

async fn locked(conn: &mut PgConnection, devices: &[String], epochs: &[i64]) -> Result<Vec<Stream>> {
    sqlx::query_as!(
        Stream,
        "select device, epoch, watermark from streams
        where (device, epoch) in (select * from unnest($1::text[], $2::bigint[]))
        order by device, epoch for update",
        devices,
        epochs
    )
    .fetch_all(conn)
    .await
}

/// The hashes of those numbers that have arrived before.
pub async fn arrived(conn: &mut PgConnection, numbers: &[Number]) -> Result<HashMap<Number, Vec<u8>>> {
    let Columns { devices, epochs, seqs } = columns(numbers.iter());
    let rows = sqlx::query!(
        r#"with given as (select * from unnest($1::text[], $2::bigint[], $3::bigint[]) as g (device, epoch, seq))
        select device as "device!", epoch as "epoch!", seq as "seq!", hash as "hash!"
        from given join punches using (device, epoch, seq)
        union all
        select device, epoch, seq, hash from given join dead_letters using (device, epoch, seq)
        union all
        select device, epoch, seq, hash from given join unplaced using (device, epoch, seq)"#,
        &devices,
        &epochs,
        &seqs
    )
    .fetch_all(conn)
    .await?;
    let number = |device, epoch, seq| Number { device, epoch, seq };
    Ok(rows.into_iter().map(|row| (number(row.device, row.epoch, row.seq), row.hash)).collect())
}

/// Stores punches and announces them. Returns the ids that were stored: the others have been
/// counted under another number.
pub async fn insert(
    conn: &mut PgConnection,
    arrivals: &[Arrival],
    received_at: Timestamp,
) -> Result<HashSet<Uuid>> {
    let Columns { devices, epochs, seqs } = columns(arrivals.iter().map(|a| &a.number));
    let ids: Vec<Uuid> = arrivals.iter().map(|a| a.id).collect();
    let people: Vec<PersonId> = arrivals.iter().map(|a| a.person).collect();
    let times: Vec<i64> = arrivals.iter().map(|a| a.at_us).collect();
    let clocks: Vec<ClockState> = arrivals.iter().map(|a| a.clock).collect();
    let directions: Vec<Direction> = arrivals.iter().map(|a| a.direction).collect();
    let distances: Vec<f32> = arrivals.iter().map(|a| a.distance).collect();
    let hashes: Vec<Vec<u8>> = arrivals.iter().map(|a| a.hash.clone()).collect();
    let stored = sqlx::query_scalar!(
        "insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash, received_at)
        select given.id, given.device, epoch, seq, person, 'epoch'::timestamptz + at_us * interval '1 microsecond',
            clock,
            -- A door that is used one way only says which.
            case given.direction when 'unknown' then t.direction else given.direction end,
            distance, hash, $11
        from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bigint[], $7::text[],
            $8::text[], $9::real[], $10::bytea[])
            as given (id, device, epoch, seq, person, at_us, clock, direction, distance, hash)
        join terminals t on t.device = given.device
        on conflict do nothing
        returning id",
        &ids as &[Uuid],
        &devices,
        &epochs,
        &seqs,
        &people,
        &times,
        &clocks as _,
        &directions as _,
        &distances,
        &hashes,
        received_at
    )
    .fetch_all(&mut *conn)
    .await?;
    announce(conn, &stored).await?;
    Ok(stored.into_iter().collect())
}

/// Those of some punches that stand, by id: the terminal and the hash.
pub async fn counted(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, (String, Vec<u8>)>> {
    let rows = sqlx::query!("select id, device, hash from punches where id = any($1)", ids as &[Uuid])
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, (row.device, row.hash))).collect())
}

/// Tells every hub of punches. A notification holds 8000 bytes.
pub async fn announce(conn: &mut PgConnection, ids: &[Uuid]) -> Result<()> {
    const IDS: usize = 200;
    let texts: Vec<String> =
        ids.chunks(IDS).map(|ids| ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")).collect();
    sqlx::query!("select pg_notify($1, ids) from unnest($2::text[]) as t (ids)", PUNCH_CHANNEL, &texts)
        .fetch_all(conn)
        .await
        .map(drop)
}

/// Keeps what can't be a punch.
pub async fn bury(conn: &mut PgConnection, letter: &DeadLetter) -> Result<()> {
    sqlx::query!(
        "insert into dead_letters (device, epoch, seq, hash, punch, reason) values ($1, $2, $3, $4, $5, $6)
        on conflict do nothing",
        letter.number.device,
        letter.number.epoch,
        letter.number.seq,
        letter.hash,
        letter.punch,
        letter.reason
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Sets a number aside that arrived again with other contents.
pub async fn quarantine(conn: &mut PgConnection, letter: &DeadLetter) -> Result<()> {
    sqlx::query!(
        "insert into quarantine (device, epoch, seq, hash, punch) values ($1, $2, $3, $4, $5) on conflict do nothing",
        letter.number.device,
        letter.number.epoch,
        letter.number.seq,
        letter.hash,
        letter.punch
    )
    .execute(conn)
    .await
    .map(drop)
}

/// For each stream the numbers above its watermark that have arrived, in order.
pub async fn beyond(conn: &mut PgConnection, streams: &[Stream]) -> Result<HashMap<(String, i64), Vec<i64>>> {
    let devices: Vec<String> = streams.iter().map(|stream| stream.device.clone()).collect();
    let epochs: Vec<i64> = streams.iter().map(|stream| stream.epoch).collect();
    let watermarks: Vec<i64> = streams.iter().map(|stream| stream.watermark).collect();
    let rows = sqlx::query!(
        r#"select s.device as "device!", s.epoch as "epoch!", a.seq as "seq!"
        from unnest($1::text[], $2::bigint[], $3::bigint[]) as s (device, epoch, watermark) cross join lateral (
            select seq from punches p where p.device = s.device and p.epoch = s.epoch and seq > s.watermark
            union
            select seq from dead_letters d where d.device = s.device and d.epoch = s.epoch and seq > s.watermark
            union
            select seq from unplaced u where u.device = s.device and u.epoch = s.epoch and seq > s.watermark
            order by seq limit 10000) a
        order by s.device, s.epoch, a.seq"#,
        &devices,
        &epochs,
        &watermarks
    )
    .fetch_all(conn)
    .await?;
    let mut found: HashMap<(String, i64), Vec<i64>> = HashMap::new();
    for row in rows {
        found.entry((row.device, row.epoch)).or_default().push(row.seq);
    }
    Ok(found)
}

/// Moves watermarks.
pub async fn advance(conn: &mut PgConnection, streams: &[Stream]) -> Result<()> {
    let devices: Vec<String> = streams.iter().map(|stream| stream.device.clone()).collect();
    let epochs: Vec<i64> = streams.iter().map(|stream| stream.epoch).collect();
    let watermarks: Vec<i64> = streams.iter().map(|stream| stream.watermark).collect();
    sqlx::query!(
        "update streams s set watermark = given.watermark
        from unnest($1::text[], $2::bigint[], $3::bigint[]) as given (device, epoch, watermark)
        where s.device = given.device and s.epoch = given.epoch",
        &devices,
        &epochs,
        &watermarks
    )
    .execute(conn)
    .await
    .map(drop)
}

/// The punches from one instant up to another, the latest first.
pub async fn between(
    conn: &mut PgConnection,
    from: Timestamp,
    until: Timestamp,
    zone: &str,
) -> Result<Vec<Punch>> {
    sqlx::query_as!(
        Punch,
        r#"select p.id, zoned(p.at, $3) as "at!", e.number, e.name, t.name as terminal, p.direction, p.clock
        from punches p join people e on e.id = p.person join terminals t on t.device = p.device
        where p.at >= $1 and p.at < $2 order by p.at desc, p.id desc"#,
        from,
        until,
        zone
    )
    .fetch_all(conn)
    .await
}

/// One punch.
pub async fn find(conn: &mut PgConnection, id: Uuid, zone: &str) -> Result<Option<Punch>> {
    sqlx::query_as!(
        Punch,
        r#"select p.id, zoned(p.at, $2) as "at!", e.number, e.name, t.name as terminal, p.direction, p.clock
        from punches p join people e on e.id = p.person join terminals t on t.device = p.device
        where p.id = $1"#,
        id as Uuid,
        zone
    )
    .fetch_optional(conn)
    .await
}

/// Punches and dead letters of anybody but the people with these numbers.
pub async fn of_others(conn: &mut PgConnection, numbers: &[PersonNumber]) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select ((select count(*) from punches p join people e on e.id = p.person where e.number <> all($1))
            + (select count(*) from dead_letters)) as "count!""#,
        numbers as &[PersonNumber]
    )
    .fetch_one(conn)
    .await
}

/// A punch as the law needs it.
pub struct Raw {
    pub id: Uuid,
    pub person: PersonId,
    pub at: Timestamp,
    pub device: String,
    pub direction: Direction,
    pub clock: ClockState,
}

/// People's punches from one instant up to another.
pub async fn of_people(
    conn: &mut PgConnection,
    people: &[PersonId],
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<Raw>> {
    // Each person by themselves (`offset 0` keeps it so): asked for all of them at once, PostgreSQL
    // reads everybody's punches of these dates, which takes several times as long.
    sqlx::query_as!(
        Raw,
        r#"select p.id, p.person, p.at, p.device, p.direction, p.clock
        from unnest($1::uuid[]) as who (person) cross join lateral (
            select * from punches where punches.person = who.person and at >= $2 and at < $3 offset 0) p"#,
        people,
        from,
        until
    )
    .fetch_all(conn)
    .await
}
