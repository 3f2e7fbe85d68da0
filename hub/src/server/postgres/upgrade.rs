//! A cluster moves to a newer PostgreSQL: `pg_upgrade` copies it beside its place, the copy is started and looked
//! at once, and takes its place in one step. Up to then the old one is as it was; after it, it is kept.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};
use sqlx::{ConnectOptions, Connection};
use tracing::info;

use crate::server::postgres::{Cluster, Programs, passwd, run_as, text, version};

/// Bytes that a new cluster takes beside its tables, and its log of changes while they are copied.
const ROOM: u64 = 512 << 20;

/// What is to be done, and nothing of it was done.
pub struct Upgrade {
    folder: PathBuf,
    old: Programs,
    new: Programs,
    bytes: u64,
    free: u64,
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster  {}", self.data().display())?;
        writeln!(f, "from     PostgreSQL {} ({} MiB)", self.old.version, mib(self.bytes))?;
        writeln!(f, "to       PostgreSQL {} (a copy; {} MiB are free)", self.new.version, mib(self.free))?;
        write!(f, "kept     {}, as it is now", self.kept().display())
    }
}

impl Upgrade {
    /// Ends an upgrade that was killed when the new cluster had its place already.
    pub fn resume(folder: &Path) -> Result<()> {
        let data = folder.join("data");
        match version(&data)? {
            Some(now) if replaced(&data, now)?.is_some() => {
                let _in_use = lock(folder)?;
                finish(&data, now)
            }
            _ => Ok(()),
        }
    }

    /// Of the cluster in `folder` to the newest version that is installed; none if it has that.
    pub fn plan(folder: &Path) -> Result<Option<Self>> {
        let data = folder.join("data");
        let installed = Programs::installed();
        let Some(from) = version(&data)? else { bail!("there is no cluster in {}", folder.display()) };
        run_as(&data)?;
        let old = Programs::choose(&data, &installed)?;
        let Some(new) = installed.into_iter().rfind(|each| each.version > from) else { return Ok(None) };
        let disk = statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
        let (bytes, free) = (size(&data), disk.f_bavail * disk.f_frsize);
        let plan = Self { folder: folder.to_owned(), old, new, bytes, free };
        let kept = plan.kept();
        ensure!(!kept.exists(), "{} is there already, kept from before: move it elsewhere", kept.display());
        let needed = bytes + ROOM;
        ensure!(free > needed, "too little room: a copy takes {} MiB, {} are free", mib(needed), mib(free));
        Ok(Some(plan))
    }

    /// Does it, and says where the old one is.
    pub async fn perform(self) -> Result<PathBuf> {
        let in_use = Arc::new(lock(&self.folder)?);
        let old = self.cluster(self.old.clone(), self.data(), in_use.clone())?;
        if old.runs()? {
            alone(&old).await?;
        } else {
            old.start_server("")?; // it may have been killed; what it had written is made whole
        }
        old.stop_server()?;
        let kept = self.kept();
        let (data, now) = (self.data(), self.new.version);
        let copied = tokio::task::spawn_blocking(move || self.copy(&old)).await?;
        let copied = copied.and_then(|new| place(&new, &data));
        copied.context("the database was not upgraded and is as it was")?;
        let named = sync(&data).and_then(|()| finish(&data, now));
        named.context("the database is upgraded, but the old one has no name yet: run this again")?;
        drop(in_use);
        Ok(kept)
    }

    /// The new cluster, which is ready to take the old one's place.
    fn copy(&self, old: &Cluster) -> Result<PathBuf> {
        let new =
            Cluster { programs: self.new.clone(), data: self.data().with_extension("new"), ..old.clone() };
        info!(data = %new.data.display(), version = new.programs.version, "copying the cluster");
        if new.data.join("postmaster.pid").exists() {
            new.stop(); // a killed attempt's
        }
        new.initialise()?;
        let work = Work::make(&self.folder, old.run_as)?;
        copy(old, &new, &work)?;
        carry_settings(old, &new)?;
        new.start_server(&work.apart()?)?;
        let looked_at = analyse(&new, &work);
        new.stop_server()?;
        looked_at?;
        drop(work);
        rustix::fs::sync(); // what takes the old one's place must be on the disk
        Ok(new.data)
    }

