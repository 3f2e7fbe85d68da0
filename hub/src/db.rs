//! PostgreSQL: the only place with SQL. Free functions over a connection; nothing here knows a rule.

pub mod accounts;
pub mod audit;
pub mod boots;
pub mod channels;
pub mod commands;
pub mod corrections;
pub mod gallery;
pub mod imports;
pub mod leave;
pub mod notifications;
pub mod pairing;
pub mod pay_periods;
pub mod people;
pub mod punches;
pub mod recompute_queue;
pub mod reports;
pub mod schedules;
pub mod sites;
pub mod templates;
pub mod terminals;
pub mod unknown_faces;
pub mod workdays;

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, SqlSafeStr};
use tracing::warn;

/// Connections, at most.
const CONNECTIONS: u32 = 16;
/// How long a caller waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts to reach a database that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The channel on which committed punches are announced, by id.
pub const PUNCH_CHANNEL: &str = "rollcall_punch";
/// The channel on which roster changes are announced.
pub const GALLERY_CHANNEL: &str = "rollcall_roster";
/// The channel on which new revisions of workdays are announced.
pub const WORKDAY_CHANNEL: &str = "rollcall_workday";
/// The channel on which days to be computed again are announced.
pub const JOB_CHANNEL: &str = "rollcall_job";
/// The channel on which changes of a terminal are announced, by its id.
pub const TERMINAL_CHANNEL: &str = "rollcall_terminal";
/// The channel on which messages that wait are announced.
pub const OUTBOX_CHANNEL: &str = "rollcall_outbox";

/// More connections to the same database, for those who must not wait for others.
pub fn another(pool: &PgPool, connections: u32) -> PgPool {
    let options = pool.connect_options().as_ref().clone();
    PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE).connect_lazy_with(options)
}

/// Connects, waiting for as long as the database is away, and brings the schema up to date.
pub async fn open(options: PgConnectOptions) -> Result<PgPool> {
    let options = options.disable_statement_logging().application_name("rollcall-hub");
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options);
    let mut told = false;
    while let Err(error) = pool.acquire().await {
        if let Some(refusal) = error.as_database_error() {
            // It is there and says no: waiting for "the database system is starting up" alone helps.
            if refusal.code().as_deref() != Some("57P03") {
                return Err(error).context("the database refuses the hub");
            }
        }
        if !std::mem::replace(&mut told, true) {
            warn!(%error, "the database does not answer; waiting for it");
        }
        tokio::time::sleep(RETRY).await;
    }
    migrations().run(&pool).await.context("the database's schema can't be brought up to date")?;
    Ok(pool)
}

/// The steps of the schema. The second has words that PostgreSQL 14 does not know: they are left out, and the
/// ninth says the same in others. What was applied is known by the sum of the file, so the file stays.
fn migrations() -> Migrator {
    let mut steps: Vec<_> = sqlx::migrate!().iter().cloned().collect();
    for step in steps.iter_mut().filter(|step| step.version == 2) {
        step.sql = AssertSqlSafe(step.sql.as_str().replace("nulls not distinct ", "")).into_sql_str();
    }
    Migrator::with_migrations(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_takes_nothing_newer_than_postgresql_14() {
        for step in migrations().iter() {
            let text = step.sql.as_str().to_lowercase();
            for newer in ["nulls not distinct", "security_invoker", "merge into", "json_table", "any_value"] {
                assert!(!text.contains(newer), "step {}: {newer}", step.version);
            }
        }
    }

    #[test]
    fn databases_of_before_know_every_step_again() {
        let files = sqlx::migrate!();
        let sums = |all: &Migrator| all.iter().map(|s| (s.version, s.checksum.clone())).collect::<Vec<_>>();
        assert_eq!(sums(&migrations()), sums(&files));
    }
}
