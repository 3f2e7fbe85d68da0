//! How long each stage takes on one thread, with one face in view of a 640x480 frame.
//!
//! `cargo run --release -p models --example stages -- DIR` prints medians in milliseconds as JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use models::geometry::{Point, Similarity};
use models::{Embedding, Eyes, Frame, Gallery, Identifier, Look, Template};
use serde_json::json;
use uuid::Uuid;

#[path = "shared/photos.rs"]
mod photos;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Width of the face in the frame, as of somebody about a metre from the door.
const FACE: f32 = 140.0;
/// People in the gallery that is searched.
const PEOPLE: usize = 1000;

/// Times detection, mesh, embedding and search.
#[derive(Parser)]
struct Arguments {
    /// A folder of JPEG or PNG photos, searched with its subfolders.
    photos: PathBuf,
    /// Frames to look at, at most.
    #[arg(long, default_value_t = 300)]
    frames: usize,
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
    let frames = frames(&mut eyes, arguments)?;
    let gallery = gallery(eyes.embedder().dimensions())?;
    let identifier = eyes.embedder().identifier();
    let mut times = Times::default();
    for frame in frames.iter().take(5).chain(&frames) {
        times.measure(&mut eyes, frame, (&identifier, &gallery))?;
    }
    times.forget_first(5);
    println!("{}", times.report());
    Ok(())
}

/// Each photo with its face brought to `FACE` pixels, in the middle of a grey frame; those with
/// exactly one face.
fn frames(eyes: &mut Eyes, arguments: &Arguments) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    for path in photos::below(&arguments.photos)? {
        if frames.len() == arguments.frames {
            break;
        }
        let photo = photos::open(&path)?;
        let [face] = eyes.detect(&photo)?[..] else { continue };
        let frame = place(&photo, face.face.centre(), FACE / face.face.width())?;
        if eyes.detect(&frame)?.len() == 1 {
            frames.push(frame);
        }
    }
    if frames.is_empty() {
        bail!("no photo with exactly one face below {}", arguments.photos.display());
    }
    Ok(frames)
}

fn place(photo: &Frame, face: Point, scale: f32) -> Result<Frame> {
    let onto = Similarity {
        a: scale,
        b: 0.0,
        tx: WIDTH as f32 / 2.0 - scale * face.x,
        ty: HEIGHT as f32 / 2.0 - scale * face.y,
    };
    let back = onto.inverse();
    let mut rgb = vec![128; WIDTH * HEIGHT * 3];
    for (index, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let p = back.apply(Point { x: (index % WIDTH) as f32, y: (index / WIDTH) as f32 });
        if p.x >= 0.0 && p.y >= 0.0 && (p.x as usize) < photo.width() && (p.y as usize) < photo.height() {
            let at = (p.y as usize * photo.width() + p.x as usize) * 3;
            pixel.copy_from_slice(&photo.rgb()[at..at + 3]);
        }
    }
    Ok(Frame::new(WIDTH, HEIGHT, rgb, Duration::ZERO)?)
}

/// People with made-up templates: the search takes as long whoever they are.
fn gallery(dimensions: usize) -> Result<Gallery> {
    let template = |person: usize| {
        let values: Vec<f32> = (0..dimensions).map(|k| ((person * 31 + k * 17) as f32).sin()).collect();
        let embedding = Embedding::normalised(&values).context("no direction")?;
        let template = Template::mean(&[embedding]).context("no mean")?;
        Ok((Uuid::from_u128(person as u128), template))
    };
    let people: Vec<_> = (0..PEOPLE).map(template).collect::<Result<_>>()?;
    Ok(Gallery::of(people))
}

#[derive(Default)]
struct Times {
    detect: Vec<f64>,
    mesh: Vec<f64>,
    embed: Vec<f64>,
    search: Vec<f64>,
    total: Vec<f64>,
}

impl Times {
    fn measure(
        &mut self,
        eyes: &mut Eyes,
        frame: &Frame,
        (identifier, gallery): (&Identifier, &Gallery),
    ) -> Result<()> {
        // As a camera's decoder leaves it: just written, in the processor's cache.
        let frame = &frame.clone();
        let start = Instant::now();
        let faces = eyes.detect(frame)?;
        let detected = Instant::now();
        let face = faces.first().context("the face was not found again")?;
        let Some(landmarks) = eyes.landmarks(frame, face)? else { return Ok(()) };
        let placed = Instant::now();
        let Some(embedding) = eyes.embed(frame, &landmarks, Look::Glance)? else { return Ok(()) };
        let embedded = Instant::now();
        std::hint::black_box(identifier.identify(&embedding, gallery));
        let end = Instant::now();
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        self.detect.push(ms(start, detected));
        self.mesh.push(ms(detected, placed));
        self.embed.push(ms(placed, embedded));
        self.search.push(ms(embedded, end));
        self.total.push(ms(start, end));
        Ok(())
    }

    fn forget_first(&mut self, count: usize) {
        for times in [&mut self.detect, &mut self.mesh, &mut self.embed, &mut self.search, &mut self.total] {
            times.drain(..count.min(times.len()));
        }
    }

    fn report(&self) -> serde_json::Value {
        json!({
            "frames": self.total.len(),
            "detect_ms": median(&self.detect),
            "mesh_ms": median(&self.mesh),
            "embed_ms": median(&self.embed),
            "search_ms": median(&self.search),
            "total_ms": median(&self.total),
            "gallery": PEOPLE,
        })
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).map_or(0.0, |ms| (ms * 1000.0).round() / 1000.0)
}
