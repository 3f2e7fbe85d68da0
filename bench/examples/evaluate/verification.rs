//! Two photos: the same person or not; and a photo among many, everybody enrolled.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use bench::photos;
use models::{Embedding, Eyes, Look};
use serde_json::{Value, json};

use crate::{embed, progress, tell};

const FOLDS: usize = 10;
/// Further apart than any two unit vectors: the distance to a face that was not found.
pub const UNSEEN: f32 = 9.0;

/// Two photos, and whether they are of the same person.
pub struct Pair {
    pub one: String,
    pub other: String,
    pub same: bool,
}

/// A face as it is enrolled, and as it is recognised in a single photo.
struct Face {
    enrolled: Embedding,
    seen: Embedding,
}

type Faces = HashMap<String, Option<Face>>;

/// Measures accuracy on pairs, all of whose photos are looked at as at enrolment, and the share of
/// people whose other photo is nearest to them.
pub fn measure(images: &Path, pairs: &Path, identities: Option<&Path>) -> Result<Value> {
    let pairs = read_pairs(pairs)?;
    let identities = identities.map(read_identities).transpose()?.unwrap_or_default();
    let mut names: BTreeSet<&str> = pairs.iter().flat_map(|p| [p.one.as_str(), p.other.as_str()]).collect();
    names.extend(identities.iter().flat_map(|(gallery, probe)| [gallery.as_str(), probe.as_str()]));
    let faces = embed_all(images, &names)?;
    let (genuine, impostor) = all_distances(&faces);
    let by_fold = accuracy(&pairs, &faces);
    let thresholds: Vec<_> = [1e-2, 1e-3, 1e-4, 1e-5]
        .into_iter()
        .filter_map(|far| Some(json!({ "far": far, "distance": threshold(&impostor, far)? })))
        .collect();
    let mut report = json!({
        "images": names.len(), "detected": faces.values().flatten().count(), "pairs": pairs.len(),
        "accuracy_folds": by_fold, "thresholds": thresholds,
    });
    let mean = by_fold.iter().sum::<f64>() / by_fold.len() as f64;
    tell(&mut report, "accuracy", Some(mean), pairs.len());
    for (name, far) in [("tar_at_far_1e-2", 1e-2), ("tar_at_far_1e-3", 1e-3)] {
        tell(&mut report, name, tar(&genuine, &impostor, far), genuine.len());
    }
    let rank1 = (!identities.is_empty()).then(|| rank1(&identities, &faces));
    tell(&mut report, "rank1", rank1, identities.len());
    Ok(report)
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

/// The pairs of a file.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
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

fn read_identities(path: &Path) -> Result<Vec<(String, String)>> {
    Ok(fields(path, 3)?.into_iter().map(|mut parts| (parts.remove(1), parts.remove(1))).collect())
}

/// The faces of all photos: each core has models of its own.
fn embed_all(images: &Path, names: &BTreeSet<&str>) -> Result<Faces> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let done = AtomicUsize::new(0);
    let embed_share = |first: usize| {
        let mut eyes = Eyes::open(None, 1)?;
        let share = names.iter().skip(first).step_by(cores);
        share
            .map(|name| {
                let face = embed_photo(&mut eyes, &images.join(name))?;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, names.len());
                Ok(((*name).to_owned(), face))
            })
            .collect::<Result<Vec<_>>>()
    };
    let shares: Result<Vec<_>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|first| scope.spawn(move || embed_share(first))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    Ok(shares?.into_iter().flatten().collect())
}

fn embed_photo(eyes: &mut Eyes, file: &Path) -> Result<Option<Face>> {
    let looks = embed(eyes, &photos::open(file)?, &[Look::Study, Look::Close])?;
    let face = looks.and_then(|looks| <[_; 2]>::try_from(looks).ok());
    Ok(face.map(|[enrolled, seen]| Face { enrolled, seen }))
}

