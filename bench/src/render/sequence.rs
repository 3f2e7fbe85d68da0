//! Somebody in front of the lens, or their photo in somebody's hand, for a few seconds.

use std::f32::consts::TAU;
use std::time::Duration;

use anyhow::Result;
use models::Frame;
use models::geometry::Point;
use models::mesh::Landmarks;

use super::chance::Chance;
use super::head::{Expression, FACE, Head};
use super::scene::{Corner, HEIGHT, Picture, Pose, Sheet, WIDTH};

/// Frames of a sequence, at fifteen a second.
pub const FRAMES: usize = 45;
const RATE: f32 = 15.0;

/// Who or what is in front of the lens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person.
    Alive,
    /// A person who turns their head because the light asks them to.
    Asked,
    /// A photo on paper.
    Print,
    /// A photo on paper that is bent to and fro.
    Bent,
    /// A photo on a screen, with moiré, banding and glare.
    Screen,
    /// A film of the person on a screen.
    Film,
}

impl Kind {
    /// Whether it is a person.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Alive | Self::Asked)
    }

    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Asked => "asked",
            Self::Print => "print",
            Self::Bent => "bent",
            Self::Screen => "screen",
            Self::Film => "film",
        }
    }
}

/// Something that goes to and fro: two sines of chance frequency and phase.
#[derive(Clone, Copy)]
struct Sway {
    reach: f32,
    rates: [f32; 2],
    phases: [f32; 2],
}

impl Sway {
    fn new(chance: &mut Chance, reach: f32, slow: f32, fast: f32) -> Self {
        Self {
            reach,
            rates: [chance.between(slow, fast), chance.between(slow, fast) * 2.3],
            phases: [chance.between(0.0, TAU), chance.between(0.0, TAU)],
        }
    }

    fn at(&self, s: f32) -> f32 {
        let sine = |k: usize| (TAU * self.rates[k] * s + self.phases[k]).sin();
        self.reach * (0.75 * sine(0) + 0.25 * sine(1))
    }
}

/// How something moves.
struct Motion {
    yaw: Sway,
    pitch: Sway,
    roll: Sway,
    aside: Sway,
    height: Sway,
    /// Metres from the lens, at the start and at the end.
    way: (f32, f32),
    tilt: (f32, f32),
}

impl Motion {
    fn new(chance: &mut Chance, yaw: f32, pitch: f32, tilt: f32) -> Self {
        let degrees = |value: f32| value.to_radians();
        Self {
            yaw: Sway::new(chance, degrees(yaw), 0.2, 0.6),
            pitch: Sway::new(chance, degrees(pitch), 0.2, 0.6),
            roll: Sway::new(chance, degrees(4.0), 0.2, 0.5),
            aside: Sway::new(chance, 0.05, 0.15, 0.5),
            height: Sway::new(chance, 0.02, 0.3, 0.9),
            way: (chance.between(0.7, 1.0), chance.between(0.5, 0.8)),
            tilt: (degrees(chance.between(-tilt, tilt)), degrees(chance.between(-tilt, tilt))),
        }
    }

    fn pose(&self, s: f32, pivot: f32) -> Pose {
        let share = s * RATE / FRAMES as f32;
        let distance = self.way.0 + (self.way.1 - self.way.0) * share;
        Pose {
            yaw: self.yaw.at(s) + self.tilt.0,
            pitch: self.pitch.at(s) + self.tilt.1,
            roll: self.roll.at(s),
            place: [self.aside.at(s), self.height.at(s), distance],
            pivot,
        }
    }
}

/// What a face does.
struct Life {
    blinks: Vec<f32>,
    talks: bool,
    tongue: Sway,
}

impl Life {
    fn new(chance: &mut Chance) -> Self {
        let mut blinks = Vec::new();
        let mut at = chance.between(0.0, 4.0);
        while at < FRAMES as f32 / RATE {
            blinks.push(at);
            at += chance.between(1.5, 5.0);
        }
        Self { blinks, talks: chance.between(0.0, 1.0) < 0.3, tongue: Sway::new(chance, 0.5, 1.5, 3.0) }
    }

