//! Sources of frames: a V4L2 camera, a program, recorded frames, or photos moved past the lens.

mod mjpeg;
pub mod program;
pub mod replay;
mod source;
mod split;
pub mod v4l2;
pub mod walk;
mod yuyv;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config;
use crate::door::{Fault, Signal};
use crate::health::Health;
use crate::vision::Slot;

pub use source::Camera;

/// The waits before a camera is opened again, doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// Frames after which a camera counts as working: some drivers deliver the last frame again when a stalled camera is
/// reopened.
const STEADY: u32 = 3;

/// The configuration for a Raspberry Pi's Camera Module.
pub const MODULE: &str = concat!(
    "camera.kind = \"program\", camera.command = [\"rpicam-vid\", \"-t\", \"0\", \"-n\", \"--codec\", \"mjpeg\", ",
    "\"--quality\", \"85\", \"--width\", \"640\", \"--height\", \"480\", \"--framerate\", \"15\", \"--flush\", \"-o\", \"-\"]"
);

/// Who is notified of the camera's state.
pub struct Observers<'a> {
    pub door: &'a mpsc::Sender<Signal>,
    pub health: &'a Health,
}

/// Opens the configured camera. `models`: the models folder, to find faces in photos. Frames of a real camera are
/// timed since `origin`, which stays the same when it is reopened: tracks and punches are remembered by that time.
pub fn open(choice: &config::Camera, models: Option<&Path>, origin: Instant) -> Result<Box<dyn Camera>> {
    Ok(match choice {
        config::Camera::V4l2 { device, width, height, rate } => {
            Box::new(v4l2::V4l2::open(device, (*width, *height), *rate, origin)?)
        }
        config::Camera::Program { command, format, width, height, rate } => {
            let shape = program::Shape { format: *format, size: (*width, *height), rate: *rate };
            Box::new(program::Program::open(command, shape, origin)?)
        }
        config::Camera::Replay { folder, rate, repeat } => {
            Box::new(replay::Replay::open(folder, Some(*rate), *repeat)?)
        }
        config::Camera::Walk { passes, rate, start_after_s, repeat_after_s } => {
            Box::new(walk::Walk::open(passes, *rate, *start_after_s, *repeat_after_s, models)?)
        }
    })
}

/// Puts frames into the slot until cancelled. A camera that fails is reopened; the end of a recording closes the slot.
/// Returns an error only for a recording.
pub fn run(
    choice: &config::Camera,
    models: Option<&Path>,
    slot: &Slot,
    observers: &Observers<'_>,
    stop: &CancellationToken,
) -> Result<()> {
    let (mut wait, origin) = (BACKOFF.0, Instant::now());
    while !stop.is_cancelled() {
        match open(choice, models, origin)
            .and_then(|mut camera| watch(camera.as_mut(), slot, observers, stop, &mut wait))
        {
            Ok(()) => break,
            Err(error) if !choice.is_real() => return Err(error.context("camera")),
            Err(error) => {
                let error = format!("{error:#}");
                warn!(error, retry_ms = wait.as_millis() as u64, "camera failed; reopening");
                observers.health.camera_lost(&error);
                observers.health.attempt();
                let _ = observers.door.blocking_send(Signal::Failed(Fault::Camera));
                if !stop.is_cancelled() {
                    std::thread::sleep(wait);
                }
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
    slot.close();
    Ok(())
}

fn watch(
    camera: &mut dyn Camera,
    slot: &Slot,
    observers: &Observers<'_>,
    stop: &CancellationToken,
    wait: &mut Duration,
) -> Result<()> {
    let mut frames = 0;
    while !stop.is_cancelled() {
        let Some(frame) = camera.next(slot.spare())? else {
            info!("the recording has ended");
            observers.health.recording_ended();
            return Ok(());
        };
        frames += 1;
        if frames == STEADY {
            info!(width = frame.width(), height = frame.height(), "camera open");
            observers.health.camera_up();
            let _ = observers.door.blocking_send(Signal::Cleared(Fault::Camera));
            *wait = BACKOFF.0;
        }
        slot.put(frame);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuzzing keeps; each target there says how its files are taken apart (fuzz/README.md).
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let files = std::fs::read_dir(folder).expect("a corpus");
        files.map(|file| std::fs::read(file.expect("a file").path()).expect("bytes")).collect()
    }

    #[test]
    fn frames_from_fuzzing_are_errors_or_have_the_promised_size() {
        let (mut pictures, mut rgb) = (0, Vec::new());
        for bytes in corpus("mjpeg") {
            let [width, height, jpeg @ ..] = &bytes[..] else { continue };
            let (width, height) = (usize::from(*width), usize::from(*height));
            if mjpeg::decode(jpeg, width, height, &mut rgb).is_ok() {
                assert_eq!(rgb.len(), width * height * 3);
                pictures += 1;
            }
        }
        for bytes in corpus("yuyv") {
            let Some((head, pixels)) = bytes.split_first_chunk::<6>() else { continue };
            let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
            if yuyv::decode(pixels, number(0), number(2), number(4), &mut rgb).is_ok() {
                assert_eq!(rgb.len(), number(0) * number(2) * 3);
                pictures += 1;
            }
        }
        assert!(pictures > 5, "{pictures}");
    }
}
