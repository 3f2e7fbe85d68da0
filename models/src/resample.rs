//! Resampling: a frame shrunk into a detector's square, and a rotated piece of a frame cut out.
//!
//! Anything made much smaller is averaged over its area first: plain interpolation aliases there,
//! which costs recognition accuracy.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::{Point, Similarity};

/// Where a frame came to lie inside a square.
#[derive(Clone, Copy, Debug)]
pub struct Letterbox {
    scale: f32,
    x: f32,
    y: f32,
}

impl Default for Letterbox {
    /// In the square's own pixels.
    fn default() -> Self {
        Self { scale: 1.0, x: 0.0, y: 0.0 }
    }
}

impl Letterbox {
    /// Where a cut that is not turned came to lie.
    pub fn of(onto: &Similarity) -> Self {
        Self { scale: onto.scale(), x: onto.tx, y: onto.ty }
    }

    /// A point of the square, in pixels of the frame.
    pub fn to_frame(&self, p: Point) -> Point {
        Point { x: (p.x - self.x) / self.scale, y: (p.y - self.y) / self.scale }
    }
}

/// Reusable buffers for resampling.
pub struct Sampler {
    resizer: Resizer,
    shrunk: Vec<u8>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { resizer: Resizer::new(), shrunk: Vec::new() }
    }
}

impl Sampler {
    /// Shrinks or grows the whole frame into a black square of `side` pixels, centred, its shape kept.
    /// `square` becomes `side * side * 3` bytes.
    pub fn letterbox(&mut self, frame: &Frame, side: usize, square: &mut Vec<u8>) -> Result<Letterbox> {
        let scale = side as f32 / frame.width().max(frame.height()) as f32;
        let width = ((frame.width() as f32 * scale).round() as usize).clamp(1, side);
        let height = ((frame.height() as f32 * scale).round() as usize).clamp(1, side);
        let filter = if scale < 0.5 { FilterType::Box } else { FilterType::Bilinear };
        self.resize(frame, (0, 0, frame.width(), frame.height()), (width, height), filter)?;
        let (x, y) = ((side - width) / 2, (side - height) / 2);
        square.clear();
        square.resize(side * side * 3, 0);
        for row in 0..height {
            let to = ((y + row) * side + x) * 3;
            square[to..to + width * 3].copy_from_slice(&self.shrunk[row * width * 3..(row + 1) * width * 3]);
        }
        Ok(Letterbox { scale, x: x as f32, y: y as f32 })
    }

    /// Cuts out the square of `side` pixels that `onto` (frame to square) describes; black beyond
    /// the frame's edges. `square` becomes `side * side * 3` bytes.
    pub fn cut(&mut self, frame: &Frame, onto: &Similarity, side: usize, square: &mut Vec<u8>) -> Result<()> {
        square.clear();
        square.resize(side * side * 3, 0);
        let back = onto.inverse();
        let halvings = (1.0 / onto.scale()).log2().floor();
        if halvings < 1.0 {
            interpolate(frame.rgb(), (frame.width(), frame.height()), &back, side, square);
            return Ok(());
        }
        // Averaged first, and of the frame only the part that the square covers.
        let factor = halvings.exp2() as usize;
        let Some((x, y, width, height)) = covered(frame, &back, side, factor) else {
            return Ok(());
        };
        self.resize(frame, (x, y, width * factor, height * factor), (width, height), FilterType::Box)?;
        let f = factor as f32;
        let shift = (f - 1.0) / 2.0; // the centre of an averaged block, in the frame's pixels
        let back = Similarity {
            a: back.a / f,
            b: back.b / f,
            tx: (back.tx - x as f32 - shift) / f,
            ty: (back.ty - y as f32 - shift) / f,
        };
        interpolate(&self.shrunk, (width, height), &back, side, square);
        Ok(())
    }

    fn resize(
        &mut self,
        frame: &Frame,
        (left, top, width, height): (usize, usize, usize, usize),
        (to_width, to_height): (usize, usize),
        filter: FilterType,
    ) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::Picture(format!("cannot be resized: {e}"));
        let source = ImageRef::new(frame.width() as u32, frame.height() as u32, frame.rgb(), PixelType::U8x3)
            .map_err(|e| failed(&e))?;
        self.shrunk.resize(to_width * to_height * 3, 0);
        let mut target =
            Image::from_slice_u8(to_width as u32, to_height as u32, &mut self.shrunk, PixelType::U8x3)
                .map_err(|e| failed(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
            left as f64,
            top as f64,
            width as f64,
            height as f64,
        );
        self.resizer.resize(&source, &mut target, &options).map_err(|e| failed(&e))
    }
}

/// The part of the frame under a square, as left, top and the width and height in blocks of
/// `factor` pixels. `None` where the square misses the frame.
fn covered(
    frame: &Frame,
    back: &Similarity,
    side: usize,
    factor: usize,
) -> Option<(usize, usize, usize, usize)> {
    let far = side as f32 - 1.0;
    let corners = [(0.0, 0.0), (far, 0.0), (0.0, far), (far, far)].map(|(x, y)| back.apply(Point { x, y }));
    let margin = factor as f32;
    let low = |values: [f32; 4]| (values.into_iter().fold(f32::MAX, f32::min) - margin).max(0.0) as usize;
    let high = |values: [f32; 4], end: usize| {
        ((values.into_iter().fold(f32::MIN, f32::max) + margin + 1.0).max(0.0) as usize).min(end)
    };
    let (x0, y0) = (low(corners.map(|c| c.x)), low(corners.map(|c| c.y)));
    let (x1, y1) = (high(corners.map(|c| c.x), frame.width()), high(corners.map(|c| c.y), frame.height()));
    let (width, height) = (x1.checked_sub(x0)? / factor, y1.checked_sub(y0)? / factor);
    (width > 0 && height > 0).then_some((x0, y0, width, height))
}