    fn at(&self, s: f32) -> Expression {
        // A blink takes a quarter of a second, its middle third with the eyes shut.
        let shut = |blink: &f32| (1.5 - (s - blink - 0.125).abs() / 0.125 * 1.5).clamp(0.0, 1.0);
        let open = if self.talks { (self.tongue.at(s) + 0.4).clamp(0.0, 1.0) } else { 0.0 };
        Expression { shut: self.blinks.iter().map(shut).fold(0.0, f32::max), open }
    }
}

/// What a screen and a lens make of a picture.
struct Glass {
    moire: f32,
    pitch: f32,
    angle: f32,
    banding: f32,
    period: f32,
    glare: f32,
    spot: Point,
    lift: f32,
}

impl Glass {
    fn screen(chance: &mut Chance) -> Self {
        Self {
            moire: chance.between(2.0, 10.0),
            pitch: chance.between(0.000_5, 0.001_5),
            angle: chance.between(-0.1, 0.1),
            banding: chance.between(0.0, 0.08),
            period: chance.between(60.0, 200.0),
            glare: chance.between(0.0, 120.0),
            spot: Point { x: chance.between(0.3, 0.7), y: chance.between(0.3, 0.7) },
            lift: chance.between(5.0, 20.0),
        }
    }

    fn paper(chance: &mut Chance) -> Self {
        Self {
            moire: 0.0,
            banding: 0.0,
            glare: chance.between(0.0, 30.0),
            lift: chance.between(5.0, 25.0),
            ..Self::screen(chance)
        }
    }

    /// `metres` is where on the screen, `share` where on the picture (0 to 1), `pose` how it is held.
    fn shade(&self, colour: [f32; 3], metres: Point, share: Point, pose: &Pose) -> [f32; 3] {
        let across = metres.x * self.angle.cos() + metres.y * self.angle.sin();
        let spot = Point { x: self.spot.x - pose.yaw * 2.0, y: self.spot.y - pose.pitch * 2.0 };
        let glare = self.glare * (-(share.distance(spot) / 0.15).powi(2)).exp();
        std::array::from_fn(|c| {
            let stripes = (TAU * (across / self.pitch + c as f32 / 3.0)).sin();
            let rows = (TAU * metres.y / self.pitch).sin();
            colour[c] * 0.88 + self.lift + self.moire * (0.7 * stripes + 0.3 * rows) + glare
        })
    }
}

/// A sequence of frames.
pub struct Sequence {
    kind: Kind,
    chance: Chance,
    head: Head,
    texture: Picture,
    motion: Motion,
    life: Life,
    filmed: Motion,
    glass: Glass,
    bend: Sway,
    room: Picture,
    light: f32,
    extent: f32,
}

impl Sequence {
    /// The same seed gives the same sequence.
    pub fn new(kind: Kind, photo: &Frame, face: &Landmarks, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let texture = Picture {
            width: photo.width(),
            height: photo.height(),
            rgb: photo.rgb().iter().map(|value| f32::from(*value)).collect(),
        };
        let head_motion = |chance: &mut Chance| {
            let (yaw, pitch) = (chance.between(4.0, 16.0), chance.between(1.0, 6.0));
            Motion::new(chance, yaw, pitch, 3.0)
        };
        let motion = match kind {
            Kind::Alive => head_motion(&mut chance),
            Kind::Asked => {
                let yaw = chance.between(20.0, 35.0);
                Motion::new(&mut chance, yaw, 4.0, 3.0)
            }
            _ => {
                let (yaw, pitch) = (chance.between(0.0, 25.0), chance.between(0.0, 20.0));
                Motion::new(&mut chance, yaw, pitch, 10.0)
            }
        };
        Self {
            kind,
            head: Head::new(&texture, face),
            texture,
            motion,
            life: Life::new(&mut chance),
            filmed: head_motion(&mut chance),
            glass: match kind {
                Kind::Screen | Kind::Film => Glass::screen(&mut chance),
                _ => Glass::paper(&mut chance),
            },
            bend: Sway::new(&mut chance, 4.0, 0.3, 0.8),
            room: room(&mut chance),
            light: chance.between(0.6, 1.1),
            extent: chance.between(1.3, 2.2),
            chance,
        }
    }

