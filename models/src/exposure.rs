//! Exposure correction for faces that are far darker or brighter than those the embedders were trained on.
//!
//! Normally exposed faces are left alone: there it gains nothing. Gain alone made dark faces worse, since the
//! camera's noise grew with it. models/README.md has the figures.

use zeroize::Zeroizing;

/// The mean luminance below which a face is dark, and the one it is brought to.
const DARK: f32 = 70.0;
const DARK_TARGET: f32 = 85.0;
/// The mean luminance above which a face is nearly white.
const BRIGHT: f32 = 200.0;
/// Tiles a side of the equalisation, and its clip limit as a multiple of the uniform count.
const PARTS: usize = 5;
const CLIP: f32 = 3.0;

/// Maps each luminance to another.
type Curve = [f32; 256];

/// How an aligned face is exposed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exposure {
    /// So dark that its mean luminance is this.
    Dark(f32),
    /// As in most pictures.
    Usual,
    /// So bright that much of it is nearly white.
    Bright,
}

impl Exposure {
    /// Measures an oval in the middle of a square of packed RGB, which every template fills with the face.
    pub fn of(square: &[u8], side: usize) -> Self {
        let (mut sum, mut count) = (0_u32, 0_u32);
        for (y, row) in square.chunks_exact(side * 3).enumerate() {
            let height = (y as f32 / side as f32 - 0.52) / 0.35;
            let reach = 0.28 * (1.0 - height * height).max(0.0).sqrt();
            let [from, to] = [0.49 - reach, 0.49 + reach].map(|x| (x * side as f32) as usize * 3);
            sum += row[from..to].chunks_exact(3).map(|pixel| u32::from(luminance(pixel))).sum::<u32>();
            count += (to - from) as u32 / 3;
        }
        match sum as f32 / count.max(1) as f32 {
            mean if mean < DARK => Self::Dark(mean),
            mean if mean > BRIGHT => Self::Bright,
            _ => Self::Usual,
        }
    }

    /// Corrects the square's exposure.
    pub fn correct(self, square: &mut [u8], side: usize) {
        match self {
            Self::Usual => {}
            Self::Bright => equalise(square, side),
            Self::Dark(mean) => {
                // Dark pictures are noisy: smooth first, so that the gain does not amplify the noise.
                smooth(square, side);
                smooth(square, side);
                let gain = DARK_TARGET / mean.max(1.0);
                for value in square {
                    *value = (f32::from(*value) * gain).round() as u8;
                }
            }
        }
    }
}

fn luminance(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((77 * red + 150 * green + 29 * blue) >> 8) as u8
}

/// A small Gaussian, 1 2 1 each way; the border stays as it is.
fn smooth(square: &mut [u8], side: usize) {
    let from = Zeroizing::new(square.to_vec());
    let row = side * 3;
    let across = |at: usize| u16::from(from[at - 3]) + 2 * u16::from(from[at]) + u16::from(from[at + 3]);
    for y in 1..side - 1 {
        for (at, value) in square.iter_mut().enumerate().take((y + 1) * row - 3).skip(y * row + 3) {
            *value = ((across(at - row) + 2 * across(at) + across(at + row) + 8) / 16) as u8;
        }
    }
}

/// Contrast-limited adaptive histogram equalisation (CLAHE).
fn equalise(square: &mut [u8], side: usize) {
    let curves: Vec<Curve> =
        (0..PARTS * PARTS).map(|part| curve(square, side, part % PARTS, part / PARTS)).collect();
    for (index, pixel) in square.chunks_exact_mut(3).enumerate() {
        let value = luminance(pixel);
        let ((left, right, x), (upper, lower, y)) =
            (between(index % side, side), between(index / side, side));
        let at = |column: usize, row: usize| curves[row * PARTS + column][usize::from(value)];
        let mix = |row: usize| at(left, row) * (1.0 - x) + at(right, row) * x;
        let gain = (mix(upper) * (1.0 - y) + mix(lower) * y + 1.0) / (f32::from(value) + 1.0);
        for value in pixel {
            *value = ((f32::from(*value) + 0.5) * gain) as u8;
        }
    }
}

/// The two tiles between whose centres a pixel lies, and the weight of the second.
fn between(at: usize, side: usize) -> (usize, usize, f32) {
    let part = (side / PARTS) as f32;
    let place = ((at as f32 + 0.5) / part - 0.5).clamp(0.0, (PARTS - 1) as f32);
    (place as usize, (place as usize + 1).min(PARTS - 1), place.fract())
}

/// The curve that makes the luminances of one tile equally frequent, within the clip limit.
fn curve(square: &[u8], side: usize, column: usize, row: usize) -> Curve {
    let part = side / PARTS;
    let mut counts = [0.0_f32; 256];
    for y in row * part..(row + 1) * part {
        for x in column * part..(column + 1) * part {
            counts[usize::from(luminance(&square[(y * side + x) * 3..][..3]))] += 1.0;
        }
    }
    let total = (part * part) as f32;
    let limit = CLIP * total / 256.0;
    let excess: f32 = counts.iter().map(|count| (count - limit).max(0.0)).sum();
    let mut below = 0.0;
    counts.map(|count| {
        below += count.min(limit) + excess / 256.0;
        below / total * 255.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 50;

    /// Stripes of two values.
    fn stripes(low: u8, high: u8) -> Vec<u8> {
        (0..SIDE * SIDE).flat_map(|index| [if index / 5 % 2 == 0 { low } else { high }; 3]).collect()
    }

    fn corrected(mut square: Vec<u8>) -> Vec<u8> {
        Exposure::of(&square, SIDE).correct(&mut square, SIDE);
        square
    }

    #[test]
    fn usual_light_stays_as_it_is() {
        assert_eq!(corrected(stripes(80, 180)), stripes(80, 180));
    }

    #[test]
    fn a_dark_face_is_brightened_to_where_faces_are_known() {
        assert!(
            matches!(Exposure::of(&stripes(20, 40), SIDE), Exposure::Dark(mean) if (mean - 30.0).abs() < 2.0)
        );
        let square = corrected(stripes(20, 40));
        let mean = square.iter().map(|value| f32::from(*value)).sum::<f32>() / square.len() as f32;
        assert!((mean - DARK_TARGET).abs() < 3.0, "{mean}");
        assert_eq!(corrected(vec![0; SIDE * SIDE * 3]), vec![0; SIDE * SIDE * 3]);
    }

    #[test]
    fn a_bright_face_gets_contrast() {
        let square = corrected(stripes(235, 250));
        let (low, high) = (square.iter().min().expect("pixels"), square.iter().max().expect("pixels"));
        assert!(high - low > 15, "{low} to {high}");
    }
}
