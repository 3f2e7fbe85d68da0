//! Draws what a camera would see: textured sheets of triangles, turned, moved and projected.

use models::geometry::Point;

/// Pixels of a frame.
pub const WIDTH: usize = 640;
/// Rows of a frame.
pub const HEIGHT: usize = 480;
/// Focal length in pixels: a lens of 56 degrees.
const FOCAL: f32 = 600.0;

/// Packed RGB.
#[derive(Clone)]
pub struct Picture {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row after row, 0 to 255.
    pub rgb: Vec<f32>,
}

impl Picture {
    /// One colour.
    pub fn plain(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, rgb: vec![value; width * height * 3] }
    }

    /// The colour at a point; beyond the edge that of the edge.
    pub fn at(&self, point: Point) -> [f32; 3] {
        let x = point.x.clamp(0.0, (self.width - 1) as f32 - 0.01);
        let y = point.y.clamp(0.0, (self.height - 1) as f32 - 0.01);
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let tap = |dx: usize, dy: usize, c: usize| self.rgb[((top + dy) * self.width + left + dx) * 3 + c];
        std::array::from_fn(|c| {
            let upper = tap(0, 0, c) * (1.0 - fx) + tap(1, 0, c) * fx;
            let lower = tap(0, 1, c) * (1.0 - fx) + tap(1, 1, c) * fx;
            upper * (1.0 - fy) + lower * fy
        })
    }
}

/// A corner of a sheet's triangles.
#[derive(Clone, Copy)]
pub struct Corner {
    /// Metres: to the right, downwards and away from the camera, as seen from the sheet's middle.
    pub place: [f32; 3],
    /// Pixels of the texture.
    pub texture: Point,
    /// How far it turns with the rest: 1 for a head, 0 for the shoulders below it.
    pub turns: f32,
    /// How much of it is seen, 0 to 1.
    pub opaque: f32,
}

/// A textured surface.
#[derive(Clone)]
pub struct Sheet {
    /// The corners.
    pub corners: Vec<Corner>,
    /// Which of them make triangles.
    pub triangles: Vec<[usize; 3]>,
}

/// Where a sheet is: radians and metres.
#[derive(Clone, Copy, Default)]
pub struct Pose {
    /// To the side.
    pub yaw: f32,
    /// Up and down.
    pub pitch: f32,
    /// In the picture's plane.
    pub roll: f32,
    /// From the lens's axis to the right and downwards, and away from the lens.
    pub place: [f32; 3],
    /// How far behind the sheet's middle it turns about.
    pub pivot: f32,
}

impl Pose {
    fn apply(&self, corner: &Corner) -> [f32; 3] {
        let (yaw, pitch, roll) =
            (self.yaw * corner.turns, self.pitch * corner.turns, self.roll * corner.turns);
        let [x, y, z] = corner.place;
        let z = z - self.pivot;
        let (x, z) = (x * yaw.cos() + z * yaw.sin(), z * yaw.cos() - x * yaw.sin());
        let (y, z) = (y * pitch.cos() - z * pitch.sin(), z * pitch.cos() + y * pitch.sin());
        let (x, y) = (x * roll.cos() - y * roll.sin(), y * roll.cos() + x * roll.sin());
        [x + self.place[0], y + self.place[1], z + self.pivot + self.place[2]]
    }
}

fn project([x, y, z]: [f32; 3]) -> Point {
    let z = z.max(0.05);
    Point { x: FOCAL * x / z + WIDTH as f32 / 2.0, y: FOCAL * y / z + HEIGHT as f32 / 2.0 }
}

impl Sheet {
    /// Draws the sheet onto `canvas`. `shade` turns the texture's colour into what is seen, given the
    /// texture's point.
    pub fn draw(
        &self,
        pose: &Pose,
        texture: &Picture,
        shade: &dyn Fn([f32; 3], Point) -> [f32; 3],
        canvas: &mut Picture,
    ) {
        let placed: Vec<[f32; 3]> = self.corners.iter().map(|corner| pose.apply(corner)).collect();
        let mut order: Vec<&[usize; 3]> = self.triangles.iter().collect();
        let far = |triangle: &[usize; 3]| triangle.iter().map(|k| placed[*k][2]).sum::<f32>();
        order.sort_by(|one, other| far(other).total_cmp(&far(one)));
        for triangle in order {
            let seen = triangle.map(|k| project(placed[k]));
            self.fill(&seen, triangle, texture, shade, canvas);
        }
    }

    fn fill(
        &self,
        seen: &[Point; 3],
        triangle: &[usize; 3],
        texture: &Picture,
        shade: &dyn Fn([f32; 3], Point) -> [f32; 3],
        canvas: &mut Picture,
    ) {
        let [a, b, c] = *seen;
        let area = (b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y);
        if area.abs() < 1e-6 {
            return;
        }
        let span = |values: [f32; 3], end: usize| {
            let low = values.into_iter().fold(f32::MAX, f32::min).max(0.0) as usize;
            let high = values.into_iter().fold(f32::MIN, f32::max).ceil().max(0.0) as usize;
            low..(high + 1).min(end)
        };
        let corners = triangle.map(|k| &self.corners[k]);
        for y in span([a.y, b.y, c.y], HEIGHT) {
            for x in span([a.x, b.x, c.x], WIDTH) {
                let (px, py) = (x as f32, y as f32);
                let wb = ((px - a.x) * (c.y - a.y) - (c.x - a.x) * (py - a.y)) / area;
                let wc = ((b.x - a.x) * (py - a.y) - (px - a.x) * (b.y - a.y)) / area;
                let shares = [1.0 - wb - wc, wb, wc];
                if shares.iter().any(|share| *share < 0.0) {
                    continue;
                }
                let mix = |value: &dyn Fn(&Corner) -> f32| -> f32 {
                    corners.iter().zip(shares).map(|(corner, share)| value(corner) * share).sum()
                };
                let point = Point { x: mix(&|c| c.texture.x), y: mix(&|c| c.texture.y) };
                let opaque = mix(&|c| c.opaque);
                let colour = shade(texture.at(point), point);
                let at = (y * WIDTH + x) * 3;
                for (old, new) in canvas.rgb[at..at + 3].iter_mut().zip(colour) {
                    *old += (new - *old) * opaque;
                }
            }
        }
    }
}
