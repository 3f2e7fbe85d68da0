//! The state of one tracked face: its best looks, and the votes on who it is.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::geometry::{Rect, Region};
use crate::identify::{Finding, Verdict};
use crate::liveness::LivenessTracker;
use crate::quality::Quality;
use crate::template::{Embedding, Template};
use crate::track::TrackId;

/// The best looks of a face that are kept and averaged, at most.
const LOOKS: usize = 5;
/// Frames between two looks at a face that is known, or that so many looks did not find, unless it
/// came nearer by this factor.
const AGAIN: u32 = 10;
const ENOUGH: u32 = 30;
const NEARER: f32 = 1.2;
/// Decay of a look's worth with each later look, so that old good looks give way.
const AGEING: f32 = 0.95;
/// Looks from which on their mean is a reference for telling that somebody else is there.
const FEW: usize = 3;
/// A track is dropped once the detector has missed it so often in a row, and for so long.
const MISSED: u32 = 5;
const UNFOUND: Duration = Duration::from_secs(3);
/// Waiting time, in frames, that puts a face first.
const AT_ONCE: u32 = 1 << 20;

/// A look that is kept.
struct StoredLook {
    worth: f32,
    face: Embedding,
    /// The second embedding, if there was one.
    second: Option<Embedding>,
}

/// A face that left the view.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// Which one.
    pub track: TrackId,
    /// In how many frames it was: none, if it turned out to be no face.
    pub frames: u32,
    /// Its greatest width in pixels: how near it came.
    pub width: f32,
}

/// The state of one track.
#[derive(Default)]
pub(crate) struct TrackState {
    /// Where the face was last, and when.
    pub region: Option<Region>,
    seen: Duration,
    /// In how many frames it was.
    pub frames: u32,
    /// Its width in pixels: now, at its widest, and when looks were last counted anew.
    width: f32,
    pub widest: f32,
    looked_at: f32,
    votes: HashMap<Uuid, i32>,
    /// The best looks, and the place of the last one among them.
    looks: Vec<StoredLook>,
    latest: usize,
    /// Looks that recognised nobody since the face last came nearer, and frames since the last look.
    unrecognised: u32,
    since: u32,
    /// Whether the last look was at somebody else.
    doubt: bool,
    /// How often the detector found it, how often in a row it missed it since, and since when.
    found: u32,
    missed: u32,
    found_at: Duration,
    /// Who the looks show.
    pub finding: Option<Finding>,
    /// How well the face was seen at the last look.
    pub quality: Quality,
    /// Whether the face is a person's.
    pub liveness: LivenessTracker,
}

impl TrackState {
    /// Records the face in a frame; the previous frame was taken at `before`.
    pub fn update(&mut self, region: Region, face: &Rect, at: Duration, before: Duration) {
        if self.frames > 0 && self.seen < before {
            // It was hidden, and may be somebody else's now: who it is must be agreed on anew.
            self.votes.clear();
            (self.since, self.liveness) = (AGAIN, LivenessTracker::default());
            if !self.has_reference() {
                self.looks.clear(); // too few to tell somebody else by
            }
        }
        self.region = Some(region);
        (self.seen, self.frames, self.since) = (at, self.frames + 1, self.since + 1);
        self.width = face.width();
        self.widest = self.widest.max(self.width);
    }

    /// The detector found the face.
    pub fn record_found(&mut self, at: Duration) {
        (self.found, self.missed, self.found_at) = (self.found + 1, 0, at);
    }

    /// The detector missed it. Returns whether it has been missed for too long.
    pub fn record_missed(&mut self, at: Duration) -> bool {
        self.missed += 1;
        self.missed >= MISSED && at.saturating_sub(self.found_at) >= UNFOUND
    }

    /// The departure of this face, with no frames where the detector saw it only once.
    pub fn departure(&self, track: TrackId) -> Departure {
        let nobody = self.found <= 1 && self.missed >= MISSED;
        let frames = if nobody { 0 } else { self.frames };
        Departure { track, frames, width: self.widest }
    }

    /// Whether the face should be embedded: until so many frames agree, then now and again.
    pub fn needs_look(&self, agreement: i32) -> bool {
        let nearer = self.width > NEARER * self.looked_at;
        let unsure = self.finding.is_some_and(|finding| finding.verdict != Verdict::Unknown);
        nearer
            || self.since >= AGAIN
            || (self.agreement() < agreement && (unsure || self.unrecognised < ENOUGH))
    }

