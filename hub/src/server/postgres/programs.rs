//! PostgreSQL's server programs: which versions are installed, and where. A cluster takes those of its own
//! version, a new one the newest.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where Debian and Ubuntu have a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The oldest version that the schema works on.
const OLDEST: u32 = 14;
const NONE: &str = "there is no PostgreSQL server: install the package postgresql, or set database_url_file";

/// The programs of one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Programs {
    /// The major version.
    pub version: u32,
    /// The folder they are in.
    pub folder: PathBuf,
}

impl Programs {
    /// What is installed, oldest first.
    pub fn installed() -> Vec<Self> {
        Self::find(Path::new(VERSIONS), &env::var_os("PATH").unwrap_or_default())
    }

    /// Those for the cluster in `data`, which may not be there yet.
    pub fn choose(data: &Path, installed: &[Self]) -> Result<Self> {
        let newest = installed.last().context(NONE)?;
        let Some(version) = version(data)? else {
            let found = newest.version;
            anyhow::ensure!(
                found >= OLDEST,
                "PostgreSQL {found} is too old: the hub needs {OLDEST} or newer"
            );
            return Ok(newest.clone());
        };
        if let Some(fitting) = installed.iter().find(|each| each.version == version) {
            return Ok(fitting.clone());
        }
        let data = data.display();
        if newest.version < version {
            bail!("{data} is of PostgreSQL {version}, newer than what is installed: {}", install(version));
        }
        bail!(
            "{data} is of PostgreSQL {version}, of which no server is installed, and it is not upgraded in \
            silence: {}, then run `rollcall-hub database upgrade`",
            install(version)
        );
    }

    /// A program's path.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    fn find(versions: &Path, path: &OsStr) -> Vec<Self> {
        let entries = fs::read_dir(versions).into_iter().flatten().flatten();
        let mut found: Vec<Self> = entries
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some(Self { version, folder: entry.path().join("bin") })
            })
            .filter(|programs| complete(&programs.folder))
            .collect();
        for folder in env::split_paths(path).filter(|folder| complete(folder)) {
            let Some(version) = ask(&folder) else { continue };
            if found.iter().all(|programs| programs.version != version) {
                found.push(Self { version, folder });
            }
        }
        found.sort();
        found
    }
}

/// The version of the cluster in `data`, where there is one.
pub fn version(data: &Path) -> Result<Option<u32>> {
    let file = data.join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(text) => {
            let version = text.trim().parse();
            version.map(Some).with_context(|| format!("{} holds no version of PostgreSQL", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// How to get the programs of a version. A distribution has one version, its predecessor the one before.
fn install(version: u32) -> String {
    format!("install the package postgresql-{version} (of the release that this machine had before)")
}

fn complete(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).is_file())
}

/// The version of programs whose folder does not tell.
fn ask(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these versions installed as Debian does, and perhaps others in a folder of PATH.
    fn machine(versions: &[&str], on_path: Option<&str>) -> (tempfile::TempDir, Vec<Programs>) {
        let ground = tempfile::tempdir().unwrap();
        // By another process: one that this one starts meanwhile would keep a file open that is to be run.
        let make = |folder: &Path, says: &str| {
            let script = "mkdir -p \"$0\" && cd \"$0\" && for each in initdb pg_ctl postgres; do \
                printf '#!/bin/sh\\necho \"postgres (PostgreSQL) %s\"\\n' \"$1\" >$each; chmod 755 $each; done";
            let made = Command::new("sh").args(["-c", script]).arg(folder).arg(says).status();
            assert!(made.unwrap().success());
        };
        for version in versions {
            make(&ground.path().join("versions").join(version).join("bin"), version);
        }
        let path = ground.path().join("path");
        on_path.inspect(|says| make(&path, says));
        let found = Programs::find(&ground.path().join("versions"), path.as_os_str());
        (ground, found)
    }

    fn cluster(ground: &tempfile::TempDir, version: &str) -> PathBuf {
        let data = ground.path().join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("PG_VERSION"), format!("{version}\n")).unwrap();
        data
    }

    #[test]
    fn a_cluster_keeps_its_version_and_a_new_one_takes_the_newest() {
        let (ground, installed) = machine(&["9.6", "15", "17", "common"], None);
        assert_eq!(installed.iter().map(|each| each.version).collect::<Vec<_>>(), [15, 17]);
        let new = Programs::choose(&ground.path().join("nothing"), &installed).unwrap();
        assert_eq!(new.version, 17);
        let old = Programs::choose(&cluster(&ground, "15"), &installed).unwrap();
        assert_eq!((old.version, old.folder), (15, ground.path().join("versions/15/bin")));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let (_ground, installed) = machine(&["9", "14", "100"], None);
        assert_eq!(installed.last().unwrap().version, 100);
    }

    #[test]
    fn a_cluster_without_its_programs_is_named_with_the_way_out() {
        let (ground, installed) = machine(&["17"], None);
        let said = Programs::choose(&cluster(&ground, "15"), &installed).unwrap_err().to_string();
        for part in ["is of PostgreSQL 15", "package postgresql-15", "rollcall-hub database upgrade"] {
            assert!(said.contains(part), "{said}");
        }
        let said = Programs::choose(&cluster(&ground, "18"), &installed).unwrap_err().to_string();
        assert!(said.contains("package postgresql-18") && !said.contains("upgrade`"), "{said}");
        let said = Programs::choose(&cluster(&ground, "soup"), &installed).unwrap_err().to_string();
        assert!(said.contains("holds no version"), "{said}");
    }

    #[test]
    fn what_is_too_old_or_not_whole_is_not_used() {
        let (ground, installed) = machine(&["13"], None);
        let nothing = ground.path().join("nothing");
        let said = Programs::choose(&nothing, &installed).unwrap_err().to_string();
        assert!(said.contains("13 is too old"), "{said}");
        fs::remove_file(ground.path().join("versions/13/bin/initdb")).unwrap(); // clients alone
        let installed = Programs::find(&ground.path().join("versions"), OsStr::new(""));
        assert!(installed.is_empty());
        assert!(Programs::choose(&nothing, &installed).is_err());
    }

    #[test]
    fn programs_of_the_path_count_by_what_they_say() {
        let (ground, installed) = machine(&["15"], Some("16.4 (Somebody's own)"));
        assert_eq!(installed.iter().map(|each| each.version).collect::<Vec<_>>(), [15, 16]);
        assert_eq!(installed[1].folder, ground.path().join("path"));
        let (ground, installed) = machine(&["16"], Some("16.4"));
        assert_eq!(installed, [Programs { version: 16, folder: ground.path().join("versions/16/bin") }]);
    }
}
