//! Decides who is punched: pure, without a clock and without side effects.
//!
//! A person is punched once enough frames of a track agree, and not again before they have been out of sight for a
//! while. A face that leaves unrecognised is an unknown face. A face that does not move is nobody, and keeps nobody
//! from being punched.

use std::collections::HashMap;
use std::time::Duration;

use models::liveness;
use models::{Candidate, Departure, Sighting, TrackId};
use uuid::Uuid;

use crate::config::Vision;
use crate::punching::still_faces::{Motion, StillFaces};

/// Tracks of fewer frames are not counted as unknown faces: a reflection, or somebody far away.
const SHORTEST: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Punch this person.
    Punch(Candidate),
    /// Ask them to turn their head: all else is sure.
    Challenge,
    /// Not sure yet, or punched a moment ago.
    Wait,
    /// A face that does not move.
    Ignore,
}

/// Decides on one sighting. `last_seen` is how long ago the candidate was last recognised, `None` if
/// never.
pub fn decide(sighting: &Sighting, config: &Vision, last_seen: Option<Duration>) -> Decision {
    let Some(candidate) = sighting.recognised() else { return Decision::Wait };
    let near = sighting.looked && sighting.face.width() >= config.narrowest_face;
    let agreed = sighting.agreement >= config.agreement;
    let armed = last_seen.is_none_or(|ago| ago >= Duration::from_secs(config.rearm_s));
    match (near && agreed && armed, sighting.alive) {
        (true, true) => Decision::Punch(candidate),
        (true, false) if config.liveness == liveness::Policy::Challenge => Decision::Challenge,
        _ => Decision::Wait,
    }
}

/// Remembers who is in front of the terminal, and who was a moment ago.
pub struct Policy {
    config: Vision,
    /// When each person was last recognised, since the camera was opened, and by which track.
    seen: HashMap<Uuid, (Duration, TrackId)>,
    /// Tracks that were recognised, and whether they were punched.
    known: HashMap<TrackId, bool>,
    still_faces: StillFaces,
}

impl Policy {
    pub fn new(config: Vision) -> Self {
        Self { config, seen: HashMap::new(), known: HashMap::new(), still_faces: StillFaces::default() }
    }

    /// Decides on a sighting and remembers it.
    pub fn judge(&mut self, sighting: &Sighting) -> Decision {
        let (punched_before, rearm) = (self.holds_punch(sighting), self.rearm());
        let motion = self.still_faces.classify(sighting, punched_before, rearm);
        let Some(candidate) = sighting.recognised() else { return Decision::Wait };
        if let Motion::Still(since) = motion {
            self.release_person(sighting.track, &candidate, since);
            return Decision::Ignore;
        }
        // Who was punched, stood still, and moves on, was never out of sight.
        if motion == Motion::Resumed {
            self.seen.insert(candidate.person, (sighting.at, sighting.track));
        }
        let last_seen = self.seen.get(&candidate.person).map(|(seen, _)| sighting.at.saturating_sub(*seen));
        let decision = decide(sighting, &self.config, last_seen);
        let agreed = sighting.agreement >= self.config.agreement;
        let again = agreed && last_seen.is_some_and(|ago| ago < rearm);
        let punched = matches!(decision, Decision::Punch(_));
        if punched || again {
            let before = self.known.entry(sighting.track).or_default();
            *before |= punched;
            // Only a punch starts the re-arming time: who is not sure yet must stay armed. And a picture of
            // somebody must not keep them from being punched.
            if *before || sighting.alive {
                self.seen.insert(candidate.person, (sighting.at, sighting.track));
            }
        }
        decision
    }

    /// Whether this track was punched, or holds the re-arming time of somebody who was.
    fn holds_punch(&self, sighting: &Sighting) -> bool {
        let clock = sighting.recognised().and_then(|candidate| self.seen.get(&candidate.person));
        self.known.get(&sighting.track) == Some(&true) || clock.is_some_and(|(_, by)| *by == sighting.track)
    }

    /// A face that stopped moving no longer holds its person's re-arming time, and is no unknown face.
    fn release_person(&mut self, track: TrackId, of: &Candidate, since: Duration) {
        self.known.entry(track).or_default();
        if let Some((seen, by)) = self.seen.get_mut(&of.person)
            && *by == track
        {
            *seen = since.min(*seen);
        }
    }

