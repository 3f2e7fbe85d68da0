//! `rollcall-edge doctor`: checks everything that a terminal needs, and says what to do about each problem. Changes
//! nothing, and works while the daemon runs.

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
use crate::doctor::finding::{Finding, State, bad, from_result, note, ok};
use crate::door;
use crate::gallery::GalleryStore;
use crate::machine::{self, Machine};
use crate::outbox::support;

/// Frames that the camera must deliver.
const FRAMES: u32 = 20;
/// Megabytes that should stay free beside a full outbox.
const SPARE_MB: u64 = 200;
/// Degrees Celsius above which a Raspberry Pi slows down.
const HOT: f32 = 80.0;

/// Prints the findings. Returns whether there is no problem.
pub fn examine(file: &Path, json: bool) -> bool {
    install_crypto();
    let findings = match Config::read(file) {
        Ok(config) => all(file, &config),
        Err(error) => vec![Finding {
            what: "configuration",
            state: State::Bad,
            found: format!("{error:#}"),
            remedy: "fix the file; /usr/share/rollcall-edge/edge.example.toml documents every key".into(),
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
        ok("configuration", file.display().to_string()),
        ok("machine", machine::system()),
        daemon(config, running),
    ];
    findings.extend([
        from_result("models", models(config), "reinstall the package"),
        camera(config, running),
        from_result(
            "pins",
            pins(config),
            "see [door]: check the number, whether this user may open the pins (group gpio), and whether another program uses them",
        ),
        clock(config),
        from_result("disk", disk(config), "free space, or lower outbox.limit_mb; a worn-out card becomes read-only: replace it"),
        temperature(config),
        from_result("gallery", gallery(config), "roster.key must be readable for this user; else restart the daemon: the hub sends the gallery again"),
        outbox_damage(&outbox),
    ]);
    findings.extend(connection::examine(config, running));
    findings
}

fn daemon(config: &Config, running: bool) -> Finding {
    let code = std::fs::read_to_string(config.state.join("claim.code"));
    match code {
        _ if running => ok("daemon", "runs".into()),
        Ok(code) if !config.hub.files(&config.state).certificate.exists() => note(
            "daemon",
            format!("not paired; if it runs, it waits to be accepted with the code {}", code.trim()),
            "on the hub: rollcall-hub terminal claims, then terminal accept",
        ),
        _ => bad("daemon", "is not running".into(), "systemctl start rollcall-edge"),
    }
}

/// Whether the gallery can be opened with its key. Creates neither.
fn gallery(config: &Config) -> Result<String> {
    let (key, sealed) = (config.gallery_key(), config.state.join("roster.sealed"));
    if !key.exists() {
        ensure!(!sealed.exists(), "{} is missing", key.display());
        return Ok("none yet; the daemon creates its key when it starts".into());
    }
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    let embedder = eyes.embedder();
    let store = GalleryStore::read_only(&config.state, &key, embedder.sha256(), embedder.dimensions())?;
    Ok(format!("version {}", store.version()))
}

fn outbox_damage(outbox: &Path) -> Finding {
    let damaged = support::damaged(outbox);
    match damaged.first() {
        None => ok("outbox", "never damaged".into()),
        Some(store) => note(
            "outbox",
            format!("was damaged once; intact punches were saved, the damaged store is {}", store.display()),
            "rollcall-edge outbox export --store shows it; replace a card that damages files",
        ),
    }
}

fn models(config: &Config) -> Result<String> {
    let eyes = Eyes::open(config.vision.models.as_deref(), 1)?;
    Ok(format!("intact (embedder {})", &eyes.embedder().sha256()[..12]))
}

fn camera(config: &Config, running: bool) -> Finding {
    let in_use = "the daemon uses it: stop the daemon to see more with `observe`";
    let (name, remedy) = match &config.camera {
        Camera::V4l2 { device, .. } => (
            device.display().to_string(),
            "check that it is plugged in, camera.device (ls /dev/v4l/by-id), and whether this user may open it (group video)",
        ),
        // A sensor has one user at a time, and each program reports that in its own words.
        Camera::Program { command, .. } if running => {
            return match program::find(command) {
                Ok(_) => {
                    note("camera", in_use.into(), "the daemon's alarms say what is wrong with the camera")
                }
                Err(error) => {
                    bad("camera", format!("{error:#}"), "check camera.command, and install its package")
                }
            };
        }
        Camera::Program { command, .. } => (
            command.program().to_owned(),
            "run camera.command by hand, as the terminal's user: it must write pictures to standard output. rpicam-vid \
            is in the package rpicam-apps (older: libcamera-vid)",
        ),
        Camera::Replay { .. } | Camera::Walk { .. } => {
            return match camera::open(&config.camera, config.vision.models.as_deref(), Instant::now()) {
                Ok(_) => note(
                    "camera",
                    "simulated from files, for demonstrations".into(),
                    "camera.kind = \"v4l2\"",
                ),
                Err(error) => bad("camera", format!("{error:#}"), "check the path"),
            };
        }
    };
    match frames(&config.camera) {
        Ok(found) => ok("camera", format!("{name}: {found}")),
        Err(error) if running && is_busy(&error) => ok("camera", in_use.into()),
        Err(error) if error.is::<RawNode>() => bad("camera", format!("{error:#}"), MODULE),
        Err(error) if is_busy(&error) => {
            bad("camera", format!("{error:#}"), "another program uses it: fuser -v /dev/video*")
        }
        Err(error) => bad("camera", format!("{error:#}"), remedy),
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kind == Some(ErrorKind::ResourceBusy)
}

fn frames(choice: &Camera) -> Result<String> {
    let mut camera = camera::open(choice, None, Instant::now())?;
    let (mut rgb, mut began, mut found) = (Vec::new(), None, (0, 0));
    for _ in 0..FRAMES {
        let frame = camera.next(rgb)?.context("the stream has ended")?;
        began.get_or_insert_with(Instant::now);
        found = (frame.width(), frame.height());
        rgb = frame.into_rgb();
    }
    let lasted = began.context("no frames")?.elapsed().as_secs_f32();
    let measured = (FRAMES - 1) as f32 / lasted.max(0.001);
    Ok(format!("{}x{}, {measured:.1} frames/s", found.0, found.1))
}

fn pins(config: &Config) -> Result<String> {
    let Door::Gpio(gpio) = &config.door else { return Ok("none; signals are logged".into()) };
    let (backend, others) = door::inspect_pins(gpio)?;
    ensure!(others.is_empty(), "{}", others.join(", "));
    let pins: Vec<&str> = gpio.pins().map(|(name, _)| name).collect();
    Ok(format!("{} by {backend:?}", pins.join(", ")).to_lowercase())
}

fn clock(config: &Config) -> Finding {
    let synchronised = Clock::open(config.clock.synchronised).map(|clock| clock.now().synchronised);
    match synchronised {
        Ok(true) => ok("clock", "synchronised".into()),
        Ok(false) => note(
            "clock",
            "not synchronised: punches are dated once the hub is reached".into(),
            "see timedatectl status; install systemd-timesyncd and let it reach its server; with chrony, set clock.synchronised = \"always\"",
        ),
        Err(error) => bad("clock", format!("{error:#}"), ""),
    }
}

fn disk(config: &Config) -> Result<String> {
    let state = config.state.display();
    tempfile::tempfile_in(&config.state)
        .and_then(|mut file| file.write_all(b"rollcall").and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write in {state}"))?;
    let free = Machine::read(&config.state).free_mb;
    // Waiting punches already have their space.
    let wanted =
        config.outbox.limit_mb.saturating_sub(support::size_mb(&config.state.join("outbox"))) + SPARE_MB;
    ensure!(free >= wanted, "{free} MB free in {state}; a full outbox and some spare space need {wanted}");
    Ok(format!("{free} MB free in {state}"))
}

fn temperature(config: &Config) -> Finding {
    match Machine::read(&config.state).temperature_c {
        None => ok("temperature", "this machine has no sensor".into()),
        Some(degrees) if degrees >= HOT => {
            note("temperature", format!("{degrees:.0} °C: the machine slows down"), "improve its cooling")
        }
        Some(degrees) => ok("temperature", format!("{degrees:.0} °C")),
    }
}
