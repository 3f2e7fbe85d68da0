//! `rollcall-edge observe`: what the terminal would see, one line of JSON for each face.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use models::{Eyes, Frame, Gallery, Pipeline, Sighting, Verdict};
use serde_json::json;

use crate::camera::Camera;
use crate::camera::replay::Replay;
use crate::camera::v4l2::V4l2;
use crate::config::{Config, Vision};
use crate::roster::Roster;

/// One photo as a camera that shows it once.
struct Photo(Option<PathBuf>);

impl Camera for Photo {
    fn next(&mut self, _spare: Vec<u8>) -> Result<Option<Frame>> {
        let Some(path) = self.0.take() else { return Ok(None) };
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(Frame::decode(&bytes).with_context(|| path.display().to_string())?))
    }
}

/// Observes a device, a folder of frames or one photo; `frames` at most.
pub fn observe(source: &Path, config: Option<&Config>, frames: Option<u64>) -> Result<()> {
    let mut camera = open(source)?;
    let eyes = Eyes::open(config.and_then(|c| c.vision.models.as_deref()), 1)?;
    let gallery = config.map(|config| gallery(config, &eyes)).transpose()?.unwrap_or_default();
    let vision = config.map_or_else(Vision::default, |config| config.vision.clone());
    let mut pipeline = Pipeline::new(eyes, vision.agreement).with_liveness(vision.liveness);
    let (mut looked, mut faces, mut spare) = (0, 0, Vec::new());
    while frames.is_none_or(|most| looked < most) {
        let Some(frame) = camera.next(spare)? else { break };
        for sighting in pipeline.observe(&frame, &gallery)? {
            println!("{}", line(looked, sighting));
            faces += 1;
        }
        looked += 1;
        spare = frame.into_rgb();
    }
    eprintln!("{looked} frames, {faces} sightings");
    Ok(())
}

fn open(source: &Path) -> Result<Box<dyn Camera>> {
    let kind = std::fs::metadata(source).with_context(|| format!("cannot open {}", source.display()))?;
    Ok(if kind.is_dir() {
        Box::new(Replay::open(source, None, false)?)
    } else if kind.is_file() {
        Box::new(Photo(Some(source.to_owned())))
    } else {
        Box::new(V4l2::open(source, (640, 480), 15, Instant::now())?)
    })
}

fn gallery(config: &Config, eyes: &Eyes) -> Result<Gallery> {
    let embedder = eyes.embedder();
    let roster = Roster::open(&config.state, &config.roster.key, embedder.sha256(), embedder.dimensions())?;
    Ok(roster.gallery())
}

fn line(frame: u64, sighting: &Sighting) -> serde_json::Value {
    let face = sighting.face;
    let corners = [face.x0, face.y0, face.x1, face.y1].map(|v| v.round() as i32);
    let round = |value: f32| (f64::from(value) * 1000.0).round() / 1000.0;
    json!({
        "frame": frame,
        "at_s": (sighting.at.as_secs_f64() * 1000.0).round() / 1000.0,
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
