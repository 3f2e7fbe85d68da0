//! How often the eyes are right: on pairs of photos, and among many people with unknown people passing by.
//!
//! `cargo run --release -p bench --example evaluate -- --images DIR --pairs FILE
//! [--identities FILE]`, `-- --conditions --images DIR --pairs FILE [--photos N]`, or
//! `-- --open-set --images DIR --unknown DIR`, prints one JSON object.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bench::photos::central;
use bench::statistics::{bounds, round};
use clap::Parser;
use models::mesh::Landmarks;
use models::{Detection, Embedding, Eyes, Frame, Look};
use serde_json::{Value, json};

mod chance;
mod conditions;
mod door;
mod open_set;
mod verification;

/// Measures accuracy. All shares come with 95 % bounds.
#[derive(Parser)]
struct Arguments {
    /// The folder that the names of photos start from; a photo's folder is its person.
    #[arg(long)]
    images: PathBuf,
    /// Lines of `a<TAB>b<TAB>1|0`: two photos and whether they show the same person.
    #[arg(long, required_unless_present = "open_set")]
    pairs: Option<PathBuf>,
    /// Lines of `name<TAB>gallery<TAB>probe`: a person with a photo to enrol and one to recognise.
    #[arg(long)]
    identities: Option<PathBuf>,
    /// Measure what a door does to a picture: the second photo of each pair is seen in other light, from
    /// afar, blurred and so on, the first stays as it is.
    #[arg(long, requires = "pairs", conflicts_with_all = ["identities", "open_set"])]
    conditions: bool,
    /// So many second photos at most, chosen by chance.
    #[arg(long, requires = "conditions")]
    photos: Option<usize>,
    /// Look for people among many instead: of each person below --images with four photos or more the
    /// first three are enrolled and the fourth is recognised.
    #[arg(long, requires = "unknown", conflicts_with_all = ["pairs", "identities"])]
    open_set: bool,
    /// Photos of people who are not enrolled; those who are below --images are left out.
    #[arg(long)]
    unknown: Option<PathBuf>,
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
    if let Some(unknown) = &arguments.unknown {
        return open_set::measure(&arguments.images, unknown);
    }
    let pairs = arguments.pairs.as_deref().context("--pairs is missing")?;
    if arguments.conditions {
        return conditions::measure(&arguments.images, pairs, arguments.photos);
    }
    verification::measure(&arguments.images, pairs, arguments.identities.as_deref())
}

/// The face of a photo, looked at in some ways. `None` where none is found.
fn embed(eyes: &mut Eyes, photo: &Frame, looks: &[Look]) -> Result<Option<Vec<Embedding>>> {
    let Some((_, landmarks)) = find(eyes, photo)? else { return Ok(None) };
    let faces: models::error::Result<Option<Vec<Embedding>>> =
        looks.iter().map(|look| eyes.embed(photo, &landmarks, *look)).collect();
    Ok(faces?)
}

/// The face of a photo: where it is, and its mesh. `None` where none is found.
fn find(eyes: &mut Eyes, photo: &Frame) -> Result<Option<(Detection, Landmarks)>> {
    let Some(face) = central(&eyes.detect(photo)?, photo) else { return Ok(None) };
    Ok(eyes.landmarks(photo, &face)?.map(|landmarks| (face, landmarks)))
}

fn progress(done: usize, of: usize) {
    if done.is_multiple_of(500) || done == of {
        eprintln!("{done} of {of} photos");
    }
}

/// A share with its bounds, under `name` and `name_95`.
fn tell(report: &mut Value, name: &str, share: Option<f64>, trials: usize) {
    report[name] = json!(share.map(round));
    report[format!("{name}_95")] = json!(share.map(|share| bounds(share, trials)));
}
