//! How often the eyes are right: verification on pairs of photos, identification in a gallery.
//!
//! `cargo run --release -p models --example evaluate -- --images DIR --pairs FILE
//! [--identities FILE]` prints one JSON object.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use models::geometry::Point;
use models::{Detection, Embedding, Eyes, Frame};
use serde_json::json;

#[path = "shared/photos.rs"]
mod photos;

const FOLDS: usize = 10;
/// Further apart than any two unit vectors: the distance to a face that was not found.
const UNSEEN: f32 = 9.0;

/// Measures accuracy.
#[derive(Parser)]
struct Arguments {
    /// The folder that the names of photos start from; a photo's folder is its person.
    #[arg(long)]
    images: PathBuf,
    /// Lines of `a<TAB>b<TAB>1|0`: two photos and whether they show the same person.
    #[arg(long)]
    pairs: PathBuf,
    /// Lines of `name<TAB>gallery<TAB>probe`: a person with a photo to enrol and one to recognise.
    #[arg(long)]
    identities: Option<PathBuf>,
}

struct Pair {
    one: String,
    other: String,
    same: bool,
}

type Faces = HashMap<String, Option<Embedding>>;

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
    let pairs = pairs(&arguments.pairs)?;
    let identities = arguments.identities.as_deref().map(identities).transpose()?.unwrap_or_default();
    let mut names: BTreeSet<&str> = pairs.iter().flat_map(|p| [p.one.as_str(), p.other.as_str()]).collect();
    names.extend(identities.iter().flat_map(|(gallery, probe)| [gallery.as_str(), probe.as_str()]));
    let faces = embed_all(&arguments.images, &names)?;
    let detected = faces.values().flatten().count();
    let (genuine, impostor) = all_distances(&faces);
    let by_fold = accuracy(&pairs, &faces);
    let rank1 = (!identities.is_empty()).then(|| rank1(&identities, &faces));
    let thresholds: Vec<_> = [1e-2, 1e-3, 1e-4, 1e-5]
        .into_iter()
        .filter_map(|far| Some(json!({ "far": far, "distance": threshold(&impostor, far)? })))
        .collect();
    println!(
        "{}",
        json!({
            "images": names.len(),
            "detected": detected,
            "pairs": pairs.len(),
            "accuracy": by_fold.iter().sum::<f64>() / by_fold.len() as f64,
            "accuracy_folds": by_fold,
            "tar_at_far_1e-2": tar(&genuine, &impostor, 1e-2),
            "tar_at_far_1e-3": tar(&genuine, &impostor, 1e-3),
            "rank1": rank1,
            "thresholds": thresholds,
        })
    );
    Ok(())
}

fn fields(path: &Path, count: usize) -> Result<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let parts: Vec<String> = line.split('\t').map(str::to_owned).collect();
        if parts.len() != count {
            bail!("{}, line {}: expected {count} fields separated by tabs", path.display(), number + 1);
        }
        lines.push(parts);
    }
    Ok(lines)
}

fn pairs(path: &Path) -> Result<Vec<Pair>> {
    let lines = fields(path, 3)?.into_iter().enumerate();
    lines
        .map(|(number, parts)| {
            let [one, other, same] = <[String; 3]>::try_from(parts).unwrap_or_default();
            let same = match same.as_str() {
                "1" => true,
                "0" => false,
                _ => bail!("{}, line {}: the third field is 1 or 0", path.display(), number + 1),
            };
            Ok(Pair { one, other, same })
        })
        .collect()
}

fn identities(path: &Path) -> Result<Vec<(String, String)>> {
    Ok(fields(path, 3)?.into_iter().map(|mut parts| (parts.remove(1), parts.remove(1))).collect())
}

fn embed_all(images: &Path, names: &BTreeSet<&str>) -> Result<Faces> {
    let mut eyes = Eyes::open(None, 1)?;
    let mut faces = Faces::new();
    for (done, name) in names.iter().enumerate() {
        let photo = photos::open(&images.join(name))?;
        faces.insert((*name).to_owned(), embed(&mut eyes, &photo)?);
        if done % 500 == 499 {
            eprintln!("{} of {} photos", done + 1, names.len());
        }
    }
    Ok(faces)
}

