//! What a door does to a picture, and what that costs: the enrolled photo is as it is, the other one
//! is seen in other light, from afar, blurred, turned or with a mask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::Result;
use bench::photos;
use bench::statistics::round;
use models::{Embedding, Eyes, Frame, Look, Quality};
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::door::{CONDITIONS, Scene};
use crate::verification::{self, Pair, UNSEEN};
use crate::{embed, find, progress, tell};

/// The false-accept rate at which people are let in.
const FAR: f64 = 1e-3;

/// The faces of photos. `None` where none was found.
type Faces<'a> = HashMap<&'a str, Option<Embedding>>;

/// The faces of photos under one condition, and how well they were seen.
#[derive(Default)]
struct Probes<'a> {
    faces: Faces<'a>,
    qualities: Vec<Quality>,
}

/// Measures detection, accuracy and TAR under each condition, and what is lost against the photos as
/// they are. Of the second photos of the pairs `photos` are taken, or all.
pub fn measure(images: &Path, pairs: &Path, photos: Option<usize>) -> Result<Value> {
    let mut eyes = Eyes::open(None, 1)?;
    let mut pairs = verification::read_pairs(pairs)?;
    if let Some(count) = photos {
        keep(&mut pairs, count);
    }
    let mut enrolled = Faces::new();
    for name in names(pairs.iter().map(|pair| &pair.one)) {
        let looks = embed(&mut eyes, &photos::open(&images.join(name))?, &[Look::Study])?;
        enrolled.insert(name, looks.and_then(|mut looks| looks.pop()));
    }
    let probes = look_at(&mut eyes, images, &names(pairs.iter().map(|pair| &pair.other)))?;
    let trials: Vec<Trial> = probes.iter().map(|probes| Trial::of(&pairs, &enrolled, probes)).collect();
    let reports = CONDITIONS.iter().zip(&trials);
    let reports: Vec<Value> = reports.map(|((name, _), trial)| trial.report(name, &trials[0])).collect();
    Ok(json!({ "photos": probes[0].faces.len(), "pairs": pairs.len(), "conditions": reports }))
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names.map(String::as_str).collect()
}

/// Keeps the pairs of so many second photos.
fn keep(pairs: &mut Vec<Pair>, count: usize) {
    let all: Vec<String> =
        names(pairs.iter().map(|pair| &pair.other)).into_iter().map(str::to_owned).collect();
    let chosen = Chance(1).pick(all.len(), count.min(all.len()));
    let chosen: BTreeSet<&String> = chosen.into_iter().map(|index| &all[index]).collect();
    pairs.retain(|pair| chosen.contains(&pair.other));
}

/// The faces of photos under each condition.
fn look_at<'a>(eyes: &mut Eyes, images: &Path, names: &BTreeSet<&'a str>) -> Result<Vec<Probes<'a>>> {
    let mut probes: Vec<Probes> = CONDITIONS.iter().map(|_| Probes::default()).collect();
    for (done, name) in names.iter().enumerate() {
        let photo = photos::open(&images.join(name))?;
        let scene = find(eyes, &photo)?.map(|(face, mesh)| Scene { photo, face, mesh });
        for (probes, (_, change)) in probes.iter_mut().zip(&CONDITIONS) {
            let face = scene.as_ref().map(|scene| look(eyes, &scene.seen(change)?)).transpose()?.flatten();
            probes.qualities.extend(face.as_ref().map(|(_, quality)| *quality));
            probes.faces.insert(name, face.map(|(face, _)| face));
        }
        progress(done + 1, names.len());
    }
    Ok(probes)
}

/// The face of a photo as it is recognised, and how well it was seen.
fn look(eyes: &mut Eyes, photo: &Frame) -> Result<Option<(Embedding, Quality)>> {
    let Some((_, mesh)) = find(eyes, photo)? else { return Ok(None) };
    let quality = eyes.quality(photo, &mesh)?;
    Ok(eyes.embed(photo, &mesh, Look::Close)?.map(|face| (face, quality)))
}

/// What came out under one condition.
struct Trial {
    detected: usize,
    probes: usize,
    /// For each pair of the list, whether it was judged rightly.
    right: Vec<bool>,
    /// The distances of all enrolled photos to all others: of one person, and of different people
    /// (sorted).
    genuine: Vec<f32>,
    impostor: Vec<f32>,
    /// The distance at which the false-accept rate is reached.
    threshold: f32,
    /// How well the faces were seen.
    qualities: Vec<Quality>,
}

