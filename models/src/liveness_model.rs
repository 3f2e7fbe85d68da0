//! An optional model that tells a person's face from a picture of one.
//!
//! Rollcall ships none: no freely licensed one worked. A models folder with a `liveness.toml` has one; unless
//! liveness is off, it scores every face that is embedded.

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Similarity;
use crate::manifest::{Folder, LivenessSpec, Role};
use crate::mesh::Landmarks;
use crate::resample::Sampler;
use crate::tensor_input::TensorInput;
use crate::tflite::{Model, Runtime};

/// The model.
pub struct LivenessModel {
    model: Model,
    input: TensorInput,
    spec: LivenessSpec,
    side: usize,
    output: usize,
    square: Vec<u8>,
    values: Vec<f32>,
}

impl LivenessModel {
    /// Loads the model with its hash checked, if the folder has one.
    pub fn load(runtime: &Runtime, folder: &Folder, threads: usize) -> Result<Option<Self>> {
        if !folder.has(Role::Liveness) {
            return Ok(None);
        }
        let (manifest, bytes) = folder.load(Role::Liveness)?;
        let model = Model::compile(runtime, &manifest, bytes, threads)?;
        let output = model.output(&manifest, "alive")?;
        let spec = manifest.liveness.ok_or_else(|| Error::Picture("no liveness section".into()))?;
        let (input, side) = (TensorInput::new(&manifest.input), manifest.input.side());
        Ok(Some(Self { model, input, spec, side, output, square: Vec::new(), values: Vec::new() }))
    }

    /// How likely the face is a person's, 0 to 1.
    pub fn score(&mut self, sampler: &mut Sampler, frame: &Frame, face: &Landmarks) -> Result<f32> {
        let bounds = face.bounds();
        let longer = bounds.width().max(bounds.height()).max(1.0);
        let scale = self.side as f32 / (self.spec.margin * longer);
        let onto = Similarity::centred(bounds.centre(), face.roll(), scale, self.side as f32);
        sampler.cut(frame, &onto, self.side, &mut self.square)?;
        self.input.run(&mut self.model, &self.square)?;
        self.square.fill(0); // no picture outlives the call
        self.model.read(self.output, &mut self.values)?;
        Ok(share(&self.values, self.spec.class, self.spec.logits))
    }

    /// From this likelihood on the face is a person's.
    pub fn threshold(&self) -> f32 {
        self.spec.threshold
    }
}

/// The share of one class. One logit alone is that of "alive" against everything else.
fn share(values: &[f32], class: usize, logits: bool) -> f32 {
    let value = values.get(class).copied().unwrap_or(0.0);
    match values {
        _ if !logits => value,
        [_] => 1.0 / (1.0 + (-value).exp()),
        _ => 1.0 / values.iter().map(|other| (other - value).exp()).sum::<f32>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_logits_and_a_single_logit_become_a_likelihood() {
        assert!((share(&[0.2, 0.8], 1, false) - 0.8).abs() < 1e-6);
        assert!((share(&[0.0], 0, true) - 0.5).abs() < 1e-6);
        assert!((share(&[1.0, 1.0, 1.0, 1.0], 2, true) - 0.25).abs() < 1e-6);
        assert!(share(&[0.0, 9.0], 1, true) > 0.99);
    }
}
