//! What a door does to a picture.

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use models::geometry::{Point, Similarity};
use models::mesh::Landmarks;
use models::resample::Sampler;
use models::{Detection, Frame};

use crate::chance::Chance;

/// A camera's frame, in pixels.
const FRAME: (u32, u32) = (640, 480);
/// What is around a photo in a camera's frame.
const WALL: Rgb<u8> = Rgb([110, 110, 110]);
/// A surgical mask.
const MASK: [u8; 3] = [165, 195, 215];
/// Cameras store the power 1/2.2 of the light.
const GAMMA: f32 = 2.2;

/// Where masks begin: below the bridge of the nose, and below the nose.
const BRIDGE: usize = 195;
const LIP: usize = 164;
/// The lower rim of the face, from the cheek on the picture's right over the chin to the other.
const RIM: [usize; 19] =
    [323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93];

/// What becomes of a picture. Lengths are of a face 100 pixels wide.
pub enum Change {
    Nothing,
    /// So much more light.
    Light(f32),
    /// Each value of a pixel so many times as large: a change of light without a camera's gamma.
    Values(f32),
    /// Little light: dark, little contrast, noise.
    Dusk,
    /// Much light behind a dark person.
    Backlight,
    /// So much light that what is bright is white, and what is dark grey.
    Overexposed,
    /// Out of focus: a Gaussian of so many pixels.
    Blur(f32),
    /// Moved sideways by so many pixels.
    Motion(f32),
    /// Turned clockwise by so many degrees.
    Roll(f32),
    /// A face so many pixels wide, in a camera's frame.
    Width(f32),
    /// A mask up from the chin, to a point of the mesh.
    Mask(usize),
}

/// All that is measured; the first is what the others are compared with.
pub const CONDITIONS: [(&str, Change); 27] = [
    ("as it is", Change::Nothing),
    ("half the light", Change::Light(0.5)),
    ("twice the light", Change::Light(2.0)),
    ("a quarter of the light", Change::Light(0.25)),
    ("values halved", Change::Values(0.5)),
    ("values doubled", Change::Values(2.0)),
    ("values quartered", Change::Values(0.25)),
    ("dusk", Change::Dusk),
    ("backlight", Change::Backlight),
    ("overexposed", Change::Overexposed),
    ("blur 1", Change::Blur(1.0)),
    ("blur 2", Change::Blur(2.0)),
    ("blur 3", Change::Blur(3.0)),
    ("motion 5", Change::Motion(5.0)),
    ("motion 10", Change::Motion(10.0)),
    ("roll -25", Change::Roll(-25.0)),
    ("roll +25", Change::Roll(25.0)),
    ("width 40", Change::Width(40.0)),
    ("width 50", Change::Width(50.0)),
    ("width 60", Change::Width(60.0)),
    ("width 80", Change::Width(80.0)),
    ("width 100", Change::Width(100.0)),
    ("width 150", Change::Width(150.0)),
    ("width 200", Change::Width(200.0)),
    ("width 400", Change::Width(400.0)),
    ("mask over the nose", Change::Mask(BRIDGE)),
    ("mask below the nose", Change::Mask(LIP)),
];

/// A photo and the face in it.
pub struct Scene {
    pub photo: Frame,
    pub face: Detection,
    pub mesh: Landmarks,
}

impl Scene {
    /// The picture as the door would show it.
    pub fn seen(&self, change: &Change) -> Result<Frame> {
        let pixels = self.face.face.width() / 100.0;
        Ok(match change {
            Change::Nothing => self.photo.clone(),
            Change::Light(gain) => self.lit(0.0, |value, _| value * gain.powf(1.0 / GAMMA)),
            Change::Values(gain) => self.lit(0.0, |value, _| value * gain),
            Change::Dusk => self.lit(6.0, |value, _| 102.0 * (value / 255.0).powf(1.6)),
            Change::Backlight => self.lit(3.0, |value, at| value * (3.0 - 2.75 * self.shadow(at)) + 8.0),
            Change::Overexposed => self.lit(0.0, |value, _| value * 1.8 + 60.0),
            Change::Blur(sigma) => frame(&imageops::blur(&self.image()?, sigma * pixels))?,
            Change::Motion(length) => self.smeared((length * pixels).round() as usize),
            Change::Roll(degrees) => self.rolled(*degrees)?,
            Change::Width(width) => self.at_width(*width)?,
            Change::Mask(top) => self.masked(*top),
        })
    }

    fn image(&self) -> Result<RgbImage> {
        let (width, height) = (self.photo.width() as u32, self.photo.height() as u32);
        RgbImage::from_raw(width, height, self.photo.rgb().to_vec()).context("a photo has all its pixels")
    }

