//! Who a face is, among everybody in a gallery (1:N).
//!
//! Some faces resemble many people, and many faces resemble some templates. So the similarity is normalised by
//! those of a cohort: of the face to the next nearest people, and of the template to its neighbours. One
//! threshold then serves galleries of 20 people and of 300, with one photo a person or three. On LFW that misses a third fewer of 300 enrolled people at the same
//! false alarms (docs/decisions). Where there are too few people for that, the threshold
//! follows the gallery's size ([`Thresholds::for_gallery`]).
//!
//! With two embedders a face may have the first embedding alone. Then it has rules of its own, and
//! [`Identifier::is_unsure`] says whether the second embedder should run.

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

/// The result of a search.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Who is nearest.
    pub candidate: Candidate,
    /// The distance up to which a candidate is taken for the person, for this gallery.
    pub threshold: f32,
    /// How sure that is.
    pub verdict: Verdict,
}

/// The rules of an embedder, or of two together.
#[derive(Clone, Debug)]
pub struct Rules {
    spec: IdentificationSpec,
    thresholds: Thresholds,
}

/// Who a face is, by the rules of a folder's embedders.
#[derive(Clone, Debug)]
pub struct Identifier {
    whole: Rules,
    first: Option<First>,
}

/// What the first of two embedders says alone.
#[derive(Clone, Debug)]
struct First {
    dimensions: usize,
    rules: Rules,
    unsure: f32,
}

impl Identifier {
    /// By one embedder.
    pub fn new(rules: Rules) -> Self {
        Self { whole: rules, first: None }
    }

    /// By two, of whom the first, of so many dimensions, is asked alone and is unsure so near to its
    /// threshold.
    #[must_use]
    pub fn with_first(self, dimensions: usize, rules: Rules, unsure: f32) -> Self {
        Self { first: Some(First { dimensions, rules, unsure }), ..self }
    }

    /// Who a face is, by all its numbers; by the rules of the first embedder where it has no others.
    /// `None` in an empty gallery.
    pub fn identify(&self, face: &Embedding, gallery: &Gallery) -> Option<Finding> {
        match &self.first {
            Some(first) if first.dimensions == face.values().len() => {
                first.rules.identify(gallery, |most| gallery.nearest_by(face, most))
            }
            _ => self.whole.identify(gallery, |most| gallery.nearest(face, most)),
        }
    }

    /// Somebody for whom a terminal may take a person with this template, or whom it can't tell from them: by
    /// all numbers, or by those of the first embedder, which a terminal often asks alone.
    pub fn lookalike(&self, template: &Embedding, gallery: &Gallery) -> Option<Candidate> {
        let first = self.first.as_ref().and_then(|first| {
            let part = Embedding::normalised(template.values().get(..first.dimensions)?)?;
            self.identify(&part, gallery)
        });
        let found = [self.identify(template, gallery), first].into_iter().flatten();
        let mut alike = found.filter(|finding| finding.verdict != Verdict::Unknown);
        alike.next().map(|finding| finding.candidate)
    }

    /// Whether what the first embedder found alone is so near to its threshold, or to somebody else, that
    /// the second should be asked. Never without a second.
    pub fn is_unsure(&self, finding: &Finding) -> bool {
        self.first.as_ref().is_some_and(|first| {
            let off = (finding.candidate.distance - finding.threshold).abs();
            finding.verdict == Verdict::Ambiguous || off < first.unsure
        })
    }
}

impl Rules {
    /// What an embedder's manifest says.
    pub fn new(spec: IdentificationSpec, thresholds: Thresholds) -> Self {
        Self { spec, thresholds }
    }

