//! Which face of this frame is which of the frames before.
//!
//! A face is followed from where it was, and expected where its motion takes it. While another face
//! hides it, it keeps its id for a second; two tracks never share one face.

use std::time::Duration;

use crate::geometry::{Point, Rect};

/// Identifies one face from its appearance to its departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

/// A face is the one that was expected from this overlap of their boxes on.
const SAME: f32 = 0.2;
/// Two boxes of which one covers so much of the other are around one face: of two people, one would
/// hide the other.
const SHARED: f32 = 0.5;
/// A face that is followed moves by at most so much of its width from where it was expected.
const JUMP: f32 = 0.6;
/// A face that is not seen for so long has left.
const GONE: Duration = Duration::from_secs(1);
/// Handicap, in widths, of a track that was hidden against one that was seen a frame ago: who steps before
/// somebody else does not take over their id.
const HANDICAP: f32 = 0.2;
/// Smoothing of the velocity: boxes tremble.
const TURN: f32 = 0.4;

struct Track {
    id: TrackId,
    face: Rect,
    /// Pixels a second.
    velocity: Point,
    seen: Duration,
}

impl Track {
    /// Where the face should be.
    fn expected(&self, at: Duration) -> Rect {
        let after = at.saturating_sub(self.seen).as_secs_f32();
        self.face.moved(self.velocity.x * after, self.velocity.y * after)
    }

    fn update(&mut self, face: Rect, at: Duration) {
        let after = at.saturating_sub(self.seen).as_secs_f32();
        if after > 0.0 {
            let (from, to) = (self.face.centre(), face.centre());
            self.velocity.x += ((to.x - from.x) / after - self.velocity.x) * TURN;
            self.velocity.y += ((to.y - from.y) / after - self.velocity.y) * TURN;
        }
        (self.face, self.seen) = (face, at);
    }
}

/// Whether two boxes are around the same face.
pub fn same_face(named: &Rect, found: &Rect) -> bool {
    named.overlap(found) >= SAME || named.covering(found) >= SHARED
}

/// Keeps the faces in view apart.
#[derive(Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    next: u64,
    /// When the frame before was taken.
    before: Duration,
    /// Faces that were followed, nearest to where they were expected first, and who of them is believed;
    /// kept for their memory.
    found: Vec<(f32, usize, Rect)>,
    believed: Vec<TrackId>,
}

impl Tracker {
    /// Takes faces that were followed, each from where its track was, and returns those that are
    /// believed: none that jumped, and of two on one face the one that was expected there.
    pub fn follow(&mut self, followed: &[(TrackId, Rect)], at: Duration) -> &[TrackId] {
        let before = std::mem::replace(&mut self.before, at);
        self.found.clear();
        for (index, track) in self.tracks.iter().enumerate() {
            if let Some((_, face)) = followed.iter().find(|(id, _)| *id == track.id) {
                let off = track.expected(at).centre().distance(face.centre()) / face.width().max(1.0);
                if off <= JUMP {
                    let handicap = if track.seen < before { HANDICAP } else { 0.0 };
                    self.found.push((off + handicap, index, *face));
                }
            }
        }
        self.found.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        self.believed.clear();
        for rank in 0..self.found.len() {
            let (_, index, face) = self.found[rank];
            let shared =
                |track: &Track| self.believed.contains(&track.id) && track.face.covering(&face) >= SHARED;
            if !self.tracks.iter().any(shared) {
                self.tracks[index].update(face, at);
                self.believed.push(self.tracks[index].id);
            }
        }
        &self.believed
    }

    /// Whether a face in a frame taken at `at` is one that was followed or named there.
    pub fn contains(&self, face: &Rect, at: Duration) -> bool {
        self.tracks.iter().any(|track| track.seen == at && same_face(&track.face, face))
    }

    /// Forgets a track: it was no face.
    pub fn drop(&mut self, id: TrackId) {
        self.tracks.retain(|track| track.id != id);
    }

    /// Assigns ids to the detections of a frame taken at `at`, the surest first. `None`: it has one already. The
    /// best overlaps with expected places are matched first; a face that overlaps none is new.
    pub fn update(&mut self, faces: &[Rect], at: Duration) -> Vec<Option<TrackId>> {
        let mut named = vec![None; faces.len()];
        for (_, track, face) in self.overlapping(faces, at) {
            if self.tracks[track].seen != at && !self.contains(&faces[face], at) {
                self.tracks[track].update(faces[face], at);
                named[face] = Some(self.tracks[track].id);
            }
        }
        for (face, name) in faces.iter().zip(&mut named) {
            if !self.contains(face, at) {
                *name = Some(self.begin(*face, at));
            }
        }
        named
    }

    /// Tracks without a face in this frame and the faces that may be theirs, the likeliest first.
    fn overlapping(&self, faces: &[Rect], at: Duration) -> Vec<(f32, usize, usize)> {
        let mut pairs = Vec::new();
        for (t, track) in self.tracks.iter().enumerate().filter(|(_, track)| track.seen != at) {
            for (f, face) in faces.iter().enumerate() {
                let overlap = track.expected(at).overlap(face).max(track.face.overlap(face));
                if overlap >= SAME {
                    pairs.push((overlap, t, f));
                }
            }
        }
        pairs.sort_by(|one: &(f32, usize, usize), other| other.0.total_cmp(&one.0));
        pairs
    }

    fn begin(&mut self, face: Rect, at: Duration) -> TrackId {
        self.next += 1;
        let id = TrackId(self.next);
        self.tracks.push(Track { id, face, velocity: Point::default(), seen: at });
        id
    }

