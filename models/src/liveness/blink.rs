//! Blinks: both eyes shut for a moment, and open again.

use std::collections::VecDeque;

use crate::mesh::Landmarks;

/// Corners, two points of the upper lid and the two below them, of the eye on the picture's left and
/// of the other.
const LEFT: [usize; 6] = [33, 133, 160, 158, 144, 153];
const RIGHT: [usize; 6] = [362, 263, 385, 387, 380, 373];
/// Frames that are compared, of which a blink is looked for in that so many before the last.
const COMPARED: usize = 15;
const AFTER: usize = 4;
/// A blink closes both eyes by this share of how far they are usually open: of 240 pictures that were
/// moved and tilted none seemed to.
const SHUT: f32 = 0.25;
/// Frames for which a blink counts: people blink every three to five seconds.
const REMEMBERED: usize = 150;

/// Counts blinks.
#[derive(Default)]
pub struct Blinks {
    openness: VecDeque<(f32, f32)>,
    /// Frames since each of the last blinks.
    counted: Vec<usize>,
    /// Frames until the next may be counted.
    rest: usize,
}

impl Blinks {
    /// Adds a frame.
    pub fn update(&mut self, face: &Landmarks) {
        self.add((openness(face, LEFT), openness(face, RIGHT)));
    }

    fn add(&mut self, openness: (f32, f32)) {
        self.rest = self.rest.saturating_sub(1);
        self.counted.iter_mut().for_each(|since| *since += 1);
        self.counted.retain(|since| *since < REMEMBERED);
        self.openness.push_back(openness);
        if self.openness.len() <= COMPARED {
            return;
        }
        self.openness.pop_front();
        if self.rest == 0 && self.dip() >= SHUT {
            self.counted.push(0);
            self.rest = AFTER + 2;
        }
    }

    /// How far the eyes were shut in the frame that is looked at: the less shut eye counts, and what
    /// came before and after.
    fn dip(&self) -> f32 {
        let at = COMPARED - 1 - AFTER;
        let (left, right) = self.openness[at];
        let of = |pick: fn(&(f32, f32)) -> f32| median(self.openness.iter().map(pick).collect());
        let less = (left / of(|eyes| eyes.0)).max(right / of(|eyes| eyes.1));
        let both = |eyes: &(f32, f32)| eyes.0 + eyes.1;
        let before = median(self.openness.iter().take(at).map(both).collect());
        let after = self.openness.iter().skip(at + 1).map(both).fold(0.0, f32::max);
        (1.0 - less).min(1.0 - (left + right) / before.min(after).max(f32::EPSILON))
    }

    /// Blinks in the last frames.
    pub fn count(&self) -> usize {
        self.counted.len()
    }
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2].max(f32::EPSILON)
}

/// The height of an eye's opening over its width (Soukupová and Čech, "Real-time eye blink detection
/// using facial landmarks", 2016).
fn openness(face: &Landmarks, [one, other, up, up_too, down, down_too]: [usize; 6]) -> f32 {
    let far = |from: usize, to: usize| face.point(from).distance(face.point(to));
    (far(up, down) + far(up_too, down_too)) / (2.0 * far(one, other)).max(f32::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(frames: impl IntoIterator<Item = (f32, f32)>) -> usize {
        let mut blinks = Blinks::default();
        frames.into_iter().for_each(|eyes| blinks.add(eyes));
        blinks.count()
    }

    fn eyes(frames: usize, shut: impl Fn(usize) -> (f32, f32)) -> usize {
        count((0..frames).map(|n| {
            let (left, right) = shut(n);
            let tremble = 0.005 * ((n * 7) % 5) as f32;
            (0.27 * (1.0 - left) + tremble, 0.28 * (1.0 - right) + tremble)
        }))
    }

    #[test]
    fn shutting_both_eyes_for_a_moment_counts_once() {
        assert_eq!(eyes(60, |n| if (20..23).contains(&n) { (0.5, 0.6) } else { (0.0, 0.0) }), 1);
        assert_eq!(eyes(60, |n| if n % 25 == 20 { (0.5, 0.6) } else { (0.0, 0.0) }), 2);
    }

    #[test]
    fn blinks_of_long_ago_do_not_count() {
        assert_eq!(eyes(400, |n| if n == 20 || n == 300 { (0.5, 0.6) } else { (0.0, 0.0) }), 1);
    }

    #[test]
    fn trembling_a_wink_and_closing_for_good_do_not_count() {
        assert_eq!(eyes(200, |_| (0.0, 0.0)), 0);
        assert_eq!(eyes(60, |n| if n == 20 { (0.6, 0.0) } else { (0.0, 0.0) }), 0);
        assert_eq!(eyes(60, |n| if n >= 20 { (0.6, 0.6) } else { (0.0, 0.0) }), 0);
    }
}
