//! How well a face can be seen: the weight of a look at it, and why a photo is rejected.

use crate::error::Result;
use crate::frame::Frame;
use crate::geometry::{Point, Similarity};
use crate::mesh::{Landmarks, POINTS};
use crate::resample::Sampler;

/// Pixels a side of the piece that is looked at, and of these the face's width.
const SIDE: usize = 96;
const FACE: f32 = 80.0;
/// Limits of what may be enrolled. Narrower faces, in pixels, are recognised less often.
pub const NARROWEST: f32 = 55.0;
/// Grey values.
const DARKEST: f32 = 35.0;
const FLATTEST: f32 = 10.0;
/// Share of the face.
const MOST_CLIPPED: f32 = 0.25;
/// Degrees; faces that look straight on seem to be turned down by so many.
const FURTHEST_YAW: f32 = 35.0;
const FURTHEST_PITCH: f32 = 25.0;
const PITCH: f32 = 6.0;
/// The mouth's detail, and colours, of masks painted onto 250 photos (median .00001 and 48) and of
/// the same photos without (3 % lie below .76, and above 12).
const LEAST_MOUTH: f32 = 0.45;
const FURTHEST_COLOUR: f32 = 35.0;
/// Of 100 photos blurred by 2 % of the face's width (standard deviation) four in five have less, of those
/// as they are none.
const BLURRED: f32 = 0.03;
/// Points of the lips.
const LIPS: [usize; 16] = [61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 13, 14, 78, 308];
/// Points of the upper cheeks and the forehead, and of the lower cheeks and the chin.
const UPPER: [usize; 10] = [117, 346, 118, 347, 50, 280, 151, 9, 108, 337];
const LOWER: [usize; 10] = [199, 200, 182, 406, 194, 418, 207, 427, 204, 424];

/// What was measured of one look at a face.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The face's width in the frame's pixels.
    pub width: f32,
    /// How far it is turned to the side, in degrees, as the mesh guesses.
    pub yaw: f32,
    /// How far it is turned up or down, in degrees, as the mesh guesses.
    pub pitch: f32,
    /// Mean grey value of the face, 0 to 255.
    pub light: f32,
    /// The share of the face that is as bright as can be.
    pub clipped: f32,
    /// How much the grey values vary over the face (standard deviation).
    pub contrast: f32,
    /// Detail at the finest scale over the contrast.
    pub sharpness: f32,
    /// Detail of the mouth over that of the whole face: little where it is covered.
    pub mouth: f32,
    /// How far the colour of the lower face is from that of the upper one (Cb and Cr).
    pub colour: f32,
}

/// Why a face can't be seen well enough to be remembered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Too far away.
    #[error("the face is too small: use a photo in which it is at least {} pixels wide", NARROWEST as u32)]
    Small,
    /// Looks to the side, up or down.
    #[error("the face is turned away: use a photo from the front")]
    Turned,
    /// Too little light.
    #[error("the face is too dark: use a photo in even light, not against a window")]
    Dark,
    /// Too much light.
    #[error("the face is overexposed: use a photo in softer light")]
    Bright,
    /// Out of focus, or moved.
    #[error("the face is blurred: use a sharper photo, or a larger one")]
    Blurred,
    /// A mask, a hand, a scarf.
    #[error("a part of the face seems to be covered: take off mask or scarf")]
    Covered,
}

impl Quality {
    /// What is wrong with this look at a face, the first thing that is; limits as measured (see
    /// models/README.md).
    pub fn flaw(&self) -> Option<Flaw> {
        let turned = self.yaw.abs() > FURTHEST_YAW || (self.pitch - PITCH).abs() > FURTHEST_PITCH;
        let flaws = [
            (self.width < NARROWEST, Flaw::Small),
            (self.light < DARKEST || self.contrast < FLATTEST, Flaw::Dark),
            (self.clipped > MOST_CLIPPED, Flaw::Bright),
            (turned, Flaw::Turned),
            (self.mouth < LEAST_MOUTH || self.colour > FURTHEST_COLOUR, Flaw::Covered),
            (self.sharpness < BLURRED, Flaw::Blurred),
        ];
        flaws.into_iter().find(|(is, _)| *is).map(|(_, flaw)| flaw)
    }

    /// What a look is worth beside others at the same face, from 0 to 1.
    pub fn worth(&self) -> f32 {
        let up_to = |value: f32, enough: f32| (value / enough).clamp(0.05, 1.0);
        let frontal = self.yaw.to_radians().cos() * (self.pitch - PITCH).to_radians().cos();
        let light = up_to(self.light, 70.0) * up_to(self.contrast, 20.0) * (1.0 - self.clipped);
        up_to(self.width, 120.0) * up_to(self.sharpness, 2.0 * BLURRED) * frontal.max(0.05).powi(2) * light
    }

    /// Looks at a face.
    pub(crate) fn of(
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
        square: &mut Vec<u8>,
    ) -> Result<Self> {
        let bounds = face.bounds();
        let scale = FACE / bounds.width().max(1.0);
        let onto = Similarity::centred(bounds.centre(), face.roll(), scale, SIDE as f32);
        sampler.cut(frame, &onto, SIDE, square)?;
        let places: Vec<Point> = (0..POINTS).map(|k| onto.apply(face.point(k))).collect();
        let piece = Piece { grey: square.chunks_exact(3).map(grey).collect(), rgb: square };
        let mut quality = piece.measure(&places);
        (quality.width, quality.yaw) = (bounds.width(), face.yaw().to_degrees());
        quality.pitch = face.pitch().to_degrees();
        square.fill(0); // no picture outlives the call
        Ok(quality)
    }
}