    /// Whether a face that left is an unknown face: near enough to be recognised, and never was.
    pub fn depart(&mut self, departure: &Departure) -> bool {
        self.still_faces.depart(departure.track);
        let known = self.known.remove(&departure.track).is_some();
        !known && departure.frames >= SHORTEST && departure.width >= self.config.narrowest_face
    }

    fn rearm(&self) -> Duration {
        Duration::from_secs(self.config.rearm_s)
    }

    /// Drops what no longer matters at `now`.
    pub fn expire(&mut self, now: Duration) {
        let rearm = self.rearm();
        self.seen.retain(|_, (seen, _)| now.saturating_sub(*seen) < rearm);
        self.still_faces.expire(now);
    }
}

#[cfg(test)]
mod tests {
    use models::geometry::Rect;
    use models::{Liveness, Quality, Verdict};

    use super::*;

    fn sighting(track: u64, person: u128, distance: f32, agreement: i32, at_s: u64) -> Sighting {
        Sighting {
            track: TrackId(track),
            at: Duration::from_secs(at_s),
            face: Rect { x0: 0.0, y0: 0.0, x1: 100.0, y1: 100.0 }.moved((at_s * 7 % 30) as f32, 0.0),
            score: 0.9,
            candidate: Some(Candidate { person: Uuid::from_u128(person), distance }),
            threshold: 0.4,
            verdict: if distance <= 0.4 { Verdict::Known } else { Verdict::Unknown },
            agreement,
            looked: true,
            quality: Quality::default(),
            liveness: Liveness::default(),
            alive: true,
        }
    }

    fn policy() -> Policy {
        Policy::new(Vision::default())
    }

    #[test]
    fn enough_frames_must_agree() {
        let mut policy = policy();
        assert_eq!(policy.judge(&sighting(1, 7, 0.3, 1, 0)), Decision::Wait);
        assert_eq!(policy.judge(&sighting(1, 7, 0.3, 2, 0)), Decision::Wait);
        assert!(matches!(policy.judge(&sighting(1, 7, 0.3, 3, 0)), Decision::Punch(_)));
    }

    #[test]
    fn who_is_too_far_from_a_template_or_the_lens_waits() {
        let mut policy = policy();
        assert_eq!(policy.judge(&sighting(1, 7, 0.41, 9, 0)), Decision::Wait);
        let mut far = sighting(1, 7, 0.3, 9, 0);
        far.face.x1 = 40.0;
        assert_eq!(policy.judge(&far), Decision::Wait);
        let followed = Sighting { looked: false, ..sighting(1, 7, 0.3, 9, 0) };
        assert_eq!(policy.judge(&followed), Decision::Wait, "it may be somebody else's face by now");
        assert!(matches!(policy.judge(&sighting(1, 7, 0.3, 9, 1)), Decision::Punch(_)));
    }

    #[test]
    fn a_photo_waits_and_may_be_asked_to_turn_its_head() {
        let photo = Sighting { alive: false, ..sighting(1, 7, 0.3, 5, 0) };
        assert_eq!(policy().judge(&photo), Decision::Wait);
        let mut asking = Policy::new(Vision { liveness: liveness::Policy::Challenge, ..Vision::default() });
        assert_eq!(asking.judge(&photo), Decision::Challenge);
        let unsure = Sighting { agreement: 1, ..photo.clone() };
        assert_eq!(asking.judge(&unsure), Decision::Wait, "only who is known is asked");
        assert!(matches!(asking.judge(&sighting(1, 7, 0.3, 5, 1)), Decision::Punch(_)));
        assert_eq!(asking.judge(&photo), Decision::Wait, "punched a moment ago");
    }

    #[test]
    fn a_portrait_on_the_wall_keeps_nobody_from_being_punched() {
        let mut policy = policy();
        assert!(matches!(policy.judge(&sighting(1, 7, 0.3, 5, 0)), Decision::Punch(_)));
        for s in (1..=100).step_by(9) {
            policy.judge(&Sighting { alive: false, ..sighting(2, 7, 0.3, 5, s) });
            policy.expire(Duration::from_secs(s));
        }
        assert!(matches!(policy.judge(&sighting(3, 7, 0.3, 5, 101)), Decision::Punch(_)));
    }

