//! What the system tests share: the real programs in folders of their own, and looks into the
//! real PostgreSQL.
//!
//! The programs are those of the profile that the tests were built with; `tests/run.sh` builds
//! them first.
#![allow(clippy::unnecessary_debug_formatting, reason = "paths are quoted as TOML wants them")]

pub mod api;
pub mod calc;
pub mod company;
pub mod database;
pub mod faketime;
pub mod ground;
pub mod hub;
pub mod intruder;
pub mod mosquitto;
pub mod office;
pub mod proxy;
pub mod simulated;
pub mod smtp;
pub mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program of the workspace. `ROLLCALL_EDGE` names another terminal than the one that was built here:
/// one for another processor, under an emulator.
pub fn program(name: &str) -> Result<PathBuf> {
    if let Some(other) = std::env::var_os("ROLLCALL_EDGE").filter(|_| name == "rollcall-edge") {
        return Ok(other.into());
    }
    let folder = std::env::current_exe()?;
    // Tests run in target/PROFILE/deps, examples in target/PROFILE/examples.
    let folder = folder.parent().and_then(Path::parent).context("not in a folder of cargo's")?;
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: run tests/run.sh, which builds it", path.display());
    Ok(path)
}

/// Whether the terminal is another one, which takes its time.
pub fn emulated() -> bool {
    std::env::var_os("ROLLCALL_EDGE").is_some()
}

/// A demonstration photo.
pub fn photo(name: &str) -> Result<PathBuf> {
    let path = root().join("deploy/photos").join(name);
    ensure!(path.is_file(), "{} is missing: run deploy/photos.sh", path.display());
    Ok(path.canonicalize()?)
}

/// Runs a program to its end.
pub fn run(program: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))
}

/// Checks that a program refused: a non-zero exit and one line that starts with "error: " and
/// holds `expected`. LiteRT's own greeting on standard error is not ours to silence.
pub fn refused(output: &Output, expected: &str) -> Result<()> {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> =
        errors.lines().filter(|line| !line.starts_with("INFO: Created TensorFlow Lite")).collect();
    ensure!(!output.status.success(), "it should have failed; it said {errors}");
    match lines[..] {
        [line] if line.starts_with("error: ") && line.contains(expected) => Ok(()),
        _ => bail!("expected one line with {expected:?}, got: {errors}"),
    }
}

/// Tries until it works, for as long as patience lasts.
pub async fn eventually<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let patience = if emulated() { 20 * PATIENCE } else { PATIENCE };
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if start.elapsed() > patience => {
                return Err(error.context(format!("waited for {what}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Lets this process open as many files as the system allows.
pub fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The most memory that a process ever had, in MiB.
pub fn peak_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024)
}
