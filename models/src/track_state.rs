//! What the frames of one face said: its looks, and who they were.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::geometry::{Rect, Region};
use crate::identify::{Finding, Verdict};
use crate::liveness::Watch;
use crate::quality::Quality;
use crate::template::{Embedding, Template};
use crate::track::TrackId;

/// Looks of one face that are remembered and judged together, at most: the best ones.
const LOOKS: usize = 5;
/// Frames between two looks at a face that is known, or that so many looks did not find, unless it
/// came nearer by this factor.
const AGAIN: u32 = 10;
const ENOUGH: u32 = 30;
const NEARER: f32 = 1.2;
/// What is left of a look's worth one look later: a good one long ago must not hide who is there.
const AGEING: f32 = 0.95;
/// Looks that make a mean by which somebody else is told.
const FEW: usize = 3;
/// A face that the detector missed so often in a row, and for so long, while its mesh was followed, is
/// let go.
const MISSED: u32 = 5;
const UNFOUND: Duration = Duration::from_secs(3);
/// Frames that a look that must not wait counts as having waited.
const AT_ONCE: u32 = 1 << 20;

/// A look that is remembered.
struct Held {
    worth: f32,
    face: Embedding,
    /// What the second embedder said, if it was asked.
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

/// What a track's frames said.
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
    looks: Vec<Held>,
    latest: usize,
    /// Looks that found nobody since the face last came nearer, and frames since the last look.
    vain: u32,
    since: u32,
    /// Whether the last look was at somebody else.
    doubt: bool,
    /// How often the detector found it, how often in a row it missed it since, and since when.
    found: u32,
    missed: u32,
    found_at: Duration,
    /// What the looks say.
    pub finding: Option<Finding>,
    /// How well the face was seen at the last look.
    pub quality: Quality,
    /// Whether the face is a person's.
    pub watch: Watch,
}

impl TrackState {
    /// The face is in a frame; the one before that was taken at `before`.
    pub fn see(&mut self, region: Region, face: &Rect, at: Duration, before: Duration) {
        if self.frames > 0 && self.seen < before {
            // It was hidden, and may be somebody else's now: who it is must be agreed on anew.
            self.votes.clear();
            (self.since, self.watch) = (AGAIN, Watch::default());
            if !self.knows_the_face() {
                self.looks.clear(); // too few to tell somebody else by
            }
        }
        self.region = Some(region);
        (self.seen, self.frames, self.since) = (at, self.frames + 1, self.since + 1);
        self.width = face.width();
        self.widest = self.widest.max(self.width);
    }

    /// The detector found the face.
    pub fn find(&mut self, at: Duration) {
        (self.found, self.missed, self.found_at) = (self.found + 1, 0, at);
    }

    /// The detector looked and missed it. `true`: for too long.
    pub fn miss(&mut self, at: Duration) -> bool {
        self.missed += 1;
        self.missed >= MISSED && at.saturating_sub(self.found_at) >= UNFOUND
    }

    /// Who left: nobody, where only the first glance took it for a face.
    pub fn departure(&self, track: TrackId) -> Departure {
        let nobody = self.found <= 1 && self.missed >= MISSED;
        let frames = if nobody { 0 } else { self.frames };
        Departure { track, frames, width: self.widest }
    }

    /// Whether the face should be embedded: until so many frames agree, then now and again.
    pub fn wants_a_look(&self, agreement: i32) -> bool {
        let nearer = self.width > NEARER * self.looked_at;
        let unsure = self.finding.is_some_and(|finding| finding.verdict != Verdict::Unknown);
        nearer || self.since >= AGAIN || (self.agreement() < agreement && (unsure || self.vain < ENOUGH))
    }

    /// Lets the face be looked at in this frame: something else about it was found out.
    pub fn hurry(&mut self) {
        self.since = AT_ONCE;
    }

    /// A look said nothing about who it is.
    pub fn skip(&mut self) {
        self.since = 0;
    }

    /// A look at a turned head, which may be somebody else's: its life is not this face's.
    pub fn turn_away(&mut self) {
        (self.since, self.watch) = (0, Watch::default());
    }

    /// Who waited longest comes first; of those, who has been looked at least.
    pub fn turn(&self) -> (std::cmp::Reverse<u32>, usize) {
        (std::cmp::Reverse(self.since), self.looks.len())
    }

    /// Whether there are enough looks to tell somebody else by.
    pub fn knows_the_face(&self) -> bool {
        self.looks.len() >= FEW
    }

    /// Whether a look is at somebody else than those before: further `apart` from their mean. Two in a row
    /// make it somebody new.
    pub fn is_other(&self, face: &Embedding, apart: f32) -> bool {
        self.knows_the_face() && self.mean().is_some_and(|mean| mean.embedding().distance(face) > apart)
    }

    /// Lets the next look decide whether somebody else is there. `true`: this one did.
    pub fn doubt(&mut self) -> bool {
        (self.since, self.watch) = (AGAIN, Watch::default());
        std::mem::replace(&mut self.doubt, true)
    }

