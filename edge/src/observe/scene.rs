//! One second of the camera's view, as numbers and as text.

use std::time::Duration;

use models::quality::Flaw;
use models::{Frame, Sighting, Verdict};
use serde_json::{Value, json};

/// Every so many pixels are sampled.
const STEP: usize = 4;
/// Mean grey values of a picture beyond which it is dark or bright, of 255.
const DARK: f32 = 40.0;
const BRIGHT: f32 = 215.0;
/// Share of saturated pixels from which on a lamp or a window is in view.
const GLARE: f32 = 0.15;
/// Share of the requested rate below which it is reported.
const SLOW: f32 = 0.7;
/// Width of a face in metres, as the mesh bounds it.
const FACE_M: f32 = 0.15;
/// A picture's width over its lens's focal length, for the usual 62 degrees (Raspberry Pi Camera Module
/// 2; most webcams have 60 to 70).
const WIDTH_OVER_FOCAL: f32 = 1.2;

#[derive(Default)]
pub struct Second {
    frames: u32,
    began: Option<Duration>,
    light: f32,
    glare: f32,
    detail: f32,
    width: usize,
    faces: Vec<Sighting>,
}

pub struct Scene {
    /// Frames a second, if it lasted long enough.
    pub rate: Option<f32>,
    /// Mean grey value, 0 to 255.
    pub light: f32,
    /// Share of saturated pixels.
    pub glare: f32,
    /// Sharpness in the middle of the picture; comparable only within one scene, while focusing.
    pub detail: f32,
    /// The picture's width in pixels.
    pub width: usize,
    /// The faces in its last frame that showed any.
    pub faces: Vec<Sighting>,
}

impl Second {
    /// Adds a frame; returns the second that it ended. `now` is since the camera was opened.
    pub fn add(&mut self, frame: &Frame, faces: &[Sighting], now: Duration) -> Option<Scene> {
        let ended = self.began.is_some_and(|began| now.saturating_sub(began) >= Duration::from_secs(1));
        let scene = ended.then(|| std::mem::take(self).end(now)).flatten();
        self.began.get_or_insert(now);
        self.frames += 1;
        self.width = frame.width();
        let (light, glare) = brightness(frame);
        self.light += light;
        self.glare += glare;
        self.detail += detail(frame);
        if !faces.is_empty() {
            self.faces = faces.to_vec();
        }
        scene
    }

    /// Ends it, also early. `None` without a frame.
    pub fn end(self, now: Duration) -> Option<Scene> {
        let began = self.began?;
        let frames = self.frames.max(1) as f32;
        let lasted = now.saturating_sub(began).as_secs_f32();
        Some(Scene {
            rate: (lasted > 0.5).then(|| frames / lasted),
            light: self.light / frames,
            glare: self.glare / frames,
            detail: self.detail / frames,
            width: self.width,
            faces: self.faces,
        })
    }
}

/// Mean grey value, and the share of saturated pixels.
fn brightness(frame: &Frame) -> (f32, f32) {
    let (mut sum, mut bright, mut count) = (0_u64, 0_u32, 0_u32);
    for pixel in frame.rgb().chunks_exact(3).step_by(STEP * STEP + 1) {
        sum += u64::from(pixel[1]);
        bright += u32::from(pixel[1] >= 250);
        count += 1;
    }
    let count = count.max(1) as f32;
    (sum as f32 / count, bright as f32 / count)
}

/// Mean absolute second derivative along rows, in the middle of the picture.
fn detail(frame: &Frame) -> f32 {
    let (width, height) = (frame.width(), frame.height());
    let (mut sum, mut count) = (0_u64, 0_u32);
    for y in (height / 4..height * 3 / 4).step_by(STEP) {
        let row = &frame.rgb()[y * width * 3..(y + 1) * width * 3];
        let green = |x: usize| i32::from(row[x * 3 + 1]);
        for x in (width / 4).max(1)..(width * 3 / 4).min(width - 1) {
            sum += u64::from((2 * green(x) - green(x - 1) - green(x + 1)).unsigned_abs());
            count += 1;
        }
    }
    sum as f32 / count.max(1) as f32
}

/// Distance of a face in metres, for a usual lens.
pub fn distance_m(face_width: f32, frame_width: usize) -> f32 {
    FACE_M * frame_width as f32 / WIDTH_OVER_FOCAL / face_width.max(1.0)
}

impl Scene {
    /// As one line of text. `rate`: as requested; `narrowest`: width of the narrowest face that is recognised.
    pub fn text(&self, rate: u32, narrowest: f32) -> String {
        let mut parts = vec![self.rate_text(rate), self.light_text(), format!("detail {:4.1}", self.detail)];
        match self.faces.as_slice() {
            [] => parts.push("nobody in view".into()),
            faces => parts.extend(faces.iter().map(|face| self.face_text(face, narrowest))),
        }
        parts.join("  |  ")
    }