    /// Frame `n`.
    pub fn frame(&mut self, n: usize) -> Result<Frame> {
        let s = n as f32 / RATE;
        let mut canvas = self.room.clone();
        if self.kind.is_alive() {
            let pose = self.motion.pose(s, 0.1);
            self.head.with(self.life.at(s)).draw(&pose, &self.texture, &|colour, _| colour, &mut canvas);
        } else {
            self.hold(s, &mut canvas);
        }
        let chance = &mut self.chance;
        let light = self.light;
        let rgb =
            canvas.rgb.iter().map(|v| (v * light + chance.noise() * 3.0).clamp(0.0, 255.0) as u8).collect();
        Ok(Frame::new(WIDTH, HEIGHT, rgb, Duration::from_secs_f32(s))?)
    }

    /// Holds a picture to the lens.
    fn hold(&self, s: f32, canvas: &mut Picture) {
        let (picture, middle, scale) = if self.kind == Kind::Film {
            let mut film = self.room.clone();
            let pose = self.filmed.pose(s, 0.1);
            self.head.with(self.life.at(s)).draw(&pose, &self.texture, &|colour, _| colour, &mut film);
            let still = self.filmed.pose(0.0, 0.1);
            (film, Point { x: WIDTH as f32 / 2.0, y: HEIGHT as f32 / 2.0 }, still.place[2] / 600.0)
        } else {
            (self.texture.clone(), self.head.middle(), self.head.scale())
        };
        let bend = if self.kind == Kind::Bent { self.bend.at(s) } else { 0.0 };
        let sheet = sheet(&picture, middle, scale, self.extent * FACE / 2.0 * 1.5, bend);
        let pose = self.motion.pose(s, 0.0);
        let size = (picture.width as f32, picture.height as f32);
        let shade = |colour: [f32; 3], point: Point| {
            let metres = Point { x: point.x * scale, y: point.y * scale };
            let share = Point { x: point.x / size.0, y: point.y / size.1 };
            let row = (TAU * (point.y / self.glass.period + s * 1.7)).cos();
            let dark = 1.0 - self.glass.banding * (0.5 + 0.5 * row);
            self.glass.shade(colour, metres, share, &pose).map(|value| value * dark)
        };
        sheet.draw(&pose, &picture, &shade, canvas);
    }
}

/// A flat sheet, or one bent about an upright axis with `bend` as its curvature (one over metres).
fn sheet(picture: &Picture, middle: Point, scale: f32, reach: f32, bend: f32) -> Sheet {
    const CELLS: usize = 16;
    let mut corners = Vec::new();
    for y in 0..=CELLS {
        for x in 0..=CELLS {
            let place = |k: usize| (k as f32 / CELLS as f32 * 2.0 - 1.0) * reach;
            let (u, v) = (place(x), place(y));
            let texture = Point { x: middle.x + u / scale, y: middle.y + v / scale };
            let inside = (0.0..picture.width as f32).contains(&texture.x)
                && (0.0..picture.height as f32).contains(&texture.y);
            let (flat, back) = if bend.abs() < 1e-3 {
                (u, 0.0)
            } else {
                ((u * bend).sin() / bend, (1.0 - (u * bend).cos()) / bend)
            };
            let opaque = if inside { 1.0 } else { 0.0 };
            corners.push(Corner { place: [flat, v, back], texture, turns: 1.0, opaque });
        }
    }
    let mut triangles = Vec::new();
    for y in 0..CELLS {
        for x in 0..CELLS {
            let k = y * (CELLS + 1) + x;
            triangles.push([k, k + 1, k + CELLS + 1]);
            triangles.push([k + 1, k + CELLS + 2, k + CELLS + 1]);
        }
    }
    Sheet { corners, triangles }
}

/// A room: a wall with light from one side and some edges.
fn room(chance: &mut Chance) -> Picture {
    let mut wall = Picture::plain(WIDTH, HEIGHT, 0.0);
    let (base, slope) = (chance.between(60.0, 150.0), chance.between(-40.0, 40.0));
    let edges = [chance.between(0.0, 640.0), chance.between(0.0, 640.0), chance.between(0.0, 480.0)];
    for (at, pixel) in wall.rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = ((at % WIDTH) as f32, (at / WIDTH) as f32);
        let mut value = base + slope * (x / WIDTH as f32 - 0.5);
        value += if x > edges[0] { 15.0 } else { 0.0 } - if x > edges[1] { 25.0 } else { 0.0 };
        value += if y > edges[2] { -20.0 } else { 0.0 };
        pixel.fill(value);
    }
    wall
}
