//! People among many, with unknown people among those who pass: 1:N, open set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bench::photos;
use bench::statistics::{bounds, round};
use models::geometry::Similarity;
use models::resample::Sampler;
use models::{Embedding, Eyes, Finding, Frame, Gallery, Identifier, Look, Template, Verdict};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::chance::Chance;
use crate::{embed, find, progress};

/// People in the galleries.
const SIZES: [usize; 5] = [50, 200, 300, 500, 1000];
/// Galleries of each size.
const GALLERIES: u64 = 30;
/// Photos that enrol a person, at most; the next one is recognised.
const ENROLLED: usize = 3;
/// Unknown people who may be taken for somebody.
const FALSE_POSITIVES: f64 = 0.01;

/// What is known of a person.
struct Person {
    enrolled: Vec<Embedding>,
    probe: Probe,
}

/// Somebody who passes.
struct Probe {
    /// One photo.
    still: Embedding,
    /// The first frame of a pass, glanced at.
    frame: Glance,
    /// Three of its frames, fused.
    pass: Glance,
}

/// What the first embedder says of frames, and what both say, should the first be unsure.
struct Glance {
    first: Embedding,
    both: Embedding,
}

impl Glance {
    /// Of some frames, each with what the second embedder says, if there is one.
    fn of(eyes: &Eyes, frames: &[(Embedding, Option<Embedding>)]) -> Option<Self> {
        let first = Template::mean(frames.iter().map(|(first, _)| first))?.embedding().clone();
        let second = Template::mean(frames.iter().filter_map(|(_, second)| second.as_ref()));
        let both = second.map(|second| eyes.embedder().join(&first, second.embedding()));
        Some(Self { both: both.unwrap_or_else(|| first.clone()), first })
    }

    /// As at the door.
    fn find(&self, identifier: &Identifier, gallery: &Gallery) -> Option<Finding> {
        let first = identifier.identify(&self.first, gallery)?;
        if identifier.is_unsure(&first) { identifier.identify(&self.both, gallery) } else { Some(first) }
    }
}

/// Measures how many enrolled people are missed (FNIR) where one unknown person in a hundred is taken for
/// somebody (FPIR).
pub fn measure(images: &Path, unknown: &Path) -> Result<Value> {
    let mut eyes = Eyes::open(None, 1)?;
    let identifier = eyes.embedder().identifier();
    let enrolled: BTreeMap<String, Vec<PathBuf>> =
        by_person(images)?.into_iter().filter(|(_, photos)| photos.len() > ENROLLED).collect();
    ensure!(!enrolled.is_empty(), "nobody below {} has four photos", images.display());
    let names: BTreeSet<&String> = enrolled.keys().collect();
    let others = by_person(unknown)?.into_iter().filter(|(name, _)| !names.contains(name));
    let others: Vec<PathBuf> = others.flat_map(|(_, photos)| photos).collect();
    eprintln!("{} people", enrolled.len());
    let people = enrol(&mut eyes, enrolled.values())?;
    let unknown = look_at(&mut eyes, &others)?;
    ensure!(!unknown.is_empty(), "there are no photos of unknown people");
    let (mut stills, mut frames, mut passes) = (Vec::new(), Vec::new(), Vec::new());
    for size in SIZES.into_iter().filter(|size| *size <= people.len()) {
        for photos in [1, ENROLLED] {
            let trial = Trial { people: &people, unknown: &unknown, size, photos };
            stills.push(trial.run(|probe, gallery| identifier.identify(&probe.still, gallery)));
            let glances = |rows: &mut Vec<Value>, glance: fn(&Probe) -> &Glance| {
                let mut row = trial.run(|probe, gallery| glance(probe).find(&identifier, gallery));
                row["second"] = trial.second(&identifier, glance);
                rows.push(row);
            };
            glances(&mut frames, |probe| &probe.frame);
            glances(&mut passes, |probe| &probe.pass);
        }
    }
    Ok(json!({
        "people": people.len(),
        "unknown": unknown.len(),
        "fpir": FALSE_POSITIVES,
        "open_set": stills,
        "open_set_frame": frames,
        "open_set_pass": passes,
    }))
}