fn distance(faces: &Faces, one: &str, other: &str) -> f32 {
    match (&faces[one], &faces[other]) {
        (Some(one), Some(other)) => one.enrolled.distance(&other.enrolled),
        _ => UNSEEN,
    }
}

/// The share of pairs judged rightly in each fold (line number modulo ten).
fn accuracy(pairs: &[Pair], faces: &Faces) -> Vec<f64> {
    let judged: Vec<_> = pairs.iter().map(|p| (distance(faces, &p.one, &p.other), p.same)).collect();
    let right = judge(&judged);
    (0..FOLDS)
        .map(|fold| {
            let fold: Vec<bool> = right.iter().copied().skip(fold).step_by(FOLDS).collect();
            fold.iter().filter(|right| **right).count() as f64 / fold.len() as f64
        })
        .collect()
}

/// Which pairs are judged rightly, each with the threshold that is best on the other nine folds. A face
/// that was not found makes a pair "different".
pub fn judge(pairs: &[(f32, bool)]) -> Vec<bool> {
    let thresholds: Vec<f32> = (0..FOLDS)
        .map(|fold| {
            let others = pairs.iter().enumerate().filter(|(line, _)| line % FOLDS != fold);
            best_threshold(others.map(|(_, pair)| *pair).collect())
        })
        .collect();
    let lines = pairs.iter().enumerate();
    lines.map(|(line, pair)| (pair.0 < thresholds[line % FOLDS]) == pair.1).collect()
}

/// The threshold that separates the pairs best: of all that do so equally well, the one in the middle.
fn best_threshold(mut pairs: Vec<(f32, bool)>) -> f32 {
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut right = pairs.iter().filter(|pair| !pair.1).count() as i64;
    let (mut most, mut best) = (right, vec![0.0]);
    for (index, pair) in pairs.iter().enumerate() {
        right += if pair.1 { 1 } else { -1 };
        let next = pairs.get(index + 1).map_or(pair.0, |next| next.0);
        if right > most {
            (most, best) = (right, Vec::new());
        }
        if right == most {
            best.push(f32::midpoint(pair.0, next).max(pair.0 + f32::EPSILON));
        }
    }
    best[best.len() / 2]
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
                    if same { &mut genuine } else { &mut impostor }
                        .push(face.enrolled.distance(&other.enrolled));
                }
                _ if same => genuine.push(UNSEEN),
                _ => {}
            }
        }
    }
    impostor.sort_by(f32::total_cmp);
    (genuine, impostor)
}

/// Whom a photo shows.
pub fn person(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The distance below which the given share of pairs of different people lies.
pub fn threshold(impostor: &[f32], far: f64) -> Option<f32> {
    let index = (far * impostor.len() as f64) as usize;
    (index >= 3).then(|| impostor[index])
}

/// The share of same-person pairs nearer than the threshold of a false-accept rate.
fn tar(genuine: &[f32], impostor: &[f32], far: f64) -> Option<f64> {
    let threshold = threshold(impostor, far)?;
    let accepted = genuine.iter().filter(|distance| **distance < threshold).count();
    (!genuine.is_empty()).then(|| accepted as f64 / genuine.len() as f64)
}

/// The share of probes whose nearest gallery photo is of the same person.
fn rank1(identities: &[(String, String)], faces: &Faces) -> f64 {
    let far = |gallery: &str, probe: &Face| {
        faces[gallery].as_ref().map_or(UNSEEN, |face| face.enrolled.distance(&probe.seen))
    };
    let right = identities.iter().filter(|(gallery, probe)| {
        let Some(probe) = &faces[probe] else { return false };
        let nearest =
            identities.iter().min_by(|one, other| far(&one.0, probe).total_cmp(&far(&other.0, probe)));
        nearest.is_some_and(|(found, _)| person(found) == person(gallery))
    });
    right.count() as f64 / identities.len() as f64
}