    fn light_text(&self) -> String {
        let word = match (self.light, self.glare) {
            (light, _) if light < DARK => "too dark: add light from the front",
            (light, _) if light > BRIGHT => "too bright: shade the lens",
            (_, glare) if glare > GLARE => "glare of a lamp or window: turn the camera away from it",
            _ => "good",
        };
        format!("light {:3.0} {word}", self.light)
    }

    fn rate_text(&self, requested: u32) -> String {
        let Some(rate) = self.rate else { return "rate not measured".into() };
        let slow = rate < requested as f32 * SLOW;
        let why = if slow {
            format!(" (requested {requested}: add light, or use a faster USB port)")
        } else {
            String::new()
        };
        format!("{rate:4.1} frames/s{why}")
    }

    fn face_text(&self, face: &Sighting, narrowest: f32) -> String {
        let width = face.face.width();
        let metres = distance_m(width, self.width);
        let seen = face.quality.width > 0.0;
        let state = if width < narrowest {
            format!("too far away (at least {narrowest:.0} px)")
        } else {
            match face.quality.flaw().filter(|_| seen) {
                Some(Flaw::Small) => "rather far away".to_owned(),
                Some(Flaw::Turned) => "turned away: mount the camera at eye height".to_owned(),
                Some(Flaw::Dark) => "face too dark: avoid light behind it".to_owned(),
                Some(Flaw::Bright) => "face overexposed: use softer light".to_owned(),
                Some(Flaw::Blurred) => "face blurred: focus until detail is largest".to_owned(),
                Some(Flaw::Covered) => "partly covered".to_owned(),
                None if seen => "well seen".to_owned(),
                None => "not analysed yet".to_owned(),
            }
        };
        let who = match (face.verdict, face.candidate) {
            (_, None) => "no gallery to compare with",
            (Verdict::Known, _) => "recognised",
            (Verdict::Ambiguous, _) => "ambiguous",
            (Verdict::Unknown, _) => "unknown",
        };
        format!("face at about {metres:.1} m ({width:.0} px), {state}, {who}")
    }

    pub fn json(&self) -> Value {
        json!({
            "kind": "second",
            "frames_per_s": self.rate.map(|rate| rounded(rate, 10.0)),
            "light": rounded(self.light, 10.0),
            "glare": rounded(self.glare, 1000.0),
            "detail": rounded(self.detail, 100.0),
            "faces": self.faces.len(),
            "nearest_m": self.faces.iter().map(|face| face.face.width()).max_by(f32::total_cmp)
                .map(|width| rounded(distance_m(width, self.width), 100.0)),
        })
    }
}

/// Rounds to as many places as `one` has zeros.
pub fn rounded(value: f32, one: f64) -> f64 {
    (f64::from(value) * one).round() / one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(paint: impl Fn(usize) -> u8) -> Frame {
        let rgb = (0..64 * 48).flat_map(|at| [paint(at % 64); 3]).collect();
        Frame::new(64, 48, rgb, Duration::ZERO).expect("a frame")
    }

    fn scene(frame: &Frame, rate: u64) -> Scene {
        let mut second = Second::default();
        let at = |n: u64| Duration::from_millis(1000 * n / rate);
        (0..=rate).find_map(|n| second.add(frame, &[], at(n))).expect("a second")
    }

    #[test]
    fn light_and_rate_are_described() {
        let dark = scene(&frame(|_| 12), 5);
        let text = dark.text(15, 60.0);
        assert!(text.contains("too dark") && text.contains("requested 15"), "{text}");
        assert!(dark.rate.is_some_and(|rate| (rate - 5.0).abs() < 0.1));
        let text = scene(&frame(|x| if x < 20 { 255 } else { 90 }), 15).text(15, 60.0);
        assert!(text.contains("glare") && !text.contains("requested"), "{text}");
        assert!(scene(&frame(|_| 110), 15).text(15, 60.0).contains("good  |"));
    }

    #[test]
    fn a_sharper_picture_has_more_detail() {
        let sharp = frame(|x| if x / 4 % 2 == 0 { 60 } else { 180 });
        let soft = frame(|x| 120 + ((x as f32 / 4.0 * std::f32::consts::PI).sin() * 60.0) as i8 as u8);
        assert!(detail(&sharp) > 0.0 && detail(&frame(|_| 90)) == 0.0);
        assert!(detail(&sharp) > detail(&soft) * 0.9, "{} {}", detail(&sharp), detail(&soft));
    }

    #[test]
    fn distance_follows_the_usual_lens() {
        // 640 pixels, 62 degrees: focal length 533 pixels; 0.15 m at 1 m are 80 pixels.
        assert!((distance_m(80.0, 640) - 1.0).abs() < 0.01);
    }
}