    fn cluster(&self, programs: Programs, data: PathBuf, in_use: Arc<File>) -> Result<Cluster> {
        let run_as = run_as(&data)?;
        let socket = self.folder.join("s");
        Ok(Cluster { programs, data, socket, run_as, started: false, _in_use: in_use })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn kept(&self) -> PathBuf {
        self.data().with_extension(self.old.version.to_string())
    }
}

/// A folder for what `pg_upgrade` writes beside the clusters, and for sockets that nobody knows; gone with this.
struct Work(PathBuf);

impl Work {
    /// Whoever the servers run as may connect to them: `pg_upgrade` does, and that may not be us.
    fn make(folder: &Path, run_as: Option<(u32, u32)>) -> Result<Self> {
        let work = Self(folder.join("upgrade"));
        let _ = fs::remove_dir_all(&work.0);
        fs::create_dir(&work.0).with_context(|| format!("cannot make {}", work.0.display()))?;
        fs::set_permissions(&work.0, fs::Permissions::from_mode(0o700))?;
        let uid = run_as.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid);
        let name = passwd(|fields| fields[2] == uid.to_string()).context("this user has no name")?.2;
        fs::write(work.0.join("hba"), "local all all peer map=hub\n")?;
        fs::write(work.0.join("ident"), format!("hub {name} hub\n"))?;
        if let Some((uid, gid)) = run_as {
            for path in [work.0.clone(), work.0.join("hba"), work.0.join("ident")] {
                chown(path, Some(uid), Some(gid))?;
            }
        }
        let path = text(&work.0)?;
        ensure!(!path.contains(['\'', '"', '$', '`', '\\']), "pg_upgrade takes no path such as {path}");
        Ok(work)
    }

    /// The options of a server that the hub doesn't find.
    fn apart(&self) -> Result<String> {
        Ok(format!("{} -c unix_socket_directories='{}'", self.admission(), text(&self.0)?))
    }

