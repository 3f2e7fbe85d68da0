//! Helpers of the system tests, which run the real programs and a real PostgreSQL.
//!
//! The programs are those of the same build profile; `tests/run.sh` builds them first.
#![allow(clippy::unnecessary_debug_formatting, reason = "paths are quoted as TOML wants them")]

pub mod api;
pub mod calc;
pub mod company;
pub mod database;
pub mod dir;
pub mod faketime;
pub mod hub;
pub mod mosquitto;
pub mod mqtt_client;
pub mod notifications;
pub mod proxy;
pub mod simulated;
pub mod smtp;
pub mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long `eventually` waits.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The path of a program of the workspace. `ROLLCALL_EDGE` overrides `rollcall-edge`: one for another processor, under
/// an emulator.
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

/// Whether the terminal runs under an emulator, which is slow.
pub fn emulated() -> bool {
    std::env::var_os("ROLLCALL_EDGE").is_some()
}

/// The path of a demonstration photo.
pub fn photo(name: &str) -> Result<PathBuf> {
    let path = root().join("deploy/photos").join(name);
    ensure!(path.is_file(), "{} is missing: run deploy/photos.sh", path.display());
    Ok(path.canonicalize()?)
}

pub fn run(program: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))
}

/// Checks that a program failed with one line that starts with "error: " and contains `expected`. LiteRT's own line is
/// ignored.
pub fn check_error(output: &Output, expected: &str) -> Result<()> {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> =
        errors.lines().filter(|line| !line.starts_with("INFO: Created TensorFlow Lite")).collect();
    ensure!(!output.status.success(), "it did not fail: {errors}");
    match lines[..] {
        [line] if line.starts_with("error: ") && line.contains(expected) => Ok(()),
        _ => bail!("expected one line with {expected:?}, got: {errors}"),
    }
}

/// Retries until it succeeds or the time is up.
pub async fn eventually<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let timeout = if emulated() { 20 * TIMEOUT } else { TIMEOUT };
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if start.elapsed() > timeout => {
                return Err(error.context(format!("waited for {what}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Raises the limit of open files to the maximum.
pub fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The peak memory of a process in MiB.
pub fn peak_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024)
}
