//! Faces in a frame: a box, six keypoints and a score each (BlazeFace).
//!
//! Decoding as MediaPipe does it: anchors are cell centres; offsets, sizes and keypoints are in
//! the input's pixels; overlapping boxes are averaged, weighted by their scores.

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::{Point, Rect, Region, Similarity};
use crate::manifest::{DetectorSpec, Folder, Role};
use crate::resample::{Letterbox, Sampler};
use crate::tensor_input::TensorInput;
use crate::tflite::{Model, Runtime};

/// Numbers a row of the detector's output: centre, size and six keypoints.
const ROW: usize = 16;
/// A level face is turned by so many radians at most, and so far from the middle, in sides of the square.
const LEVEL: f32 = 0.44;
const OFF: f32 = 0.2;

/// A face that was found, in the frame's pixels.
#[derive(Clone, Copy, Debug)]
pub struct Detection {
    /// From forehead to chin, ear to ear.
    pub face: Rect,
    /// The eye on the picture's left, the eye on its right, nose, mouth, the ears.
    pub keypoints: [Point; 6],
    /// How sure the detector is, 0 to 1.
    pub score: f32,
}

impl Detection {
    /// The angle of the line through the eyes, in radians; 0 is level.
    pub fn roll(&self) -> f32 {
        let [left, right, ..] = self.keypoints;
        (right.y - left.y).atan2(right.x - left.x)
    }
}

/// One detector model.
pub struct Detector {
    model: Model,
    input: TensorInput,
    spec: DetectorSpec,
    side: usize,
    anchors: Vec<Point>,
    outputs: (usize, usize),
    square: Vec<u8>,
    boxes: Vec<f32>,
    scores: Vec<f32>,
}

impl Detector {
    /// Loads the detector of `role` with its hash checked.
    pub fn load(runtime: &Runtime, folder: &Folder, role: Role, threads: usize) -> Result<Self> {
        let (manifest, bytes) = folder.load(role)?;
        let model = Model::compile(runtime, &manifest, bytes, threads)?;
        let outputs = (model.output(&manifest, "boxes")?, model.output(&manifest, "scores")?);
        let spec = manifest.detector.clone().ok_or_else(|| Error::Picture("no detector section".into()))?;
        Ok(Self {
            model,
            input: TensorInput::new(&manifest.input),
            anchors: anchors(&spec),
            spec,
            side: manifest.input.side(),
            outputs,
            square: Vec::new(),
            boxes: Vec::new(),
            scores: Vec::new(),
        })
    }

    /// Finds the faces of a frame, the surest first.
    pub fn detect(&mut self, sampler: &mut Sampler, frame: &Frame) -> Result<Vec<Detection>> {
        let letterbox = sampler.letterbox(frame, self.side, &mut self.square)?;
        self.find(letterbox)
    }

    /// Finds the faces in a square of `side` pixels of a frame, the surest first.
    pub fn detect_near(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        centre: Point,
        side: f32,
    ) -> Result<Vec<Detection>> {
        let onto = Similarity::centred(centre, 0.0, self.side as f32 / side, self.side as f32);
        sampler.cut(frame, &onto, self.side, &mut self.square)?;
        self.find(Letterbox::of(&onto))
    }

    /// How sure the detector is, 0 to 1, of a level face in a region that is cut out turned.
    pub fn detect_level(&mut self, sampler: &mut Sampler, frame: &Frame, region: &Region) -> Result<f32> {
        let side = self.side as f32;
        let onto =
            Similarity::centred(region.centre, region.roll, side / (2.0 * region.longer.max(1.0)), side);
        sampler.cut(frame, &onto, self.side, &mut self.square)?;
        let found = self.find(Letterbox::default())?; // in pixels of the square
        let middle = Point { x: side / 2.0, y: side / 2.0 };
        let is_there = |found: &&Detection| {
            found.roll().abs() < LEVEL && found.face.centre().distance(middle) < OFF * side
        };
        Ok(found.iter().filter(is_there).map(|found| found.score).fold(0.0, f32::max))
    }

    fn find(&mut self, letterbox: Letterbox) -> Result<Vec<Detection>> {
        self.input.run(&mut self.model, &self.square)?;
        self.model.read(self.outputs.0, &mut self.boxes)?;
        self.model.read(self.outputs.1, &mut self.scores)?;
        Ok(merge(self.candidates(letterbox), self.spec.overlap))
    }

