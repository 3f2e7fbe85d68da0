//! From a frame to sightings, running each model only where it is needed.
//!
//! Where nothing moves, no model runs. A face that was there a frame ago is followed by its mesh; the
//! detector looks for new ones where something moves. A face is embedded until enough frames agree on
//! who it is, then now and again: somebody else may have taken its place.

use std::collections::HashMap;
use std::time::Duration;

use crate::detect::Detection;
use crate::embed::Look;
use crate::error::Result;
use crate::eyes::Eyes;
use crate::frame::Frame;
use crate::gallery::Gallery;
use crate::geometry::Rect;
use crate::identify::{Candidate, Identifier, Verdict};
use crate::liveness::{Liveness, Policy};
use crate::mesh::Landmarks;
use crate::motion::Motion;
use crate::quality::Quality;
use crate::track::{TrackId, Tracker, same_face};
use crate::track_state::{Departure, TrackState};

/// Faces that are embedded in one frame, at most: five people come at once, and frames go on.
const EMBEDDED_A_FRAME: usize = 2;
/// Faces that are followed, at most: more are a poster or a photo of a class.
const MAX_FACES: usize = 10;
/// Frames between two searches for new faces where something moves beside one that is followed.
const SEARCH: u32 = 5;
/// Further to the side, in degrees, a look can't tell that somebody else is there.
const TURNED: f32 = 25.0;
/// Frames between two searches where nothing seems to move.
const IDLE: u32 = 15;

/// A face in a frame and whom it resembles. Carries no picture and no embedding.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Which face in view.
    pub track: TrackId,
    /// When, since the camera was opened.
    pub at: Duration,
    /// Where, in the frame's pixels.
    pub face: Rect,
    /// How sure it is that this is a face, 0 to 1.
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
    /// Whether the face was embedded in this frame, and not only followed.
    pub looked: bool,
    /// How well the face was seen when it was last looked at.
    pub quality: Quality,
    /// The evidence for a person, as far as the policy asks for it.
    pub liveness: Liveness,
    /// Whether that is enough.
    pub alive: bool,
}

impl Sighting {
    /// The candidate, if that is sure.
    pub fn recognised(&self) -> Option<Candidate> {
        self.candidate.filter(|_| self.verdict == Verdict::Known)
    }
}

/// A face in this frame.
struct Face {
    track: TrackId,
    landmarks: Landmarks,
    looked: bool,
}

/// The models, with the faces in view.
pub struct Pipeline {
    eyes: Eyes,
    identifier: Identifier,
    /// Further from the mean of a track's looks than this, a look is at somebody else.
    apart: f32,
    agreement: i32,
    policy: Policy,
    motion: Motion,
    tracker: Tracker,
    states: HashMap<TrackId, TrackState>,
    departures: Vec<Departure>,
    /// Frames since the detector last looked.
    since_search: u32,
    /// When the frame before was taken.
    before: Duration,
    /// The last frame's faces and where they were; kept for their memory.
    faces: Vec<Face>,
    places: Vec<(TrackId, Rect)>,
    sightings: Vec<Sighting>,
}

impl Pipeline {
    /// Starts with nobody in view. Faces are looked at closely until `agreement` frames agree.
    pub fn new(eyes: Eyes, agreement: i32) -> Self {
        let (identifier, apart) = (eyes.embedder().identifier(), eyes.embedder().apart_at_a_glance());
        Self {
            eyes,
            identifier,
            apart,
            agreement,
            policy: Policy::Off,
            motion: Motion::default(),
            tracker: Tracker::default(),
            states: HashMap::new(),
            departures: Vec::new(),
            since_search: 0,
            before: Duration::ZERO,
            faces: Vec::new(),
            places: Vec::new(),
            sightings: Vec::new(),
        }
    }

