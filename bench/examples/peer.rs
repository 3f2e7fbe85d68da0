//! Looks at one picture after another when asked to: our side of `bench/peers.sh`.
//!
//! Reads a line with the path of a binary PPM, answers with a line of JSON: `box`, the face's corners, or
//! null where none was found; `located_ms`, from the picture to the placed mesh; `ms`, to the embedding;
//! and `embedding`. With `--door` the picture is a terminal's frame after those of the scene without the person
//! (`name.empty.ppm` beside `name.ppm`): `ms` is what the frame takes with all that a terminal does, and
//! there is no embedding. One thread. The times are the processor's, not the wall's: they don't grow when other
//! programs want the core. Reading the file is not among them.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::photos::central;
use clap::{Parser, ValueEnum};
use models::{Eyes, Frame, Gallery, Look, Pipeline};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Frames that must agree, and between frames, as the terminal has it.
const AGREEMENT: i32 = 3;
const FRAME: Duration = Duration::from_millis(66);
/// Frames of the empty scene: as many as it takes to forget who was there before.
const EMPTY: usize = 20;

/// Answers a path a line on stdin with a line of JSON on stdout.
#[derive(Parser)]
struct Arguments {
    /// How closely a face is looked at.
    #[arg(long, value_enum, default_value = "glance")]
    look: Closeness,
    /// Look as a terminal does at a frame in which somebody is new.
    #[arg(long)]
    door: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Closeness {
    /// As at each frame of a face that is not known yet.
    Glance,
    /// As at enrolment.
    Study,
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
    let look = match arguments.look {
        Closeness::Glance => Look::Glance,
        Closeness::Study => Look::Study,
    };
    let mut eyes = Eyes::open(None, 1)?;
    let mut door = arguments.door.then(|| Eyes::open(None, 1)).transpose()?.map(Door::new);
    let mut answers = std::io::stdout().lock();
    writeln!(answers, "{}", json!({ "ready": concat!("Rollcall ", env!("CARGO_PKG_VERSION")) }))?;
    for path in std::io::stdin().lock().lines() {
        let path = PathBuf::from(path?);
        let picture = read(&path)?;
        let answer = match &mut door {
            Some(door) => door.answer(&read(&path.with_extension("empty.ppm"))?, picture)?,
            None => answer(&mut eyes, &picture, look)?,
        };
        writeln!(answers, "{}", answer.unwrap_or_else(|| json!({ "box": null })))?;
    }
    Ok(())
}

fn answer(eyes: &mut Eyes, picture: &Frame, look: Look) -> Result<Option<Value>> {
    let start = processor_ms();
    let Some(face) = central(&eyes.detect(picture)?, picture) else { return Ok(None) };
    let Some(landmarks) = eyes.landmarks(picture, &face)? else { return Ok(None) };
    let located = processor_ms();
    let Some(embedding) = eyes.embed(picture, &landmarks, look)? else { return Ok(None) };
    let embedded = processor_ms();
    Ok(Some(json!({
        "box": [face.face.x0, face.face.y0, face.face.x1, face.face.y1],
        "located_ms": located - start, "ms": embedded - start, "embedding": embedding.values(),
    })))
}

/// A terminal with nobody enrolled.
struct Door {
    pipeline: Pipeline,
    gallery: Gallery,
    at: Duration,
}

impl Door {
    fn new(eyes: Eyes) -> Self {
        Self { pipeline: Pipeline::new(eyes, AGREEMENT), gallery: Gallery::default(), at: Duration::ZERO }
    }

    /// The empty scene, and then the picture.
    fn answer(&mut self, scene: &Frame, mut picture: Frame) -> Result<Option<Value>> {
        self.pipeline.finish();
        for _ in 0..EMPTY {
            self.at += FRAME;
            let mut empty = scene.clone();
            empty.at = self.at;
            self.pipeline.observe(&empty, &self.gallery)?;
        }
        self.at += FRAME;
        picture.at = self.at;
        let start = processor_ms();
        let sightings = self.pipeline.observe(&picture, &self.gallery)?;
        let ms = processor_ms() - start;
        let seen = sightings.iter().find(|sighting| sighting.looked);
        Ok(seen.map(|sighting| {
            let face = sighting.face;
            json!({ "box": [face.x0, face.y0, face.x1, face.y1], "ms": ms })
        }))
    }
}

/// Processor time of this process so far, in milliseconds.
fn processor_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Reads a binary PPM with three lines of header: no decoder, so the same pixels for everybody.
fn read(path: &Path) -> Result<Frame> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("not a binary PPM: {}", path.display()))
}

fn parse(bytes: &[u8]) -> Option<Frame> {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let (magic, size, depth, rgb) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let (width, height) = std::str::from_utf8(size).ok()?.split_once(' ')?;
    let (width, height) = (width.parse().ok()?, height.parse().ok()?);
    if (magic, depth) != (b"P6", b"255") {
        return None;
    }
    Frame::new(width, height, rgb.to_vec(), Duration::ZERO).ok()
}
