//! Enrolment: the one face of a photo, whichever way up the photo is.
//!
//! Upside down, detector and mesh find a face as well, but align it wrongly, and its embedding is useless. So a
//! photo is looked at in its four quarter turns, and the one in which the face is upright must stand out.

use std::borrow::Cow;
use std::f32::consts::{FRAC_PI_2, TAU};

use crate::embed::Look;
use crate::error::Error;
use crate::eyes::Eyes;
use crate::frame::Frame;
use crate::mesh::Landmarks;
use crate::quality::Flaw;
use crate::template::Embedding;

/// Radians by which an upright face is tilted, at most: an eighth of a turn, and a little more, so that each
/// face is upright in some turn.
const TILTED: f32 = 0.87;
/// In two turns, a face of the same angle is the same one: both are right.
const SAME: f32 = 0.5;
/// How sure both detectors together must be of an upright face (0 to 2), and how much surer than of a face
/// of another angle, before a photo is turned.
const LEAST: f32 = 1.1;
const CLEAR: f32 = 0.15;
/// The same of a photo as it came, for most are upright. Of 1188 photos of LFW that show one face
/// none has a wrong turn that is the surest.
const LEAST_AS_IT_CAME: f32 = 0.99;
const CLEAR_AS_IT_CAME: f32 = 0.03;

/// Why a photo can't be used for enrolment, as the person who chose it should read it.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// Nobody on it.
    #[error("no face was found: use a photo that shows one person from the front, upright and in even light")]
    NoFace,
    /// More than one person on it.
    #[error("{0} faces were found: use a photo of one person alone, or crop it")]
    SeveralFaces(usize),
    /// It lies on its side, or upside down, or might.
    #[error(
        "it is not clear which way up the face is: turn the photo upright, or use another one from the front"
    )]
    Turned,
    /// The face can't be seen well enough.
    #[error(transparent)]
    Poor(#[from] Flaw),
    /// Anything else.
    #[error(transparent)]
    Eyes(#[from] Error),
}

/// Embeds the face of a photo that shows exactly one.
pub fn embed_photo(eyes: &mut Eyes, photo: &Frame) -> Result<Embedding, PhotoError> {
    let mut frame = Cow::Borrowed(photo);
    let mut views = Vec::with_capacity(4);
    for _ in 0..4 {
        views.push(View::of(eyes, &frame)?);
        frame = Cow::Owned(frame.turned()); // after the last, as it was
    }
    let Some(upright) = upright(&views) else {
        the_face(eyes, photo, &views[0])?; // what else is wrong is said first
        return Err(PhotoError::Turned);
    };
    for _ in 0..upright {
        frame = Cow::Owned(frame.turned());
    }
    let face = the_face(eyes, &frame, &views[upright])?;
    eyes.embed(&frame, face, Look::Study)?.ok_or(PhotoError::NoFace)
}

/// The one face of a view, if it can be seen well.
fn the_face<'a>(eyes: &mut Eyes, frame: &Frame, view: &'a View) -> Result<&'a Landmarks, PhotoError> {
    match &view.faces[..] {
        [] => Err(PhotoError::NoFace),
        [face] => match eyes.quality(frame, face)?.flaw() {
            Some(flaw) => Err(flaw.into()),
            None => Ok(face),
        },
        several => Err(PhotoError::SeveralFaces(several.len())),
    }
}

/// What a photo shows in one of its quarter turns.
#[derive(Default)]
struct View {
    faces: Vec<Landmarks>,
    /// How sure the detectors are of the surest upright face, 0 to 2, and its angle in radians.
    sure: f32,
    roll: f32,
}

impl View {
    fn of(eyes: &mut Eyes, frame: &Frame) -> Result<Self, Error> {
        let mut view = Self::default();
        for found in eyes.detect(frame)? {
            let Some(face) = eyes.landmarks(frame, &found)? else { continue };
            if face.roll().abs() <= TILTED {
                let sure = found.score + eyes.levelled(frame, &face)?;
                if sure > view.sure {
                    (view.sure, view.roll) = (sure, face.roll());
                }
            }
            view.faces.push(face);
        }
        Ok(view)
    }
}

/// By how many quarters a photo must be turned to stand upright. `None` where that is not clear.
fn upright(views: &[View]) -> Option<usize> {
    let (best, view) =
        views.iter().enumerate().max_by(|(_, one), (_, other)| one.sure.total_cmp(&other.sure))?;
    // The angle in the photo as it came.
    let angle = |quarters: usize, view: &View| view.roll - quarters as f32 * FRAC_PI_2;
    let apart = |one: f32, other: f32| {
        let turn = (one - other).rem_euclid(TAU);
        turn.min(TAU - turn)
    };
    let rivals = views.iter().enumerate();
    let rivals = rivals.filter(|(quarters, rival)| apart(angle(*quarters, rival), angle(best, view)) > SAME);
    let rival = rivals.map(|(_, rival)| rival.sure).fold(0.0, f32::max);
    let (least, clear) = if best == 0 { (LEAST_AS_IT_CAME, CLEAR_AS_IT_CAME) } else { (LEAST, CLEAR) };
    (view.sure >= least && view.sure - rival >= clear).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(seen: [(f32, f32); 4]) -> Vec<View> {
        seen.map(|(sure, degrees)| View { faces: Vec::new(), sure, roll: degrees.to_radians() }).into()
    }

    #[test]
    fn the_turn_that_stands_out_is_upright() {
        assert_eq!(upright(&views([(0.5, 3.0), (0.0, 0.0), (1.8, -3.0), (1.0, 20.0)])), Some(2));
        assert_eq!(upright(&views([(0.0, 0.0); 4])), None, "nobody");
        assert_eq!(upright(&views([(0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (0.0, 0.0)])), None, "hardly anybody");
        let doubtful = views([(1.6, 5.0), (0.0, 0.0), (1.7, -5.0), (0.0, 0.0)]);
        assert_eq!(upright(&doubtful), None, "as good upside down");
    }

    #[test]
    fn a_photo_is_rather_left_as_it_came() {
        assert_eq!(upright(&views([(1.07, 0.0), (0.0, 0.0), (1.0, 0.0), (0.0, 0.0)])), Some(0));
        assert_eq!(upright(&views([(1.0, 0.0), (0.0, 0.0), (1.07, 0.0), (0.0, 0.0)])), None);
        assert_eq!(upright(&views([(1.7, 0.0), (0.0, 0.0), (1.69, 0.0), (0.0, 0.0)])), None);
    }

    #[test]
    fn a_face_between_two_turns_is_upright_in_both() {
        let tilted = views([(1.7, -45.0), (1.65, 45.0), (0.0, 0.0), (0.5, 10.0)]);
        assert_eq!(upright(&tilted), Some(0));
        let other = views([(1.65, -45.0), (0.0, 0.0), (0.0, 0.0), (1.7, 45.0)]);
        assert_eq!(upright(&other), None, "it can't be tilted both to the left and to the right");
    }
}