/// Photos by the name of their folder, each in order.
fn by_person(folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut people: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in photos::below(folder)? {
        let name = path.parent().and_then(Path::file_name).context("a photo without a folder")?;
        people.entry(name.to_string_lossy().into_owned()).or_default().push(path);
    }
    Ok(people)
}

/// Who has no face in one of their photos is left out, and told.
fn enrol<'a>(eyes: &mut Eyes, people: impl Iterator<Item = &'a Vec<PathBuf>>) -> Result<Vec<Person>> {
    let mut enrolled = Vec::new();
    for paths in people {
        let mut faces = Vec::new();
        for path in &paths[..ENROLLED] {
            faces
                .extend(embed(eyes, &photos::open(path)?, &[Look::Study])?.and_then(|mut looks| looks.pop()));
        }
        let probe = pass(eyes, &photos::open(&paths[ENROLLED])?)?;
        match probe {
            Some(probe) if faces.len() == ENROLLED => enrolled.push(Person { enrolled: faces, probe }),
            _ => eprintln!("left out, a photo without a face: {}", paths[0].display()),
        }
    }
    Ok(enrolled)
}

fn look_at(eyes: &mut Eyes, paths: &[PathBuf]) -> Result<Vec<Probe>> {
    let mut found = Vec::new();
    for (done, path) in paths.iter().enumerate() {
        found.extend(pass(eyes, &photos::open(path)?)?);
        progress(done + 1, paths.len());
    }
    Ok(found)
}

/// Somebody of whom there is one photo: as a still, and as frames of a pass.
fn pass(eyes: &mut Eyes, photo: &Frame) -> Result<Option<Probe>> {
    let Some([still]) = embed(eyes, photo, &[Look::Close])?.and_then(|looks| <[_; 1]>::try_from(looks).ok())
    else {
        return Ok(None);
    };
    let mut frames = Vec::new();
    for moment in &MOMENTS {
        let frame = moment.frame(photo)?;
        let Some((_, landmarks)) = find(eyes, &frame)? else { continue };
        let first = eyes.embed(&frame, &landmarks, Look::Glance)?;
        frames.extend(first.zip(Some(eyes.ask_second(&frame, &landmarks)?)));
    }
    let glances = Glance::of(eyes, &frames[..frames.len().min(1)]).zip(Glance::of(eyes, &frames));
    Ok(glances.map(|(frame, pass)| Probe { still, frame, pass }))
}

/// How a frame of a pass differs from the photo.
struct Moment {
    turn: f32,
    scale: f32,
    shift: (f32, f32),
    light: f32,
    seed: u64,
}

const MOMENTS: [Moment; 3] = [
    Moment { turn: 0.05, scale: 0.92, shift: (3.4, -2.1), light: 0.8, seed: 1 },
    Moment { turn: -0.03, scale: 1.0, shift: (-1.7, 1.2), light: 1.0, seed: 2 },
    Moment { turn: 0.02, scale: 1.07, shift: (0.6, 4.3), light: 1.2, seed: 3 },
];
/// Standard deviation of a frame's noise, in values of 255.
const NOISE: f32 = 4.0;

impl Moment {
    fn frame(&self, photo: &Frame) -> Result<Frame> {
        let side = photo.width().max(photo.height());
        let (sin, cos) = self.turn.sin_cos();
        let middle = side as f32 / 2.0;
        let (a, b) = (cos * self.scale, sin * self.scale);
        let onto = Similarity {
            a,
            b,
            tx: middle + self.shift.0 - (a - b) * middle,
            ty: middle + self.shift.1 - (a + b) * middle,
        };
        let mut rgb = Vec::new();
        Sampler::default().cut(photo, &onto, side, &mut rgb)?;
        let mut chance = Chance(self.seed);
        for value in &mut rgb {
            *value = (f32::from(*value) * self.light + chance.normal() * NOISE).clamp(0.0, 255.0) as u8;
        }
        Ok(Frame::new(side, side, rgb, photo.at)?)
    }
}

/// Galleries of one size, with so many photos a person.
struct Trial<'a> {
    people: &'a [Person],
    unknown: &'a [Probe],
    size: usize,
    photos: usize,
}

