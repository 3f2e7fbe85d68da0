//! `recompute`: workdays anew, by hand.

use anyhow::{Result, ensure};
use attendance::Policy;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::accounts::CLI;
use crate::date::{Date, Timestamp};
use crate::db::people::PersonFilter;
use crate::db::recompute_queue::Job;
use crate::server::config::Config;
use crate::workdays;
use crate::{clock, db};

/// People whose days are looked at together.
const AT_ONCE: usize = 500;

/// Computes everybody's days anew, and tells on standard error how far it is.
pub async fn recompute(
    config: &Config,
    pool: &PgPool,
    from: Option<Date>,
    to: Option<Date>,
    dry_run: bool,
) -> Result<()> {
    let mut transaction = pool.begin().await?;
    let (now, policy, channels) = (clock::now(), config.policy(), config.channels());
    let today = now.date_in(&config.time_zone()?);
    let known = db::workdays::extent(&mut transaction).await?;
    let from = from.or(known.map(|(first, _)| first)).unwrap_or(today);
    let to = to.unwrap_or(today);
    ensure!(from <= to, "{from} is after {to}");
    if dry_run {
        return preview(&mut transaction, &policy, (from, to), now).await;
    }
    let mut tally = workdays::Tally::default();
    let people =
        db::recompute_queue::ask_many(&mut transaction, db::recompute_queue::Whose::Everybody, from, to)
            .await?;
    let detail = json!({"from": from.to_string(), "to": to.to_string()});
    db::audit::record(&mut transaction, &*CLI, "workdays.recompute", "workdays", detail).await?;
    transaction.commit().await?;
    // A hub that runs helps; what it took is waited for.
    while db::recompute_queue::waiting(&mut *pool.acquire().await?).await? > 0 {
        let more = workdays::work(pool, &policy, &channels).await?;
        if more.people == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        }
        tally += more;
        eprintln!("{} of {people} people", tally.people);
    }
    let shared = if tally.people < people as usize { "; a hub that runs did the others" } else { "" };
    let (done, changed) = (tally.people, tally.changed);
    println!("{people} people from {from} to {to}: of {done} of them {changed} workdays changed{shared}");
    Ok(())
}

/// Says what would change, and holds up nobody meanwhile.
async fn preview(
    conn: &mut PgConnection,
    policy: &Policy,
    (from, to): (Date, Date),
    now: Timestamp,
) -> Result<()> {
    let everybody: Vec<Job> = db::people::search(conn, PersonFilter::default(), i64::MAX)
        .await?
        .into_iter()
        .map(|person| Job { person: person.id, from, to })
        .collect();
    let mut tally = workdays::Tally::default();
    for jobs in everybody.chunks(AT_ONCE) {
        tally += workdays::preview(conn, jobs, policy, now).await?;
        eprintln!("{} of {} people", tally.people, everybody.len());
    }
    println!("{} workdays would change, {} adjustments", tally.changed, tally.adjustments);
    Ok(())
}
