//! A PostgreSQL of the hub's own, when none is configured: no port, one socket, no password.
//!
//! PostgreSQL refuses to run as root, so as root it runs as the user `postgres`. It outlives a
//! killed hub and is taken over by the next one.

mod programs;
mod upgrade;

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;
use sqlx::postgres::PgConnectOptions;
use tracing::{info, warn};

use crate::server::postgres::programs::{Programs, version};
pub use crate::server::postgres::upgrade::Upgrade;

/// The longest path of a socket's folder: a socket's own path has 108 bytes.
const LONGEST_SOCKET_FOLDER: usize = 85;

/// The private cluster.
#[derive(Clone)]
pub struct Cluster {
    programs: Programs,
    data: PathBuf,
    socket: PathBuf,
    /// The user and group that it runs as, where that is not our own.
    run_as: Option<(u32, u32)>,
    /// Whether it was started here, rather than found running.
    started: bool,
    /// Held for as long as it may be used: no upgrade takes its place meanwhile.
    _in_use: Arc<File>,
}

impl Cluster {
    /// Makes the cluster in `folder` if it is not there, and starts it if it does not run.
    pub fn start(folder: &Path) -> Result<Self> {
        let (data, socket) = (folder.join("data"), folder.join("s"));
        ensure!(
            socket.as_os_str().len() <= LONGEST_SOCKET_FOLDER,
            "{} is too long a path for a socket: choose a shorter state folder",
            folder.display()
        );
        let installed = Programs::installed();
        let programs = Programs::choose(&data, &installed)?;
        let run_as = run_as(&data)?;
        let new = version(&data)?.is_none();
        if new {
            make_folders(folder, run_as)?;
        }
        let in_use = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
        if let Err(TryLockError::WouldBlock) = in_use.try_lock_shared() {
            bail!("{} is being upgraded: wait until that has ended", folder.display());
        }
        let in_use = Arc::new(in_use);
        let mut cluster = Self { programs, data, socket, run_as, started: false, _in_use: in_use };
        if new {
            cluster.make()?;
        }
        cluster.name_newer(&installed);
        cluster.started = cluster.ensure_running()?;
        Ok(cluster)
    }

    /// Stops what may run in `folder`, which is to be deleted.
    pub fn end(folder: &Path) -> Result<()> {
        if folder.join("data/postmaster.pid").exists() {
            Self::start(folder)?.stop();
        }
        Ok(())
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
        if self.runs()? {
            return Ok(false);
        }
        info!(data = %self.data.display(), version = self.programs.version, "starting PostgreSQL");
        self.start_server("")?;
        Ok(true)
    }

    /// Stops the server, its clients cut off.
    pub fn stop(&self) {
        if let Err(error) = self.stop_server() {
            warn!(error = format!("{error:#}"), "PostgreSQL did not stop");
        }
    }

    /// Whether the server runs. One that is about to end, or waits for a `pg_upgrade` that was killed, is
    /// waited for and does not: nobody can connect to it.
    fn runs(&self) -> Result<bool> {
        if self.run("pg_ctl", &["status", "-D", text(&self.data)?]).is_err() {
            return Ok(false);
        }
        let read = |name| fs::read_to_string(self.data.join(name)).unwrap_or_default();
        let ends = read("postmaster.pid").lines().nth(7).is_some_and(|state| state.trim() == "stopping");
        let upgrades = read("postmaster.opts").contains("\"-b\"");
        if ends || upgrades {
            let _ = self.stop_server(); // fails if it has ended meanwhile
        }
        Ok(!ends && !upgrades)
    }

    fn start_server(&self, options: &str) -> Result<()> {
        let log = self.socket.join("log");
        let (data, log) = (text(&self.data)?, text(&log)?);
        let arguments = ["start", "-w", "-t", "60", "-s", "-D", data, "-l", log, "-o", options];
        self.run("pg_ctl", &arguments).context("PostgreSQL does not start")
    }