    /// The options of a server that lets its own user in.
    fn admission(&self) -> String {
        let folder = self.0.display();
        format!("-c hba_file='{folder}/hba' -c ident_file='{folder}/ident'")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(old: &Cluster, new: &Cluster, work: &Work) -> Result<()> {
    let admission = work.admission();
    let options = ["-o", &admission, "-O", &admission, "-U", "hub"];
    let folders = ["-d", text(&old.data)?, "-D", text(&new.data)?];
    let programs = ["-b", text(&old.programs.folder)?, "-B", text(&new.programs.folder)?];
    new.run_in(&work.0, "pg_upgrade", &[&options[..], &folders, &programs].concat())
}

/// The statistics that queries are planned by are not copied.
fn analyse(new: &Cluster, work: &Work) -> Result<()> {
    new.run("vacuumdb", &["--all", "--analyze-only", "-q", "-h", text(&work.0)?, "-U", "hub"])
}

/// What was set by us, and since: who may connect, and every setting that is not a comment.
fn carry_settings(old: &Cluster, new: &Cluster) -> Result<()> {
    for name in ["pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf"] {
        let text = fs::read(old.data.join(name)).with_context(|| format!("cannot read {name}"))?;
        fs::write(new.data.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let settings = fs::read_to_string(old.data.join("postgresql.conf"))?;
    new.configure(&active(&settings, old.programs.version))
}

fn active(settings: &str, version: u32) -> String {
    let lines = settings.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    lines.fold(format!("# As they were in PostgreSQL {version}:\n"), |text, line| text + line + "\n")
}

/// Nobody else may use the server: what they commit from now on would be lost.
async fn alone(cluster: &Cluster) -> Result<()> {
    let mut connection = cluster.options().disable_statement_logging().connect().await?;
    let query = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let others: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
    connection.close().await?;
    ensure!(others == 0, "{others} connections to the database are open: end them first (the hub, psql)");
    Ok(())
}

/// The new cluster for the old one, in one step: there is always one in its place.
fn place(new: &Path, old: &Path) -> Result<()> {
    renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).with_context(|| {
        let (new, old) = (new.display(), old.display());
        format!("this file system can't exchange {new} and {old}")
    })
}

/// For nobody else as long as this is open.
fn lock(folder: &Path) -> Result<File> {
    let in_use = File::open(folder)?;
    if let Err(TryLockError::WouldBlock) = in_use.try_lock() {
        bail!("the hub runs, or another of its commands: stop it first");
    }
    Ok(in_use)
}

/// The version of the cluster that one of version `now` has replaced, and that has no name yet.
fn replaced(data: &Path, now: u32) -> Result<Option<u32>> {
    Ok(version(&data.with_extension("new"))?.filter(|&before| before < now))
}

/// Gives a cluster its last name that was replaced by one of this version, here or before an interruption.
fn finish(data: &Path, now: u32) -> Result<()> {
    if let Some(before) = replaced(data, now)? {
        let kept = data.with_extension(before.to_string());
        fs::rename(data.with_extension("new"), &kept)
            .with_context(|| format!("cannot make {}", kept.display()))?;
        sync(data)?;
    }
    Ok(())
}

/// Makes the names in the folder around `path` last.
fn sync(path: &Path) -> Result<()> {
    let folder = path.parent().context("no folder")?;
    Ok(File::open(folder)?.sync_all()?)
}

/// Bytes in all files below a folder; some go while a server runs.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let about = entry.metadata().ok()?;
        Some(if about.is_dir() { size(&entry.path()) } else { about.len() })
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(ground: &Path, name: &str, version: u32) -> PathBuf {
        let data = ground.join(name);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("PG_VERSION"), format!("{version}\n")).unwrap();
        data
    }

    #[test]
    fn the_new_cluster_takes_its_place_and_the_old_one_is_kept() {
        let ground = tempfile::tempdir().unwrap();
        let (data, fresh) = (cluster(ground.path(), "data", 15), cluster(ground.path(), "data.new", 17));
        place(&fresh, &data).unwrap();
        // Interrupted here, the next attempt finds the old one under the other's name.
        assert_eq!((version(&data).unwrap(), version(&fresh).unwrap()), (Some(17), Some(15)));
        Upgrade::resume(ground.path()).unwrap();
        assert_eq!(version(&ground.path().join("data.15")).unwrap(), Some(15));
        assert!(!fresh.exists());
    }

    #[test]
    fn what_an_interrupted_copy_left_is_no_old_cluster() {
        let ground = tempfile::tempdir().unwrap();
        let (data, fresh) = (cluster(ground.path(), "data", 15), cluster(ground.path(), "data.new", 17));
        Upgrade::resume(ground.path()).unwrap();
        assert!(fresh.exists() && data.exists());
    }

    #[test]
    fn settings_are_carried_without_comments() {
        let carried = active("# a comment\nwork_mem = 8MB # why\n\n  #off = 1\njit = off\n", 15);
        assert_eq!(carried, "# As they were in PostgreSQL 15:\nwork_mem = 8MB # why\njit = off\n");
    }

    #[test]
    fn a_cluster_that_is_used_is_not_upgraded() {
        let ground = tempfile::tempdir().unwrap();
        let used = File::open(ground.path()).unwrap();
        used.try_lock_shared().unwrap();
        assert!(File::open(ground.path()).unwrap().try_lock_shared().is_ok(), "two commands may use it");
        assert!(lock(ground.path()).is_err());
    }
}