    #[test]
    fn who_stays_is_punched_once_though_nothing_shows_their_life_any_more() {
        let mut policy = policy();
        assert!(matches!(policy.judge(&sighting(1, 7, 0.3, 5, 0)), Decision::Punch(_)));
        for s in (1..=100).step_by(9) {
            policy.judge(&Sighting { alive: false, ..sighting(1, 7, 0.3, 5, s) });
            policy.expire(Duration::from_secs(s));
        }
        assert_eq!(policy.judge(&sighting(1, 7, 0.3, 5, 101)), Decision::Wait);
        policy.judge(&Sighting { alive: false, ..sighting(2, 7, 0.3, 5, 110) });
        assert!(!policy.depart(&Departure { track: TrackId(2), frames: 9, width: 90.0 }), "no unknown face");
    }

    #[test]
    fn one_pass_is_one_punch_and_a_minute_out_of_sight_arms_again() {
        let mut policy = policy();
        assert!(matches!(policy.judge(&sighting(1, 7, 0.3, 3, 0)), Decision::Punch(_)));
        for s in [10, 60, 110] {
            assert_eq!(policy.judge(&sighting(2, 7, 0.3, 5, s)), Decision::Wait, "{s}");
            policy.expire(Duration::from_secs(s));
        }
        assert!(matches!(policy.judge(&sighting(3, 7, 0.3, 5, 170)), Decision::Punch(_)));
    }

    /// A face at 15 frames a second from one second to another; where it is, the time tells. Counts what is decided.
    fn watch(
        policy: &mut Policy,
        track: u64,
        (from, to): (u64, u64),
        place: impl Fn(f32) -> (f32, f32),
    ) -> (usize, usize) {
        let (mut punched, mut ignored) = (0, 0);
        for n in from * 15..to * 15 {
            let at = Duration::from_secs_f64(n as f64 / 15.0);
            let (x, y) = place(at.as_secs_f32());
            let face = Rect { x0: 0.0, y0: 0.0, x1: 100.0, y1: 100.0 }.moved(x, y);
            match policy.judge(&Sighting { at, face, ..sighting(track, 7, 0.3, 5, 0) }) {
                Decision::Punch(_) => punched += 1,
                Decision::Ignore => ignored += 1,
                Decision::Wait | Decision::Challenge => {}
            }
            policy.expire(at);
        }
        (punched, ignored)
    }

    /// Noise of a still picture's mesh: up to a hundredth of its width.
    fn poster(t: f32) -> (f32, f32) {
        (300.0 + (t * 71.0).sin(), 80.0 + (t * 53.0).cos())
    }

    fn walker(t: f32) -> (f32, f32) {
        (t * 60.0 % 400.0, 100.0)
    }

    #[test]
    fn a_poster_counts_once_and_the_person_whenever_they_come() {
        let mut policy = policy();
        assert_eq!(watch(&mut policy, 1, (0, 59), poster), (1, 0));
        let (punched, ignored) = watch(&mut policy, 1, (59, 100), poster);
        assert!(punched == 0 && ignored > 39 * 15, "{punched} {ignored}");
        assert_eq!(watch(&mut policy, 2, (100, 104), walker), (1, 0), "the person");
        watch(&mut policy, 1, (104, 130), poster);
        assert_eq!(watch(&mut policy, 3, (130, 134), walker).0, 0, "within a minute");
        watch(&mut policy, 1, (134, 200), poster);
        assert_eq!(watch(&mut policy, 4, (200, 204), walker).0, 1, "the next time");
    }

    #[test]
    fn both_in_view_the_moving_one_counts() {
        let mut policy = policy();
        watch(&mut policy, 1, (0, 100), poster);
        let mut punched = Vec::new();
        for n in 0..90 {
            let at = Duration::from_secs(100) + Duration::from_millis(66 * n);
            for (track, (x, y)) in [(1, poster(at.as_secs_f32())), (2, walker(at.as_secs_f32()))] {
                let face = Rect { x0: x, y0: y, x1: x + 100.0, y1: y + 100.0 };
                let decision = policy.judge(&Sighting { at, face, ..sighting(track, 7, 0.3, 5, 0) });
                punched.extend(matches!(decision, Decision::Punch(_)).then_some(track));
            }
        }
        assert_eq!(punched, [2]);
    }

