//! How long each stage takes on one thread for a face in view of a 640x480 frame, and how long frames
//! take in a row: a face that is new, one that is followed, five at once, nobody.
//!
//! `cargo run --release -p bench --example stages -- DIR` prints medians in milliseconds as JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bench::photos;
use bench::statistics::{median, round};
use clap::Parser;
use models::geometry::{Point, Similarity};
use models::photo::embed_photo;
use models::{Embedding, Eyes, Frame, Gallery, Identifier, Look, Pipeline, Template};
use serde_json::json;
use uuid::Uuid;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Width of the face in the frame, as of somebody about a metre from the door.
const FACE: f32 = 140.0;
/// Width of a face that has just come near enough, and of each of five that stand side by side.
const SMALL: f32 = 100.0;
/// People in the gallery that is searched.
const PEOPLE: usize = 1000;
/// Frames that must agree, as the terminal has it.
const AGREEMENT: i32 = 3;
/// Frames of a pass, and of the empty scene before it.
const PASS: usize = 25;
/// Between two frames.
const FRAME: Duration = Duration::from_millis(66);

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
    let mut report = times.report();
    let mut row = Row::new(eyes);
    for frame in frames.iter().take(5).chain(&frames) {
        row.pass(frame, &gallery)?;
    }
    for five in frames.chunks_exact(5) {
        row.five(five, &gallery)?;
    }
    row.report(&mut report);
    println!("{report}");
    Ok(())
}

/// Frames in a row, as the terminal sees them.
struct Row {
    pipeline: Pipeline,
    at: Duration,
    chance: u32,
    /// Milliseconds of a frame.
    empty: Vec<f64>,
    new: Vec<f64>,
    followed: Vec<f64>,
    five: Vec<f64>,
    /// Frames until enough agreed, of people who are enrolled.
    decided: Vec<f64>,
    passes: usize,
}

impl Row {
    fn new(eyes: Eyes) -> Self {
        Self {
            pipeline: Pipeline::new(eyes, AGREEMENT),
            at: Duration::ZERO,
            chance: 1,
            empty: Vec::new(),
            new: Vec::new(),
            followed: Vec::new(),
            five: Vec::new(),
            decided: Vec::new(),
            passes: 0,
        }
    }

    /// Nobody, then somebody who is enrolled and moves a little, with a sensor's noise.
    fn pass(&mut self, photo: &Frame, people: &Gallery) -> Result<()> {
        self.passes += 1;
        let Ok(face) = embed_photo(self.pipeline.eyes(), photo) else { return Ok(()) };
        let template = Template::mean([&face]).context("no mean")?;
        let mut gallery = people.clone();
        gallery.put(Uuid::max(), &template);
        let near = place(photo, Point { x: WIDTH as f32 / 2.0, y: HEIGHT as f32 / 2.0 }, SMALL / FACE)?;
        self.nobody(&gallery)?;
        for step in 0..PASS {
            let frame = self.frame(&near, step);
            let (ms, sightings) = self.observe(&frame, &gallery)?;
            if step == 0 && !sightings.is_empty() {
                self.new.push(ms);
            }
            let agreed = |sighting: &models::Sighting| {
                sighting.agreement >= AGREEMENT && sighting.candidate.is_some_and(|c| c.person == Uuid::max())
            };
            if sightings.iter().any(agreed) {
                if self.decided.len() < self.passes {
                    self.decided.push((step + 1) as f64);
                } else {
                    self.followed.push(ms);
                }
            }
        }
        self.decided.resize(self.passes, f64::INFINITY);
        self.pipeline.finish();
        Ok(())
    }

