//! How often a picture is taken for a person, and a person for a picture.
//!
//! `cargo run --release -p bench --example liveness -- DIR` renders sequences of three seconds from the
//! photos in `DIR` and prints one JSON object: people (each photo on its own mesh: it turns, blinks,
//! talks), and the same photos held to the lens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bench::photos;
use bench::render::{FRAMES, Kind, Sequence};
use bench::statistics::{bounds, median, round};
use clap::Parser;
use models::liveness::Policy;
use models::mesh::Landmarks;
use models::{Eyes, Frame, Gallery, Liveness, Pipeline};
use serde_json::json;

const KINDS: [Kind; 6] = [Kind::Alive, Kind::Asked, Kind::Print, Kind::Bent, Kind::Screen, Kind::Film];
/// Every so many sequences of a kind are looked at without liveness, too, to compare the time.
const TIMED: usize = 10;
/// Narrower faces make poor sequences.
const NARROWEST: f32 = 70.0;

/// Measures liveness on rendered sequences. All shares come with 95 % bounds.
#[derive(Parser)]
struct Arguments {
    /// A folder of JPEG or PNG photos, searched with its subfolders.
    photos: PathBuf,
    /// Photos to make sequences of, at most; spread over the folder.
    #[arg(long, default_value_t = 200)]
    trials: usize,
    /// Which of so many spread photos come first: others make other trials.
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Writes the frames of the first photo's sequences into this folder instead.
    #[arg(long)]
    frames: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut eyes = Eyes::open(None, 1)?;
    let subjects = subjects(&mut eyes, arguments)?;
    if let Some(folder) = &arguments.frames {
        return write(&subjects[0], folder);
    }
    let mut stage = Stage::new(eyes);
    for (number, (photo, face)) in subjects.iter().enumerate() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            let seed = ((number + arguments.skip * 1000) * KINDS.len() + index) as u64;
            stage.watch(kind, &mut Sequence::new(kind, photo, face, seed))?;
        }
        if (number + 1) % 20 == 0 {
            eprintln!("{} of {} photos", number + 1, subjects.len());
        }
    }
    println!("{}", stage.report());
    Ok(())
}

/// Photos with a face that is large enough, and its mesh.
fn subjects(eyes: &mut Eyes, arguments: &Arguments) -> Result<Vec<(Frame, Landmarks)>> {
    let paths = photos::below(&arguments.photos)?;
    let step = (paths.len() / arguments.trials.max(1)).max(1);
    let mut subjects = Vec::new();
    for path in paths.iter().skip(arguments.skip).step_by(step) {
        let photo = photos::open(path)?;
        let Some(face) = eyes.detect(&photo)?.first().copied() else { continue };
        if face.face.width() < NARROWEST {
            continue;
        }
        if let Some(mesh) = eyes.landmarks(&photo, &face)? {
            subjects.push((photo, mesh));
        }
    }
    ensure!(!subjects.is_empty(), "no photo in {} shows a face", arguments.photos.display());
    subjects.truncate(arguments.trials);
    Ok(subjects)
}

fn write((photo, face): &(Frame, Landmarks), folder: &std::path::Path) -> Result<()> {
    for kind in KINDS {
        let folder = folder.join(kind.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut sequence = Sequence::new(kind, photo, face, 1);
        for n in 0..FRAMES {
            let frame = sequence.frame(n)?;
            let (width, height) = (frame.width() as u32, frame.height() as u32);
            let picture =
                image::RgbImage::from_raw(width, height, frame.rgb().to_vec()).context("a frame")?;
            picture.save(folder.join(format!("{n:03}.png")))?;
        }
    }
    Ok(())
}

/// What was seen of the sequences of one kind.
#[derive(Default)]
struct Outcome {
    trials: usize,
    lost: usize,
    alive: usize,
    turned: usize,
    /// Frames until it was taken for a person.
    frames: Vec<f64>,
}

/// What each frame with a face said of it, and how long each frame took.
type Seen = (Vec<(usize, Liveness)>, Vec<f64>);

/// The eyes, and what they said.
struct Stage {
    eyes: Option<Eyes>,
    outcomes: Vec<(Kind, Outcome)>,
    /// Milliseconds that a frame takes longer where a face is watched for life.
    longer: Vec<f64>,
}

impl Stage {
    fn new(eyes: Eyes) -> Self {
        Self {
            eyes: Some(eyes),
            outcomes: KINDS.map(|kind| (kind, Outcome::default())).into(),
            longer: Vec::new(),
        }
    }

    fn watch(&mut self, kind: Kind, sequence: &mut Sequence) -> Result<()> {
        let frames = (0..FRAMES).map(|n| sequence.frame(n)).collect::<Result<Vec<_>>>()?;
        let (states, watched) = self.pass(&frames, Policy::Challenge)?;
        let Some((_, outcome)) = self.outcomes.iter_mut().find(|(known, _)| *known == kind) else {
            return Ok(());
        };
        outcome.trials += 1;
        outcome.lost += usize::from(states.is_empty());
        let alive = states.iter().position(|(_, liveness)| liveness.is_alive());
        outcome.alive += usize::from(alive.is_some());
        outcome.frames.extend(alive.map(|index| (states[index].0 + 1) as f64));
        outcome.turned += usize::from(states.iter().any(|(_, liveness)| liveness.has_turned()));
        if outcome.trials.is_multiple_of(TIMED) {
            let (_, unwatched) = self.pass(&frames, Policy::Off)?;
            // It is watched until it has turned.
            let until = states.iter().find(|(_, liveness)| liveness.has_turned()).map_or(FRAMES, |(n, _)| *n);
            let pairs = watched.iter().zip(&unwatched).take(until);
            self.longer.extend(pairs.map(|(watched, unwatched)| watched - unwatched));
        }
        Ok(())
    }

    /// What each frame said of the face in it, and how long it took.
    fn pass(&mut self, frames: &[Frame], policy: Policy) -> Result<Seen> {
        let eyes = self.eyes.take().context("the eyes are elsewhere")?;
        let mut pipeline = Pipeline::new(eyes, 3).with_liveness(policy);
        let (mut states, mut times) = (Vec::new(), Vec::new());
        let gallery = Gallery::default();
        for (n, frame) in frames.iter().enumerate() {
            let start = Instant::now();
            let sightings = pipeline.observe(frame, &gallery)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            states.extend(sightings.first().map(|sighting| (n, sighting.liveness)));
        }
        self.eyes = Some(pipeline.into_eyes());
        Ok((states, times))
    }

    fn report(&self) -> serde_json::Value {
        let mut report = json!({ "frames": FRAMES });
        for (kind, outcome) in &self.outcomes {
            let share = |passed: usize| {
                // An attack that passes is an error, and so is a person who does not.
                let wrong = if kind.is_alive() { outcome.trials - passed } else { passed };
                wrong as f64 / outcome.trials as f64
            };
            let name = if kind.is_alive() { "bpcer" } else { "apcer" };
            let (passive, challenge) = (share(outcome.alive), share(outcome.turned));
            report[kind.name()] = json!({
                "trials": outcome.trials, "not_followed": outcome.lost,
                name: round(passive), (format!("{name}_95")): bounds(passive, outcome.trials),
                (format!("challenge_{name}")): round(challenge),
                (format!("challenge_{name}_95")): bounds(challenge, outcome.trials),
                "frames_until_alive": median(&outcome.frames),
            });
        }
        report["longer_ms"] = json!(median(&self.longer).map(round));
        report
    }
}
