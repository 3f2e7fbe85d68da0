//! `rollcall-edge observe`: what the terminal would see, for the person on the ladder: once a second
//! in plain words, or as JSON with a line for each face.

mod scene;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use models::{Eyes, Frame, Gallery, Pipeline, Sighting, Verdict};
use serde_json::json;

use crate::camera::Camera;
use crate::camera::replay::Replay;
use crate::camera::v4l2::V4l2;
use crate::config::{self, Config, Vision};
use crate::roster::Roster;
use scene::{Second, rounded};

/// What is looked at, and how it is told.
#[derive(Args)]
pub struct Observation {
    /// A device such as /dev/video0, a folder of frames, or one photo. Left out: the device of --config, else
    /// /dev/video0.
    source: Option<PathBuf>,
    /// Recognise people, and ask the camera for size and rate, as the terminal of this configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop after this many frames.
    #[arg(long)]
    frames: Option<u64>,
    /// JSON: one line a second, and one for each face in each frame.
    #[arg(long)]
    json: bool,
}

/// One photo as a camera that shows it once.
struct Photo(Option<PathBuf>);

impl Camera for Photo {
    fn next(&mut self, _spare: Vec<u8>) -> Result<Option<Frame>> {
        let Some(path) = self.0.take() else { return Ok(None) };
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(Frame::decode(&bytes).with_context(|| path.display().to_string())?))
    }
}

/// How a camera is asked for frames.
struct Shape {
    size: (u32, u32),
    rate: u32,
}

/// Observes a device, a folder of frames or one photo.
pub fn observe(what: &Observation) -> Result<()> {
    let config = what.config.as_deref().map(Config::read).transpose()?;
    let (source, shape) = source(what, config.as_ref());
    let mut camera = open(&source, &shape)?;
    let vision = config.as_ref().map_or_else(Vision::default, |config| config.vision.clone());
    let eyes = Eyes::open(vision.models.as_deref(), 1)?;
    let gallery = config.as_ref().map(|config| gallery(config, &eyes)).unwrap_or_default();
    let mut pipeline = Pipeline::new(eyes, vision.agreement).with_liveness(vision.liveness);
    let tell = |scene: &scene::Scene| {
        if what.json {
            println!("{}", scene.json());
        } else {
            println!("{}", scene.words(shape.rate, vision.narrowest_face));
        }
    };
    let (mut looked, mut faces, mut told, mut spare) = (0, 0, false, Vec::new());
    let (mut second, began) = (Second::default(), Instant::now());
    while what.frames.is_none_or(|most| looked < most) {
        let Some(frame) = camera.next(spare)? else { break };
        let sightings = pipeline.observe(&frame, &gallery)?;
        faces += sightings.len();
        if what.json {
            for sighting in sightings {
                println!("{}", line(looked, sighting));
            }
        }
        // A recording is looked at as fast as it goes: its own time is what counts.
        let now =
            if matches!(source.metadata(), Ok(kind) if kind.is_dir()) { frame.at } else { began.elapsed() };
        if let Some(scene) = second.add(&frame, sightings, now) {
            tell(&scene);
            told = true;
        }
        looked += 1;
        spare = frame.into_rgb();
    }
    if !told {
        second.end(began.elapsed()).iter().for_each(tell);
    }
    eprintln!("{looked} frames, {faces} sightings");
    Ok(())
}

/// What is looked at: as asked for, or the configured camera.
fn source(what: &Observation, config: Option<&Config>) -> (PathBuf, Shape) {
    let configured = match config.map(|config| &config.camera) {
        Some(config::Camera::V4l2 { device, width, height, rate }) => {
            Some((device.clone(), Shape { size: (*width, *height), rate: *rate }))
        }
        _ => None,
    };
    let shape = Shape { size: (640, 480), rate: 15 };
    match (&what.source, configured) {
        (None, Some(configured)) => configured,
        (None, None) => (PathBuf::from("/dev/video0"), shape),
        (Some(source), configured) => (source.clone(), configured.map_or(shape, |(_, shape)| shape)),
    }
}

fn open(source: &Path, shape: &Shape) -> Result<Box<dyn Camera>> {
    let kind = std::fs::metadata(source).with_context(|| format!("cannot open {}", source.display()))?;
    Ok(if kind.is_dir() {
        Box::new(Replay::open(source, None, false)?)
    } else if kind.is_file() {
        Box::new(Photo(Some(source.to_owned())))
    } else {
        Box::new(V4l2::open(source, shape.size, shape.rate, Instant::now())?)
    })
}

/// The people of the terminal's roster; nobody where it can't be read. Makes nothing.
fn gallery(config: &Config, eyes: &Eyes) -> Gallery {
    let (embedder, key) = (eyes.embedder(), config.roster_key());
    if !key.exists() {
        eprintln!("{} is not there: nobody is recognised", key.display());
        return Gallery::default();
    }
    match Roster::look(&config.state, &key, embedder.sha256(), embedder.dimensions()) {
        Ok(roster) => roster.gallery(),
        Err(error) => {
            eprintln!("nobody is recognised: {error:#}");
            Gallery::default()
        }
    }
}

fn line(frame: u64, sighting: &Sighting) -> serde_json::Value {
    let face = sighting.face;
    let corners = [face.x0, face.y0, face.x1, face.y1].map(|v| v.round() as i32);
    let round = |value: f32| rounded(value, 1000.0);
    json!({
        "kind": "face",
        "frame": frame,
        "at_s": round(sighting.at.as_secs_f32()),
        "track": sighting.track.0,
        "face": corners,
        "width": face.width().round() as i32,
        "score": round(sighting.score),
        "nearest": sighting.candidate.map(|c| c.person),
        "distance": sighting.candidate.map(|c| round(c.distance)),
        "threshold": round(sighting.threshold),
        "verdict": match sighting.verdict {
            Verdict::Known => "known",
            Verdict::Ambiguous => "ambiguous",
            Verdict::Unknown => "unknown",
        },
        "flaw": sighting.quality.flaw().filter(|_| sighting.quality.width > 0.0).map(|flaw| format!("{flaw:?}").to_lowercase()),
        "worth": round(sighting.quality.worth()),
        "liveness": round(sighting.liveness.score),
        "turned": sighting.liveness.turned.round() as i32,
        "alive": sighting.alive,
    })
}
