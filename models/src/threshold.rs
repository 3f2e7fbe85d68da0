//! Which distance means "the same person", for a gallery of a given size.
//!
//! A threshold that is right for comparing two photos is wrong for a gallery: among N people a
//! stranger has N chances of resembling somebody. So the threshold falls as the gallery grows, such
//! that a stranger is taken for somebody in about one of a hundred looks: FAR = 0.01 / N.

use crate::manifest::OperatingPoint;

/// How often a stranger may be taken for somebody at a single look.
const FALSE_IDENTIFICATION: f64 = 0.01;

/// An embedder's measured operating points.
#[derive(Clone, Debug)]
pub struct Thresholds(Vec<OperatingPoint>);

impl Thresholds {
    /// `points` as a manifest holds them: at least two, the largest `far` first.
    pub fn new(points: Vec<OperatingPoint>) -> Self {
        Self(points)
    }

    /// The distance for a gallery of `people`; smaller for more people.
    pub fn for_gallery(&self, people: usize) -> f32 {
        self.at(FALSE_IDENTIFICATION / people.max(1) as f64)
    }

    /// The distance for a false-accept rate: between measured points along the logarithm of the
    /// rate, beyond the last one along its last stretch, above the first one its own.
    pub fn at(&self, far: f64) -> f32 {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return 0.0 };
        if far >= first.far {
            return first.distance;
        }
        let end = self.0.iter().position(|point| point.far <= far).unwrap_or(self.0.len() - 1).max(1);
        let (from, to) = (self.0[end - 1], self.0[end]);
        let along = (far.log10() - from.far.log10()) / (to.far.log10() - from.far.log10());
        let distance = f64::from(from.distance) + along * f64::from(to.distance - from.distance);
        // Far beyond what was measured nothing is recognised rather than somebody wrongly.
        if far < last.far * 1e-3 { 0.0 } else { distance.max(0.0) as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds() -> Thresholds {
        let points = [(1e-2, 0.42), (1e-3, 0.38), (1e-4, 0.34), (1e-5, 0.32)];
        Thresholds::new(points.map(|(far, distance)| OperatingPoint { far, distance }).to_vec())
    }

    #[test]
    fn measured_points_are_kept_and_between_them_is_between() {
        let t = thresholds();
        assert!((t.at(1e-3) - 0.38).abs() < 1e-6);
        assert!((t.at(1e-5) - 0.32).abs() < 1e-6);
        let between = t.at(10.0_f64.powf(-2.5));
        assert!((between - 0.40).abs() < 1e-4, "{between}");
        assert!((t.at(0.5) - 0.42).abs() < 1e-6);
        assert!((t.at(1e-6) - 0.30).abs() < 1e-4);
    }

    #[test]
    fn more_people_mean_a_stricter_threshold() {
        let t = thresholds();
        let by_size: Vec<f32> = [1, 2, 10, 50, 200, 1000, 10_000, 100_000].map(|n| t.for_gallery(n)).to_vec();
        assert!(by_size.windows(2).all(|pair| pair[1] < pair[0]), "{by_size:?}");
        assert!((t.for_gallery(10) - 0.38).abs() < 1e-6);
        assert!(t.for_gallery(0) <= 0.42);
    }
}
