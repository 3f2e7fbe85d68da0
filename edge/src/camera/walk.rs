//! A simulated camera: still photos moved past the lens, with motion blur and sensor noise. For demonstrations and tests;
//! a flat picture proves nothing about liveness.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use models::geometry::Rect;
use models::{Eyes, Frame};

use crate::camera::replay::Pace;
use crate::camera::source::Camera;
use crate::config::Pass;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Frames of a pass.
const FRAMES: u32 = 40;
/// Empty frames after each pass: longer than a face takes to be gone.
const EMPTY: u32 = 30;
/// Width of the face in pixels, at the ends and in the middle of the pass.
const FACE: (f32, f32) = (60.0, 220.0);
/// Side of the moved photo, in widths of its face.
const CROP: f32 = 2.2;
/// Exposure time as a share of the frame time.
const SHUTTER: f32 = 0.3;
/// Standard deviation of the noise, in values of 255.
const NOISE: f32 = 4.0;
const BACKGROUND: f32 = 118.0;

/// The square crop of a photo, at its largest and at half that size.
struct Crop {
    full: Picture,
    half: Picture,
}

struct Picture {
    side: usize,
    rgb: Vec<u8>,
}

pub struct Walk {
    people: Vec<Crop>,
    pace: Pace,
    /// Empty frames left before the first pass.
    lead: u32,
    frame: u32,
    pause: Option<u32>,
    noise: Noise,
}

impl Walk {
    /// Reads the photos and finds the face of each; `rate` frames a second. The first passes after
    /// `start_after_s` seconds; all pass again `repeat_after_s` seconds after the last, or once.
    pub fn open(
        passes: &[Pass],
        rate: u32,
        start_after_s: u32,
        repeat_after_s: Option<u32>,
        models: Option<&Path>,
    ) -> Result<Self> {
        let mut eyes = Eyes::open(models, 1)?;
        let people = passes.iter().map(|pass| crop_of(&mut eyes, pass)).collect::<Result<Vec<_>>>()?;
        drop(eyes);
        Ok(Self {
            people,
            pace: Pace::new(rate),
            lead: start_after_s * rate,
            frame: 0,
            pause: repeat_after_s.map(|seconds| seconds * rate),
            noise: Noise(0x9E37_79B9_7F4A_7C15),
        })
    }

    fn draw(&mut self) -> Vec<f32> {
        let mut canvas = vec![BACKGROUND; WIDTH * HEIGHT * 3];
        let person = (self.frame / (FRAMES + EMPTY)) as usize;
        let step = self.frame % (FRAMES + EMPTY);
        if let (Some(person), true) = (self.people.get(person), self.lead == 0 && step < FRAMES) {
            person.draw(step as f32 / (FRAMES - 1) as f32, &mut canvas);
        }
        canvas
    }
}

impl Camera for Walk {
    fn next(&mut self, mut rgb: Vec<u8>) -> Result<Option<Frame>> {
        let passes = self.people.len() as u32 * (FRAMES + EMPTY);
        if self.frame >= passes {
            match self.pause {
                None => return Ok(None),
                Some(pause) if self.frame >= passes + pause => self.frame = 0,
                Some(_) => {}
            }
        }
        let canvas = self.draw();
        if self.lead > 0 {
            self.lead -= 1;
        } else {
            self.frame += 1;
        }
        let noise = &mut self.noise;
        rgb.clear();
        rgb.extend(canvas.into_iter().map(|value| (value + noise.next() * NOISE).clamp(0.0, 255.0) as u8));
        let at = self.pace.wait();
        Ok(Some(Frame::new(WIDTH, HEIGHT, rgb, at)?))
    }
}

/// Crops the face with its surroundings out of a photo.
fn crop_of(eyes: &mut Eyes, pass: &Pass) -> Result<Crop> {
    let name = pass.photo.display();
    let bytes = std::fs::read(&pass.photo).with_context(|| format!("cannot read {name}"))?;
    let photo = Frame::decode(&bytes).with_context(|| name.to_string())?;
    let faces = eyes.detect(&photo)?;
    let face = faces.first().with_context(|| format!("{name}: no face found; use another photo"))?;
    let largest = (FACE.1 * CROP) as u32;
    let mut picture = crop(&photo, &face.face, largest)?;
    if pass.relit {
        relight(&mut picture);
    }
    let half = image::imageops::resize(&picture, largest / 2, largest / 2, image::imageops::Triangle);
    let picture_of = |image: image::RgbImage| Picture { side: image.width() as usize, rgb: image.into_raw() };
    Ok(Crop { half: picture_of(half), full: picture_of(picture) })
}

