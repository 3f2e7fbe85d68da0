//! A PostgreSQL of the hub's own, when none is configured: no port, one socket, no password.
//!
//! PostgreSQL refuses to run as root, so as root it runs as the user `postgres`. It outlives a
//! killed hub and is taken over by the next one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;
use sqlx::postgres::PgConnectOptions;
use tracing::{info, warn};

/// The longest path of a socket's folder: a socket's own path has 108 bytes.
const LONGEST_SOCKET_FOLDER: usize = 85;

/// The private cluster.
#[derive(Clone)]
pub struct Cluster {
    programs: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    /// The user and group that it runs as, where that is not our own.
    run_as: Option<(u32, u32)>,
    /// Whether it was started here, rather than found running.
    started: bool,
}

impl Cluster {
    /// Makes the cluster in `folder` if it is not there, and starts it if it does not run.
    pub fn start(folder: &Path) -> Result<Self> {
        let run_as = run_as(&folder.join("data"))?;
        let mut cluster = Self {
            programs: programs()?,
            data: folder.join("data"),
            socket: folder.join("s"),
            run_as,
            started: false,
        };
        ensure!(
            cluster.socket.as_os_str().len() <= LONGEST_SOCKET_FOLDER,
            "{} is too long a path for a socket: choose a shorter state folder",
            folder.display()
        );
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.make_folders(folder)?;
            cluster.initialise()?;
        }
        cluster.started = cluster.ensure_running()?;
        Ok(cluster)
    }

    /// How to connect.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.socket).username("hub").database("postgres")
    }

    /// The socket's folder, for psql.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether this hub started it, rather than found it running.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Starts the server unless it runs, and says whether that was needed.
    pub fn ensure_running(&self) -> Result<bool> {
        if self.run("pg_ctl", &["status", "-D", text(&self.data)?]).is_ok() {
            return Ok(false);
        }
        let log = self.socket.join("log");
        info!(data = %self.data.display(), "starting PostgreSQL");
        let arguments = ["start", "-w", "-t", "60", "-s", "-D", text(&self.data)?, "-l", text(&log)?];
        self.run("pg_ctl", &arguments).context("PostgreSQL does not start")?;
        Ok(true)
    }

    /// Stops the server, its clients cut off.
    pub fn stop(&self) {
        if let Ok(data) = text(&self.data)
            && let Err(error) = self.run("pg_ctl", &["stop", "-m", "fast", "-w", "-s", "-D", data])
        {
            warn!(error = format!("{error:#}"), "PostgreSQL did not stop");
        }
    }

    fn make_folders(&self, folder: &Path) -> Result<()> {
        let fail = |path: &Path| format!("cannot make {}", path.display());
        fs::create_dir_all(folder).with_context(|| fail(folder))?;
        for path in [folder, &self.data, &self.socket] {
            fs::create_dir_all(path).with_context(|| fail(path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| fail(path))?;
            if let Some((uid, gid)) = self.run_as {
                chown(path, Some(uid), Some(gid)).with_context(|| fail(path))?;
            }
        }
        Ok(())
    }

    fn initialise(&self) -> Result<()> {
        info!(data = %self.data.display(), "making a PostgreSQL cluster");
        let me =
            passwd(|fields| fields[2] == geteuid().as_raw().to_string()).context("this user has no name")?.2;
        // Beside the data first: a half-made cluster must not be taken for a whole one.
        let fresh = self.data.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        self.run(
            "initdb",
            &[
                "-D",
                text(&fresh)?,
                "-U",
                "hub",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--auth=peer",
                "--data-checksums",
            ],
        )?;
        let settings = fs::read_to_string(fresh.join("postgresql.conf"))?;
        let socket = self.socket.display();
        fs::write(fresh.join("pg_hba.conf"), "local all all peer map=hub\n")?;
        fs::write(fresh.join("pg_ident.conf"), format!("hub {me} hub\nhub root hub\n"))?;
        let cache = cache_mib();
        // Compiling a query takes longer than any of ours runs.
        let ours = format!(
            "listen_addresses = ''\nunix_socket_directories = '{socket}'\nunix_socket_permissions = 0700\n\
            shared_buffers = {cache}MB\njit = off\n"
        );
        fs::write(fresh.join("postgresql.conf"), format!("{settings}\n{ours}"))?;
        fs::remove_dir(&self.data)
            .and_then(|()| fs::rename(&fresh, &self.data))
            .context("cannot place the cluster")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command.env_clear().env("PATH", &self.programs).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.current_dir("/").args(arguments);
        if let Some((uid, gid)) = self.run_as {
            command.uid(uid).gid(gid);
        }
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("{program}: {}", String::from_utf8_lossy(&said).trim().replace('\n', "; "));
        }
        Ok(())
    }
}

/// What PostgreSQL may hold of its tables in memory, in MiB: a quarter of the machine's, as its
/// manual advises, and at most 1 GiB, since the hub is not alone there.
fn cache_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    total.map_or(128, |kib: u64| (kib / 1024 / 4).clamp(128, 1024))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The user and group to run PostgreSQL as, where that is not our own: the cluster's owner; for a
/// new one made by root, `postgres`.
fn run_as(data: &Path) -> Result<Option<(u32, u32)>> {
    let owner = fs::metadata(data.join("PG_VERSION")).ok().map(|file| (file.uid(), file.gid()));
    match owner {
        Some((uid, _)) if uid == geteuid().as_raw() => Ok(None),
        Some(owner) if geteuid().is_root() => Ok(Some(owner)),
        Some(_) => bail!("{} belongs to another user: run as that one", data.display()),
        None if geteuid().is_root() => {
            let user = passwd(|fields| fields[0] == "postgres");
            let user = user.context(
                "PostgreSQL can't run as root and there is no user postgres: install the package postgresql-15",
            )?;
            Ok(Some((user.0, user.1)))
        }
        None => Ok(None),
    }
}

/// The folder of the newest installed server's programs, else one of PATH.
fn programs() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = versions.into_iter().rev().map(|(_, folder)| folder).chain(std::env::split_paths(&path));
    folders
        .into_iter()
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).is_file()))
        .context("there is no PostgreSQL server: install the package postgresql-15, or set database_url_file")
}

/// Uid, gid and name of the first user that fits.
fn passwd(fits: impl Fn(&[&str]) -> bool) -> Option<(u32, u32, String)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        (fields.len() >= 4 && fits(&fields))
            .then(|| Some((fields[2].parse().ok()?, fields[3].parse().ok()?, fields[0].to_owned())))?
    })
}