    /// Five people at once, from the first frame on.
    fn five(&mut self, photos: &[Frame], gallery: &Gallery) -> Result<()> {
        let mut group = vec![128; WIDTH * HEIGHT * 3];
        for (n, photo) in photos.iter().enumerate() {
            let (column, line) = (n % 3, n / 3);
            let middle = Point { x: WIDTH as f32 / 2.0, y: HEIGHT as f32 / 2.0 };
            let small = place(photo, middle, SMALL / FACE)?;
            let cell = (WIDTH / 3, HEIGHT / 2);
            for y in 0..cell.1 {
                let from = ((y + HEIGHT / 4) * WIDTH + WIDTH / 3) * 3;
                let to = ((line * cell.1 + y) * WIDTH + column * cell.0) * 3;
                group[to..to + cell.0 * 3].copy_from_slice(&small.rgb()[from..from + cell.0 * 3]);
            }
        }
        let group = Frame::new(WIDTH, HEIGHT, group, Duration::ZERO)?;
        self.nobody(gallery)?;
        for step in 0..PASS {
            let frame = self.frame(&group, step);
            let (ms, sightings) = self.observe(&frame, gallery)?;
            if sightings.len() == 5 {
                self.five.push(ms);
            }
        }
        self.pipeline.finish();
        Ok(())
    }

    fn nobody(&mut self, gallery: &Gallery) -> Result<()> {
        let grey = Frame::new(WIDTH, HEIGHT, vec![128; WIDTH * HEIGHT * 3], Duration::ZERO)?;
        for step in 0..PASS {
            let frame = self.frame(&grey, 0);
            let (ms, _) = self.observe(&frame, gallery)?;
            if step > 0 {
                self.empty.push(ms);
            }
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame, gallery: &Gallery) -> Result<(f64, Vec<models::Sighting>)> {
        let start = Instant::now();
        let sightings = self.pipeline.observe(frame, gallery)?;
        Ok((start.elapsed().as_secs_f64() * 1e3, sightings.to_vec()))
    }

    /// The picture as the camera has it at the next moment: moved by a pixel or two, with noise.
    fn frame(&mut self, picture: &Frame, step: usize) -> Frame {
        let mut frame = picture.clone();
        frame.at = self.at;
        self.at += FRAME;
        let shift = (step % 3) * 3 + (step % 2) * WIDTH * 3;
        frame.rgb_mut().rotate_right(shift);
        for value in frame.rgb_mut() {
            self.chance = self.chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = value.saturating_add((self.chance >> 29) as u8);
        }
        frame
    }

    fn report(mut self, report: &mut serde_json::Value) {
        self.decided.sort_by(f64::total_cmp);
        let within = self.decided.iter().filter(|frames| **frames <= 5.0).count();
        report["empty_ms"] = json!(median(&self.empty).map(round));
        report["new_face_ms"] = json!(median(&self.new).map(round));
        report["followed_ms"] = json!(median(&self.followed).map(round));
        report["five_faces_ms"] = json!(median(&self.five).map(round));
        report["decided_frames"] = json!(median(&self.decided).map(round));
        report["decided_within_5"] = json!(within as f64 / self.decided.len().max(1) as f64);
        report["passes"] = json!(self.passes);
    }
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
    second: Vec<f64>,
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
        std::hint::black_box(eyes.ask_second(frame, &landmarks)?);
        let asked = Instant::now();
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        self.detect.push(ms(start, detected));
        self.mesh.push(ms(detected, placed));
        self.embed.push(ms(placed, embedded));
        self.search.push(ms(embedded, end));
        self.second.push(ms(end, asked));
        self.total.push(ms(start, end));
        Ok(())
    }

    fn forget_first(&mut self, count: usize) {
        for times in [
            &mut self.detect,
            &mut self.mesh,
            &mut self.embed,
            &mut self.second,
            &mut self.search,
            &mut self.total,
        ] {
            times.drain(..count.min(times.len()));
        }
    }

    fn report(&self) -> serde_json::Value {
        json!({
            "frames": self.total.len(),
            "detect_ms": median(&self.detect).map(round),
            "mesh_ms": median(&self.mesh).map(round),
            "embed_ms": median(&self.embed).map(round),
            "second_ms": median(&self.second).map(round),
            "search_ms": median(&self.search).map(round),
            "total_ms": median(&self.total).map(round),
            "gallery": PEOPLE,
        })
    }
}