fn crop(photo: &Frame, face: &Rect, side: u32) -> Result<image::RgbImage> {
    let (centre, reach) = (face.centre(), face.width() * CROP / 2.0);
    ensure!(reach > 1.0, "the face is too small");
    let image = image::RgbImage::from_raw(photo.width() as u32, photo.height() as u32, photo.rgb().to_vec())
        .context("a frame holds its pixels")?;
    let cut = (reach * 2.0) as u32;
    let mut square = image::RgbImage::from_pixel(cut, cut, image::Rgb([BACKGROUND as u8; 3]));
    image::imageops::overlay(&mut square, &image, -((centre.x - reach) as i64), -((centre.y - reach) as i64));
    Ok(image::imageops::resize(&square, side, side, image::imageops::Triangle))
}

/// Light from the right, a darker room, a warmer lamp.
fn relight(picture: &mut image::RgbImage) {
    let width = picture.width() as f32;
    for (x, _, pixel) in picture.enumerate_pixels_mut() {
        let light = 0.6 + 0.45 * x as f32 / width;
        for (channel, warmth) in pixel.0.iter_mut().zip([1.05, 1.0, 0.9]) {
            let linear = (f32::from(*channel) / 255.0).powf(1.15);
            *channel = (linear * light * warmth * 255.0).clamp(0.0, 255.0) as u8;
        }
    }
}

impl Crop {
    /// Draws the photo where it is at `time` (0 to 1) of its pass, blurred by its motion.
    fn draw(&self, time: f32, canvas: &mut [f32]) {
        const EXPOSURES: usize = 4;
        let blur = SHUTTER / (FRAMES - 1) as f32;
        let (mut left, mut top, mut right, mut bottom) = (WIDTH, HEIGHT, 0, 0);
        let places: Vec<(f32, f32, f32)> =
            (0..EXPOSURES).map(|k| place(time + blur * k as f32 / EXPOSURES as f32)).collect();
        for (x, y, side) in &places {
            left = left.min((x - side / 2.0).max(0.0) as usize);
            top = top.min((y - side / 2.0).max(0.0) as usize);
            right = right.max(((x + side / 2.0) as usize + 1).min(WIDTH));
            bottom = bottom.max(((y + side / 2.0) as usize + 1).min(HEIGHT));
        }
        for y in top..bottom {
            for x in left..right {
                let mut sum = [0.0; 3];
                for (centre_x, centre_y, side) in &places {
                    let u = (x as f32 - centre_x) / side + 0.5;
                    let v = (y as f32 - centre_y) / side + 0.5;
                    let picture = if *side < self.half.side as f32 { &self.half } else { &self.full };
                    let value = picture.at(u, v);
                    for (total, channel) in sum.iter_mut().zip(value) {
                        *total += channel / EXPOSURES as f32;
                    }
                }
                let at = (y * WIDTH + x) * 3;
                canvas[at..at + 3].copy_from_slice(&sum);
            }
        }
    }
}

/// Centre and side of the carried photo, in pixels of the frame.
fn place(time: f32) -> (f32, f32, f32) {
    let near = (std::f32::consts::PI * time).sin().max(0.0);
    let side = (FACE.0 + (FACE.1 - FACE.0) * near) * CROP;
    (80.0 + time * (WIDTH as f32 - 160.0), HEIGHT as f32 / 2.0 + 15.0 * (time * 12.0).sin(), side)
}

impl Picture {
    /// The colour at (u, v), each from 0 to 1; the background beyond.
    fn at(&self, u: f32, v: f32) -> [f32; 3] {
        let (x, y) = (u * self.side as f32 - 0.5, v * self.side as f32 - 0.5);
        if x < 0.0 || y < 0.0 || x >= (self.side - 1) as f32 || y >= (self.side - 1) as f32 {
            return [BACKGROUND; 3];
        }
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let tap = |x: usize, y: usize, c: usize| f32::from(self.rgb[(y * self.side + x) * 3 + c]);
        std::array::from_fn(|c| {
            let upper = tap(left, top, c) * (1.0 - fx) + tap(left + 1, top, c) * fx;
            let lower = tap(left, top + 1, c) * (1.0 - fx) + tap(left + 1, top + 1, c) * fx;
            upper * (1.0 - fy) + lower * fy
        })
    }
}

/// Reproducible noise: xorshift, four uniform values summed.
struct Noise(u64);

impl Noise {
    /// Approximately normal, with mean 0 and standard deviation 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let sum: u64 = (0..4).map(|k| self.0 >> (16 * k) & 0xFFFF).sum();
        (sum as f32 / 65536.0 - 2.0) * 1.732
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_grows_crosses_and_shrinks_again() {
        let (start, middle, end) = (place(0.0), place(0.5), place(1.0));
        assert!((start.2 / CROP - FACE.0).abs() < 1.0 && (end.2 / CROP - FACE.0).abs() < 1.0);
        assert!((middle.2 / CROP - FACE.1).abs() < 1.0);
        assert!(start.0 < middle.0 && middle.0 < end.0);
    }

    #[test]
    fn noise_has_no_mean_and_unit_deviation() {
        let mut noise = Noise(1);
        let values: Vec<f32> = (0..20_000).map(|_| noise.next()).collect();
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.05 && (deviation - 1.0).abs() < 0.05, "{mean} {deviation}");
    }
}
