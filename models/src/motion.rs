//! Motion detection: where nothing moves, no model runs.

use crate::frame::Frame;
use crate::geometry::Rect;

/// Pixels a side of the blocks that are compared.
const BLOCK: usize = 16;
/// Of these, every so many in each direction is looked at.
const STEP: usize = 4;
/// A block has changed whose mean differs by more than this, of 255: several times what a dim
/// sensor's noise makes of sixteen pixels.
const CHANGED: f32 = 8.0;
/// Fewer changed blocks than these are a lamp or a fly.
const FEWEST: usize = 3;
/// Share of a new frame in the running mean: what stays is part of the scene after half a second and leaves no
/// ghost. Who stands still was found when they came, and is searched for now and again.
const LEARN: f32 = 0.2;

/// A running mean of the scene.
#[derive(Default)]
pub struct Motion {
    scene: Vec<f32>,
    size: (usize, usize),
}

impl Motion {
    /// The box around what is other than before; all of the first frame is. `None`: nothing moves.
    pub fn look(&mut self, frame: &Frame) -> Option<Rect> {
        let size = (frame.width() / BLOCK, frame.height() / BLOCK);
        if self.size != size || self.scene.is_empty() {
            self.size = size;
            self.scene =
                (0..size.0 * size.1).map(|block| mean(frame, block % size.0, block / size.0)).collect();
            return Some(Rect { x0: 0.0, y0: 0.0, x1: frame.width() as f32, y1: frame.height() as f32 });
        }
        let (mut left, mut top, mut right, mut bottom) = (size.0, size.1, 0, 0);
        let mut changed = 0;
        for (block, known) in self.scene.iter_mut().enumerate() {
            let (x, y) = (block % size.0, block / size.0);
            let off = mean(frame, x, y) - *known;
            let moved = off.abs() > CHANGED;
            *known += off * LEARN;
            if moved {
                changed += 1;
                (left, top) = (left.min(x), top.min(y));
                (right, bottom) = (right.max(x + 1), bottom.max(y + 1));
            }
        }
        let pixels = |blocks: usize| (blocks * BLOCK) as f32;
        let around = Rect { x0: pixels(left), y0: pixels(top), x1: pixels(right), y1: pixels(bottom) };
        (changed >= FEWEST).then_some(around)
    }
}

/// The mean green of a block.
fn mean(frame: &Frame, x: usize, y: usize) -> f32 {
    let mut sum = 0_u32;
    for row in (0..BLOCK).step_by(STEP) {
        let start = ((y * BLOCK + row) * frame.width() + x * BLOCK) * 3;
        for pixel in frame.rgb()[start..start + BLOCK * 3].chunks_exact(3).step_by(STEP) {
            sum += u32::from(pixel[1]);
        }
    }
    sum as f32 / (BLOCK / STEP).pow(2) as f32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn scene(noise: u32, object: Option<(usize, usize)>) -> Frame {
        let mut state = noise;
        let mut rgb = Vec::with_capacity(320 * 240 * 3);
        for pixel in 0..320 * 240 {
            let (x, y) = (pixel % 320, pixel / 320);
            let there = object
                .is_some_and(|(left, top)| (left..left + 80).contains(&x) && (top..top + 80).contains(&y));
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = if there { 200 } else { 100 } + (state >> 28) as u8;
            rgb.extend([value; 3]);
        }
        Frame::new(320, 240, rgb, Duration::ZERO).expect("sizes agree")
    }

    #[test]
    fn noise_is_no_motion_and_an_object_is() {
        let mut motion = Motion::default();
        assert!(motion.look(&scene(1, None)).is_some(), "everything is new");
        for noise in 2..20 {
            assert!(motion.look(&scene(noise, None)).is_none());
        }
        let around = motion.look(&scene(20, Some((96, 64)))).expect("it moves");
        assert_eq!(around, Rect { x0: 96.0, y0: 64.0, x1: 176.0, y1: 144.0 });
    }

    #[test]
    fn what_stays_becomes_the_scene() {
        let mut motion = Motion::default();
        motion.look(&scene(1, None));
        let seen = (0..400).take_while(|n| motion.look(&scene(*n, Some((96, 64)))).is_some()).count();
        assert!((3..20).contains(&seen), "{seen} frames");
    }

    #[test]
    fn another_size_is_another_scene() {
        let mut motion = Motion::default();
        motion.look(&scene(1, None));
        let tiny = Frame::new(8, 8, vec![0; 192], Duration::ZERO).expect("sizes agree");
        assert!(motion.look(&tiny).is_some());
    }
}