    fn candidates(&self, letterbox: Letterbox) -> Vec<Detection> {
        // The score is a logistic of the raw output: comparing raw values spares 2304 of them.
        let threshold = (self.spec.score / (1.0 - self.spec.score)).ln();
        let rows = self.boxes.chunks_exact(ROW).zip(&self.anchors).zip(&self.scores);
        let mut found: Vec<Detection> = rows
            .filter(|&(_, &raw)| raw >= threshold)
            .map(|((row, anchor), &raw)| self.decode(row, *anchor, raw, letterbox))
            .collect();
        found.sort_by(|one, other| other.score.total_cmp(&one.score));
        found
    }

    fn decode(&self, row: &[f32], anchor: Point, raw: f32, letterbox: Letterbox) -> Detection {
        let side = self.side as f32;
        let place =
            |dx: f32, dy: f32| letterbox.to_frame(Point { x: dx + anchor.x * side, y: dy + anchor.y * side });
        let (half_width, half_height) = (row[2] / 2.0, row[3] / 2.0);
        let upper_left = place(row[0] - half_width, row[1] - half_height);
        let lower_right = place(row[0] + half_width, row[1] + half_height);
        Detection {
            face: Rect { x0: upper_left.x, y0: upper_left.y, x1: lower_right.x, y1: lower_right.y },
            keypoints: std::array::from_fn(|k| place(row[4 + 2 * k], row[5 + 2 * k])),
            score: 1.0 / (1.0 + (-raw).exp()),
        }
    }
}

fn anchors(spec: &DetectorSpec) -> Vec<Point> {
    let mut anchors = Vec::new();
    for grid in &spec.grids {
        let cells = grid.cells as f32;
        for y in 0..grid.cells {
            for x in 0..grid.cells {
                let centre = Point { x: (x as f32 + 0.5) / cells, y: (y as f32 + 0.5) / cells };
                anchors.extend(std::iter::repeat_n(centre, grid.anchors));
            }
        }
    }
    anchors
}

/// Weighted non-maximum suppression; `candidates` come surest first.
fn merge(mut candidates: Vec<Detection>, overlap: f32) -> Vec<Detection> {
    let mut faces = Vec::new();
    while let Some(&best) = candidates.first() {
        let (same, rest): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .enumerate()
            .partition(|(index, other)| *index == 0 || best.face.overlap(&other.face) > overlap);
        faces.push(average(&same.into_iter().map(|(_, d)| d).collect::<Vec<_>>(), best.score));
        candidates = rest.into_iter().map(|(_, d)| d).collect();
    }
    faces
}

fn average(same: &[Detection], score: f32) -> Detection {
    let total: f32 = same.iter().map(|d| d.score).sum();
    let mean =
        |value: &dyn Fn(&Detection) -> f32| same.iter().map(|d| value(d) * d.score).sum::<f32>() / total;
    Detection {
        face: Rect {
            x0: mean(&|d| d.face.x0),
            y0: mean(&|d| d.face.y0),
            x1: mean(&|d| d.face.x1),
            y1: mean(&|d| d.face.y1),
        },
        keypoints: std::array::from_fn(|k| Point {
            x: mean(&|d| d.keypoints[k].x),
            y: mean(&|d| d.keypoints[k].y),
        }),
        score,
    }
}

impl From<&Detection> for Region {
    fn from(face: &Detection) -> Self {
        let longer = face.face.width().max(face.face.height());
        Self { centre: face.face.centre(), roll: face.roll(), longer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Grid;

    fn at(x: f32, score: f32) -> Detection {
        Detection {
            face: Rect { x0: x, y0: 0.0, x1: x + 100.0, y1: 100.0 },
            keypoints: [Point { x, y: 0.0 }; 6],
            score,
        }
    }

    #[test]
    fn overlapping_boxes_become_one_weighted_by_score() {
        let faces = merge(vec![at(0.0, 0.9), at(10.0, 0.6), at(300.0, 0.55)], 0.3);
        assert_eq!(faces.len(), 2);
        assert!((faces[0].face.x0 - 4.0).abs() < 1e-4, "{}", faces[0].face.x0);
        assert!((faces[0].score - 0.9).abs() < 1e-6);
    }

    #[test]
    fn anchors_are_cell_centres() {
        let grids = vec![Grid { cells: 2, anchors: 2 }, Grid { cells: 1, anchors: 1 }];
        let all = anchors(&DetectorSpec { grids, score: 0.5, overlap: 0.3 });
        assert_eq!(all.len(), 9);
        assert_eq!(all[0], Point { x: 0.25, y: 0.25 });
        assert_eq!(all[2], Point { x: 0.75, y: 0.25 });
        assert_eq!(all[8], Point { x: 0.5, y: 0.5 });
    }
}
