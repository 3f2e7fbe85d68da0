//! Direct access to the hub's PostgreSQL.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use uuid::Uuid;

use crate::eventually;

/// A hub's private cluster.
pub struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    pub fn of(state: &Path) -> Self {
        Self { folder: state.join("pg") }
    }

    pub async fn connect(&self) -> Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass().socket(self.folder.join("s")).username("hub");
        Ok(PgConnection::connect_with(&options.database("postgres")).await?)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("s/.s.PGSQL.5432")
    }

    /// The URL for `database_url_file`.
    pub fn url(&self) -> String {
        format!("postgres://hub@localhost/postgres?host={}", self.folder.join("s").display())
    }

    pub async fn number(&self, query: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut self.connect().await?).await?)
    }

    pub async fn column(&self, query: &'static str) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(query).fetch_all(&mut self.connect().await?).await?)
    }

    pub async fn execute(&self, statements: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut self.connect().await?).await?;
        Ok(())
    }

    /// Waits until the recompute queue is empty. A job is deleted in the transaction that stores its workdays.
    pub async fn wait_until_computed(&self) -> Result<()> {
        eventually("an empty recompute queue", async || {
            let jobs = self.number("select count(*) from jobs").await?;
            ensure!(jobs == 0, "{jobs} jobs wait");
            Ok(())
        })
        .await
    }

    /// The number of rows of each punch.
    pub async fn punches(&self) -> Result<HashMap<Uuid, i64>> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as("select id, count(*) from punches group by id")
            .fetch_all(&mut self.connect().await?)
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Runs `pg_ctl`.
    pub fn control(&self, arguments: &[&str]) -> Result<()> {
        let output =
            self.command("pg_ctl").args(arguments).arg("-D").arg(self.folder.join("data")).output()?;
        ensure!(output.status.success(), "pg_ctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Kills the server with `kill -9`.
    pub fn kill(&self) -> Result<()> {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let pid: i32 = pid.lines().next().context("an empty postmaster.pid")?.parse()?;
        let process = rustix::process::Pid::from_raw(pid).context("no process")?;
        Ok(rustix::process::kill_process(process, rustix::process::Signal::KILL)?)
    }

    /// A program of the cluster's version.
    fn program(&self, name: &str) -> PathBuf {
        let version = std::fs::read_to_string(self.folder.join("data/PG_VERSION")).unwrap_or_default();
        let debian = Path::new("/usr/lib/postgresql").join(version.trim()).join("bin").join(name);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let others = std::env::split_paths(&path).map(|folder| folder.join(name));
        std::iter::once(debian).chain(others).find(|file| file.is_file()).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        use std::os::unix::fs::MetadataExt;
        let mut command = Command::new(self.program(program));
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
        if let (true, Ok(data)) =
            (rustix::process::geteuid().is_root(), std::fs::metadata(self.folder.join("data")))
        {
            command.uid(data.uid()).gid(data.gid());
        }
        command
    }
}

/// Stops every cluster below a folder.
pub fn stop_clusters(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        for state in [entry.path(), entry.path().join("hub")] {
            if state.join("pg/data/postmaster.pid").exists() {
                let _ = Cluster::of(&state).control(&["stop", "-s", "-w", "-m", "immediate"]);
            }
        }
    }
}
