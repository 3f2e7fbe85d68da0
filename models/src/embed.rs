//! An aligned face into an embedding.

use crate::align;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::frame::Frame;
use crate::manifest::{EmbedderSpec, Folder, Role};
use crate::mesh::Landmarks;
use crate::sample::Sampler;
use crate::template::Embedding;
use crate::tflite::{Model, Runtime};
use crate::threshold::Thresholds;

/// The embedder model.
pub struct Embedder {
    model: Model,
    feed: Feed,
    spec: EmbedderSpec,
    side: usize,
    output: usize,
    dimensions: usize,
    sha256: String,
    square: Vec<u8>,
    values: Vec<f32>,
}

impl Embedder {
    /// Loads the embedder with its hash checked.
    pub fn load(runtime: &Runtime, folder: &Folder, threads: usize) -> Result<Self> {
        let (manifest, bytes) = folder.load(Role::Embedder)?;
        let model = Model::compile(runtime, &manifest, bytes, threads)?;
        let output = model.output(&manifest, "embedding")?;
        let spec = manifest.embedder.clone().ok_or_else(|| Error::Picture("no embedder section".into()))?;
        let named = manifest.outputs.iter().find(|o| o.name == "embedding");
        let dimensions = named.map_or(0, |o| o.shape.iter().product());
        Ok(Self {
            model,
            feed: Feed::new(&manifest.input),
            spec,
            side: manifest.input.side(),
            output,
            dimensions,
            sha256: manifest.sha256,
            square: Vec::new(),
            values: Vec::new(),
        })
    }

    /// Numbers an embedding has.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The model's hash in hexadecimal: templates of another embedder are never compared.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Which distances mean "the same person".
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::new(self.spec.thresholds.clone())
    }

    /// Embeds a face. `None` where its landmarks can't be laid onto the template.
    pub fn embed(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
    ) -> Result<Option<Embedding>> {
        let Some(onto) = align::onto_template(face, &self.spec.template) else {
            return Ok(None);
        };
        sampler.cut(frame, &onto, self.side, &mut self.square)?;
        self.feed.run(&mut self.model, &self.square)?;
        self.square.fill(0); // no picture outlives the call
        self.model.read(self.output, &mut self.values)?;
        Ok(Embedding::normalised(&self.values))
    }
}