    /// Other light on each value, then noise of a standard deviation.
    fn lit(&self, noise: f32, light: impl Fn(f32, Point) -> f32) -> Frame {
        let mut lit = self.photo.clone();
        let width = lit.width();
        let mut chance = Chance(1);
        for (index, pixel) in lit.rgb_mut().chunks_exact_mut(3).enumerate() {
            let at = Point { x: (index % width) as f32, y: (index / width) as f32 };
            for value in pixel {
                let noise = if noise > 0.0 { chance.normal() * noise } else { 0.0 };
                *value = (light(f32::from(*value), at) + noise).round().clamp(0.0, 255.0) as u8;
            }
        }
        lit
    }

    /// How much a point belongs to the person, 0 to 1: head or shoulders, with soft edges.
    fn shadow(&self, at: Point) -> f32 {
        let face = self.mesh.bounds();
        let (middle, width, height) = (face.centre(), face.width(), face.height());
        let inside = |x: f32, y: f32, below: f32| {
            let from =
                ((at.x - middle.x) / (x * width)).hypot((at.y - middle.y - below * height) / (y * height));
            ((1.1 - from) / 0.2).clamp(0.0, 1.0)
        };
        inside(0.7, 0.8, -0.1).max(inside(1.6, 1.2, 1.8))
    }

    /// Each pixel the mean of so many in a row.
    fn smeared(&self, length: usize) -> Frame {
        let mut smeared = self.photo.clone();
        let width = smeared.width();
        let rows = smeared.rgb_mut().chunks_exact_mut(width * 3);
        for (to, from) in rows.zip(self.photo.rgb().chunks_exact(width * 3)) {
            for (index, value) in to.iter_mut().enumerate() {
                let (x, channel) = (index / 3, index % 3);
                let first = x.saturating_sub(length / 2);
                let under = first..(first + length.max(1)).min(width);
                let count = under.len();
                let sum: usize = under.map(|x| usize::from(from[x * 3 + channel])).sum();
                *value = (sum / count) as u8;
            }
        }
        smeared
    }

    fn rolled(&self, degrees: f32) -> Result<Frame> {
        let (width, height) = (self.photo.width(), self.photo.height());
        let side = width.max(height);
        let middle = Point { x: width as f32 / 2.0, y: height as f32 / 2.0 };
        let onto = Similarity::centred(middle, -degrees.to_radians(), 1.0, side as f32);
        let mut rgb = Vec::new();
        Sampler::default().cut(&self.photo, &onto, side, &mut rgb)?;
        Ok(Frame::new(side, side, rgb, self.photo.at)?)
    }

    /// The face in the middle of a camera's frame, which shows as much of the photo as fits.
    fn at_width(&self, width: f32) -> Result<Frame> {
        let scale = width / self.face.face.width();
        let sized = |pixels: usize| (pixels as f32 * scale).round().max(1.0) as u32;
        let photo = imageops::resize(
            &self.image()?,
            sized(self.photo.width()),
            sized(self.photo.height()),
            FilterType::Triangle, // widened to the area that a smaller picture's pixel covers
        );
        let middle = self.face.face.centre();
        let mut seen = RgbImage::from_pixel(FRAME.0, FRAME.1, WALL);
        let left = |middle: f32, side: u32| (side as f32 / 2.0 - middle * scale).round() as i64;
        imageops::overlay(&mut seen, &photo, left(middle.x, FRAME.0), left(middle.y, FRAME.1));
        frame(&seen)
    }

    fn masked(&self, top: usize) -> Frame {
        let corners: Vec<Point> =
            std::iter::once(top).chain(RIM).map(|point| self.mesh.point(point)).collect();
        let mut masked = self.photo.clone();
        let width = masked.width();
        for (index, pixel) in masked.rgb_mut().chunks_exact_mut(3).enumerate() {
            if inside(Point { x: (index % width) as f32, y: (index / width) as f32 }, &corners) {
                pixel.copy_from_slice(&MASK);
            }
        }
        masked
    }
}

fn frame(image: &RgbImage) -> Result<Frame> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok(Frame::new(width, height, image.as_raw().clone(), std::time::Duration::ZERO)?)
}

/// Whether a point lies in a polygon: a ray from it crosses the border an odd number of times.
fn inside(point: Point, corners: &[Point]) -> bool {
    let borders = corners.iter().zip(corners.iter().cycle().skip(1));
    let crosses = |one: &Point, other: &Point| {
        (one.y > point.y) != (other.y > point.y)
            && point.x < one.x + (other.x - one.x) * (point.y - one.y) / (other.y - one.y)
    };
    borders.filter(|(one, other)| crosses(one, other)).count() % 2 == 1
}
