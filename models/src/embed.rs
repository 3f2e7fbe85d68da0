//! An aligned face into an embedding.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::align;
use crate::error::{Error, Result};
use crate::exposure::Exposure;
use crate::frame::Frame;
use crate::identify::{Identifier, Rules};
use crate::manifest::{EmbedderSpec, Folder, Manifest, Role, SecondSpec};
use crate::mesh::Landmarks;
use crate::resample::Sampler;
use crate::template::Embedding;
use crate::tensor_input::TensorInput;
use crate::tflite::{Model, Runtime};
use crate::threshold::Thresholds;

/// Test-time augmentation: over how many crops of the face, each with its mirror image, the embedding is
/// averaged. models/README.md has the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// One piece: for each frame of a face that is not known yet. Of two embedders the first alone.
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

    /// Those of the second embedder.
    fn second_sizes(self) -> &'static [f32] {
        match self {
            Self::Glance | Self::Close => &[1.0],
            Self::Study => &[1.0, 0.95, 1.05],
        }
    }
}

/// The embedder, and a second one if the models folder has one. The second is slower and by itself worse, but
/// its errors differ: together they are right more often than either.
pub struct Embedder {
    first: Network,
    second: Option<Second>,
    identity: String,
}

struct Second {
    network: Network,
    spec: SecondSpec,
}

impl Embedder {
    /// Loads the embedders with their hashes checked.
    pub fn load(runtime: &Runtime, folder: &Folder, threads: usize) -> Result<Self> {
        let (first, manifest) = Network::load(runtime, folder, Role::Embedder, threads)?;
        let mut identity = manifest.sha256;
        let mut second = None;
        if folder.has(Role::EmbedderSecond) {
            let (network, manifest) = Network::load(runtime, folder, Role::EmbedderSecond, threads)?;
            let spec = manifest.second.ok_or_else(|| Error::Picture("no section on the second".into()))?;
            let both = format!("{identity} {} {}", manifest.sha256, spec.share);
            identity = hex::encode(Sha256::digest(both));
            second = Some(Second { network, spec });
        }
        Ok(Self { first, second, identity })
    }

    /// Numbers that a template has.
    pub fn dimensions(&self) -> usize {
        self.first.dimensions + self.second.as_ref().map_or(0, |second| second.network.dimensions)
    }

    /// What templates are bound to, in hexadecimal: the model's hash, or one of both models' hashes and
    /// their shares. Templates of other embedders are never compared.
    pub fn sha256(&self) -> &str {
        &self.identity
    }

    /// Which distances mean "the same person".
    pub fn thresholds(&self) -> Thresholds {
        self.whole().thresholds()
    }

    /// Further than this from the mean of somebody's photos, a photo shows somebody else.
    pub fn apart(&self) -> f32 {
        self.whole().spec.apart
    }

    /// The same of glances.
    pub fn apart_at_a_glance(&self) -> f32 {
        self.first.spec.apart
    }

    /// How faces are looked for among many people.
    pub fn identifier(&self) -> Identifier {
        let rules = |network: &Network| Rules::new(network.spec.identification, network.thresholds());
        let identifier = Identifier::new(rules(self.whole()));
        let Some(second) = &self.second else { return identifier };
        identifier.with_first(self.first.dimensions, rules(&self.first), second.spec.unsure)
    }

    /// What has the rules for whole embeddings.
    fn whole(&self) -> &Network {
        self.second.as_ref().map_or(&self.first, |second| &second.network)
    }

    /// Embeds a face. `None` where its landmarks can't be laid onto the template.
    pub fn embed(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
        look: Look,
    ) -> Result<Option<Embedding>> {
        let Some(first) = self.first.embed(sampler, frame, face, look.sizes(), true)? else {
            return Ok(None);
        };
        match &mut self.second {
            Some(second) if look != Look::Glance => {
                let more = second.network.embed(sampler, frame, face, look.second_sizes(), true)?;
                Ok(more.map(|more| Embedding::join(&first, &more, second.spec.share)))
            }
            _ => Ok(Some(first)),
        }
    }

    /// The second embedding, of one crop without its mirror image, which would cost as much again. `None`
    /// without a second embedder, or where the face can't be aligned.
    pub fn ask_second(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
    ) -> Result<Option<Embedding>> {
        let Some(second) = &mut self.second else { return Ok(None) };
        second.network.embed(sampler, frame, face, &[1.0], false)
    }

    /// Joins both embeddings; without a second embedder, the first alone.
    pub fn join(&self, first: &Embedding, second: &Embedding) -> Embedding {
        let share = self.second.as_ref().map(|second| second.spec.share);
        share.map_or_else(|| first.clone(), |share| Embedding::join(first, second, share))
    }
}

/// One model that embeds faces.
struct Network {
    model: Model,
    input: TensorInput,
    spec: EmbedderSpec,
    side: usize,
    output: usize,
    dimensions: usize,
    square: Vec<u8>,
    values: Vec<f32>,
}

impl Network {
    fn load(runtime: &Runtime, folder: &Folder, role: Role, threads: usize) -> Result<(Self, Manifest)> {
        let (manifest, bytes) = folder.load(role)?;
        let model = Model::compile(runtime, &manifest, bytes, threads)?;
        let output = model.output(&manifest, "embedding")?;
        let spec = manifest.embedder.clone().ok_or_else(|| Error::Picture("no embedder section".into()))?;
        let named = manifest.outputs.iter().find(|o| o.name == "embedding");
        let dimensions = named.map_or(0, |o| o.shape.iter().product());
        let network = Self {
            model,
            input: TensorInput::new(&manifest.input),
            spec,
            side: manifest.input.side(),
            output,
            dimensions,
            square: Vec::new(),
            values: Vec::new(),
        };
        Ok((network, manifest))
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds::new(self.spec.thresholds.clone())
    }

    /// The mean of pieces of some sizes, each with its mirror image if that is wanted.
    fn embed(
        &mut self,
        sampler: &mut Sampler,
        frame: &Frame,
        face: &Landmarks,
        sizes: &[f32],
        mirrored: bool,
    ) -> Result<Option<Embedding>> {
        let Some(onto) = align::onto_template(face, &self.spec.template) else {
            return Ok(None);
        };
        let mut sum = Zeroizing::new(vec![0.0; self.dimensions]);
        for size in sizes {
            let onto = onto.scaled_about(*size, self.side as f32 / 2.0);
            sampler.cut(frame, &onto, self.side, &mut self.square)?;
            Exposure::of(&self.square, self.side).correct(&mut self.square, self.side);
            self.add(&mut sum)?;
            if mirrored {
                mirror(&mut self.square, self.side);
                self.add(&mut sum)?;
            }
        }
        self.square.fill(0); // no picture outlives the call
        Ok(Embedding::normalised(&sum))
    }

    /// Embeds what is in the square.
    fn add(&mut self, sum: &mut [f32]) -> Result<()> {
        self.input.run(&mut self.model, &self.square)?;
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