    #[test]
    fn a_poster_that_was_hidden_is_the_same_poster_until_it_moves() {
        let mut policy = policy();
        watch(&mut policy, 1, (0, 100), poster);
        let left = |track| Departure { track: TrackId(track), frames: 900, width: 100.0 };
        assert!(!policy.depart(&left(1)), "no unknown face");
        // In its first frames whoever passed hides half of it, and at night it is not seen at all.
        let half = |t: f32| if t < 36_000.2 { (318.0, 84.0) } else { poster(t) };
        let (punched, ignored) = watch(&mut policy, 5, (36_000, 36_120), half);
        assert_eq!((punched, ignored), (0, 120 * 15));
        assert!(!policy.depart(&left(5)), "no unknown face");
        let carried = |t: f32| (300.0 + (t - 36_130.0) * 20.0, 80.0);
        assert_eq!(watch(&mut policy, 6, (36_130, 36_140), carried).0, 1, "it moves");
    }

    #[test]
    fn who_comes_to_where_their_poster_hung_counts() {
        let mut policy = policy();
        watch(&mut policy, 1, (0, 100), poster);
        let stands = |t: f32| (310.0 + 13.0 * (t * 1.3).sin(), 85.0 + 4.0 * (t * 2.1).cos());
        assert_eq!(watch(&mut policy, 2, (300, 310), stands).0, 1);
    }

    #[test]
    fn who_stands_as_still_as_they_can_is_no_poster() {
        let mut policy = policy();
        let sway = |t: f32| (300.0 + 8.0 * (t * 0.9).sin(), 80.0 + 3.0 * (t * 0.4).sin());
        assert_eq!(watch(&mut policy, 1, (0, 1200), sway), (1, 0));
    }

    #[test]
    fn who_was_counted_and_froze_is_not_counted_again_when_they_go_on() {
        let mut policy = policy();
        let frozen = |t: f32| if t < 300.0 { poster(t) } else { (300.0 + (t - 300.0) * 90.0, 80.0) };
        let (punched, ignored) = watch(&mut policy, 1, (0, 304), frozen);
        assert!(punched == 1 && ignored > 200 * 15, "{punched} {ignored}");
    }

    #[test]
    fn who_was_counted_and_sits_down_in_view_is_not_counted_again_when_they_go() {
        let mut policy = policy();
        assert_eq!(watch(&mut policy, 1, (0, 5), walker).0, 1);
        let (punched, ignored) = watch(&mut policy, 2, (6, 100), poster);
        assert!(punched == 0 && ignored > 30 * 15, "{punched} {ignored}");
        assert_eq!(watch(&mut policy, 2, (100, 104), walker).0, 0, "they go on");
    }

    #[test]
    fn who_was_counted_and_sat_is_not_counted_as_another_track_until_they_were_away() {
        let mut policy = policy();
        assert_eq!(watch(&mut policy, 1, (0, 100), poster).0, 1);
        let rises = |from: f32| move |t: f32| (300.0 + (t - from) * 60.0, 80.0);
        assert_eq!(watch(&mut policy, 2, (110, 114), rises(110.0)).0, 0, "they get up");
        assert_eq!(watch(&mut policy, 3, (180, 184), rises(180.0)).0, 1, "a minute out of sight");
    }

    #[test]
    fn who_walks_in_and_stays_still_is_one_place() {
        let mut policy = policy();
        watch(&mut policy, 1, (0, 5), walker);
        watch(&mut policy, 1, (5, 105), poster);
        assert_eq!(policy.still_faces.places(), 1);
    }

    #[test]
    fn a_face_that_leaves_unrecognised_is_unknown() {
        let mut policy = policy();
        policy.judge(&sighting(1, 7, 0.3, 3, 0));
        policy.judge(&sighting(2, 7, 0.9, 0, 0));
        let left = |track, frames| Departure { track: TrackId(track), frames, width: 90.0 };
        assert!(!policy.depart(&left(1, 20)));
        assert!(policy.depart(&left(2, 20)));
        assert!(!policy.depart(&left(3, 2)), "seen too briefly to be anybody");
        assert!(!policy.depart(&Departure { width: 30.0, ..left(4, 20) }), "passed by far away");
    }

    #[test]
    fn a_known_person_who_comes_back_at_once_is_no_unknown_face() {
        let mut policy = policy();
        policy.judge(&sighting(1, 7, 0.3, 3, 0));
        policy.judge(&sighting(2, 7, 0.3, 3, 5));
        assert!(!policy.depart(&Departure { track: TrackId(2), frames: 9, width: 90.0 }));
    }
}
