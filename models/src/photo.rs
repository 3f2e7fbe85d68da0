//! Enrolment: the one face of a photo.

use crate::embed::Look;
use crate::error::Error;
use crate::eyes::Eyes;
use crate::frame::Frame;
use crate::quality::Flaw;
use crate::template::Embedding;

/// Why a photo can't be used for enrolment, as the person who chose it should read it.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// Nobody on it.
    #[error("no face was found: use a photo that shows one person from the front, in even light")]
    NoFace,
    /// More than one person on it.
    #[error("{0} faces were found: use a photo of one person alone, or crop it")]
    SeveralFaces(usize),
    /// The face can't be seen well enough.
    #[error(transparent)]
    Poor(#[from] Flaw),
    /// Anything else.
    #[error(transparent)]
    Eyes(#[from] Error),
}

/// Embeds the face of a photo that shows exactly one.
pub fn embed_photo(eyes: &mut Eyes, photo: &Frame) -> Result<Embedding, PhotoError> {
    let mut faces = Vec::new();
    for face in eyes.detect(photo)? {
        faces.extend(eyes.landmarks(photo, &face)?);
    }
    match &faces[..] {
        [] => Err(PhotoError::NoFace),
        [landmarks] => match eyes.quality(photo, landmarks)?.flaw() {
            Some(flaw) => Err(flaw.into()),
            None => eyes.embed(photo, landmarks, Look::Study)?.ok_or(PhotoError::NoFace),
        },
        several => Err(PhotoError::SeveralFaces(several.len())),
    }
}
