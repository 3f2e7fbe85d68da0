//! Moiré: the pattern that a screen leaves in a picture of it.
//!
//! A screen's grid and a sensor's beat: stripes of one width lie over everything. In the spectrum of
//! the face's grey values they are a few sharp peaks, where skin and hair give a broad slope.
//! Bands that wander up or down are not looked for: lamps make them on people, too.

use std::sync::Arc;

use rustfft::algorithm::MixedRadixSmall;
use rustfft::algorithm::butterflies::{Butterfly3, Butterfly32};
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftDirection};

use crate::liveness::skin::{SIDE, Skin};

/// Pixels a side of the face that is looked at, and where it begins in the skin.
const PIECE: usize = 96;
const EDGE: usize = (SIDE - PIECE) / 2;
const HALF: usize = PIECE / 2 + 1;
/// Frames between two looks, and looks that are judged together.
const EVERY: usize = 2;
const LOOKS: usize = 7;
const FEWEST: usize = 3;
/// Waves a picture, between which peaks are looked for: slower ones are features of a face.
const WAVES: (f32, f32) = (0.12 * PIECE as f32, 0.5 * PIECE as f32);
/// A peak this many times above what lies around it is a screen's: of 60 people one had so high
/// ones, of 60 films on a screen 26.
const PEAK: f32 = 60.0;

/// Looks for the pattern now and again.
#[derive(Default)]
pub struct ScreenPattern {
    spectrum: Option<Spectrum>,
    peaks: Vec<f32>,
}

impl ScreenPattern {
    /// Adds the skin of a frame.
    pub fn update(&mut self, skin: &Skin, frame: usize) {
        if frame.is_multiple_of(EVERY) {
            let peak = self.spectrum.get_or_insert_default().peak(skin);
            if self.peaks.len() == LOOKS {
                self.peaks.remove(0);
            }
            self.peaks.push(peak);
        }
    }

    /// Whether most of the last looks saw one.
    pub fn is_seen(&self) -> bool {
        let seen = self.peaks.iter().filter(|peak| **peak > PEAK).count();
        self.peaks.len() >= FEWEST && seen * 2 > self.peaks.len()
    }
}

/// The transform's plans and its memory.
struct Spectrum {
    fft: MixedRadixSmall<f32>,
    window: Vec<f32>,
    /// The ring of each of the spectrum's places: its waves a picture.
    rings: Vec<usize>,
}

impl Default for Spectrum {
    fn default() -> Self {
        let hann = |k: usize| 0.5 - 0.5 * (std::f32::consts::TAU * k as f32 / PIECE as f32).cos();
        let ring = |k: usize| {
            let (x, y) = (k / PIECE, k % PIECE);
            (x as f32).hypot(y.min(PIECE - y) as f32).round() as usize
        };
        // The very plan for a piece's side: the planner would bring every algorithm there is into the build.
        let (three, thirty_two) =
            (Butterfly3::new(FftDirection::Forward), Butterfly32::new(FftDirection::Forward));
        Self {
            fft: MixedRadixSmall::new(Arc::new(three), Arc::new(thirty_two)),
            window: (0..PIECE).map(hann).collect(),
            rings: (0..HALF * PIECE).map(ring).collect(),
        }
    }
}

impl Spectrum {
    /// How far the highest peak stands out of its ring's median.
    fn peak(&self, skin: &Skin) -> f32 {
        let power = self.power(skin);
        let mut rings: Vec<Vec<f32>> = vec![Vec::new(); PIECE];
        for (power, ring) in power.iter().zip(&self.rings) {
            rings[*ring].push(*power);
        }
        let (low, high) = (WAVES.0.ceil() as usize, WAVES.1 as usize);
        rings[low..high].iter_mut().map(|ring| stands_out(ring)).fold(0.0, f32::max)
    }

    fn power(&self, skin: &Skin) -> Vec<f32> {
        let row = |y: usize| &skin.grey()[(EDGE + y) * SIDE + EDGE..][..PIECE];
        let mean = (0..PIECE).flat_map(row).sum::<f32>() / (PIECE * PIECE) as f32;
        let mut line = vec![Complex32::default(); PIECE];
        // Columns one after the other, as their transform wants them.
        let mut spectrum = vec![Complex32::default(); HALF * PIECE];
        for y in 0..PIECE {
            for ((to, value), window) in line.iter_mut().zip(row(y)).zip(&self.window) {
                *to = ((value - mean) * window * self.window[y]).into();
            }
            self.fft.process(&mut line);
            for (x, wave) in line[..HALF].iter().enumerate() {
                spectrum[x * PIECE + y] = *wave;
            }
        }
        self.fft.process(&mut spectrum);
        spectrum.iter().map(Complex32::norm_sqr).collect()
    }
}

fn stands_out(ring: &mut [f32]) -> f32 {
    let Some(highest) = ring.iter().copied().reduce(f32::max) else { return 0.0 };
    let middle = ring.len() / 2;
    let (_, median, _) = ring.select_nth_unstable_by(middle, f32::total_cmp);
    highest / median.max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skin(stripes: f32) -> Skin {
        let mut noise = 1_u32;
        let grey = (0..SIDE * SIDE).map(|k| {
            let (x, y) = ((k % SIDE) as f32, (k / SIDE) as f32);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (noise >> 24) as f32 / 32.0;
            120.0 + x / 4.0 + grain + stripes * (0.9 * x + 0.2 * y).sin()
        });
        Skin::of(grey.collect())
    }

    fn seen(stripes: f32) -> bool {
        let mut screen_pattern = ScreenPattern::default();
        (1..=30).for_each(|frame| screen_pattern.update(&skin(stripes), frame));
        screen_pattern.is_seen()
    }

    #[test]
    fn stripes_of_one_width_are_a_screen_and_grain_is_not() {
        assert!(seen(6.0));
        assert!(!seen(0.0));
    }
}
