//! What the models make of photos, to be compared between machines: our side of `tests/lab/arm64.sh`.
//!
//! Prints a line of JSON for each photo: its `name`, the SHA-256 of its `pixels`, each face's `box`, six `points` and
//! `score` with all their digits; of the face in the middle the `mesh`'s points, the SHA-256 of the `embedding`'s
//! bytes, and how far it is from the photo's before (`apart`). No line holds an embedding itself. One thread.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use bench::photos;
use clap::Parser;
use models::geometry::Point;
use models::{Detection, Embedding, Eyes, Frame, Look};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Points of the mesh.
const MESH: usize = 468;

/// Prints what the models make of photos, a line of JSON for each.
#[derive(Parser)]
struct Arguments {
    /// A folder of JPEG and PNG files, its subfolders included.
    folder: PathBuf,
    /// At most so many, spread over the folder.
    #[arg(long, default_value_t = 50)]
    count: usize,
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
    let all = photos::below(&arguments.folder)?;
    ensure!(!all.is_empty(), "no photos in {}", arguments.folder.display());
    let mut eyes = Eyes::open(None, 1)?;
    let mut lines = std::io::stdout().lock();
    let count = arguments.count.min(all.len());
    let mut before = None;
    for path in (0..count).map(|index| &all[index * all.len() / count]) {
        let name = path.strip_prefix(&arguments.folder)?.display().to_string();
        writeln!(lines, "{}", look(&mut eyes, &photos::open(path)?, &name, &mut before)?)?;
        lines.flush()?;
    }
    Ok(())
}

fn look(eyes: &mut Eyes, photo: &Frame, name: &str, before: &mut Option<Embedding>) -> Result<Value> {
    let faces = eyes.detect(photo)?;
    let mut line = json!({
        "name": name, "pixels": hex::encode(Sha256::digest(photo.rgb())),
        "faces": faces.iter().map(face).collect::<Vec<_>>(),
    });
    let Some(central) = photos::central(&faces, photo) else { return Ok(line) };
    let Some(landmarks) = eyes.landmarks(photo, &central)? else { return Ok(line) };
    line["mesh"] = (0..MESH).map(|index| text(landmarks.point(index))).collect();
    let Some(embedding) = eyes.embed(photo, &landmarks, Look::Study)? else { return Ok(line) };
    let bytes: Vec<u8> = embedding.values().iter().copied().flat_map(f32::to_le_bytes).collect();
    line["embedding"] = hex::encode(Sha256::digest(bytes)).into();
    line["apart"] = before.as_ref().map(|before| before.distance(&embedding).to_string()).into();
    *before = Some(embedding);
    Ok(line)
}

fn face(face: &Detection) -> Value {
    let corners = [Point { x: face.face.x0, y: face.face.y0 }, Point { x: face.face.x1, y: face.face.y1 }];
    json!({ "box": corners.map(text), "points": face.keypoints.map(text), "score": face.score.to_string() })
}

/// As text: the shortest that no other f32 has, while JSON's numbers are f64.
fn text(point: Point) -> Value {
    json!([point.x.to_string(), point.y.to_string()])
}
