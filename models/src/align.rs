//! A face laid onto the embedder's template by its mesh points.

use crate::geometry::{Point, Similarity};
use crate::manifest::Anchor;
use crate::mesh::Landmarks;

/// The transform from the frame to the embedder's input. `None` where the points fall together.
pub fn onto_template(landmarks: &Landmarks, template: &[Anchor]) -> Option<Similarity> {
    let from: Vec<Point> = template.iter().map(|anchor| landmarks.point(anchor.mesh)).collect();
    let to: Vec<Point> = template.iter().map(Anchor::point).collect();
    Similarity::fit(&from, &to)
}