    fn stop_server(&self) -> Result<()> {
        self.run("pg_ctl", &["stop", "-m", "fast", "-w", "-s", "-D", text(&self.data)?])
    }

    /// Says that a newer version is there; nobody is moved to it unasked.
    fn name_newer(&self, installed: &[Programs]) {
        let version = self.programs.version;
        if let Some(newest) = installed.last().filter(|newest| newest.version > version) {
            info!(
                version,
                installed = newest.version,
                "a newer PostgreSQL is installed; `rollcall-hub database upgrade` moves the hub's data to it"
            );
        }
    }

    /// Makes the cluster. Beside its place first: a half-made one must not be taken for a whole one.
    fn make(&self) -> Result<()> {
        info!(data = %self.data.display(), version = self.programs.version, "making a PostgreSQL cluster");
        let fresh = Self { data: self.data.with_extension("new"), ..self.clone() };
        fresh.initialise()?;
        fs::remove_dir(&self.data)
            .and_then(|()| fs::rename(&fresh.data, &self.data))
            .context("cannot place the cluster")
    }

    /// Makes its files, in place of a failed attempt's.
    fn initialise(&self) -> Result<()> {
        let me =
            passwd(|fields| fields[2] == geteuid().as_raw().to_string()).context("this user has no name")?.2;
        let _ = fs::remove_dir_all(&self.data);
        let data = text(&self.data)?;
        let locale = ["-E", "UTF8", "--locale=C.UTF-8"];
        let rest = ["-D", data, "-U", "hub", "--auth=peer", "--data-checksums"];
        self.run("initdb", &[&locale[..], &rest].concat())?;
        fs::write(self.data.join("pg_hba.conf"), "local all all peer map=hub\n")?;
        fs::write(self.data.join("pg_ident.conf"), format!("hub {me} hub\nhub root hub\n"))?;
        let cache = cache_mib();
        // Compiling a query takes longer than any of ours runs.
        self.configure(&format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nunix_socket_permissions = 0700\n\
            shared_buffers = {cache}MB\njit = off\n",
            self.socket.display()
        ))
    }

    /// Adds to its settings; the last of a name counts.
    fn configure(&self, more: &str) -> Result<()> {
        let file = self.data.join("postgresql.conf");
        let settings = fs::read_to_string(&file)?;
        Ok(fs::write(file, format!("{settings}\n{more}"))?)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        self.run_in(Path::new("/"), program, arguments)
    }

    fn run_in(&self, folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.path(program));
        let path = format!("{}:/usr/bin:/bin", text(&self.programs.folder)?);
        command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.current_dir(folder).args(arguments);
        if let Some((uid, gid)) = self.run_as {
            command.uid(uid).gid(gid);
        }
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            // Not the steps that pg_upgrade had no trouble with.
            let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.ends_with(" ok"));
            bail!("{program}: {}", lines.collect::<Vec<_>>().join("; "));
        }
        Ok(())
    }
}

/// The cluster's folders, for its user alone.
fn make_folders(folder: &Path, run_as: Option<(u32, u32)>) -> Result<()> {
    let fail = |path: &Path| format!("cannot make {}", path.display());
    fs::create_dir_all(folder).with_context(|| fail(folder))?;
    for path in [folder, &folder.join("data"), &folder.join("s")] {
        fs::create_dir_all(path).with_context(|| fail(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| fail(path))?;
        if let Some((uid, gid)) = run_as {
            chown(path, Some(uid), Some(gid)).with_context(|| fail(path))?;
        }
    }
    Ok(())
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
                "PostgreSQL can't run as root and there is no user postgres: install the package postgresql",
            )?;
            Ok(Some((user.0, user.1)))
        }
        None => Ok(None),
    }
}

/// Uid, gid and name of the first user that fits.
fn passwd(fits: impl Fn(&[&str]) -> bool) -> Option<(u32, u32, String)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        (fields.len() >= 4 && fits(&fields))
            .then(|| Some((fields[2].parse().ok()?, fields[3].parse().ok()?, fields[0].to_owned())))?
    })
}
