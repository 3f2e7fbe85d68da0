//! Follows small pieces of a face's skin from one frame to another.
//!
//! The mesh is a guess of what a face looks like, and may guess depth into a flat picture. The skin's
//! texture is what was really seen: each piece is found again by Lucas and Kanade's method near where
//! the mesh says, and whether all of them moved as a plane does not depend on the guess.

use zeroize::Zeroize;

use crate::error::Result;
use crate::frame::Frame;
use crate::geometry::{Point, Similarity};
use crate::mesh::{Landmarks, POINTS};
use crate::resample::Sampler;

/// Pixels a side of the piece of a frame that is looked at.
pub const SIDE: usize = 128;
/// Of these, a face is so many wide.
const FACE: f32 = 88.0;
/// Every so many points of the mesh is followed.
const EVERY: usize = 4;
/// A piece reaches so many pixels to each side of its point.
const REACH: i32 = 5;
const ROUNDS: usize = 8;
/// A piece that would be found further from where the mesh says than this is lost.
const MAX_SHIFT: f32 = 4.0;
/// A piece whose grey values agree less than this (normalised correlation) is lost.
const MIN_CORRELATION: f32 = 0.85;
/// Pieces with less contrast than this (variance of the grey values' slope) are all alike.
const CONTRAST: f32 = 5.0;

/// A face's grey values, upright and of one size.
#[derive(Clone, Default)]
pub struct Skin {
    grey: Vec<f32>,
    points: Vec<Point>,
}

impl Drop for Skin {
    fn drop(&mut self) {
        self.grey.zeroize(); // no picture outlives its use
    }
}

impl Skin {
    /// Cuts the face out; `rgb` is memory to work in.
    pub fn cut(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
        rgb: &mut Vec<u8>,
    ) -> Result<()> {
        let bounds = face.bounds();
        let scale = FACE / bounds.width().max(1.0);
        let onto = Similarity::centred(bounds.centre(), face.roll(), scale, SIDE as f32);
        sampler.cut(frame, &onto, SIDE, rgb)?;
        self.grey.clear();
        self.grey.extend(rgb.chunks_exact(3).map(grey));
        self.points.clear();
        self.points.extend((0..POINTS).step_by(EVERY).map(|k| onto.apply(face.point(k))));
        rgb.fill(0);
        Ok(())
    }

    /// The grey values, row after row of [`SIDE`].
    pub fn grey(&self) -> &[f32] {
        &self.grey
    }

    /// Made up.
    #[cfg(test)]
    pub fn of(grey: Vec<f32>) -> Self {
        Self { grey, points: Vec::new() }
    }

    /// Where pieces of this skin are in a later one: pairs of places in units of a face's width.
    pub fn follow(&self, later: &Self) -> (Vec<Point>, Vec<Point>) {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (start, guess) in self.points.iter().zip(&later.points) {
            let Some(piece) = Piece::of(self, *start) else { continue };
            if let Some(found) = piece.find(later, *guess) {
                let widths = |p: Point| Point { x: p.x / FACE, y: p.y / FACE };
                from.push(widths(*start));
                to.push(widths(found));
            }
        }
        (from, to)
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let row = &self.grey[top * SIDE + left..];
        let upper = row[0] + (row[1] - row[0]) * fx;
        let lower = row[SIDE] + (row[SIDE + 1] - row[SIDE]) * fx;
        upper + (lower - upper) * fy
    }
}

/// ITU-R BT.601's luma.
fn grey(pixel: &[u8]) -> f32 {
    0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2])
}

/// A piece with the slopes of its grey values.
struct Piece {
    values: [f32; CELLS],
    slopes: [(f32, f32); CELLS],
    mean: f32,
    /// Inverse of the slopes' second moments: xx, xy, yy.
    inverse: (f32, f32, f32),
}

const CELLS: usize = (2 * REACH as usize + 1) * (2 * REACH as usize + 1);

fn window(centre: Point) -> Option<impl Iterator<Item = (f32, f32)>> {
    let edge = REACH as f32 + 2.0;
    let inside = |v: f32| v > edge && v < SIDE as f32 - 1.0 - edge;
    (inside(centre.x) && inside(centre.y)).then(|| {
        (-REACH..=REACH)
            .flat_map(move |dy| (-REACH..=REACH).map(move |dx| (centre.x + dx as f32, centre.y + dy as f32)))
    })
}

