//! The models of one thread, stage by stage: detect, place the mesh, embed.

use std::path::Path;

use crate::detect::{Detection, Detector};
use crate::embed::{Embedder, Look};
use crate::error::Result;
use crate::frame::Frame;
use crate::geometry::{Rect, Region};
use crate::liveness::Skin;
use crate::liveness_model::LivenessModel;
use crate::manifest::{Folder, Role};
use crate::mesh::{Landmarks, Mesh};
use crate::quality::Quality;
use crate::resample::Sampler;
use crate::template::Embedding;
use crate::tflite::Runtime;

/// How much larger than the moving part the searched square is: a head may move against a wall of its own colour.
const AROUND: f32 = 1.2;

/// Everything that looks at pixels. One thread at a time.
pub struct Eyes {
    sampler: Sampler,
    detector: Detector,
    near: Detector,
    mesh: Mesh,
    embedder: Embedder,
    liveness_model: Option<LivenessModel>,
    square: Vec<u8>,
}

impl Eyes {
    /// Opens the library and loads all models from `folder` (found as [`Folder::find`] says),
    /// each running on `threads` threads.
    pub fn open(folder: Option<&Path>, threads: usize) -> Result<Self> {
        let folder = Folder::find(folder)?;
        let runtime = Runtime::open()?;
        Ok(Self {
            sampler: Sampler::default(),
            detector: Detector::load(&runtime, &folder, Role::Detector, threads)?,
            near: Detector::load(&runtime, &folder, Role::DetectorNear, threads)?,
            mesh: Mesh::load(&runtime, &folder, threads)?,
            embedder: Embedder::load(&runtime, &folder, threads)?,
            liveness_model: LivenessModel::load(&runtime, &folder, threads)?,
            square: Vec::new(),
        })
    }

    /// The faces of a frame, the surest first. The full-range detector misses faces that fill the
    /// frame, the short-range one those that are far away: the second is asked when the first
    /// finds nothing.
    pub fn detect(&mut self, frame: &Frame) -> Result<Vec<Detection>> {
        let faces = self.detector.detect(&mut self.sampler, frame)?;
        if faces.is_empty() { self.near.detect(&mut self.sampler, frame) } else { Ok(faces) }
    }

    /// The mesh of a detected face. `None` where there is no face after all.
    pub fn landmarks(&mut self, frame: &Frame, face: &Detection) -> Result<Option<Landmarks>> {
        self.mesh.place(&mut self.sampler, frame, &face.into())
    }

    /// The mesh of a face that was there a frame ago. `None` where it is no more.
    pub fn follow(&mut self, frame: &Frame, face: &Region) -> Result<Option<Landmarks>> {
        self.mesh.place(&mut self.sampler, frame, face)
    }

    /// The faces near a part of the frame, the surest first, at less cost than [`Self::detect`]. Faces
    /// that are small beside that part are missed, and all where it is most of the frame.
    pub fn detect_near(&mut self, frame: &Frame, part: &Rect) -> Result<Vec<Detection>> {
        let side = part.width().max(part.height()) * AROUND;
        if side > frame.width().min(frame.height()) as f32 {
            return Ok(Vec::new());
        }
        self.near.detect_near(&mut self.sampler, frame, part.centre(), side)
    }

    /// Whether the short-range detector, too, sees a face in this place.
    pub fn is_near(&mut self, frame: &Frame, place: &Rect) -> Result<bool> {
        let side = place.width().max(place.height()) * 2.0;
        let found = self.near.detect_near(&mut self.sampler, frame, place.centre(), side)?;
        Ok(found.iter().any(|face| face.face.covering(place) >= 0.5))
    }

    /// How sure the short-range detector is of a face in this place, 0 to 1, and that it is level where the
    /// mesh is: a mesh that was laid the wrong way round shows it one that is upside down.
    pub fn levelled(&mut self, frame: &Frame, face: &Landmarks) -> Result<f32> {
        self.near.detect_level(&mut self.sampler, frame, &face.region())
    }

    /// How well a face can be seen.
    pub fn quality(&mut self, frame: &Frame, face: &Landmarks) -> Result<Quality> {
        Quality::of(&mut self.sampler, frame, face, &mut self.square)
    }

    /// The embedding of a face. `None` where it can't be aligned.
    pub fn embed(&mut self, frame: &Frame, face: &Landmarks, look: Look) -> Result<Option<Embedding>> {
        self.embedder.embed(&mut self.sampler, frame, face, look)
    }

    /// What the second embedder says of a face, to be joined with a glance of the first. `None` without
    /// one, or where the face can't be aligned.
    pub fn ask_second(&mut self, frame: &Frame, face: &Landmarks) -> Result<Option<Embedding>> {
        self.embedder.ask_second(&mut self.sampler, frame, face)
    }

    /// Cuts out a face's skin, to be followed.
    pub(crate) fn skin(&mut self, frame: &Frame, face: &Landmarks, skin: &mut Skin) -> Result<()> {
        skin.cut(&mut self.sampler, frame, face, &mut self.square)
    }

    /// Whether there is a model that tells people from pictures.
    pub fn has_liveness_model(&self) -> bool {
        self.liveness_model.is_some()
    }

    /// How likely a face is a person's, and from which likelihood on it is one. `None` without a model
    /// that can tell.
    pub fn person_score(&mut self, frame: &Frame, face: &Landmarks) -> Result<Option<(f32, f32)>> {
        let Some(model) = &mut self.liveness_model else { return Ok(None) };
        let score = model.score(&mut self.sampler, frame, face)?;
        Ok(Some((score, model.threshold())))
    }

    /// The embedder: its hash, size and thresholds.
    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }
}
