//! Whether points moved as those of a flat picture do.
//!
//! A flat picture that is moved, turned or tilted changes by a homography, as far as the lens keeps
//! straight lines straight; a head that turns does not. The homography that explains points best leaves a residue: next to nothing
//! for a photo, what is deep or moved by itself for a face.

use crate::geometry::Point;

/// Fewer points than these say nothing about a plane: a homography explains any four.
pub const FEWEST: usize = 12;

/// What the best homography from one set of points to another leaves unexplained: the root mean square
/// of the distances, in the points' unit. `None` for too few points, or points on a line.
pub fn residue(from: &[Point], to: &[Point]) -> Option<f32> {
    if from.len() < FEWEST || from.len() != to.len() {
        return None;
    }
    let (before, after) = (Normal::of(from)?, Normal::of(to)?);
    let homography = fit(from.iter().map(|p| before.apply(*p)), to.iter().map(|p| after.apply(*p)))?;
    let squares = from.iter().zip(to).map(|(start, end)| {
        let (found, expected) = (after.apply(*end), project(&homography, before.apply(*start)));
        ((found.0 - expected.0).powi(2) + (found.1 - expected.1).powi(2)) / after.scale.powi(2)
    });
    Some((squares.sum::<f64>() / from.len() as f64).sqrt() as f32)
}

/// Moves points to the middle and brings them to unit size, so that squares stay comparable (Hartley,
/// "In defence of the eight-point algorithm", 1997).
struct Normal {
    x: f64,
    y: f64,
    scale: f64,
}

impl Normal {
    fn of(points: &[Point]) -> Option<Self> {
        let n = points.len() as f64;
        let x = points.iter().map(|p| f64::from(p.x)).sum::<f64>() / n;
        let y = points.iter().map(|p| f64::from(p.y)).sum::<f64>() / n;
        let square = points.iter().map(|p| (f64::from(p.x) - x).powi(2) + (f64::from(p.y) - y).powi(2));
        let spread = (square.sum::<f64>() / n).sqrt();
        (spread > 1e-6).then_some(Self { x, y, scale: 1.0 / spread })
    }

    fn apply(&self, point: Point) -> (f64, f64) {
        ((f64::from(point.x) - self.x) * self.scale, (f64::from(point.y) - self.y) * self.scale)
    }
}

/// The first eight entries of the matrix whose ninth is 1, by least squares of the linear equations.
fn fit(from: impl Iterator<Item = (f64, f64)>, to: impl Iterator<Item = (f64, f64)>) -> Option<[f64; 8]> {
    let mut sums = [[0.0; 9]; 8];
    for ((x, y), (u, v)) in from.zip(to) {
        let rows =
            [[x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u], [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v]];
        for row in rows {
            for (i, sum) in sums.iter_mut().enumerate() {
                for (total, value) in sum.iter_mut().zip(row) {
                    *total += row[i] * value;
                }
            }
        }
    }
    solve(sums)
}

/// Gauss's elimination with the largest pivot.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for k in 0..8 {
        let pivot = (k..8).max_by(|i, j| rows[*i][k].abs().total_cmp(&rows[*j][k].abs()))?;
        rows.swap(k, pivot);
        if rows[k][k].abs() < 1e-12 {
            return None;
        }
        let row = rows[k];
        for other in &mut rows[k + 1..] {
            let factor = other[k] / row[k];
            for (value, taken) in other.iter_mut().zip(row).skip(k) {
                *value -= factor * taken;
            }
        }
    }
    let mut solution = [0.0; 8];
    for k in (0..8).rev() {
        let known: f64 = (k + 1..8).map(|i| rows[k][i] * solution[i]).sum();
        solution[k] = (rows[k][8] - known) / rows[k][k];
    }
    Some(solution)
}

fn project(h: &[f64; 8], (x, y): (f64, f64)) -> (f64, f64) {
    let w = h[6] * x + h[7] * y + 1.0;
    ((h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a plane or a bump, turned by an angle and seen from a metre away.
    fn seen(bump: f32, yaw: f32) -> Vec<Point> {
        let mut points = Vec::new();
        for y in -4..=4_i8 {
            for x in -4..=4_i8 {
                let (x, y) = (f32::from(x) * 0.02, f32::from(y) * 0.02);
                let z = bump * (x * x + y * y);
                let (turned, depth) = (x * yaw.cos() + z * yaw.sin(), 1.0 + z * yaw.cos() - x * yaw.sin());
                points.push(Point { x: 600.0 * turned / depth, y: 600.0 * y / depth });
            }
        }
        points
    }

    #[test]
    fn a_plane_that_is_tilted_leaves_nothing_and_a_bump_does() {
        let flat = residue(&seen(0.0, 0.0), &seen(0.0, 0.5)).expect("a plane");
        assert!(flat < 1e-3, "{flat}");
        let deep = residue(&seen(5.0, 0.0), &seen(5.0, 0.15)).expect("a bump");
        assert!(deep > 0.5, "{deep}");
    }

    #[test]
    fn too_few_points_and_points_on_a_line_say_nothing() {
        let few = &seen(0.0, 0.0)[..8];
        assert!(residue(few, few).is_none());
        let line: Vec<Point> = (0..20_i8).map(|k| Point { x: f32::from(k), y: 2.0 }).collect();
        assert!(residue(&line, &line).is_none());
    }
}
