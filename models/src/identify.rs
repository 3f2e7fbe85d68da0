//! Who a face is, among everybody in a gallery (1:N).
//!
//! Some faces resemble many people and some templates are resembled by many. So the similarity of the
//! two is judged against how similar the face is to the next people, and how similar the template is
//! to its neighbours: with both taken off, one threshold serves galleries of 20 people and of 300, with
//! one photo a person or three, and at the same false alarms half as many enrolled people are
//! missed (`evaluate --open-set`; models/README.md). Where there are too few people for that, the
//! threshold follows the gallery's size ([`Thresholds::for_gallery`]).

use uuid::Uuid;

use crate::gallery::{Gallery, Match, mean};
use crate::manifest::IdentificationSpec;
use crate::template::{Embedding, distance};
use crate::threshold::Thresholds;

/// People who are judged against each other: the most similar ones.
const CONSIDERED: usize = 4;

/// A person and how far away they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The person.
    pub person: Uuid,
    /// Distance of unit vectors (0 is the same picture, 1.41 unrelated), adjusted for how crowded it
    /// is around both, where there are people enough to tell.
    pub distance: f32,
}

/// How sure it is who a face is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate.
    Known,
    /// The candidate or somebody who looks like them: another look is needed.
    Ambiguous,
    /// Nobody in the gallery, as far as this look tells.
    Unknown,
}

/// What a gallery says of a face.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Who is nearest.
    pub candidate: Candidate,
    /// The distance up to which a candidate is taken for the person, for this gallery.
    pub threshold: f32,
    /// How sure that is.
    pub verdict: Verdict,
}

/// The rules of one embedder.
#[derive(Clone, Debug)]
pub struct Identifier {
    spec: IdentificationSpec,
    thresholds: Thresholds,
}

impl Identifier {
    /// What an embedder's manifest says.
    pub fn new(spec: IdentificationSpec, thresholds: Thresholds) -> Self {
        Self { spec, thresholds }
    }

    /// Who a face is. `None` in an empty gallery.
    pub fn identify(&self, face: &Embedding, gallery: &Gallery) -> Option<Finding> {
        let crowded = gallery.len() >= self.spec.people;
        let neighbours = if crowded { self.spec.neighbours } else { 0 };
        let found = gallery.nearest(face, CONSIDERED.max(neighbours + 1));
        let mut ranked: Vec<(f32, usize)> = Vec::with_capacity(CONSIDERED);
        for (rank, one) in found.iter().take(CONSIDERED).enumerate() {
            ranked.push((one.similarity - self.excess(gallery.crowd(one, neighbours)), rank));
        }
        ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
        let (best, rank) = *ranked.first()?;
        let others = found.iter().enumerate().filter(|(other, _)| *other != rank);
        let around = mean(others.map(|(_, other): (usize, &Match)| other), neighbours);
        let candidate =
            Candidate { person: found[rank].person, distance: distance(best - self.excess(around)) };
        let threshold = if crowded { self.spec.distance } else { self.thresholds.for_gallery(gallery.len()) };
        let alone = ranked.get(1).is_none_or(|second| best - second.0 >= self.spec.margin);
        let verdict = match (candidate.distance <= threshold, alone) {
            (true, true) => Verdict::Known,
            (true, false) => Verdict::Ambiguous,
            (false, _) => Verdict::Unknown,
        };
        Some(Finding { candidate, threshold, verdict })
    }

    /// What a crowd takes off a similarity; less than nothing where it is less crowded than usual.
    fn excess(&self, crowd: Option<f32>) -> f32 {
        crowd.map_or(0.0, |crowd| self.spec.weight * (crowd - self.spec.usual))
    }
}