    /// Of somebody new in the same place.
    pub fn anew(&self) -> Self {
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

    /// Remembers a look and what it is worth, and gives the mean of the best ones. `None`: it was worse
    /// than all of them.
    pub fn look(&mut self, worth: f32, face: Embedding) -> Option<Template> {
        (self.since, self.doubt) = (0, false);
        if self.width > NEARER * self.looked_at {
            (self.looked_at, self.vain) = (self.width, 0);
        }
        for look in &mut self.looks {
            look.worth *= AGEING;
        }
        self.latest = self.looks.partition_point(|other| other.worth >= worth);
        self.looks.insert(self.latest, Held { worth, face, second: None });
        self.looks.truncate(LOOKS);
        if self.latest == LOOKS { None } else { self.mean() }
    }

    /// Adds to the last look what the second embedder says, and gives the mean of what it ever said of
    /// the looks that are remembered.
    pub fn look_twice(&mut self, second: Embedding) -> Option<Template> {
        self.looks.get_mut(self.latest)?.second = Some(second);
        Template::mean(self.looks.iter().filter_map(|look| look.second.as_ref()))
    }

    fn mean(&self) -> Option<Template> {
        Template::mean(self.looks.iter().map(|look| &look.face))
    }

    /// Counts what the looks say.
    pub fn cast(&mut self, finding: Option<Finding>) {
        self.finding = finding;
        if let Some(Finding { candidate, verdict: Verdict::Known, .. }) = finding {
            *self.votes.entry(candidate.person).or_default() += 1;
        } else {
            self.vain += 1;
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

    fn cast(state: &mut TrackState, person: u128, verdict: Verdict) {
        let candidate = Candidate { person: Uuid::from_u128(person), distance: 0.2 };
        state.cast(Some(Finding { candidate, threshold: 0.3, verdict }));
    }

    fn face(values: [f32; 3]) -> Embedding {
        Embedding::normalised(&values).expect("direction")
    }

    fn see(state: &mut TrackState, width: f32, frame: u64) {
        let rect = Rect { x0: 0.0, y0: 0.0, x1: width, y1: width };
        let at = |frame: u64| Duration::from_millis(66 * frame);
        state.see(Landmarks::at(Point::default()).region(), &rect, at(frame), at(frame.saturating_sub(1)));
    }

    #[test]
    fn votes_for_others_and_looks_at_nobody_count_against() {
        let mut state = TrackState::default();
        for person in [1, 1, 2, 1] {
            cast(&mut state, person, Verdict::Known);
        }
        assert_eq!(state.agreement(), 2);
        cast(&mut state, 1, Verdict::Unknown);
        assert_eq!(state.agreement(), 0, "not sure now");
        cast(&mut state, 1, Verdict::Known);
        assert_eq!(state.agreement(), 3, "three for, none against are left");
    }

    #[test]
    fn a_face_is_looked_at_until_frames_agree_and_when_it_comes_nearer() {
        let mut state = TrackState::default();
        for frame in 1..=3 {
            see(&mut state, 100.0, frame);
            assert!(state.wants_a_look(3), "frame {frame}");
            state.look(1.0, face([1.0, 0.0, 0.0]));
            cast(&mut state, 1, Verdict::Known);
        }
        see(&mut state, 100.0, 4);
        assert!(!state.wants_a_look(3));
        see(&mut state, 130.0, 5);
        assert!(state.wants_a_look(3), "nearer");
        state.look(1.0, face([1.0, 0.0, 0.0]));
        let later = (6..30).find(|frame| {
            see(&mut state, 130.0, *frame);
            state.wants_a_look(3)
        });
        assert_eq!(later, Some(15), "now and again");
    }

    #[test]
    fn who_was_hidden_must_be_agreed_on_anew() {
        let mut state = TrackState::default();
        see(&mut state, 100.0, 1);
        (0..3).for_each(|_| cast(&mut state, 1, Verdict::Known));
        see(&mut state, 100.0, 2);
        assert_eq!(state.agreement(), 3);
        see(&mut state, 100.0, 4);
        assert_eq!(state.agreement(), 0);
        assert!(state.wants_a_look(3));
    }

    #[test]
    fn two_looks_at_somebody_else_make_them_somebody_new() {
        let mut state = TrackState::default();
        see(&mut state, 100.0, 1);
        (0..3).for_each(|_| drop(state.look(1.0, face([1.0, 0.0, 0.0]))));
        assert!(!state.is_other(&face([1.0, 0.1, 0.0]), 0.45));
        assert!(state.is_other(&face([0.0, 1.0, 0.0]), 0.45));
        assert!(!state.doubt());
        state.look(1.0, face([1.0, 0.1, 0.0]));
        assert!(!state.doubt(), "the doubt was dispelled");
        assert!(state.doubt());
        assert_eq!((state.anew().frames, state.anew().agreement()), (1, 0));
    }

    #[test]
    fn the_second_embedder_is_heard_as_often_as_it_was_asked() {
        let mut state = TrackState::default();
        see(&mut state, 200.0, 1);
        let second = |state: &mut TrackState, values| {
            let mean = state.look_twice(face(values)).expect("a mean");
            mean.embedding().values().to_vec()
        };
        state.look(1.0, face([1.0, 0.0, 0.0]));
        assert_eq!(second(&mut state, [0.0, 1.0, 0.0]), [0.0, 1.0, 0.0]);
        state.look(2.0, face([1.0, 0.0, 0.0]));
        state.look(0.5, face([1.0, 0.0, 0.0]));
        let mean = second(&mut state, [1.0, 0.0, 0.0]);
        assert!((mean[0] - mean[1]).abs() < 1e-6 && mean[0] > 0.7, "{mean:?}");
        // Better looks come, and with the two their voices are gone.
        (0..LOOKS).for_each(|_| drop(state.look(3.0, face([1.0, 0.0, 0.0]))));
        assert_eq!(second(&mut state, [0.0, 0.0, 1.0]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn good_looks_of_long_ago_give_way() {
        let mut state = TrackState::default();
        see(&mut state, 200.0, 1);
        (0..5).for_each(|_| drop(state.look(1.0, face([1.0, 0.0, 0.0]))));
        see(&mut state, 100.0, 2);
        assert!(state.look(0.5, face([0.0, 1.0, 0.0])).is_none());
        let entered = (0..40).position(|_| state.look(0.5, face([0.0, 1.0, 0.0])).is_some());
        assert!(entered.is_some_and(|looks| looks < 20), "{entered:?}");
    }
}
