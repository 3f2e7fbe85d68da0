//! Which of several faces a photo is of.

use models::geometry::Point;
use models::{Detection, Frame};

/// The face nearest to the middle, a larger one counting as nearer by a quarter of its width.
pub fn central(faces: &[Detection], photo: &Frame) -> Option<Detection> {
    let middle = Point { x: photo.width() as f32 / 2.0, y: photo.height() as f32 / 2.0 };
    let off = |face: &Detection| face.face.centre().distance(middle) - 0.25 * face.face.width();
    faces.iter().copied().min_by(|one, other| off(one).total_cmp(&off(other)))
}
