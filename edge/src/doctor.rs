//! `rollcall-edge doctor`: looks at everything that a terminal needs, says what is wrong and what to do
//! about it. Changes nothing, and may be run beside the daemon.

mod connection;
mod finding;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use models::Eyes;

use crate::camera::v4l2::RawNode;
use crate::camera::{self, MODULE, program};
use crate::clock::Clock;
use crate::config::{Camera, Config, Door};
use crate::daemon::install_crypto;
use crate::doctor::finding::{Finding, State, bad, judge, note, well};
use crate::door;
use crate::gallery::Roster;
use crate::machine::{self, Machine};
use crate::outbox::support;

/// Frames that a camera must give.
const FRAMES: u32 = 20;
/// Megabytes that should stay free beside a full outbox.
const SPARE_MB: u64 = 200;
/// Degrees Celsius from which a Raspberry Pi slows down.
const HOT: f32 = 80.0;

/// Looks, and prints what it found. `false`: something is wrong.
pub fn examine(file: &Path, json: bool) -> bool {
    install_crypto();
    let findings = match Config::read(file) {
        Ok(config) => all(file, &config),
        Err(error) => vec![Finding {
            what: "configuration",
            state: State::Bad,
            said: format!("{error:#}"),
            remedy: "mend the file; /usr/share/rollcall-edge/edge.example.toml shows every key".into(),
        }],
    };
    for finding in &findings {
        if json {
            println!("{}", finding.json());
        } else {
            finding.print();
        }
    }
    !findings.iter().any(|finding| matches!(finding.state, State::Bad))
}

fn all(file: &Path, config: &Config) -> Vec<Finding> {
    let outbox = config.state.join("outbox");
    if let Err(error) = support::may_read(&config.state).and_then(|()| support::may_read(&outbox)) {
        return vec![bad("user", format!("{error:#}"), "sudo -u rollcall rollcall-edge doctor")];
    }
    let running = support::is_open(&outbox);
    let mut findings = vec![
        well("configuration", file.display().to_string()),
        well("machine", machine::system()),
        daemon(config, running),
    ];
    findings.extend([
        judge("models", models(config), "install the package again"),
        camera(config, running),
        judge(
            "pins",
            pins(config),
            "see [door]: is the number right, may this user open the pins (group gpio), does another program use them?",
        ),
        clock(config),
        judge("disk", disk(config), "make room, or lower outbox.limit_mb; a worn-out card goes read-only: replace it"),
        temperature(config),
        judge("roster", roster(config), "the hub sends it anew when the terminal starts; roster.key must be readable for this user"),
        waiting(&outbox),
    ]);
    findings.extend(connection::examine(config, running));
    findings
}

fn daemon(config: &Config, running: bool) -> Finding {
    let code = std::fs::read_to_string(config.state.join("claim.code"));
    match code {
        _ if running => well("daemon", "runs".into()),
        Ok(code) if !config.hub.files(&config.state).certificate.exists() => note(
            "daemon",
            format!("waits to be accepted, if it runs; its code is {}", code.trim()),
            "on the hub: rollcall-hub terminal claims, then terminal accept",
        ),
        _ => bad("daemon", "does not run".into(), "systemctl start rollcall-edge"),
    }
}

/// Whether the roster opens with its key. Makes neither.
fn roster(config: &Config) -> Result<String> {
    let (key, sealed) = (config.roster_key(), config.state.join("roster.sealed"));
    if !key.exists() {
        ensure!(!sealed.exists(), "{} is missing", key.display());
        return Ok("none yet; its key is made when the terminal starts".into());
    }
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    let embedder = eyes.embedder();
    let roster = Roster::look(&config.state, &key, embedder.sha256(), embedder.dimensions())?;
    Ok(format!("version {}", roster.version()))
}

fn waiting(outbox: &Path) -> Finding {
    let damaged = support::damaged(outbox);
    match damaged.first() {
        None => well("outbox", "nothing was ever damaged".into()),
        Some(store) => note(
            "outbox",
            format!("was damaged once; what was whole went on, the rest is in {}", store.display()),
            "rollcall-edge outbox export --store shows it; a card that damages files is to be replaced",
        ),
    }
}

fn models(config: &Config) -> Result<String> {
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    Ok(format!("whole (embedder {})", &eyes.embedder().sha256()[..12]))
}