    /// Judges the nearest people, of whom `nearest` finds as many as it is asked for.
    fn identify(&self, gallery: &Gallery, nearest: impl FnOnce(usize) -> Vec<Match>) -> Option<Finding> {
        let crowded = gallery.len() >= self.spec.people;
        let neighbours = if crowded { self.spec.neighbours } else { 0 };
        let found = nearest(CONSIDERED.max(neighbours + 1));
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

    /// What the cohort takes off a similarity; negative where it is less similar than usual.
    fn excess(&self, crowd: Option<f32>) -> f32 {
        crowd.map_or(0.0, |crowd| self.spec.weight * (crowd - self.spec.usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::OperatingPoint;
    use crate::template::Template;

    fn identifier(people: usize) -> Identifier {
        let spec = IdentificationSpec {
            people,
            neighbours: 2,
            weight: 0.2,
            usual: 0.5,
            distance: 0.4,
            margin: 0.01,
        };
        let points = [(1e-2, 0.3), (1e-4, 0.2)].map(|(far, distance)| OperatingPoint { far, distance });
        Identifier::new(Rules::new(spec, Thresholds::new(points.to_vec())))
    }

    fn face(values: [f32; 4]) -> Embedding {
        Embedding::normalised(&values).expect("direction")
    }

    fn gallery(people: &[[f32; 4]]) -> Gallery {
        let template = |values: &[f32; 4]| Template::mean([&face(*values)]).expect("one photo");
        Gallery::of((0..).map(Uuid::from_u128).zip(people.iter().map(template)))
    }

    fn verdict(identifier: &Identifier, values: [f32; 4], gallery: &Gallery) -> Verdict {
        identifier.identify(&face(values), gallery).expect("somebody").verdict
    }

    #[test]
    fn near_is_known_far_is_unknown_and_between_two_is_ambiguous() {
        let people = gallery(&[[1.0, 0.0, 0.0, 0.0], [1.0, 0.2, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let identifier = identifier(99);
        assert_eq!(verdict(&identifier, [1.0, -0.05, 0.0, 0.0], &people), Verdict::Known);
        assert_eq!(verdict(&identifier, [1.0, 0.1, 0.0, 0.0], &people), Verdict::Ambiguous);
        assert_eq!(verdict(&identifier, [0.0, 1.0, 0.0, 1.0], &people), Verdict::Unknown);
        assert!(identifier.identify(&face([1.0; 4]), &Gallery::default()).is_none());
    }

    #[test]
    fn few_people_have_a_threshold_by_their_number_and_many_one_for_all() {
        let two = gallery(&[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        let five = gallery(&[[1.0, 0.0, 0.0, 0.0]; 5]);
        let threshold = |people: &Gallery| {
            identifier(5).identify(&face([1.0, 0.0, 0.0, 0.0]), people).expect("somebody").threshold
        };
        assert!((threshold(&two) - identifier(5).whole.thresholds.for_gallery(2)).abs() < 1e-6);
        assert!((threshold(&five) - 0.4).abs() < 1e-6);
    }

    #[test]
    fn the_first_embedder_is_asked_alone_and_the_second_where_it_is_unsure() {
        let part = |values: [f32; 2]| Embedding::normalised(&values).expect("direction");
        let both = |first, second| Embedding::join(&part(first), &part(second), 0.5);
        let person = Template::mean([&both([1.0, 0.0], [1.0, 0.0])]).expect("one photo");
        let people = Gallery::of([(Uuid::max(), person)]);
        let rules = identifier(99).whole;
        let identifier = Identifier::new(rules.clone()).with_first(2, rules, 0.25);
        for (seen, verdict, unsure) in [
            ([1.0, 0.0], Verdict::Known, false),
            ([1.0, 0.15], Verdict::Known, true),
            ([1.0, 0.4], Verdict::Unknown, true),
            ([0.0, 1.0], Verdict::Unknown, false),
        ] {
            let found = identifier.identify(&part(seen), &people).expect("somebody");
            assert_eq!((found.verdict, identifier.is_unsure(&found)), (verdict, unsure), "{seen:?}");
        }
        let found = identifier.identify(&both([1.0, 0.0], [0.0, 1.0]), &people).expect("somebody");
        assert_eq!(found.verdict, Verdict::Unknown, "the second outvotes the first");
        let lookalike =
            |first, second| identifier.lookalike(&both(first, second), &people).map(|one| one.person);
        assert_eq!(lookalike([1.0, 0.0], [0.0, 1.0]), Some(Uuid::max()), "the first may be asked alone");
        assert_eq!(lookalike([0.0, 1.0], [0.0, 1.0]), None);
    }

    /// The same face, as near to the same person: alone it is they, in a crowd it may be anybody.
    #[test]
    fn a_crowd_makes_it_less_sure() {
        let person = [1.0, 0.0, 0.0, 0.0];
        let alone = gallery(&[person, [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let crowd = gallery(&[person, [1.0, 0.3, 0.0, 0.0], [1.0, 0.0, 0.3, 0.0]]);
        let seen = [1.0, -0.15, -0.15, 0.2];
        assert_eq!(verdict(&identifier(3), seen, &alone), Verdict::Known);
        assert_eq!(verdict(&identifier(3), seen, &crowd), Verdict::Unknown);
        assert_eq!(verdict(&identifier(99), seen, &alone), verdict(&identifier(99), seen, &crowd));
    }
}
