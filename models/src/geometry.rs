//! Points, boxes and the similarity transform that lays a face onto a template.

/// A point in pixels: x to the right, y downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Pixels from the left edge.
    pub x: f32,
    /// Pixels from the top edge.
    pub y: f32,
}

impl Point {
    /// The distance to another point.
    pub fn distance(self, other: Self) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// An axis-aligned box in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left.
    pub x0: f32,
    /// Top.
    pub y0: f32,
    /// Right.
    pub x1: f32,
    /// Bottom.
    pub y1: f32,
}

impl Rect {
    /// Width in pixels.
    pub fn width(&self) -> f32 {
        self.x1 - self.x0
    }

    /// Height in pixels.
    pub fn height(&self) -> f32 {
        self.y1 - self.y0
    }

    /// The middle.
    pub fn centre(&self) -> Point {
        Point { x: f32::midpoint(self.x0, self.x1), y: f32::midpoint(self.y0, self.y1) }
    }

    /// The same box elsewhere.
    #[must_use]
    pub fn moved(&self, x: f32, y: f32) -> Self {
        Self { x0: self.x0 + x, y0: self.y0 + y, x1: self.x1 + x, y1: self.y1 + y }
    }

    /// The shared area over the joint area, from 0 to 1.
    pub fn overlap(&self, other: &Self) -> f32 {
        let shared = self.shared(other);
        let joint = self.area() + other.area() - shared;
        if joint > 0.0 { shared / joint } else { 0.0 }
    }

    /// The shared area over that of the smaller one, from 0 to 1.
    pub fn covering(&self, other: &Self) -> f32 {
        let smaller = self.area().min(other.area());
        if smaller > 0.0 { self.shared(other) / smaller } else { 0.0 }
    }

    fn shared(&self, other: &Self) -> f32 {
        let width = (self.x1.min(other.x1) - self.x0.max(other.x0)).max(0.0);
        let height = (self.y1.min(other.y1) - self.y0.max(other.y0)).max(0.0);
        width * height
    }

    fn area(&self) -> f32 {
        self.width() * self.height()
    }
}

/// Rotation, uniform scale and shift, no reflection:
/// `x' = a x - b y + tx`, `y' = b x + a y + ty`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Scale times the cosine of the rotation.
    pub a: f32,
    /// Scale times the sine of the rotation.
    pub b: f32,
    /// Shift to the right.
    pub tx: f32,
    /// Shift downwards.
    pub ty: f32,
}

impl Similarity {
    /// The least-squares similarity that takes `from` onto `to` (Umeyama without reflection).
    /// `None` where the points do not span anything.
    pub fn fit(from: &[Point], to: &[Point]) -> Option<Self> {
        let (mean_from, mean_to) = (mean(from)?, mean(to)?);
        let (mut norm, mut cos, mut sin) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (p, q) in from.iter().zip(to) {
            let (px, py) = (f64::from(p.x) - mean_from.0, f64::from(p.y) - mean_from.1);
            let (qx, qy) = (f64::from(q.x) - mean_to.0, f64::from(q.y) - mean_to.1);
            norm += px * px + py * py;
            cos += px * qx + py * qy;
            sin += px * qy - py * qx;
        }
        if norm < 1e-9 {
            return None;
        }
        let (a, b) = (cos / norm, sin / norm);
        if a.hypot(b) < 1e-9 {
            return None;
        }
        Some(Self {
            a: a as f32,
            b: b as f32,
            tx: (mean_to.0 - (a * mean_from.0 - b * mean_from.1)) as f32,
            ty: (mean_to.1 - (b * mean_from.0 + a * mean_from.1)) as f32,
        })
    }

    /// Turns by `-angle`, scales and moves so that `centre` lands in the middle of a square of
    /// `side` pixels.
    pub fn centred(centre: Point, angle: f32, scale: f32, side: f32) -> Self {
        let (a, b) = ((-angle).cos() * scale, (-angle).sin() * scale);
        Self {
            a,
            b,
            tx: side / 2.0 - (a * centre.x - b * centre.y),
            ty: side / 2.0 - (b * centre.x + a * centre.y),
        }
    }

    /// Followed by scaling about the point (`about`, `about`).
    #[must_use]
    pub fn scaled_about(&self, scale: f32, about: f32) -> Self {
        let shift = about * (1.0 - scale);
        Self {
            a: self.a * scale,
            b: self.b * scale,
            tx: self.tx * scale + shift,
            ty: self.ty * scale + shift,
        }
    }

    /// How much longer things get.
    pub fn scale(&self) -> f32 {
        self.a.hypot(self.b)
    }

    /// Where a point goes.
    pub fn apply(&self, p: Point) -> Point {
        Point { x: self.a * p.x - self.b * p.y + self.tx, y: self.b * p.x + self.a * p.y + self.ty }
    }

    /// The way back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let square = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / square, -self.b / square);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }
}

fn mean(points: &[Point]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    (!points.is_empty()).then(|| {
        (
            points.iter().map(|p| f64::from(p.x)).sum::<f64>() / n,
            points.iter().map(|p| f64::from(p.y)).sum::<f64>() / n,
        )
    })
}

/// Where a face is looked for: a middle, an angle and how long its longer side is, in the frame's
/// pixels and radians.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub(crate) centre: Point,
    pub(crate) roll: f32,
    pub(crate) longer: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(p: Point, q: Point) {
        assert!(p.distance(q) < 1e-3, "{p:?} {q:?}");
    }

    #[test]
    fn a_fit_finds_the_transform_and_its_inverse_undoes_it() {
        let truth = Similarity { a: 0.7, b: -0.4, tx: 12.0, ty: -3.0 };
        let from = [(0.0, 0.0), (30.0, 5.0), (10.0, 44.0), (-9.0, 13.0)].map(|(x, y)| Point { x, y });
        let to = from.map(|p| truth.apply(p));
        let fit = Similarity::fit(&from, &to).expect("points span a plane");
        for p in from {
            close(fit.apply(p), truth.apply(p));
            close(fit.inverse().apply(fit.apply(p)), p);
        }
    }

    #[test]
    fn points_on_one_spot_fit_nothing() {
        let spot = [Point { x: 3.0, y: 3.0 }; 4];
        assert!(Similarity::fit(&spot, &spot).is_none());
        assert!(Similarity::fit(&[], &[]).is_none());
    }

    #[test]
    fn overlap_is_a_share() {
        let one = Rect { x0: 0.0, y0: 0.0, x1: 10.0, y1: 10.0 };
        let half = Rect { x0: 5.0, ..one };
        assert!((one.overlap(&one) - 1.0).abs() < 1e-6);
        assert!((one.overlap(&half) - 0.5).abs() < 1e-6);
        assert!(one.overlap(&Rect { x0: 20.0, x1: 30.0, ..one }).abs() < 1e-6);
        assert!((one.covering(&half) - 1.0).abs() < 1e-6);
        assert!((half.covering(&half.moved(2.5, 0.0)) - 0.5).abs() < 1e-6);
        assert!(one.covering(&Rect { x1: 0.0, ..one }).abs() < 1e-6, "no area");
    }
}
