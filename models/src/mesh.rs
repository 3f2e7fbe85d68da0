//! 468 points on a face, for alignment (and later for blinks and pose).

use crate::detect::Detection;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::frame::Frame;
use crate::geometry::{Point, Similarity};
use crate::manifest::{Folder, MeshSpec, Role};
use crate::sample::Sampler;
use crate::tflite::{Model, Runtime};

/// Points of a mesh.
pub const POINTS: usize = 468;

/// The mesh of one face, in the frame's pixels.
#[derive(Clone)]
pub struct Landmarks {
    points: Vec<Point>,
    /// How sure the model is that it saw a face, 0 to 1.
    pub presence: f32,
}

impl Landmarks {
    /// Point `index`, 0 to 467 in MediaPipe's numbering.
    pub fn point(&self, index: usize) -> Point {
        self.points[index]
    }
}

/// The mesh model.
pub struct Mesh {
    model: Model,
    feed: Feed,
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
            feed: Feed::new(&manifest.input),
            spec,
            side: manifest.input.side(),
            outputs,
            square: Vec::new(),
            values: Vec::new(),
        })
    }

    /// Places the mesh on a detected face. `None` where the model sees no face there.
    pub fn place(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Detection,
    ) -> Result<Option<Landmarks>> {
        let longer = face.face.width().max(face.face.height());
        if longer < 1.0 {
            return Ok(None);
        }
        let scale = self.side as f32 / (self.spec.margin * longer);
        let onto = Similarity::centred(face.face.centre(), face.roll(), scale, self.side as f32);
        sampler.cut(frame, &onto, self.side, &mut self.square)?;
        self.feed.run(&mut self.model, &self.square)?;
        self.model.read(self.outputs.1, &mut self.values)?;
        let presence = 1.0 / (1.0 + (-self.values[0]).exp());
        if presence < self.spec.presence {
            return Ok(None);
        }
        self.model.read(self.outputs.0, &mut self.values)?;
        let back = onto.inverse();
        let points = self.values.chunks_exact(3).take(POINTS);
        let points = points.map(|p| back.apply(Point { x: p[0], y: p[1] })).collect();
        Ok(Some(Landmarks { points, presence }))
    }
}
