//! A head made of a photo and the mesh on it: it turns, blinks and talks.

use models::geometry::Point;
use models::mesh::{Landmarks, POINTS};

use super::scene::{Corner, Picture, Sheet};

/// A face's width in metres.
pub const FACE: f32 = 0.15;

/// The mesh's outline.
const OVAL: [usize; 36] = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
];
/// Points of the upper lids and those of the lower ones that they meet.
const LIDS: [(usize, usize); 14] = [
    (246, 7),
    (161, 163),
    (160, 144),
    (159, 145),
    (158, 153),
    (157, 154),
    (173, 155),
    (466, 249),
    (388, 390),
    (387, 373),
    (386, 374),
    (385, 380),
    (384, 381),
    (398, 382),
];
/// The fold above each lid follows it half the way.
const FOLDS: [(usize, usize); 14] = [
    (247, 7),
    (30, 163),
    (29, 144),
    (27, 145),
    (28, 153),
    (56, 154),
    (190, 155),
    (467, 249),
    (260, 390),
    (259, 373),
    (257, 374),
    (258, 380),
    (286, 381),
    (414, 382),
];
/// The lower lip, outer and inner.
const LOWER_LIP: [usize; 18] =
    [146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324];
const MOUTH: (usize, usize) = (61, 291);
const CHIN: usize = 152;

/// How far eyes are shut and the mouth is open, 0 to 1.
#[derive(Clone, Copy, Default)]
pub struct Expression {
    /// Eyes shut.
    pub shut: f32,
    /// Mouth open.
    pub open: f32,
}

/// A photo's head at rest.
pub struct Head {
    rest: Sheet,
    /// Metres a pixel of the photo.
    scale: f32,
    middle: Point,
}

impl Head {
    /// Puts the photo on its mesh; what lies around the face goes back as a head does, and fades out.
    pub fn new(photo: &Picture, face: &Landmarks) -> Self {
        let bounds = face.bounds();
        let (middle, scale) = (bounds.centre(), FACE / bounds.width());
        let corner = |point: Point, depth: f32, turns: f32, opaque: f32| Corner {
            place: [(point.x - middle.x) * scale, (point.y - middle.y) * scale, depth * scale],
            texture: point,
            turns,
            opaque,
        };
        let mut corners: Vec<Corner> =
            (0..POINTS).map(|k| corner(face.point(k), face.depth(k), 1.0, 1.0)).collect();
        for (reach, back, turns, opaque) in
            [(1.15, 0.05, 1.0, 1.0), (1.35, 0.2, 0.9, 1.0), (1.6, 0.3, 0.5, 0.9), (2.0, 0.3, 0.0, 0.0)]
        {
            for k in OVAL {
                let edge = face.point(k);
                let point = Point {
                    x: middle.x + (edge.x - middle.x) * reach,
                    y: middle.y + (edge.y - middle.y) * reach,
                };
                corners.push(corner(point, face.depth(k) + back * bounds.width(), turns, opaque));
            }
        }
        let inside = |c: &Corner| {
            (0.0..photo.width as f32).contains(&c.texture.x)
                && (0.0..photo.height as f32).contains(&c.texture.y)
        };
        for corner in corners.iter_mut().skip(POINTS).filter(|corner| !inside(corner)) {
            corner.opaque = 0.0;
        }
        let flat: Vec<delaunator::Point> = corners
            .iter()
            .map(|c| delaunator::Point { x: f64::from(c.texture.x), y: f64::from(c.texture.y) })
            .collect();
        let triangles =
            delaunator::triangulate(&flat).triangles.chunks_exact(3).map(|t| [t[0], t[1], t[2]]).collect();
        Self { rest: Sheet { corners, triangles }, scale, middle }
    }

    /// The head with an expression.
    pub fn with(&self, expression: Expression) -> Sheet {
        let mut sheet = self.rest.clone();
        for (pairs, share) in [(LIDS, 1.0), (FOLDS, 0.4)] {
            for (upper, lower) in pairs {
                let to = self.rest.corners[lower].place;
                for (value, target) in sheet.corners[upper].place.iter_mut().zip(to) {
                    *value += (target - *value) * expression.shut * share;
                }
            }
        }
        self.open_mouth(&mut sheet, expression.open);
        sheet
    }

    fn open_mouth(&self, sheet: &mut Sheet, open: f32) {
        let at = |k: usize| self.rest.corners[k].place;
        let (left, right) = (at(MOUTH.0), at(MOUTH.1));
        let (line, half) = (f32::midpoint(left[1], right[1]), (right[0] - left[0]) / 2.0);
        let drop = open * 0.12 * (at(CHIN)[1] - line + half);
        for (k, corner) in sheet.corners.iter_mut().enumerate().take(POINTS) {
            let aside = (self.rest.corners[k].place[0] - f32::midpoint(left[0], right[0])) / half;
            let narrow = (1.0 - (aside / 1.8).powi(2)).max(0.0);
            let below = self.rest.corners[k].place[1] - line;
            if LOWER_LIP.contains(&k) || below > 0.2 * half {
                corner.place[1] += drop * narrow;
            }
        }
    }

    /// The face's middle in the photo.
    pub fn middle(&self) -> Point {
        self.middle
    }

    /// Metres a pixel of the photo.
    pub fn scale(&self) -> f32 {
        self.scale
    }
}