impl Trial<'_> {
    /// Members by chance, and the gallery of them.
    fn gallery(&self, seed: u64) -> (Vec<usize>, Gallery) {
        let members = Chance(seed + 1).pick(self.people.len(), self.size);
        let template = |member: &usize| {
            let faces = &self.people[*member].enrolled[..self.photos];
            (Uuid::from_u128(*member as u128), Template::mean(faces).expect("a photo has a direction"))
        };
        let gallery = Gallery::of(members.iter().map(template));
        (members, gallery)
    }

    /// How often the second embedder is asked, of unknown and of enrolled people, and how often asking
    /// it always would have decided otherwise.
    fn second(&self, identifier: &Identifier, glance: fn(&Probe) -> &Glance) -> Value {
        let (mut asked, mut changed, mut looks) = ([0; 2], [0; 2], [0; 2]);
        for seed in 0..GALLERIES {
            let (members, gallery) = self.gallery(seed);
            let own = members.iter().map(|member| (1, &self.people[*member].probe));
            for (whose, probe) in self.unknown.iter().map(|probe| (0, probe)).chain(own) {
                let glance = glance(probe);
                let find = |face| identifier.identify(face, &gallery).expect("somebody is there");
                let (first, both) = (find(&glance.first), find(&glance.both));
                looks[whose] += 1;
                if identifier.is_unsure(&first) {
                    asked[whose] += 1;
                } else {
                    let known = |found: &Finding| found.verdict == Verdict::Known;
                    let same = known(&first) == known(&both)
                        && (!known(&first) || first.candidate.person == both.candidate.person);
                    changed[whose] += usize::from(!same);
                }
            }
        }
        let shares = |counts: [usize; 2]| json!({ "unknown": round(share(counts[0], looks[0])), "enrolled": round(share(counts[1], looks[1])) });
        json!({ "asked": shares(asked), "would_change": shares(changed) })
    }

    /// `look` finds who somebody is in a gallery that holds somebody.
    fn run(&self, look: impl Fn(&Probe, &Gallery) -> Option<Finding>) -> Value {
        let (mut missed, mut beyond, mut as_set) = (0.0, 0.0, [0.0; 2]);
        for seed in 0..GALLERIES {
            let (members, gallery) = self.gallery(seed);
            let find = |probe| look(probe, &gallery).expect("somebody is there");
            let unknown: Vec<_> = self.unknown.iter().map(find).collect();
            let mut alarms: Vec<f32> = unknown.iter().map(alarm).collect();
            alarms.sort_by(f32::total_cmp);
            let limit = alarms[(FALSE_POSITIVES * alarms.len() as f64) as usize];
            beyond += f64::from(limit);
            let known = |found: &&Finding| found.verdict == Verdict::Known;
            as_set[1] += share(unknown.iter().filter(known).count(), unknown.len());
            let own = members.iter().map(|member| (*member, find(&self.people[*member].probe)));
            let own = own.filter(|(member, found)| found.candidate.person.as_u128() == *member as u128);
            let own: Vec<Finding> = own.map(|(_, found)| found).collect();
            missed += 1.0 - share(own.iter().filter(|found| alarm(found) < limit).count(), self.size);
            as_set[0] += 1.0 - share(own.iter().filter(known).count(), self.size);
        }
        let mean = |sum: f64| round(sum / GALLERIES as f64);
        let fnir = mean(missed);
        // The same people stand in many of the galleries: they are what there is to count.
        let [low, high] = bounds(fnir, self.people.len());
        json!({
            "n": self.size, "photos": self.photos, "fnir": fnir, "low": low, "high": high,
            "beyond": mean(beyond), "as_set": { "fnir": mean(as_set[0]), "fpir": mean(as_set[1]) },
        })
    }
}

/// How far beyond the threshold a face is: one that is ambiguous never raises an alarm. The first
/// embedder and both have thresholds of their own, so it is from there that is counted.
fn alarm(found: &Finding) -> f32 {
    if found.verdict == Verdict::Ambiguous { 2.0 } else { found.candidate.distance - found.threshold }
}

fn share(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}
