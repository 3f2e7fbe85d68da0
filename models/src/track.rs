//! Which face of this frame is which of the frames before: by the overlap of their boxes.

use std::time::Duration;

use crate::geometry::Rect;

/// Names one face from its appearance to its departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

/// A face is the same one from this overlap of its boxes in two frames on.
const SAME: f32 = 0.2;
/// A face that is not seen for so long has left.
const GONE: Duration = Duration::from_secs(1);

struct Track {
    id: TrackId,
    face: Rect,
    seen: Duration,
}

/// Keeps the faces in view apart.
#[derive(Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    next: u64,
}

impl Tracker {
    /// Names the faces of a frame taken at `at`. The best overlaps are matched first; a face that
    /// overlaps none is new.
    pub fn update(&mut self, faces: &[Rect], at: Duration) -> Vec<TrackId> {
        let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            for (f, face) in faces.iter().enumerate() {
                let overlap = track.face.overlap(face);
                if overlap >= SAME {
                    pairs.push((overlap, t, f));
                }
            }
        }
        pairs.sort_by(|one, other| other.0.total_cmp(&one.0));
        let mut owner: Vec<Option<usize>> = vec![None; faces.len()];
        let mut taken = vec![false; self.tracks.len()];
        for (_, t, f) in pairs {
            if owner[f].is_none() && !taken[t] {
                owner[f] = Some(t);
                taken[t] = true;
            }
        }
        let mut named = Vec::with_capacity(faces.len());
        for (face, owner) in faces.iter().zip(owner) {
            let index = owner.unwrap_or_else(|| self.begin());
            self.tracks[index].face = *face;
            self.tracks[index].seen = at;
            named.push(self.tracks[index].id);
        }
        named
    }

    fn begin(&mut self) -> usize {
        self.next += 1;
        self.tracks.push(Track { id: TrackId(self.next), face: Rect::default(), seen: Duration::ZERO });
        self.tracks.len() - 1
    }

    /// Forgets the faces that were last seen more than a second before `at`, and names them.
    pub fn departed(&mut self, at: Duration) -> Vec<TrackId> {
        let (gone, here): (Vec<_>, Vec<_>) =
            self.tracks.drain(..).partition(|track| at.saturating_sub(track.seen) > GONE);
        self.tracks = here;
        gone.into_iter().map(|track| track.id).collect()
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

    #[test]
    fn a_moving_face_keeps_its_name_and_a_second_one_gets_its_own() {
        let mut tracker = Tracker::default();
        let first = tracker.update(&[face(0.0)], ms(0));
        let both = tracker.update(&[face(300.0), face(20.0)], ms(66));
        assert_eq!(both[1], first[0]);
        assert_ne!(both[0], first[0]);
    }

    #[test]
    fn a_face_departs_after_a_second_and_comes_back_as_another() {
        let mut tracker = Tracker::default();
        let first = tracker.update(&[face(0.0)], ms(0));
        assert!(tracker.departed(ms(1000)).is_empty());
        assert_eq!(tracker.departed(ms(1001)), first);
        assert_ne!(tracker.update(&[face(0.0)], ms(1100)), first);
    }
}