fn embed(eyes: &mut Eyes, photo: &Frame) -> Result<Option<Embedding>> {
    let Some(face) = central(&eyes.detect(photo)?, photo) else { return Ok(None) };
    let Some(landmarks) = eyes.landmarks(photo, &face)? else { return Ok(None) };
    Ok(eyes.embed(photo, &landmarks)?)
}

/// The face nearest to the middle, a larger one counting as nearer by a quarter of its width.
fn central(faces: &[Detection], photo: &Frame) -> Option<Detection> {
    let middle = Point { x: photo.width() as f32 / 2.0, y: photo.height() as f32 / 2.0 };
    let off = |face: &Detection| face.face.centre().distance(middle) - 0.25 * face.face.width();
    faces.iter().copied().min_by(|one, other| off(one).total_cmp(&off(other)))
}

fn distance(faces: &Faces, one: &str, other: &str) -> f32 {
    match (&faces[one], &faces[other]) {
        (Some(one), Some(other)) => one.distance(other),
        _ => UNSEEN,
    }
}

/// The share of pairs judged rightly in each fold (line number modulo ten), with the threshold
/// that is best on the other folds. A face that was not found makes a pair "different".
fn accuracy(pairs: &[Pair], faces: &Faces) -> Vec<f64> {
    let judged: Vec<(f32, bool)> =
        pairs.iter().map(|p| (distance(faces, &p.one, &p.other), p.same)).collect();
    (0..FOLDS)
        .map(|fold| {
            let (test, train): (Vec<_>, Vec<_>) =
                judged.iter().enumerate().partition(|(line, _)| line % FOLDS == fold);
            let best = best_threshold(train.into_iter().map(|(_, pair)| *pair).collect());
            let right = test.iter().filter(|(_, pair)| (pair.0 < best) == pair.1).count();
            right as f64 / test.len() as f64
        })
        .collect()
}

/// The middle of the gap between two distances that separates the pairs best.
fn best_threshold(mut pairs: Vec<(f32, bool)>) -> f32 {
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut right = pairs.iter().filter(|pair| !pair.1).count() as i64;
    let (mut best, mut threshold) = (right, 0.0);
    for (index, pair) in pairs.iter().enumerate() {
        right += if pair.1 { 1 } else { -1 };
        if right > best {
            best = right;
            let next = pairs.get(index + 1).map_or(pair.0, |next| next.0);
            threshold = f32::midpoint(pair.0, next).max(pair.0 + f32::EPSILON);
        }
    }
    threshold
}

/// The distances of all pairs of photos, of the same person and of different people, sorted.
fn all_distances(faces: &Faces) -> (Vec<f32>, Vec<f32>) {
    let mut named: Vec<_> = faces.iter().map(|(name, face)| (person(name), face)).collect();
    named.sort_by_key(|(person, _)| *person);
    let (mut genuine, mut impostor) = (Vec::new(), Vec::new());
    for (index, (person, face)) in named.iter().enumerate() {
        for (other_person, other) in &named[..index] {
            let same = person == other_person;
            match (face, other) {
                (Some(face), Some(other)) => {
                    if same { &mut genuine } else { &mut impostor }.push(face.distance(other));
                }
                _ if same => genuine.push(UNSEEN),
                _ => {}
            }
        }
    }
    impostor.sort_by(f32::total_cmp);
    (genuine, impostor)
}

fn person(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The distance below which the given share of pairs of different people lies.
fn threshold(impostor: &[f32], far: f64) -> Option<f32> {
    let index = (far * impostor.len() as f64) as usize;
    (index >= 3).then(|| impostor[index])
}

fn tar(genuine: &[f32], impostor: &[f32], far: f64) -> Option<f64> {
    let threshold = threshold(impostor, far)?;
    let accepted = genuine.iter().filter(|distance| **distance < threshold).count();
    (!genuine.is_empty()).then(|| accepted as f64 / genuine.len() as f64)
}

/// The share of probes whose nearest gallery photo is of the same person.
fn rank1(identities: &[(String, String)], faces: &Faces) -> f64 {
    let right = identities.iter().filter(|(gallery, probe)| {
        let nearest = identities
            .iter()
            .min_by(|one, other| distance(faces, &one.0, probe).total_cmp(&distance(faces, &other.0, probe)));
        faces[probe].is_some() && nearest.is_some_and(|(found, _)| person(found) == person(gallery))
    });
    right.count() as f64 / identities.len() as f64
}