    /// Gives a track another id: it turned out to be somebody else's.
    pub fn rename(&mut self, id: TrackId) -> TrackId {
        self.next += 1;
        if let Some(track) = self.tracks.iter_mut().find(|track| track.id == id) {
            track.id = TrackId(self.next);
        }
        TrackId(self.next)
    }

    /// Removes the tracks that were last seen more than a second before `at`, and returns them.
    pub fn departed(&mut self, at: Duration) -> Vec<TrackId> {
        let mut gone = Vec::new();
        self.tracks.retain(|track| {
            let here = at.saturating_sub(track.seen) <= GONE;
            if !here {
                gone.push(track.id);
            }
            here
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32) -> Rect {
        Rect { x0: x, y0: 0.0, x1: x + 100.0, y1: 100.0 }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn new(tracker: &mut Tracker, x: f32, at: Duration) -> TrackId {
        tracker.update(&[face(x)], at)[0].expect("a new face")
    }

    #[test]
    fn a_moving_face_keeps_its_name_and_a_second_one_gets_its_own() {
        let mut tracker = Tracker::default();
        let first = new(&mut tracker, 0.0, ms(0));
        let both = tracker.update(&[face(300.0), face(20.0)], ms(66));
        assert_eq!(both[1], Some(first));
        assert!(both[0].is_some_and(|other| other != first));
    }

    #[test]
    fn a_face_departs_after_a_second_and_comes_back_as_another() {
        let mut tracker = Tracker::default();
        let first = new(&mut tracker, 0.0, ms(0));
        assert!(tracker.departed(ms(1000)).is_empty());
        assert_eq!(tracker.departed(ms(1001)), [first]);
        assert_ne!(new(&mut tracker, 0.0, ms(1100)), first);
    }

    /// A blurred face is found at several sizes at times.
    #[test]
    fn boxes_within_each_other_are_one_face() {
        let mut tracker = Tracker::default();
        let (inner, outer) = (Rect { x1: 40.0, y1: 50.0, ..face(0.0) }, face(0.0));
        let named = tracker.update(&[inner, outer, face(300.0)], ms(0));
        assert!(named[0].is_some() && named[1].is_none() && named[2].is_some(), "{named:?}");
        assert!(tracker.contains(&outer, ms(0)));
        assert_eq!(tracker.update(&[outer, inner], ms(66)), [None, named[0]], "the likelier one");
    }

    #[test]
    fn what_is_followed_is_not_found_again_and_what_jumps_is_not_believed() {
        let mut tracker = Tracker::default();
        let first = new(&mut tracker, 0.0, ms(0));
        assert_eq!(tracker.follow(&[(first, face(10.0))], ms(66)), [first]);
        assert_eq!(tracker.update(&[face(12.0)], ms(66)), [None]);
        assert!(tracker.follow(&[(first, face(250.0))], ms(133)).is_empty());
        assert_eq!(tracker.update(&[face(20.0)], ms(133)), [Some(first)], "a blink or a turn");
    }

    /// One walks to the right, one to the left; in the middle the first hides the second, and both
    /// are followed onto the same face.
    #[test]
    fn two_who_cross_keep_their_names() {
        let mut tracker = Tracker::default();
        let (right, left) = (|n: u64| 20.0 * n as f32, |n: u64| 600.0 - 20.0 * n as f32);
        let named = tracker.update(&[face(right(0)), face(left(0))], ms(0));
        let (one, other) = (named[0].expect("new"), named[1].expect("new"));
        for n in 1..=30 {
            let (a, b) = (face(right(n)), face(left(n)));
            let hidden = a.overlap(&b) > 0.1;
            let seen = [(one, a), (other, if hidden { a } else { b })];
            let believed = tracker.follow(&seen, ms(66 * n));
            assert!(believed.contains(&one), "frame {n}");
            if hidden {
                assert!(!believed.contains(&other), "frame {n}: two tracks share a face");
            }
            if !believed.contains(&other) && !hidden {
                assert_eq!(tracker.update(&[a, b], ms(66 * n)), [None, Some(other)], "frame {n}");
            }
        }
    }

    /// Somebody walks up and stays before somebody who stands still.
    #[test]
    fn who_steps_before_another_does_not_become_them() {
        for stop in (0..80).step_by(4) {
            let mut tracker = Tracker::default();
            let (stands, end) = (300.0, 260.0 + stop as f32);
            let named = tracker.update(&[face(end - 160.0), face(stands)], ms(0));
            let (walks, hidden) = (named[0].expect("new"), named[1].expect("new"));
            for n in 1..=60_u64 {
                let tremble = ((n * 7 % 5) as f32 - 2.0) * 0.8;
                let place = face((end - 160.0 + 16.0 * n as f32).min(end) + tremble);
                let covered = place.overlap(&face(stands)) > 0.1;
                let seen = [(walks, place), (hidden, if covered { place } else { face(stands) })];
                let believed = tracker.follow(&seen, ms(66 * n));
                assert!(believed.contains(&walks), "stopped at {end}, frame {n}");
            }
        }
    }

    #[test]
    fn somebody_else_gets_another_name() {
        let mut tracker = Tracker::default();
        let first = new(&mut tracker, 0.0, ms(0));
        let other = tracker.rename(first);
        assert_ne!(first, other);
        assert_eq!(tracker.follow(&[(first, face(0.0)), (other, face(0.0))], ms(66)), [other]);
    }
}
