//! Aligns a face with the embedder's template by its mesh points.

use crate::geometry::{Point, Similarity};
use crate::manifest::TemplatePoint;
use crate::mesh::Landmarks;

/// Steps to a factor of two in size, or to about a radian, and to a pixel of the template. The mesh is
/// computed with floats, which each kind of processor sums in another order: their last digits differ, up
/// to a ten-thousandth of a pixel. Rounded so, which is less than the mesh itself errs by, the same face is
/// laid in the same way on x86-64 and on ARM, and embeds into the same bytes (`tests/lab/arm64.sh`).
const TURNS: f32 = 512.0;
const PLACES: f32 = 8.0;

/// The transform from the frame to the embedder's input. `None` where the points fall together.
pub fn onto_template(landmarks: &Landmarks, template: &[TemplatePoint]) -> Option<Similarity> {
    let from: Vec<Point> = template.iter().map(|anchor| landmarks.point(anchor.mesh)).collect();
    let to: Vec<Point> = template.iter().map(TemplatePoint::point).collect();
    Some(rounded(&Similarity::fit(&from, &to)?, middle(&to)))
}

/// The transform rounded: its size and angle, and which point of the frame it lays onto `middle`.
fn rounded(fit: &Similarity, middle: Point) -> Similarity {
    let size = fit.scale().log2().floor().exp2(); // a power of two: the steps are the same for like faces
    let even = |value: f32, steps: f32| (value * steps).round() / steps;
    let (a, b) = (even(fit.a, TURNS / size), even(fit.b, TURNS / size));
    let found = fit.inverse().apply(middle);
    let (x, y) = (even(found.x, PLACES * size), even(found.y, PLACES * size));
    let laid = Similarity { a, b, tx: 0.0, ty: 0.0 }.apply(Point { x, y });
    Similarity { a, b, tx: middle.x - laid.x, ty: middle.y - laid.y }
}

fn middle(points: &[Point]) -> Point {
    let mean = |of: fn(&Point) -> f32| points.iter().map(of).sum::<f32>() / points.len().max(1) as f32;
    Point { x: mean(|point| point.x), y: mean(|point| point.y) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_the_last_digits_is_laid_in_the_same_way_and_hardly_moved() {
        let middle = Point { x: 74.0, y: 60.0 };
        let fit = Similarity { a: 0.6713, b: 0.2217, tx: -71.31, ty: 12.77 };
        let other = Similarity { a: 0.671_300_2, b: 0.221_700_3, tx: -71.310_02, ty: 12.770_02 };
        let (one, two) = (rounded(&fit, middle), rounded(&other, middle));
        assert_eq!((one.a, one.b, one.tx, one.ty), (two.a, two.b, two.tx, two.ty));
        for corner in [(0.0, 0.0), (148.0, 0.0), (0.0, 120.0), (148.0, 120.0)] {
            let there = fit.inverse().apply(Point { x: corner.0, y: corner.1 });
            let off = one.apply(there).distance(Point { x: corner.0, y: corner.1 });
            assert!(off < 0.3, "{off} pixels at {corner:?}");
        }
    }
}