impl Piece {
    fn of(skin: &Skin, centre: Point) -> Option<Self> {
        let (mut values, mut slopes) = ([0.0; CELLS], [(0.0, 0.0); CELLS]);
        for (at, (x, y)) in window(centre)?.enumerate() {
            values[at] = skin.at(x, y);
            let slope = |dx: f32, dy: f32| (skin.at(x + dx, y + dy) - skin.at(x - dx, y - dy)) / 2.0;
            slopes[at] = (slope(1.0, 0.0), slope(0.0, 1.0));
        }
        let count = CELLS as f32;
        let mean = values.iter().sum::<f32>() / count;
        let (sx, sy) = slopes.iter().fold((0.0, 0.0), |sum, slope| (sum.0 + slope.0, sum.1 + slope.1));
        let (mx, my) = (sx / count, sy / count);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for slope in &mut slopes {
            *slope = (slope.0 - mx, slope.1 - my);
            xx += slope.0 * slope.0;
            xy += slope.0 * slope.1;
            yy += slope.1 * slope.1;
        }
        let determinant = xx * yy - xy * xy;
        let smallest = f32::midpoint(xx, yy) - (((xx - yy) / 2.0).powi(2) + xy * xy).sqrt();
        (smallest / count > CONTRAST).then(|| Self {
            values,
            slopes,
            mean,
            inverse: (yy / determinant, -xy / determinant, xx / determinant),
        })
    }

    /// The place in another skin, from a guess on. Grey values may be brighter or darker by one amount.
    fn find(&self, skin: &Skin, guess: Point) -> Option<Point> {
        let mut place = guess;
        for _ in 0..ROUNDS {
            let sums = self.compare(skin, place)?;
            let step = Point {
                x: self.inverse.0 * sums.0 + self.inverse.1 * sums.1,
                y: self.inverse.1 * sums.0 + self.inverse.2 * sums.1,
            };
            place = Point { x: place.x - step.x, y: place.y - step.y };
            if place.distance(guess) > MAX_SHIFT {
                return None;
            }
            if step.x.abs() + step.y.abs() < 0.02 {
                break;
            }
        }
        (self.correlation(skin, place)? >= MIN_CORRELATION).then_some(place)
    }

    /// How far the grey values are off along the slopes.
    fn compare(&self, skin: &Skin, place: Point) -> Option<(f32, f32)> {
        let (found, mean) = grey_at(skin, place)?;
        let mut sums = (0.0, 0.0);
        for ((found, value), slope) in found.iter().zip(&self.values).zip(&self.slopes) {
            let off = (found - mean) - (value - self.mean);
            sums = (sums.0 + off * slope.0, sums.1 + off * slope.1);
        }
        Some(sums)
    }

    /// The normalised correlation of the grey values.
    fn correlation(&self, skin: &Skin, place: Point) -> Option<f32> {
        let (found, mean) = grey_at(skin, place)?;
        let (mut both, mut one, mut other) = (0.0, 1e-3, 1e-3);
        for (found, value) in found.iter().zip(&self.values) {
            let (a, b) = (found - mean, value - self.mean);
            both += a * b;
            one += a * a;
            other += b * b;
        }
        Some(both / (one * other).sqrt())
    }
}

fn grey_at(skin: &Skin, place: Point) -> Option<([f32; CELLS], f32)> {
    let mut found = [0.0; CELLS];
    for (value, (x, y)) in found.iter_mut().zip(window(place)?) {
        *value = skin.at(x, y);
    }
    let mean = found.iter().sum::<f32>() / CELLS as f32;
    Some((found, mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blobs, moved.
    fn blobs(dx: f32, dy: f32, light: f32) -> Skin {
        let grey = (0..SIDE * SIDE).map(|k| {
            let (x, y) = ((k % SIDE) as f32 - dx, (k / SIDE) as f32 - dy);
            light + 60.0 * ((x * 0.5).sin() * (y * 0.4).cos() + (x * 0.13 + y * 0.21).sin())
        });
        let mut skin = Skin::of(grey.collect());
        for y in 2..11_u8 {
            for x in 2..11_u8 {
                skin.points.push(Point { x: f32::from(x) * 10.0, y: f32::from(y) * 10.0 });
            }
        }
        skin
    }

    #[test]
    fn pieces_are_found_where_they_went_in_another_light() {
        let (from, to) = blobs(0.0, 0.0, 100.0).follow(&blobs(1.3, -0.7, 130.0));
        assert!(from.len() > 60, "{}", from.len());
        for (one, other) in from.iter().zip(&to) {
            assert!((other.x - one.x - 1.3 / FACE).abs() < 0.002, "{one:?} {other:?}");
            assert!((other.y - one.y + 0.7 / FACE).abs() < 0.002, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let blank = Skin { grey: vec![100.0; SIDE * SIDE], points: blobs(0.0, 0.0, 0.0).points.clone() };
        assert!(blank.follow(&blobs(0.0, 0.0, 100.0)).0.is_empty(), "nothing to follow");
        assert!(blobs(0.0, 0.0, 100.0).follow(&blank).0.is_empty(), "nothing to find");
    }
}
