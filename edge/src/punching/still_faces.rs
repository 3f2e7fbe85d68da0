//! Faces that do not move: a poster, a badge on the wall, a portrait on a lobby's screen. Pure, without a clock.
//!
//! A face that has not moved for a minute is still, and is ignored until it moves. Its place and person are remembered:
//! somebody who passes before it hides it, and afterwards it must not count as somebody new.
//!
//! Movement is measured in widths of the face, at its mean place and width over a second. The mesh of a still
//! picture trembles less than that (`a_still_picture_trembles_less_than_people_sway`). Who stands as still as people
//! can sways by two to four centimetres within a minute, a face being 15 wide: more than a tenth.

use std::collections::HashMap;
use std::time::Duration;

use models::geometry::Rect;
use models::{Sighting, TrackId};
use uuid::Uuid;

/// A face that stayed where it was for so long is still.
const STILL: Duration = Duration::from_mins(1);
/// How far, in its widths, a face may move and still be where it was.
const SWAY: f32 = 0.05;
/// The same once it has been still for a minute: lamps and sun shift a picture's mesh over a day, doors shake walls, and
/// whoever walks moves further at once.
const MOVED: f32 = 0.25;
/// The same for a face that appears where there was a still one: it may be the person.
const REAPPEARED: f32 = 0.1;
/// How far away such a face may begin, half hidden by whoever passed.
const NEAR: f32 = 0.5;
/// Time constant of the mean place.
const MEAN: Duration = Duration::from_secs(1);
/// How long a place is remembered while nothing is seen there: over dark holidays.
const REMEMBERED: Duration = Duration::from_hours(24 * 7);
/// Places that are remembered, at most: those that were seen last.
const PLACES: usize = 32;

/// Where a face is.
#[derive(Clone, Copy)]
struct Place {
    x: f32,
    y: f32,
    width: f32,
}

impl Place {
    fn of(face: &Rect) -> Self {
        let centre = face.centre();
        Self { x: centre.x, y: centre.y, width: face.width().max(1.0) }
    }

    /// How far apart two are, in widths: sideways, or in size.
    fn apart(&self, other: &Self) -> f32 {
        let aside = (self.x - other.x).hypot(self.y - other.y);
        aside.max((self.width - other.width).abs()) / self.width.min(other.width)
    }

    fn approach(&mut self, other: &Self, share: f32) {
        self.x += (other.x - self.x) * share;
        self.y += (other.y - self.y) * share;
        self.width += (other.width - self.width) * share;
    }
}

/// How one face in view moves.
struct Track {
    began: Place,
    mean: Place,
    seen: Duration,
    /// Where it was when it last moved, and when that was.
    settled: Place,
    since: Duration,
    still: bool,
    /// It shows somebody who was punched; cleared when they move on.
    punched: bool,
}

impl Track {
    fn begin(place: Place, at: Duration) -> Self {
        Self { began: place, mean: place, seen: at, settled: place, since: at, still: false, punched: false }
    }

    /// Follows the face. Returns whether it was still until now.
    fn follow(&mut self, place: &Place, at: Duration) -> bool {
        let share = at.saturating_sub(self.seen).div_duration_f32(MEAN).min(1.0);
        self.mean.approach(place, share);
        self.seen = at;
        let limit = match (self.still, self.is_still()) {
            (false, _) => SWAY,
            (true, false) => REAPPEARED,
            (true, true) => MOVED,
        };
        if self.mean.apart(&self.settled) <= limit {
            return false;
        }
        (self.settled, self.since) = (self.mean, at);
        std::mem::take(&mut self.still)
    }

    fn is_still(&self) -> bool {
        self.seen.saturating_sub(self.since) >= STILL
    }

    /// The motion of a face that is not still. `Resumed` is reported once.
    fn moves(&mut self) -> Motion {
        if std::mem::take(&mut self.punched) { Motion::Resumed } else { Motion::Moves }
    }
}

/// Where there is a still face, and of whom.
struct Known {
    person: Uuid,
    place: Place,
    seen: Duration,
    /// They were punched, and were not out of sight since.
    punched: bool,
}

