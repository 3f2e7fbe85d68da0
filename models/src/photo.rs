//! Enrolment: the one face of a photo.

use crate::embed::Look;
use crate::error::Error;
use crate::eyes::Eyes;
use crate::frame::Frame;
use crate::template::Embedding;

/// The narrowest face, in pixels, that a photo for enrolment may show. Recognition of narrower
/// ones falls off (the embedder's input shows the face about 80 pixels wide).
pub const NARROWEST_FACE: f32 = 64.0;

/// Why a photo can't be used for enrolment, as the person who chose it should read it.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// Nobody on it.
    #[error("no face was found: use a photo that shows one person from the front, in even light")]
    NoFace,
    /// More than one person on it.
    #[error("{0} faces were found: use a photo of one person alone, or crop it")]
    SeveralFaces(usize),
    /// Too far away.
    #[error("the face is only {0} pixels wide: use a photo in which it is at least {NARROWEST_FACE} wide")]
    TooSmall(u32),
    /// Anything else.
    #[error(transparent)]
    Eyes(#[from] Error),
}

/// Embeds the face of a photo that shows exactly one.
pub fn embed_photo(eyes: &mut Eyes, photo: &Frame) -> Result<Embedding, PhotoError> {
    let mut faces = Vec::new();
    for face in eyes.detect(photo)? {
        if let Some(landmarks) = eyes.landmarks(photo, &face)? {
            faces.push((face, landmarks));
        }
    }
    match &faces[..] {
        [] => Err(PhotoError::NoFace),
        [(face, _)] if face.face.width() < NARROWEST_FACE => {
            Err(PhotoError::TooSmall(face.face.width() as u32))
        }
        [(_, landmarks)] => eyes.embed(photo, landmarks, Look::Study)?.ok_or(PhotoError::NoFace),
        several => Err(PhotoError::SeveralFaces(several.len())),
    }
}
