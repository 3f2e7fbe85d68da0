//! An aligned face into an embedding.

use zeroize::Zeroizing;

use crate::align;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::frame::Frame;
use crate::identify::Identifier;
use crate::light::Light;
use crate::manifest::{EmbedderSpec, Folder, Role};
use crate::mesh::Landmarks;
use crate::sample::Sampler;
use crate::template::Embedding;
use crate::tflite::{Model, Runtime};
use crate::threshold::Thresholds;

/// How closely a face is looked at: the embedding is the mean of more pieces of the picture, each
/// with its mirror image. What that gains stands in models/README.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// One piece: for each frame of a face that is not known yet.
    Glance,
    /// Three, a little larger and smaller: for a single picture.
    Close,
    /// Five: for enrolment.
    Study,
}

impl Look {
    fn sizes(self) -> &'static [f32] {
        match self {
            Self::Glance => &[1.0],
            Self::Close => &[1.0, 0.95, 1.05],
            Self::Study => &[1.0, 0.95, 1.05, 0.9, 1.1],
        }
    }
}

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

    /// How faces are looked for among many people.
    pub fn identifier(&self) -> Identifier {
        Identifier::new(self.spec.identification, self.thresholds())
    }

    /// Embeds a face. `None` where its landmarks can't be laid onto the template.
    pub fn embed(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
        look: Look,
    ) -> Result<Option<Embedding>> {
        let Some(onto) = align::onto_template(face, &self.spec.template) else {
            return Ok(None);
        };
        let mut sum = Zeroizing::new(vec![0.0; self.dimensions]);
        for size in look.sizes() {
            sampler.cut(
                frame,
                &onto.scaled_about(*size, self.side as f32 / 2.0),
                self.side,
                &mut self.square,
            )?;
            Light::of(&self.square, self.side).even(&mut self.square, self.side);
            self.add(&mut sum)?;
            mirror(&mut self.square, self.side);
            self.add(&mut sum)?;
        }
        self.square.fill(0); // no picture outlives the call
        Ok(Embedding::normalised(&sum))
    }

    /// Embeds what is in the square.
    fn add(&mut self, sum: &mut [f32]) -> Result<()> {
        self.feed.run(&mut self.model, &self.square)?;
        self.model.read(self.output, &mut self.values)?;
        for (total, value) in sum.iter_mut().zip(&self.values) {
            *total += value;
        }
        self.values.fill(0.0);
        Ok(())
    }
}

/// Swaps left and right in packed RGB.
fn mirror(square: &mut [u8], side: usize) {
    for row in square.chunks_exact_mut(side * 3) {
        for x in 0..side / 2 {
            let (left, right) = row.split_at_mut((side - 1 - x) * 3);
            left[x * 3..x * 3 + 3].swap_with_slice(&mut right[..3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_swaps_left_and_right_alone() {
        let mut square: Vec<u8> = (0..27).collect();
        mirror(&mut square, 3);
        assert_eq!(square[..9], [6, 7, 8, 3, 4, 5, 0, 1, 2]);
        mirror(&mut square, 3);
        assert_eq!(square, (0..27).collect::<Vec<u8>>());
    }
}