impl Known {
    /// Whether who was punched here is in view at `at`, or was so a moment ago: they are not armed again.
    fn was_just_here(&self, at: Duration, rearm: Duration) -> bool {
        self.punched && at.saturating_sub(self.seen) < rearm
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It moves, or has not been still for long.
    Moves,
    /// It has been still since then.
    Still(Duration),
    /// It moves again, and shows somebody who was punched and then stood still: they were never out of sight.
    Resumed,
}

/// The faces in view, and the places of still ones.
#[derive(Default)]
pub struct StillFaces {
    tracks: HashMap<TrackId, Track>,
    places: Vec<Known>,
}

impl StillFaces {
    /// Classifies a face by how it has moved so far; only a recognised one can be still. `punched`: this track is of
    /// somebody who was punched, and who is armed again after `rearm` out of sight.
    pub fn classify(&mut self, sighting: &Sighting, punched: bool, rearm: Duration) -> Motion {
        let (at, place) = (sighting.at, Place::of(&sighting.face));
        let track = self.tracks.entry(sighting.track).or_insert_with(|| Track::begin(place, at));
        let moved_again = track.follow(&place, at);
        let Some(person) = sighting.recognised().map(|candidate| candidate.person) else {
            return Motion::Moves;
        };
        if moved_again {
            self.places.retain(|known| known.person != person || known.place.apart(&place) > NEAR);
            return track.moves();
        }
        let (began, mean, still) = (track.began, track.mean, track.still);
        let began_at = |known: &Known| known.person == person && known.place.apart(&began) <= NEAR;
        // A track that became still here may have begun anywhere.
        let known = self.places.iter_mut().find(|known| {
            let here = known.person == person && known.place.apart(&mean) <= MOVED;
            here && (still || began_at(known))
        });
        match known {
            Some(known) => {
                known.punched = known.was_just_here(at, rearm);
                if !track.still {
                    known.punched |= punched;
                    (track.mean, track.settled, track.still) = (known.place, known.place, true);
                }
                track.punched = known.punched;
                known.seen = at;
            }
            None if track.is_still() => {
                track.still = true;
                track.punched |= punched;
                self.places.push(Known { person, place: track.settled, seen: at, punched: track.punched });
                self.places.sort_unstable_by_key(|known| std::cmp::Reverse(known.seen));
                self.places.truncate(PLACES);
            }
            None => {
                let was_just_here =
                    self.places.iter().any(|known| began_at(known) && known.was_just_here(at, rearm));
                return if was_just_here { Motion::Resumed } else { track.moves() };
            }
        }
        Motion::Still(track.since)
    }

    pub fn depart(&mut self, track: TrackId) {
        self.tracks.remove(&track);
    }

    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Drops what no longer matters at `now`.
    pub fn expire(&mut self, now: Duration) {
        self.places.retain(|known| now.saturating_sub(known.seen) < REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use models::{Eyes, Frame, Gallery, Pipeline};

    use super::*;

    /// A photo before a noisy sensor under a lamp that flickers, through the real models.
    #[test]
    fn a_still_picture_trembles_less_than_people_sway() {
        let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/photos/obama.jpg");
        let Ok(bytes) = std::fs::read(photo) else { return }; // fetched by deploy/photos.sh
        let still = Frame::decode(&bytes).expect("a photo");
        let eyes = Eyes::open(None, 1).expect("models");
        let mut pipeline = Pipeline::new(eyes, 3);
        let (mut track, mut furthest, mut seed, mut faces) = (None::<Track>, 0.0_f32, 1_u32, 0);
        for n in 0..300_u64 {
            let lamp = 1.0 + 0.1 * (n as f32 * 0.7).sin();
            let mut noise = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as f32 / 255.0 * 24.0 - 12.0
            };
            let rgb = still.rgb().iter().map(|value| (f32::from(*value) * lamp + noise()) as u8).collect();
            let at = Duration::from_millis(67 * n);
            let frame = Frame::new(still.width(), still.height(), rgb, at).expect("a frame");
            for sighting in pipeline.observe(&frame, &Gallery::default()).expect("looks") {
                let place = Place::of(&sighting.face);
                let track = track.get_or_insert_with(|| Track::begin(place, at));
                track.follow(&place, at);
                furthest = furthest.max(track.mean.apart(&track.began));
                faces += 1;
            }
        }
        assert!(faces > 250, "{faces}");
        println!("a still picture trembles by {furthest:.4} widths");
        assert!(furthest < SWAY / 2.0, "{furthest}");
    }
}
