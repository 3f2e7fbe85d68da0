//! From a frame to sightings: detect, track, align, embed, search.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::embed::Look;
use crate::error::Result;
use crate::eyes::Eyes;
use crate::frame::Frame;
use crate::gallery::Gallery;
use crate::geometry::Rect;
use crate::identify::{Candidate, Identifier, Verdict};
use crate::template::{Embedding, Template};
use crate::track::{TrackId, Tracker};

/// Looks of one face that are remembered and judged together, at most: the best ones.
const LOOKS: usize = 5;

/// A face in a frame and whom it resembles. Carries no picture and no embedding.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Which face in view.
    pub track: TrackId,
    /// When, since the camera was opened.
    pub at: Duration,
    /// Where, in the frame's pixels.
    pub face: Rect,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
    /// The nearest person, if the gallery holds anybody: of the best looks at this face so far.
    pub candidate: Option<Candidate>,
    /// The distance up to which the candidate is taken for the person, for this gallery.
    pub threshold: f32,
    /// How sure it is that the candidate is the person.
    pub verdict: Verdict,
    /// Frames of this track so far that were sure of this candidate, less those that were sure of
    /// somebody else.
    pub agreement: i32,
}

impl Sighting {
    /// The candidate, if that is sure.
    pub fn recognised(&self) -> Option<Candidate> {
        self.candidate.filter(|_| self.verdict == Verdict::Known)
    }
}

/// A face that left the view.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// Which one.
    pub track: TrackId,
    /// In how many frames it was looked at.
    pub frames: u32,
    /// Its greatest width in pixels: how near it came.
    pub width: f32,
}

/// What a track's frames said.
#[derive(Default)]
struct Ballot {
    frames: u32,
    width: f32,
    votes: HashMap<Uuid, i32>,
    /// The best looks, each with how good it was.
    looks: Vec<(f32, Embedding)>,
}

impl Ballot {
    /// Remembers a look, and gives the mean of the best ones.
    fn look(&mut self, quality: f32, face: Embedding) -> Option<Template> {
        let at = self.looks.partition_point(|(other, _)| *other >= quality);
        self.looks.insert(at, (quality, face));
        self.looks.truncate(LOOKS);
        Template::mean(self.looks.iter().map(|(_, face)| face))
    }

    fn cast(&mut self, person: Uuid) {
        *self.votes.entry(person).or_default() += 1;
    }

    fn agreement(&self, person: Uuid) -> i32 {
        let total: i32 = self.votes.values().sum();
        2 * self.votes.get(&person).copied().unwrap_or(0) - total
    }
}

/// The eyes with a memory of who is in view.
pub struct Pipeline {
    eyes: Eyes,
    identifier: Identifier,
    tracker: Tracker,
    ballots: HashMap<TrackId, Ballot>,
    departures: Vec<Departure>,
}

impl Pipeline {
    /// Starts with nobody in view.
    pub fn new(eyes: Eyes) -> Self {
        let identifier = eyes.embedder().identifier();
        Self {
            eyes,
            identifier,
            tracker: Tracker::default(),
            ballots: HashMap::new(),
            departures: Vec::new(),
        }
    }

    /// The models.
    pub fn eyes(&mut self) -> &mut Eyes {
        &mut self.eyes
    }

    /// Looks at a frame: one sighting for each face in it.
    pub fn observe(&mut self, frame: &Frame, gallery: &Gallery) -> Result<Vec<Sighting>> {
        let faces = self.eyes.detect(frame)?;
        let boxes: Vec<Rect> = faces.iter().map(|face| face.face).collect();
        let tracks = self.tracker.update(&boxes, frame.at);
        let mut sightings = Vec::with_capacity(faces.len());
        for (face, track) in faces.iter().zip(tracks) {
            let Some(landmarks) = self.eyes.landmarks(frame, face)? else { continue };
            let Some(look) = self.eyes.embed(frame, &landmarks, Look::Glance)? else { continue };
            let ballot = self.ballots.entry(track).or_default();
            let Some(fused) = ballot.look(face.score * face.face.width(), look) else { continue };
            let finding = self.identifier.identify(fused.embedding(), gallery);
            let mut sighting = Sighting {
                track,
                at: frame.at,
                face: face.face,
                score: face.score,
                candidate: finding.map(|finding| finding.candidate),
                threshold: finding.map_or(0.0, |finding| finding.threshold),
                verdict: finding.map_or(Verdict::Unknown, |finding| finding.verdict),
                agreement: 0,
            };
            ballot.frames += 1;
            ballot.width = ballot.width.max(face.face.width());
            if let Some(candidate) = sighting.recognised() {
                ballot.cast(candidate.person);
                sighting.agreement = ballot.agreement(candidate.person);
            }
            sightings.push(sighting);
        }
        self.part(frame.at);
        Ok(sightings)
    }

    /// The faces that left the view since this was last asked.
    pub fn departures(&mut self) -> Vec<Departure> {
        std::mem::take(&mut self.departures)
    }

    /// The camera ended: everybody has left.
    pub fn finish(&mut self) {
        self.part(Duration::MAX);
    }

    fn part(&mut self, at: Duration) {
        for track in self.tracker.departed(at) {
            if let Some(ballot) = self.ballots.remove(&track) {
                self.departures.push(Departure { track, frames: ballot.frames, width: ballot.width });
            }
        }
    }
}