/// The face, cut out.
struct Piece<'a> {
    grey: Vec<f32>,
    rgb: &'a [u8],
}

impl Piece<'_> {
    fn measure(&self, places: &[Point]) -> Quality {
        let at = |k: &usize| index(places[*k]);
        let all: Vec<usize> = places.iter().filter_map(|place| index(*place)).collect();
        let n = all.len().max(1) as f32;
        let light = all.iter().map(|at| self.grey[*at]).sum::<f32>() / n;
        let variance = all.iter().map(|at| (self.grey[*at] - light).powi(2)).sum::<f32>() / n;
        let clipped = all.iter().filter(|at| self.grey[**at] > 247.0).count();
        let detail = |points: &mut dyn Iterator<Item = usize>, step: usize| {
            let (mut sum, mut count) = (1e-3, 1.0);
            for at in points {
                sum += self.detail(at, step);
                count += 1.0;
            }
            sum / count
        };
        let coarse = detail(&mut all.iter().copied(), 2);
        let colour = |points: &[usize]| self.colour(&points.iter().filter_map(at).collect::<Vec<_>>());
        let (upper, lower) = (colour(&UPPER), colour(&LOWER));
        Quality {
            light,
            clipped: clipped as f32 / n,
            contrast: variance.sqrt(),
            sharpness: detail(&mut all.iter().copied(), 1) / variance.sqrt().max(1.0),
            mouth: detail(&mut LIPS.iter().filter_map(at), 2) / coarse,
            colour: (upper.0 - lower.0).hypot(upper.1 - lower.1),
            ..Quality::default()
        }
    }

    /// How far a place is from the mean of its neighbours `step` pixels away.
    fn detail(&self, at: usize, step: usize) -> f32 {
        let around = self.grey[at - step]
            + self.grey[at + step]
            + self.grey[at - step * SIDE]
            + self.grey[at + step * SIDE];
        (self.grey[at] - around / 4.0).abs()
    }

    /// The mean colour of places, as Cb and Cr.
    fn colour(&self, places: &[usize]) -> (f32, f32) {
        let n = places.len().max(1) as f32;
        places.iter().fold((0.0, 0.0), |sum, at| {
            let grey = self.grey[*at];
            let [red, blue] = [0, 2].map(|c| f32::from(self.rgb[at * 3 + c]));
            (sum.0 + (blue - grey) * 0.564 / n, sum.1 + (red - grey) * 0.713 / n)
        })
    }
}

/// Where a point lies in the piece, if its neighbours do, too.
fn index(place: Point) -> Option<usize> {
    let inside = |v: f32| v >= 3.0 && v < SIDE as f32 - 3.0;
    (inside(place.x) && inside(place.y)).then(|| place.y as usize * SIDE + place.x as usize)
}

/// ITU-R BT.601's luma.
fn grey(pixel: &[u8]) -> f32 {
    0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Quality {
        Quality {
            width: 96.0,
            yaw: -0.3,
            pitch: 5.8,
            light: 115.0,
            clipped: 0.0,
            contrast: 36.0,
            sharpness: 0.08,
            mouth: 1.2,
            colour: 3.7,
        }
    }

    #[test]
    fn a_flaw_is_named_and_makes_a_look_worth_less() {
        assert_eq!(good().flaw(), None);
        let flawed = [
            (Quality { width: 40.0, ..good() }, Flaw::Small),
            (Quality { yaw: 50.0, ..good() }, Flaw::Turned),
            (Quality { pitch: -40.0, ..good() }, Flaw::Turned),
            (Quality { light: 20.0, ..good() }, Flaw::Dark),
            (Quality { clipped: 0.5, ..good() }, Flaw::Bright),
            (Quality { sharpness: 0.02, ..good() }, Flaw::Blurred),
        ];
        for (quality, flaw) in flawed {
            assert_eq!(quality.flaw(), Some(flaw));
            assert!(quality.worth() < good().worth(), "{flaw:?}");
        }
        assert_eq!(Quality { mouth: 0.1, ..good() }.flaw(), Some(Flaw::Covered));
        assert_eq!(Quality { colour: 48.0, ..good() }.flaw(), Some(Flaw::Covered));
    }

    #[test]
    fn fine_stripes_are_sharp_and_a_plain_face_is_not() {
        let places: Vec<Point> =
            (0..POINTS).map(|k| Point { x: (10 + k % 70) as f32, y: (10 + (k * 7) % 70) as f32 }).collect();
        let sharpness = |fine: bool| {
            let value = |k: usize| {
                let (x, y) = (k % SIDE, k / SIDE);
                if fine { 60 + ((x + y) % 2 * 120) as u8 } else { 60 + x as u8 }
            };
            let rgb: Vec<u8> = (0..SIDE * SIDE).flat_map(|k| [value(k); 3]).collect();
            Piece { grey: rgb.chunks_exact(3).map(grey).collect(), rgb: &rgb }.measure(&places).sharpness
        };
        assert!(sharpness(true) > 1.0 && sharpness(false) < BLURRED);
    }
}
