//! Unknown faces: hourly counts, nothing else.

use proto::{DeviceId, UnknownFaceHour};
use sqlx::{PgConnection, Result};
use uuid::Uuid;

/// Keeps the counts of a run of a terminal; they only grow, whatever order heartbeats arrive in.
pub async fn count(
    conn: &mut PgConnection,
    device: &DeviceId,
    run: Uuid,
    hours: &[UnknownFaceHour],
) -> Result<()> {
    let starts: Vec<i64> = hours.iter().map(|hour| hour.hour).collect();
    let counts: Vec<i32> = hours.iter().map(|hour| i32::try_from(hour.count).unwrap_or(i32::MAX)).collect();
    sqlx::query!(
        "insert into stranger_hours (device, run, hour, count)
        select $1, $2, 'epoch'::timestamptz + start * interval '1 second', count
        from unnest($3::bigint[], $4::integer[]) as given (start, count)
        on conflict (device, run, hour) do update set count = greatest(stranger_hours.count, excluded.count)",
        device.as_str(),
        run as Uuid,
        &starts,
        &counts
    )
    .execute(conn)
    .await
    .map(drop)
}

/// All unknown faces that a terminal counted.
pub async fn total(conn: &mut PgConnection, device: &DeviceId) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(count), 0)::bigint as "total!" from stranger_hours where device = $1"#,
        device.as_str()
    )
    .fetch_one(conn)
    .await
}