    /// Collects the evidence that the liveness policy asks for.
    #[must_use]
    pub fn with_liveness(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The models.
    pub fn eyes(&mut self) -> &mut Eyes {
        &mut self.eyes
    }

    /// Gives the models back.
    pub fn into_eyes(self) -> Eyes {
        self.eyes
    }

    /// Looks at a frame: one sighting for each face in it.
    pub fn observe(&mut self, frame: &Frame, gallery: &Gallery) -> Result<&[Sighting]> {
        self.remove_departed(frame.at);
        let moved = self.motion.look(frame);
        let known = self.states.len();
        let mut faces = std::mem::take(&mut self.faces);
        self.follow(frame, &mut faces)?;
        if self.must_search(moved.is_some(), faces.len() < known, known == 0) {
            self.since_search = 0;
            if let Some(part) = moved.filter(|_| known == 0) {
                let found = self.eyes.detect_near(frame, &part)?;
                self.add_new(frame, &found, &mut faces)?;
            }
            if faces.is_empty() || known > 0 {
                let found = self.eyes.detect(frame)?;
                self.drop_undetected(frame, &found, &mut faces)?;
                self.add_new(frame, &found, &mut faces)?;
            }
        }
        for face in &faces {
            self.update_liveness(frame, face)?;
        }
        self.embed_faces(frame, &mut faces, gallery)?;
        self.before = frame.at;
        self.sightings.clear();
        for face in &faces {
            self.sightings.extend(self.sighting(face, frame.at));
        }
        self.faces = faces;
        Ok(&self.sightings)
    }

    fn must_search(&mut self, moved: bool, lost: bool, nobody: bool) -> bool {
        self.since_search += 1;
        lost || (moved && (nobody || self.since_search >= SEARCH)) || self.since_search >= IDLE
    }

    /// The faces of the frame before, where they are now; in place of what is in `faces`.
    fn follow(&mut self, frame: &Frame, faces: &mut Vec<Face>) -> Result<()> {
        faces.clear();
        for (track, state) in &self.states {
            let Some(region) = &state.region else { continue };
            if let Some(landmarks) = self.eyes.follow(frame, region)? {
                faces.push(Face { track: *track, landmarks, looked: false });
            }
        }
        self.places.clear();
        self.places.extend(faces.iter().map(|face| (face.track, face.landmarks.bounds())));
        let believed = self.tracker.follow(&self.places, frame.at);
        faces.retain(|face| believed.contains(&face.track));
        faces.sort_unstable_by_key(|face| face.track);
        Ok(())
    }

    /// Drops faces that are followed but that the detector has missed for too long: a stain on the wall.
    fn drop_undetected(&mut self, frame: &Frame, found: &[Detection], faces: &mut Vec<Face>) -> Result<()> {
        for face in faces.iter() {
            let bounds = face.landmarks.bounds();
            let Some(state) = self.states.get_mut(&face.track) else { continue };
            if found.iter().any(|other| same_face(&bounds, &other.face)) {
                state.record_found(frame.at);
            } else if state.record_missed(frame.at) {
                // The full-range detector misses faces that fill the frame.
                if self.eyes.is_near(frame, &bounds)? {
                    state.record_found(frame.at);
                } else {
                    self.departures.push(state.departure(face.track));
                    self.states.remove(&face.track);
                    self.tracker.drop(face.track);
                }
            }
        }
        faces.retain(|face| self.states.contains_key(&face.track));
        Ok(())
    }

    /// Adds the faces that were found and not followed.
    fn add_new(&mut self, frame: &Frame, found: &[Detection], faces: &mut Vec<Face>) -> Result<()> {
        let mut meshes = Vec::with_capacity(found.len());
        for face in found {
            if meshes.len() + self.states.len() < MAX_FACES && !self.tracker.contains(&face.face, frame.at) {
                meshes.extend(self.eyes.landmarks(frame, face)?);
            }
        }
        let places: Vec<Rect> = meshes.iter().map(Landmarks::bounds).collect();
        let tracks = self.tracker.update(&places, frame.at);
        for (landmarks, track) in meshes.into_iter().zip(tracks) {
            if let Some(track) = track {
                self.states.entry(track).or_default().record_found(frame.at);
                faces.push(Face { track, landmarks, looked: false });
            }
        }
        Ok(())
    }

    /// Records where a face is, and updates its liveness until the policy is met.
    fn update_liveness(&mut self, frame: &Frame, face: &Face) -> Result<()> {
        let state = self.states.entry(face.track).or_default();
        state.update(face.landmarks.region(), &face.landmarks.bounds(), frame.at, self.before);
        // A face without a reference may be somebody else's, and one that is cut by the frame's edge has a
        // border that is no skin.
        let watchable = state.has_reference() && frame.holds(&face.landmarks.bounds());
        if watchable && !self.policy.is_met(&state.liveness.liveness()) {
            self.eyes.skin(frame, &face.landmarks, &mut state.liveness.skin)?;
            state.liveness.update(&face.landmarks, self.eyes.has_liveness_model());
            if self.policy.is_met(&state.liveness.liveness()) {
                state.liveness.drop_pictures();
                state.look_now();
            }
        }
        Ok(())
    }

    /// Embeds the faces that waited longest, and identifies them.
    fn embed_faces(&mut self, frame: &Frame, faces: &mut [Face], gallery: &Gallery) -> Result<()> {
        let waiting = |face: &&mut Face| self.states[&face.track].needs_look(self.agreement);
        let mut waiting: Vec<&mut Face> = faces.iter_mut().filter(waiting).collect();
        waiting.sort_by_key(|face| self.states[&face.track].priority());
        for face in waiting.into_iter().take(EMBEDDED_A_FRAME) {
            let Some(state) = self.states.get_mut(&face.track) else { continue };
            let Some(look) = self.eyes.embed(frame, &face.landmarks, Look::Glance)? else {
                state.skip();
                continue;
            };
            let quality = self.eyes.quality(frame, &face.landmarks)?;
            if state.is_other_person(&look, self.apart) {
                if quality.yaw.abs() > TURNED {
                    state.skip_turned();
                    continue; // who turns their head looks like somebody else
                }
                let Some(new) = self.doubt(face.track) else { continue };
                face.track = new;
            }
            let Some(state) = self.states.get_mut(&face.track) else { continue };
            (face.looked, state.quality) = (true, quality);
            if self.policy != Policy::Off
                && let Some((score, threshold)) = self.eyes.person_score(frame, &face.landmarks)?
            {
                state.liveness.add_model_score(score, threshold);
            }
            if let Some(fused) = state.add_look(quality.worth(), look) {
                let mut finding = self.identifier.identify(fused.embedding(), gallery);
                if finding.is_some_and(|finding| self.identifier.is_unsure(&finding))
                    && let Some(second) = self.eyes.ask_second(frame, &face.landmarks)?
                    && let Some(second) = state.add_second(second)
                {
                    let whole = self.eyes.embedder().join(fused.embedding(), second.embedding());
                    finding = self.identifier.identify(&whole, gallery);
                }
                state.vote(finding);
            }
        }
        Ok(())
    }

    /// A look was at somebody else. If the next one is, too, the track departs and a new one, which is returned,
    /// takes its place.
    fn doubt(&mut self, track: TrackId) -> Option<TrackId> {
        let state = self.states.get_mut(&track)?;
        if !state.doubt() {
            return None;
        }
        let (new, anew) = (self.tracker.rename(track), state.successor());
        self.departures.push(state.departure(track));
        self.states.remove(&track);
        self.states.insert(new, anew);
        Some(new)
    }

    fn sighting(&self, face: &Face, at: Duration) -> Option<Sighting> {
        let state = self.states.get(&face.track)?;
        let finding = state.finding;
        let liveness = state.liveness.liveness();
        Some(Sighting {
            track: face.track,
            at,
            face: face.landmarks.bounds(),
            score: face.landmarks.presence,
            candidate: finding.map(|finding| finding.candidate),
            threshold: finding.map_or(0.0, |finding| finding.threshold),
            verdict: finding.map_or(Verdict::Unknown, |finding| finding.verdict),
            agreement: state.agreement(),
            looked: face.looked,
            quality: state.quality,
            liveness,
            alive: self.policy.is_met(&liveness),
        })
    }

    /// The faces that left the view since this was last asked.
    pub fn departures(&mut self) -> Vec<Departure> {
        std::mem::take(&mut self.departures)
    }

    /// The camera ended: everybody has left.
    pub fn finish(&mut self) {
        self.remove_departed(Duration::MAX);
    }

    fn remove_departed(&mut self, at: Duration) {
        for track in self.tracker.departed(at) {
            if let Some(state) = self.states.remove(&track) {
                self.departures.push(state.departure(track));
            }
        }
    }
}
