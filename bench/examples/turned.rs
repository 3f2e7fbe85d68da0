//! What enrolment makes of photos that lie on their side or upside down.
//!
//! Each photo of the folders that shows one face is turned by 0, 90, 180 and 270 degrees and enrolled. That is
//! *right* where the result is nearer than the threshold of 300 people to the face of the upright photo, found
//! without any turn, else *wrong*. `cargo run --release -p bench --example turned -- FOLDER...` prints one JSON
//! object, and the names of photos that went wrong on standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use bench::photos;
use clap::Parser;
use models::photo::{PhotoError, embed_photo};
use models::{Embedding, Eyes, Frame, Look};
use serde_json::{Value, json};

const PEOPLE: usize = 300;
const TURNS: [&str; 4] = ["0", "90", "180", "270"];

/// Counts photos that are enrolled right, rejected and enrolled wrong, by the angle by which they were turned.
#[derive(Parser)]
struct Arguments {
    /// Folders of JPEG and PNG files that are upright, their subfolders included.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// One photo of so many.
    #[arg(long, default_value_t = 1)]
    every: usize,
}

/// What became of the photos that were turned by one angle.
#[derive(Default)]
struct Tally {
    right: usize,
    rejected: usize,
    /// Of these, because nobody can say which way up the face is.
    doubtful: usize,
    wrong: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Value> {
    let mut eyes = Eyes::open(None, 1)?;
    let near = eyes.embedder().thresholds().for_gallery(PEOPLE);
    let (mut photos, mut poor, mut tallies) = (0, 0, [(); 4].map(|()| Tally::default()));
    for folder in &arguments.folders {
        for path in photos::below(folder)?.iter().step_by(arguments.every.max(1)) {
            let mut photo = photos::open(path)?;
            let Some(upright) = as_it_stands(&mut eyes, &photo)? else {
                poor += 1;
                continue;
            };
            photos += 1;
            for (turn, tally) in TURNS.iter().zip(&mut tallies) {
                let found = embed_photo(&mut eyes, &photo);
                tally.count(found, |face| face.distance(&upright) <= near, path, turn)?;
                photo = photo.turned();
            }
        }
    }
    let mut report = json!({"photos": photos, "rejected_without_turns": poor});
    for (turn, Tally { right, rejected, doubtful, wrong }) in TURNS.iter().zip(tallies) {
        report[*turn] = json!({"right": right, "rejected": rejected, "doubtful": doubtful, "wrong": wrong});
    }
    Ok(report)
}

/// The one face of an upright photo, if it can be enrolled, found without any turn.
fn as_it_stands(eyes: &mut Eyes, photo: &Frame) -> Result<Option<Embedding>> {
    let mut faces = Vec::new();
    for face in eyes.detect(photo)? {
        faces.extend(eyes.landmarks(photo, &face)?);
    }
    let [face] = &faces[..] else { return Ok(None) };
    if eyes.quality(photo, face)?.flaw().is_some() {
        return Ok(None);
    }
    Ok(eyes.embed(photo, face, Look::Study)?)
}

impl Tally {
    fn count(
        &mut self,
        found: Result<Embedding, PhotoError>,
        is_right: impl Fn(&Embedding) -> bool,
        path: &Path,
        turn: &str,
    ) -> Result<()> {
        match found {
            Ok(face) if is_right(&face) => self.right += 1,
            Ok(_) => {
                self.wrong += 1;
                eprintln!("{}, turned by {turn}: enrolled wrong", path.display());
            }
            Err(PhotoError::Eyes(failure)) => return Err(failure.into()),
            Err(reason) => {
                self.rejected += 1;
                self.doubtful += usize::from(matches!(reason, PhotoError::Turned));
                eprintln!("{}, turned by {turn}: {reason}", path.display());
            }
        }
        Ok(())
    }
}