    /// Has the face embedded in this frame: its liveness was just decided.
    pub fn look_now(&mut self) {
        self.since = AT_ONCE;
    }

    /// The face could not be aligned.
    pub fn skip(&mut self) {
        self.since = 0;
    }

    /// The head is turned and may be somebody else's: restart its liveness.
    pub fn skip_turned(&mut self) {
        (self.since, self.liveness) = (0, LivenessTracker::default());
    }

    /// Sort key: who waited longest first; of those, who was looked at least.
    pub fn priority(&self) -> (std::cmp::Reverse<u32>, usize) {
        (std::cmp::Reverse(self.since), self.looks.len())
    }

    /// Whether there are enough looks to tell that somebody else is there.
    pub fn has_reference(&self) -> bool {
        self.looks.len() >= FEW
    }

    /// Whether a look is at somebody else than those before: further `apart` from their mean. Two in a row
    /// make it somebody new.
    pub fn is_other_person(&self, face: &Embedding, apart: f32) -> bool {
        self.has_reference() && self.mean().is_some_and(|mean| mean.embedding().distance(face) > apart)
    }

    /// Lets the next look decide whether somebody else is there. Returns whether this was that look.
    pub fn doubt(&mut self) -> bool {
        (self.since, self.liveness) = (AGAIN, LivenessTracker::default());
        std::mem::replace(&mut self.doubt, true)
    }

    /// The state of somebody new in the same place.
    pub fn successor(&self) -> Self {
        Self {
            region: self.region,
            seen: self.seen,
            frames: 1,
            found_at: self.found_at,
            width: self.width,
            widest: self.width,
            ..Self::default()
        }
    }

    /// Keeps a look if it is among the best, and returns their mean; `None` if it is not.
    pub fn add_look(&mut self, worth: f32, face: Embedding) -> Option<Template> {
        (self.since, self.doubt) = (0, false);
        if self.width > NEARER * self.looked_at {
            (self.looked_at, self.unrecognised) = (self.width, 0);
        }
        for look in &mut self.looks {
            look.worth *= AGEING;
        }
        self.latest = self.looks.partition_point(|other| other.worth >= worth);
        self.looks.insert(self.latest, StoredLook { worth, face, second: None });
        self.looks.truncate(LOOKS);
        if self.latest == LOOKS { None } else { self.mean() }
    }

    /// Adds the second embedding of the last look, and returns the mean of the second embeddings.
    pub fn add_second(&mut self, second: Embedding) -> Option<Template> {
        self.looks.get_mut(self.latest)?.second = Some(second);
        Template::mean(self.looks.iter().filter_map(|look| look.second.as_ref()))
    }

    fn mean(&self) -> Option<Template> {
        Template::mean(self.looks.iter().map(|look| &look.face))
    }

    /// Counts a vote.
    pub fn vote(&mut self, finding: Option<Finding>) {
        self.finding = finding;
        if let Some(Finding { candidate, verdict: Verdict::Known, .. }) = finding {
            *self.votes.entry(candidate.person).or_default() += 1;
        } else {
            self.unrecognised += 1;
            self.votes.values_mut().for_each(|votes| *votes = (*votes - 1).max(0));
        }
    }

