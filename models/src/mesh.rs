//! 468 points on a face, for alignment, blinks and turns.

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::{Point, Rect, Region, Similarity};
use crate::manifest::{Folder, MeshSpec, Role};
use crate::resample::Sampler;
use crate::tensor_input::TensorInput;
use crate::tflite::{Model, Runtime};

/// Points of a mesh.
pub const POINTS: usize = 468;

/// The corners of the eyes on the picture's left and right: the line that is level in a region.
const EYES: (usize, usize) = (33, 263);

/// The edges of the face on the picture's left and right.
const CHEEKS: (usize, usize) = (234, 454);

/// The middle of the forehead's edge and the chin.
const BROW_AND_CHIN: (usize, usize) = (10, 152);

/// The mesh of one face, in the frame's pixels.
#[derive(Clone)]
pub struct Landmarks {
    points: [Point; POINTS],
    depths: [f32; POINTS],
    /// How sure the model is that it saw a face, 0 to 1.
    pub presence: f32,
}

impl Landmarks {
    /// Point `index`, 0 to 467 in MediaPipe's numbering.
    pub fn point(&self, index: usize) -> Point {
        self.points[index]
    }

    /// How far behind the middle of the head point `index` lies, in the frame's pixels, as the model
    /// guesses.
    pub fn depth(&self, index: usize) -> f32 {
        self.depths[index]
    }

    /// All points in one place.
    #[cfg(test)]
    pub(crate) fn at(point: Point) -> Self {
        Self { points: [point; POINTS], depths: [0.0; POINTS], presence: 1.0 }
    }

    /// The box around all points.
    pub fn bounds(&self) -> Rect {
        around(self.points.iter().copied())
    }

    /// The angle of the line through the eyes, in radians; 0 is level.
    pub fn roll(&self) -> f32 {
        let (left, right) = (self.points[EYES.0], self.points[EYES.1]);
        (right.y - left.y).atan2(right.x - left.x)
    }

    /// How far the head is turned to the side, in radians, as the model guesses; 0 is straight on.
    pub fn yaw(&self) -> f32 {
        let (left, right) = (CHEEKS.0, CHEEKS.1);
        let across = self.points[left].distance(self.points[right]);
        (self.depths[right] - self.depths[left]).atan2(across)
    }

    /// How far the head is turned down, in radians, as the model guesses; about 0 is straight on.
    pub fn pitch(&self) -> f32 {
        let (top, bottom) = BROW_AND_CHIN;
        let across = self.points[top].distance(self.points[bottom]);
        (self.depths[bottom] - self.depths[top]).atan2(across)
    }

    /// Where the face will be in the next frame, if it does not move: no detector is needed to follow
    /// it.
    pub fn region(&self) -> Region {
        let roll = self.roll();
        let level = Similarity { a: roll.cos(), b: -roll.sin(), tx: 0.0, ty: 0.0 };
        let upright = around(self.points.iter().map(|point| level.apply(*point)));
        let centre = level.inverse().apply(upright.centre());
        Region { centre, roll, longer: upright.width().max(upright.height()) }
    }
}

/// The mesh model.
pub struct Mesh {
    model: Model,
    input: TensorInput,
    spec: MeshSpec,
    side: usize,
    outputs: (usize, usize),
    square: Vec<u8>,
    values: Vec<f32>,
}

impl Mesh {
    /// Loads the mesh model with its hash checked.
    pub fn load(runtime: &Runtime, folder: &Folder, threads: usize) -> Result<Self> {
        let (manifest, bytes) = folder.load(Role::Mesh)?;
        let model = Model::compile(runtime, &manifest, bytes, threads)?;
        let outputs = (model.output(&manifest, "points")?, model.output(&manifest, "presence")?);
        let spec = manifest.mesh.clone().ok_or_else(|| Error::Picture("no mesh section".into()))?;
        Ok(Self {
            model,
            input: TensorInput::new(&manifest.input),
            spec,
            side: manifest.input.side(),
            outputs,
            square: Vec::new(),
            values: Vec::new(),
        })
    }

    /// Places the mesh on a face. `None` where the model sees no face there.
    pub fn place(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        region: &Region,
    ) -> Result<Option<Landmarks>> {
        if region.longer < 1.0 {
            return Ok(None);
        }
        let scale = self.side as f32 / (self.spec.margin * region.longer);
        let onto = Similarity::centred(region.centre, region.roll, scale, self.side as f32);
        sampler.cut(frame, &onto, self.side, &mut self.square)?;
        self.input.run(&mut self.model, &self.square)?;
        self.model.read(self.outputs.1, &mut self.values)?;
        let presence = 1.0 / (1.0 + (-self.values[0]).exp());
        if presence < self.spec.presence {
            return Ok(None);
        }
        self.model.read(self.outputs.0, &mut self.values)?;
        let back = onto.inverse();
        let mut points = [Point::default(); POINTS];
        let mut depths = [0.0; POINTS];
        for ((point, depth), values) in
            points.iter_mut().zip(depths.iter_mut()).zip(self.values.chunks_exact(3))
        {
            *point = back.apply(Point { x: values[0], y: values[1] });
            *depth = values[2] * back.scale();
        }
        Ok(Some(Landmarks { points, depths, presence }))
    }
}

fn around(points: impl Iterator<Item = Point>) -> Rect {
    let none = Rect { x0: f32::MAX, y0: f32::MAX, x1: f32::MIN, y1: f32::MIN };
    points.fold(none, |rect, point| Rect {
        x0: rect.x0.min(point.x),
        y0: rect.y0.min(point.y),
        x1: rect.x1.max(point.x),
        y1: rect.y1.max(point.y),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_turns_with_the_face() {
        let turned = Similarity { a: 0.8, b: 0.6, tx: 300.0, ty: 100.0 };
        let mut points = [Point { x: 50.0, y: 70.0 }; POINTS];
        points[EYES.0] = Point { x: 0.0, y: 40.0 };
        points[EYES.1] = Point { x: 100.0, y: 40.0 };
        points[2] = Point { x: 50.0, y: 160.0 };
        for point in &mut points {
            *point = turned.apply(*point);
        }
        let region = Landmarks { points, ..Landmarks::at(Point::default()) }.region();
        assert!((region.roll - 0.6_f32.atan2(0.8)).abs() < 1e-4);
        assert!((region.longer - 120.0).abs() < 0.1, "{}", region.longer);
        assert!(region.centre.distance(turned.apply(Point { x: 50.0, y: 100.0 })) < 0.1);
    }
}
