//! `rollcall-edge observe`: what the camera sees, for mounting a terminal: one line a second, or JSON with a line for each
//! face.

mod scene;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use models::{Eyes, Frame, Gallery, Pipeline, Sighting, Verdict};
use serde_json::json;

use crate::camera::replay::Replay;
use crate::camera::v4l2::RawNode;
use crate::camera::{self, Camera, MODULE};
use crate::config::{self, Config, Vision};
use crate::gallery::GalleryStore;
use crate::observe::scene::{Second, rounded};

#[derive(Args)]
pub struct Observation {
    /// A device such as /dev/video0, a folder of frames, or one photo [default: the camera of --config, else
    /// /dev/video0].
    source: Option<PathBuf>,
    /// Use this configuration: its camera, its settings and its gallery to recognise people.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop after this many frames.
    #[arg(long)]
    frames: Option<u64>,
    /// Print JSON: one line a second, and one for each face in each frame.
    #[arg(long)]
    json: bool,
}

/// A camera that delivers one photo.
struct Photo(Option<PathBuf>);

impl Camera for Photo {
    fn next(&mut self, _spare: Vec<u8>) -> Result<Option<Frame>> {
        let Some(path) = self.0.take() else { return Ok(None) };
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(Frame::decode(&bytes).with_context(|| path.display().to_string())?))
    }
}

struct Source {
    camera: Box<dyn Camera>,
    /// The requested frames a second.
    rate: u32,
    /// Processed as fast as possible, in its own time.
    recorded: bool,
}

pub fn observe(what: &Observation) -> Result<()> {
    look(what).map_err(|error| {
        if error.is::<RawNode>() { anyhow!("{error:#}. In edge.toml: {MODULE}") } else { error }
    })
}

fn look(what: &Observation) -> Result<()> {
    let config = what.config.as_deref().map(Config::read).transpose()?;
    let Source { mut camera, rate, recorded } = open(what.source.as_deref(), config.as_ref())?;
    let vision = config.as_ref().map_or_else(Vision::default, |config| config.vision.clone());
    let eyes = Eyes::open(vision.models.as_deref(), 1)?;
    let gallery = config.as_ref().map(|config| gallery(config, &eyes)).unwrap_or_default();
    let mut pipeline = Pipeline::new(eyes, vision.agreement).with_liveness(vision.liveness);
    let tell = |scene: &scene::Scene| {
        if what.json {
            println!("{}", scene.json());
        } else {
            println!("{}", scene.text(rate, vision.narrowest_face));
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
        let now = if recorded { frame.at } else { began.elapsed() };
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

/// Opens the given source, else the configured camera.
fn open(source: Option<&Path>, config: Option<&Config>) -> Result<Source> {
    let configured = config.map(|config| config.camera.clone()).filter(config::Camera::is_real);
    let (mut width, mut height, mut rate) = (640, 480, 15);
    let device = match (&configured, source) {
        (Some(config::Camera::V4l2 { device, width: w, height: h, rate: r }), _) => {
            (width, height, rate) = (*w, *h, *r);
            source.unwrap_or(device)
        }
        (Some(program @ config::Camera::Program { rate, .. }), None) => {
            let camera = camera::open(program, None, Instant::now())?;
            return Ok(Source { camera, rate: *rate, recorded: false });
        }
        _ => source.unwrap_or(Path::new("/dev/video0")),
    };
    let kind = std::fs::metadata(device).with_context(|| format!("cannot open {}", device.display()))?;
    let camera: Box<dyn Camera> = if kind.is_dir() {
        Box::new(Replay::open(device, None, false)?)
    } else if kind.is_file() {
        Box::new(Photo(Some(device.to_owned())))
    } else {
        let device = device.to_owned();
        camera::open(&config::Camera::V4l2 { device, width, height, rate }, None, Instant::now())?
    };
    Ok(Source { camera, rate, recorded: kind.is_dir() })
}

/// The terminal's gallery, or an empty one if it can't be read. Creates no file.
fn gallery(config: &Config, eyes: &Eyes) -> Gallery {
    let (embedder, key) = (eyes.embedder(), config.gallery_key());
    if !key.exists() {
        eprintln!("{} does not exist: nobody is recognised", key.display());
        return Gallery::default();
    }
    match GalleryStore::read_only(&config.state, &key, embedder.sha256(), embedder.dimensions()) {
        Ok(store) => store.gallery(),
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