impl Trial {
    fn of(pairs: &[Pair], enrolled: &Faces, Probes { faces: probes, qualities }: &Probes) -> Self {
        let distance = |one: &str, other: &str| match (&enrolled[one], &probes[other]) {
            (Some(one), Some(other)) => one.distance(other),
            _ => UNSEEN,
        };
        let judged: Vec<_> = pairs.iter().map(|p| (distance(&p.one, &p.other), p.same)).collect();
        let (mut genuine, mut impostor) = (Vec::new(), Vec::new());
        for one in names_of(enrolled) {
            for other in names_of(probes).into_iter().filter(|other| *other != one) {
                let distance = distance(one, other);
                if verification::person(one) == verification::person(other) {
                    genuine.push(distance);
                } else if distance < UNSEEN {
                    impostor.push(distance);
                }
            }
        }
        impostor.sort_by(f32::total_cmp);
        Self {
            detected: probes.values().flatten().count(),
            probes: probes.len(),
            right: verification::judge(&judged),
            threshold: verification::threshold(&impostor, FAR).unwrap_or_default(),
            genuine,
            impostor,
            qualities: qualities.clone(),
        }
    }

    fn report(&self, name: &str, as_is: &Self) -> Value {
        let mut report = json!({ "name": name });
        tell(&mut report, "detected", Some(self.detected as f64 / self.probes as f64), self.probes);
        let accepted = [self, as_is].map(|trial| below(&trial.genuine, trial.threshold));
        for (name, now, before) in
            [("accuracy", &self.right, &as_is.right), ("tar_at_far_1e-3", &accepted[0], &accepted[1])]
        {
            tell(&mut report, name, Some(share(now)), now.len());
            let (points, bounds) = lost(now, before);
            report[format!("{name}_lost")] = json!(points);
            report[format!("{name}_lost_95")] = json!(bounds);
        }
        let as_set = |distances: &[f32]| round(share(&below(distances, as_is.threshold)));
        let flawed: Vec<bool> = self.qualities.iter().map(|quality| quality.flaw().is_some()).collect();
        tell(&mut report, "flawed", Some(share(&flawed)), flawed.len());
        report["quality"] = json!(medians(&self.qualities));
        report["as_set"] = json!({ "tar": as_set(&self.genuine), "far": as_set(&self.impostor) });
        report
    }
}

/// The median of each measure.
fn medians(qualities: &[Quality]) -> BTreeMap<&'static str, f32> {
    let median = |measure: fn(&Quality) -> f32| {
        let mut values: Vec<f32> = qualities.iter().map(measure).collect();
        values.sort_by(f32::total_cmp);
        values.get(values.len() / 2).map_or(0.0, |value| (value * 1e4).round() / 1e4)
    };
    [
        ("width", median(|quality| quality.width)),
        ("yaw", median(|quality| quality.yaw.abs())),
        ("pitch", median(|quality| quality.pitch)),
        ("light", median(|quality| quality.light)),
        ("clipped", median(|quality| quality.clipped)),
        ("contrast", median(|quality| quality.contrast)),
        ("sharpness", median(|quality| quality.sharpness)),
        ("mouth", median(|quality| quality.mouth)),
        ("worth", median(Quality::worth)),
    ]
    .into()
}

fn below(distances: &[f32], threshold: f32) -> Vec<bool> {
    distances.iter().map(|distance| *distance < threshold).collect()
}

fn names_of<'a>(faces: &Faces<'a>) -> BTreeSet<&'a str> {
    faces.keys().copied().collect()
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|right| **right).count() as f64 / of.len().max(1) as f64
}

/// The points of a hundred that were lost, with 95 % bounds. The pairs are the same: only those count
/// on which the two differ.
fn lost(now: &[bool], before: &[bool]) -> (f64, [f64; 2]) {
    let n = before.len().max(1) as f64;
    let count = |lost: bool| {
        let differ = before.iter().zip(now).filter(|(was, is)| **was == lost && **is != lost);
        differ.count() as f64
    };
    let (lost, won) = (count(true), count(false));
    let points = (lost - won) / n;
    let reach = 1.96 * (lost + won - (lost - won).powi(2) / n).sqrt() / n;
    let percent = |share: f64| round(share * 100.0);
    (percent(points), [percent(points - reach), percent(points + reach)])
}