/// Bilinear interpolation; a pixel's centre has whole coordinates. `back` goes from the square to
/// the source. Coordinates are 65536ths of a pixel: whole numbers are several times faster here.
fn interpolate(
    source: &[u8],
    (width, height): (usize, usize),
    back: &Similarity,
    side: usize,
    square: &mut [u8],
) {
    let fixed = |value: f32| (f64::from(value) * 65536.0).round() as i64;
    let (step_x, step_y) = (fixed(back.a), fixed(back.b));
    let (last_x, last_y) = (width as i64 - 1, height as i64 - 1);
    for (v, row) in square.chunks_exact_mut(side * 3).enumerate() {
        let start = back.apply(Point { x: 0.0, y: v as f32 });
        let (mut x, mut y) = (fixed(start.x), fixed(start.y));
        for pixel in row.chunks_exact_mut(3) {
            let (left, top) = (x >> 16, y >> 16);
            let (fx, fy) = ((x >> 8 & 255) as i32, (y >> 8 & 255) as i32);
            if left >= 0 && top >= 0 && left < last_x && top < last_y {
                let at = (top as usize * width + left as usize) * 3;
                let (upper, lower) = (&source[at..at + 6], &source[at + width * 3..at + width * 3 + 6]);
                for c in 0..3 {
                    pixel[c] = blend([upper[c], upper[c + 3], lower[c], lower[c + 3]], fx, fy);
                }
            } else if left >= -1 && top >= -1 && left <= last_x && top <= last_y {
                let tap = |x: i64, y: i64, c: usize| {
                    let inside = x >= 0 && y >= 0 && x <= last_x && y <= last_y;
                    if inside { source[(y as usize * width + x as usize) * 3 + c] } else { 0 }
                };
                for (c, value) in pixel.iter_mut().enumerate() {
                    let upper = [tap(left, top, c), tap(left + 1, top, c)];
                    let lower = [tap(left, top + 1, c), tap(left + 1, top + 1, c)];
                    *value = blend([upper[0], upper[1], lower[0], lower[1]], fx, fy);
                }
            }
            x += step_x;
            y += step_y;
        }
    }
}

/// Blends four neighbours; `fx` and `fy` are 256ths of a pixel.
fn blend(taps: [u8; 4], fx: i32, fy: i32) -> u8 {
    let [upper_left, upper_right, lower_left, lower_right] = taps.map(i32::from);
    let upper = upper_left * (256 - fx) + upper_right * fx;
    let lower = lower_left * (256 - fx) + lower_right * fx;
    ((upper * (256 - fy) + lower * fy + (1 << 15)) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ramp(width: usize, height: usize) -> Frame {
        let rgb = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [(x * 2) as u8, (y * 2) as u8, 100]))
            .collect();
        Frame::new(width, height, rgb, Duration::ZERO).expect("sizes agree")
    }

    #[test]
    fn a_cut_without_change_is_the_picture_itself() {
        let frame = ramp(64, 64);
        let same = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        let mut square = Vec::new();
        Sampler::default().cut(&frame, &same, 64, &mut square).expect("cut");
        assert_eq!(square, frame.rgb());
    }

    #[test]
    fn a_shrunk_cut_keeps_positions() {
        let frame = ramp(120, 120);
        let quarter = Similarity { a: 0.25, b: 0.0, tx: 0.0, ty: 0.0 };
        let mut square = Vec::new();
        Sampler::default().cut(&frame, &quarter, 30, &mut square).expect("cut");
        // pixel (10, 20) of the square is (40, 80) of the frame, whose values are (80, 160)
        let at = (20 * 30 + 10) * 3;
        assert!(
            square[at].abs_diff(80) <= 1 && square[at + 1].abs_diff(160) <= 1,
            "{:?}",
            &square[at..at + 3]
        );
    }

    #[test]
    fn beyond_the_edge_is_black() {
        let frame = ramp(64, 64);
        for scale in [1.0, 0.2] {
            let away = Similarity { a: scale, b: 0.0, tx: 1000.0, ty: 0.0 };
            let mut square = Vec::new();
            Sampler::default().cut(&frame, &away, 32, &mut square).expect("cut");
            assert!(square.iter().all(|&v| v == 0));
        }
    }

    #[test]
    fn a_letterbox_points_back_into_the_frame() {
        let frame = ramp(100, 50);
        let mut square = Vec::new();
        let letterbox = Sampler::default().letterbox(&frame, 40, &mut square).expect("letterbox");
        assert_eq!(square.len(), 40 * 40 * 3);
        let corner = letterbox.to_frame(Point { x: 40.0, y: 30.0 });
        assert!(corner.distance(Point { x: 100.0, y: 50.0 }) < 1e-3, "{corner:?}");
        assert!(square[..40 * 10 * 3].iter().all(|&v| v == 0));
    }
}