fn camera(config: &Config, running: bool) -> Finding {
    let with_daemon = "the daemon has it: see `observe` without the daemon";
    let (name, remedy) = match &config.camera {
        Camera::V4l2 { device, .. } => (
            device.display().to_string(),
            "is it plugged in, is camera.device right (ls /dev/v4l/by-id), may this user open it (group video)?",
        ),
        // A sensor shows itself to one program at a time, each of which says so in its own words.
        Camera::Program { command, .. } if running => {
            return match program::find(command) {
                Ok(_) => note("camera", with_daemon.into(), "its alarms tell what is wrong with the camera"),
                Err(error) => {
                    bad("camera", format!("{error:#}"), "is camera.command right, its package there?")
                }
            };
        }
        Camera::Program { command, .. } => (
            command.program().to_owned(),
            "run camera.command by hand, as the terminal's user: does it write pictures to standard output? rpicam-vid \
            is in the package rpicam-apps (older: libcamera-vid)",
        ),
        Camera::Replay { .. } | Camera::Walk { .. } => {
            return match camera::open(&config.camera, config.vision.models.as_deref(), Instant::now()) {
                Ok(_) => {
                    note("camera", "played from files, for demonstrations".into(), "camera.kind = \"v4l2\"")
                }
                Err(error) => bad("camera", format!("{error:#}"), "is the path right?"),
            };
        }
    };
    match frames(&config.camera) {
        Ok(said) => well("camera", format!("{name}: {said}")),
        Err(error) if running && busy(&error) => well("camera", with_daemon.into()),
        Err(error) if error.is::<RawNode>() => bad("camera", format!("{error:#}"), MODULE),
        Err(error) if busy(&error) => {
            bad("camera", format!("{error:#}"), "another program has it: fuser -v /dev/video*")
        }
        Err(error) => bad("camera", format!("{error:#}"), remedy),
    }
}

fn busy(error: &anyhow::Error) -> bool {
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kind == Some(ErrorKind::ResourceBusy)
}

fn frames(choice: &Camera) -> Result<String> {
    let mut camera = camera::open(choice, None, Instant::now())?;
    let (mut rgb, mut began, mut found) = (Vec::new(), None, (0, 0));
    for _ in 0..FRAMES {
        let frame = camera.next(rgb)?.context("it has ended")?;
        began.get_or_insert_with(Instant::now);
        found = (frame.width(), frame.height());
        rgb = frame.into_rgb();
    }
    let lasted = began.context("no frames")?.elapsed().as_secs_f32();
    let measured = (FRAMES - 1) as f32 / lasted.max(0.001);
    Ok(format!("{}x{}, {measured:.1} frames/s", found.0, found.1))
}

fn pins(config: &Config) -> Result<String> {
    let Door::Gpio(gpio) = &config.door else { return Ok("none; signals go to the log".into()) };
    let (backend, others) = door::look_at_pins(gpio)?;
    ensure!(others.is_empty(), "{}", others.join(", "));
    let pins: Vec<&str> = gpio.pins().map(|(name, _)| name).collect();
    Ok(format!("{} by {backend:?}", pins.join(", ")).to_lowercase())
}

fn clock(config: &Config) -> Finding {
    let synchronised = Clock::open(config.clock.synchronised).map(|clock| clock.now().synchronised);
    match synchronised {
        Ok(true) => well("clock", "synchronised".into()),
        Ok(false) => note(
            "clock",
            "not synchronised: punches get their time once the hub is reached".into(),
            "timedatectl status; install systemd-timesyncd and let it reach its server; or clock.synchronised = \"always\"",
        ),
        Err(error) => bad("clock", format!("{error:#}"), ""),
    }
}

fn disk(config: &Config) -> Result<String> {
    let state = config.state.display();
    tempfile::tempfile_in(&config.state)
        .and_then(|mut file| file.write_all(b"rollcall").and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write in {state}"))?;
    let free = Machine::look(&config.state).free_mb;
    // What waits already has its place.
    let wanted =
        config.outbox.limit_mb.saturating_sub(support::size_mb(&config.state.join("outbox"))) + SPARE_MB;
    ensure!(free >= wanted, "{free} MB free in {state}; a full outbox and some room take {wanted}");
    Ok(format!("{free} MB free in {state}"))
}

fn temperature(config: &Config) -> Finding {
    match Machine::look(&config.state).temperature_c {
        None => well("temperature", "this machine can't tell".into()),
        Some(degrees) if degrees >= HOT => {
            note("temperature", format!("{degrees:.0} degrees: it slows down"), "give it air, or a heat sink")
        }
        Some(degrees) => well("temperature", format!("{degrees:.0} degrees")),
    }
}