    /// Votes for who the face seems to be, less those for others; none while that is not sure.
    pub fn agreement(&self) -> i32 {
        let total: i32 = self.votes.values().sum();
        let known = self.finding.filter(|finding| finding.verdict == Verdict::Known);
        known.map_or(0, |finding| 2 * self.votes.get(&finding.candidate.person).copied().unwrap_or(0) - total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Point;
    use crate::identify::Candidate;
    use crate::mesh::Landmarks;

    fn vote(state: &mut TrackState, person: u128, verdict: Verdict) {
        let candidate = Candidate { person: Uuid::from_u128(person), distance: 0.2 };
        state.vote(Some(Finding { candidate, threshold: 0.3, verdict }));
    }

    fn face(values: [f32; 3]) -> Embedding {
        Embedding::normalised(&values).expect("direction")
    }

    fn update(state: &mut TrackState, width: f32, frame: u64) {
        let rect = Rect { x0: 0.0, y0: 0.0, x1: width, y1: width };
        let at = |frame: u64| Duration::from_millis(66 * frame);
        state.update(Landmarks::at(Point::default()).region(), &rect, at(frame), at(frame.saturating_sub(1)));
    }

    #[test]
    fn votes_for_others_and_looks_at_nobody_count_against() {
        let mut state = TrackState::default();
        for person in [1, 1, 2, 1] {
            vote(&mut state, person, Verdict::Known);
        }
        assert_eq!(state.agreement(), 2);
        vote(&mut state, 1, Verdict::Unknown);
        assert_eq!(state.agreement(), 0, "not sure now");
        vote(&mut state, 1, Verdict::Known);
        assert_eq!(state.agreement(), 3, "three for, none against are left");
    }

    #[test]
    fn a_face_is_looked_at_until_frames_agree_and_when_it_comes_nearer() {
        let mut state = TrackState::default();
        for frame in 1..=3 {
            update(&mut state, 100.0, frame);
            assert!(state.needs_look(3), "frame {frame}");
            state.add_look(1.0, face([1.0, 0.0, 0.0]));
            vote(&mut state, 1, Verdict::Known);
        }
        update(&mut state, 100.0, 4);
        assert!(!state.needs_look(3));
        update(&mut state, 130.0, 5);
        assert!(state.needs_look(3), "nearer");
        state.add_look(1.0, face([1.0, 0.0, 0.0]));
        let later = (6..30).find(|frame| {
            update(&mut state, 130.0, *frame);
            state.needs_look(3)
        });
        assert_eq!(later, Some(15), "now and again");
    }

    #[test]
    fn who_was_hidden_must_be_agreed_on_anew() {
        let mut state = TrackState::default();
        update(&mut state, 100.0, 1);
        (0..3).for_each(|_| vote(&mut state, 1, Verdict::Known));
        update(&mut state, 100.0, 2);
        assert_eq!(state.agreement(), 3);
        update(&mut state, 100.0, 4);
        assert_eq!(state.agreement(), 0);
        assert!(state.needs_look(3));
    }

    #[test]
    fn two_looks_at_somebody_else_make_them_somebody_new() {
        let mut state = TrackState::default();
        update(&mut state, 100.0, 1);
        (0..3).for_each(|_| drop(state.add_look(1.0, face([1.0, 0.0, 0.0]))));
        assert!(!state.is_other_person(&face([1.0, 0.1, 0.0]), 0.45));
        assert!(state.is_other_person(&face([0.0, 1.0, 0.0]), 0.45));
        assert!(!state.doubt());
        state.add_look(1.0, face([1.0, 0.1, 0.0]));
        assert!(!state.doubt(), "the look between was at the same person");
        assert!(state.doubt());
        assert_eq!((state.successor().frames, state.successor().agreement()), (1, 0));
    }

    #[test]
    fn the_second_embedder_is_heard_as_often_as_it_was_asked() {
        let mut state = TrackState::default();
        update(&mut state, 200.0, 1);
        let second = |state: &mut TrackState, values| {
            let mean = state.add_second(face(values)).expect("a mean");
            mean.embedding().values().to_vec()
        };
        state.add_look(1.0, face([1.0, 0.0, 0.0]));
        assert_eq!(second(&mut state, [0.0, 1.0, 0.0]), [0.0, 1.0, 0.0]);
        state.add_look(2.0, face([1.0, 0.0, 0.0]));
        state.add_look(0.5, face([1.0, 0.0, 0.0]));
        let mean = second(&mut state, [1.0, 0.0, 0.0]);
        assert!((mean[0] - mean[1]).abs() < 1e-6 && mean[0] > 0.7, "{mean:?}");
        // Better looks replace both.
        (0..LOOKS).for_each(|_| drop(state.add_look(3.0, face([1.0, 0.0, 0.0]))));
        assert_eq!(second(&mut state, [0.0, 0.0, 1.0]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn good_looks_of_long_ago_give_way() {
        let mut state = TrackState::default();
        update(&mut state, 200.0, 1);
        (0..5).for_each(|_| drop(state.add_look(1.0, face([1.0, 0.0, 0.0]))));
        update(&mut state, 100.0, 2);
        assert!(state.add_look(0.5, face([0.0, 1.0, 0.0])).is_none());
        let entered = (0..40).position(|_| state.add_look(0.5, face([0.0, 1.0, 0.0])).is_some());
        assert!(entered.is_some_and(|looks| looks < 20), "{entered:?}");
    }
}
