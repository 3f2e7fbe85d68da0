//! Embeddings and templates: unit vectors. Neither type can be printed or serialised by accident.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A face in one picture as a vector of length one. Compared only with those of the same embedder, and of
/// two embedders those of the first alone only with their like.
#[derive(Clone)]
pub struct Embedding(Zeroizing<Vec<f32>>);

impl Embedding {
    /// Scales `values` to length one. `None` where they have no direction.
    pub fn normalised(values: &[f32]) -> Option<Self> {
        let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        (length.is_finite() && length > 1e-6)
            .then(|| Self(Zeroizing::new(values.iter().map(|v| v / length).collect())))
    }

    /// Concatenates two embeddings of a face, the second with this share of the similarity.
    #[must_use]
    pub fn join(first: &Self, second: &Self, share: f32) -> Self {
        let (near, far) = ((1.0 - share).sqrt(), share.sqrt());
        let mut values = Zeroizing::new(Vec::with_capacity(first.0.len() + second.0.len()));
        values.extend(first.0.iter().map(|value| value * near));
        values.extend(second.0.iter().map(|value| value * far));
        Self(values)
    }

    /// The numbers.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// The Euclidean distance, 0 (same) to 2 (opposite).
    pub fn distance(&self, other: &Self) -> f32 {
        distance(dot(&self.0, &other.0))
    }

    /// Little-endian 32-bit floats, for storage under encryption.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Reads what [`Self::to_bytes`] wrote, for an embedder of `dimensions`.
    pub fn from_bytes(bytes: &[u8], dimensions: usize) -> Result<Self> {
        let wrong = Error::Template { found: bytes.len(), expected: dimensions * 4 };
        if bytes.len() != dimensions * 4 {
            return Err(wrong);
        }
        let values: Zeroizing<Vec<f32>> = Zeroizing::new(
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        );
        Self::normalised(&values).ok_or(wrong)
    }
}

/// What a person is recognised by: the mean direction of the embeddings of their photos.
///
/// One mean template a person confuses strangers less than the best of several
/// (measured on LFW: docs/decisions).
#[derive(Clone)]
pub struct Template(Embedding);

impl Template {
    /// The mean of one or more embeddings. `None` for none, or if they cancel out.
    pub fn mean<'a>(embeddings: impl IntoIterator<Item = &'a Embedding>) -> Option<Self> {
        let mut embeddings = embeddings.into_iter().peekable();
        let mut sum = Zeroizing::new(vec![0.0; embeddings.peek()?.0.len()]);
        for embedding in embeddings {
            debug_assert_eq!(embedding.0.len(), sum.len(), "faces of different embedders");
            for (total, value) in sum.iter_mut().zip(embedding.values()) {
                *total += value;
            }
        }
        Embedding::normalised(&sum).map(Self)
    }

    /// The template as a unit vector.
    pub fn embedding(&self) -> &Embedding {
        &self.0
    }

    /// Reads the bytes of [`Embedding::to_bytes`].
    pub fn from_bytes(bytes: &[u8], dimensions: usize) -> Result<Self> {
        Embedding::from_bytes(bytes, dimensions).map(Self)
    }
}

/// The dot product; eight sums run side by side so that the compiler can use vector registers.
pub(crate) fn dot(one: &[f32], other: &[f32]) -> f32 {
    debug_assert_eq!(one.len(), other.len(), "faces of different embedders");
    let mut sums = [0.0_f32; 8];
    let (left, right) = (one.chunks_exact(8), other.chunks_exact(8));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The distance of two unit vectors from their dot product.
pub(crate) fn distance(dot: f32) -> f32 {
    (2.0 - 2.0 * dot).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(values: &[f32]) -> Embedding {
        Embedding::normalised(values).expect("has a direction")
    }

    #[test]
    fn embeddings_have_length_one() {
        let e = unit(&[3.0, 4.0]);
        assert!((e.values()[0] - 0.6).abs() < 1e-6);
        assert!(Embedding::normalised(&[0.0; 4]).is_none());
        assert!(Embedding::normalised(&[f32::NAN; 4]).is_none());
    }

    #[test]
    fn bytes_go_there_and_back() {
        let e = unit(&[1.0, -2.0, 3.0, 0.5]);
        let again = Embedding::from_bytes(&e.to_bytes(), 4).expect("fits");
        assert!(e.distance(&again) < 1e-3);
        assert!(Embedding::from_bytes(&e.to_bytes(), 5).is_err());
        assert!(Embedding::from_bytes(&[0; 16], 4).is_err());
    }

    #[test]
    fn a_template_lies_between_its_photos() {
        let (one, other) = (unit(&[1.0, 0.0]), unit(&[0.0, 1.0]));
        let template = Template::mean(&[one.clone(), other]).expect("two photos");
        assert!((template.embedding().distance(&one) - 0.765_366_9).abs() < 1e-5);
        assert!(Template::mean([]).is_none());
    }
}
