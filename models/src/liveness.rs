//! Whether a face is a person's, or a picture that somebody holds to the lens.
//!
//! A picture is flat. Moved or tilted, all of it changes as a plane does; a head that turns, talks or
//! comes nearer does not. Both the mesh and pieces of skin must have moved so, in several frames: the
//! mesh alone may guess depth into a picture. Who stands quite still is a person once they blinked
//! twice. A screen's pattern over the face speaks against one, and so may a model (see
//! [`crate::liveness_model`]).
//!
//! What this can't tell: a film of the person on a good screen, a mask, a head made of paper, two photos
//! of a person, from the front and from the side, one put before the other; for blinks, a photo with holes
//! for the eyes. How often
//! it is wrong was measured on rendered sequences alone (`liveness` in `bench`).

mod blink;
mod plane;
mod screen_pattern;
mod skin;

use std::collections::VecDeque;

pub(crate) use crate::liveness::skin::Skin;

use serde::Deserialize;

use crate::geometry::Point;
use crate::liveness::blink::Blinks;
use crate::liveness::screen_pattern::ScreenPattern;
use crate::mesh::{Landmarks, POINTS};

/// What the best plane leaves unexplained in a picture, in widths of the face: of 180 pictures that
/// were moved and tilted 95 % left less than .0125 in the mesh and .0079 in the skin, of 60 heads that
/// turned by 4 to 16 degrees 95 % left more than .0152 and .0146.
const MESH: f32 = 0.0112;
const SKIN: f32 = 0.009;
/// Frames that must agree, among those of the last three seconds at fifteen frames a second.
const AGREEING: usize = 3;
const REMEMBERED: usize = 45;
/// Blinks that make a person of somebody who stands still.
const BLINKS: f32 = 2.0;
/// Shapes that are averaged: the mesh trembles.
const AVERAGED: usize = 3;
/// Every so many points of the mesh counts.
const EVERY: usize = 4;
/// A face that came nearer by this factor is compared with itself anew.
const NEARER: f32 = 1.6;
/// Frames in which too little skin was found again, until it is compared with a later frame.
const LOST: u32 = 3;
/// What a challenge takes: a clear turn of the head to the side, in degrees, and so much more evidence.
const TURN: f32 = 15.0;
const CLEAR: f32 = 1.5;
/// Frames before which there is no result: a screen's pattern takes some to be seen.
const WATCHED: usize = 8;
/// Scores of a model that are averaged.
const MODEL_SCORES: usize = 2;

/// What a face must show before it may be recognised.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing: a photo held to the lens is taken for the person.
    #[default]
    Off,
    /// That it is a person's, as it moves in passing.
    Passive,
    /// A turn of the head on request.
    Challenge,
}

impl Policy {
    /// Whether what was seen is enough.
    pub fn is_met(self, liveness: &Liveness) -> bool {
        match self {
            Self::Off => true,
            Self::Passive => liveness.is_alive(),
            Self::Challenge => liveness.has_turned(),
        }
    }
}

/// The evidence for a person so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Liveness {
    /// How much moved as no picture does, or blinked: from 1 on it was a person.
    pub score: f32,
    /// How much of that is movement.
    pub moved: f32,
    /// How far the head turned from one side to the other in the last frames, in degrees.
    pub turned: f32,
    /// The pattern of a screen lies over the face.
    pub screen: bool,
    /// Whether a model takes the face for a person's; `None` without a model.
    pub model_accepts: Option<bool>,
}

impl Liveness {
    /// Whether this was a person.
    pub fn is_alive(&self) -> bool {
        self.score >= 1.0 && self.is_unsuspected()
    }

    /// Whether the head turned as no picture can. Blinks do not count here.
    pub fn has_turned(&self) -> bool {
        self.moved >= CLEAR && self.turned >= TURN && self.is_unsuspected()
    }

    fn is_unsuspected(&self) -> bool {
        !self.screen && self.model_accepts != Some(false)
    }
}

/// The liveness of one face, frame by frame.
#[derive(Default)]
pub(crate) struct LivenessTracker {
    /// What later frames are compared with.
    reference: Option<(Vec<Point>, Skin, f32)>,
    /// The face as it is now.
    pub skin: Skin,
    shapes: VecDeque<Vec<Point>>,
    evidence: VecDeque<f32>,
    lost: u32,
    frames: usize,
    /// Degrees.
    yaw: VecDeque<f32>,
    blinks: Blinks,
    screen_pattern: ScreenPattern,
    /// Whether there is a model, its last scores, and from which mean on they mean a person.
    has_model: bool,
    model_scores: VecDeque<f32>,
    threshold: f32,
    /// Over all frames.
    result: Liveness,
}

impl LivenessTracker {
    /// Adds a frame, whose skin was cut out into `self.skin`. `has_model`: a model scores the face, too.
    pub fn update(&mut self, face: &Landmarks, has_model: bool) {
        self.add(face, has_model);
        self.result = self.summary();
    }

    fn add(&mut self, face: &Landmarks, has_model: bool) {
        (self.frames, self.has_model) = (self.frames + 1, has_model);
        self.blinks.update(face);
        self.screen_pattern.update(&self.skin, self.frames);
        remember(&mut self.yaw, face.yaw().to_degrees());
        let Some(shape) = self.shape(face) else { return };
        let width = face.bounds().width();
        let Some((first, skin, narrow)) = &self.reference else {
            self.reference = Some((shape, self.skin.clone(), width));
            return;
        };
        let (from, to) = skin.follow(&self.skin);
        let parts = plane::residue(first, &shape).zip(plane::residue(&from, &to));
        self.lost = if parts.is_some() { 0 } else { self.lost + 1 };
        if self.lost > LOST || width > narrow * NEARER {
            (self.lost, self.reference) = (0, Some((shape, self.skin.clone(), width)));
        }
        if let Some((mesh, skin)) = parts {
            remember(&mut self.evidence, (mesh / MESH).min(skin / SKIN));
        }
    }

    /// The mean of the last shapes: places in widths of the face, from its middle.
    fn shape(&mut self, face: &Landmarks) -> Option<Vec<Point>> {
        let bounds = face.bounds();
        let (middle, width) = (bounds.centre(), bounds.width().max(1.0));
        let place = |p: Point| Point { x: (p.x - middle.x) / width, y: (p.y - middle.y) / width };
        if self.shapes.len() == AVERAGED {
            self.shapes.pop_front();
        }
        self.shapes.push_back((0..POINTS).step_by(EVERY).map(|k| place(face.point(k))).collect());
        if self.shapes.len() < AVERAGED {
            return None;
        }
        let mean = |k: usize| {
            let sum =
                self.shapes.iter().fold((0.0, 0.0), |sum, shape| (sum.0 + shape[k].x, sum.1 + shape[k].y));
            Point { x: sum.0 / AVERAGED as f32, y: sum.1 / AVERAGED as f32 }
        };
        Some((0..self.shapes[0].len()).map(mean).collect())
    }

    /// Drops the pictures of a face that is known to be alive.
    pub fn drop_pictures(&mut self) {
        self.reference = None;
        self.skin = Skin::default();
        self.shapes.clear();
    }

    /// Adds a model's score of a frame, and the score from which on the face is a person's.
    pub fn add_model_score(&mut self, score: f32, threshold: f32) {
        self.threshold = threshold;
        remember(&mut self.model_scores, score);
        self.result = self.summary();
    }

    /// Over all frames.
    pub fn liveness(&self) -> Liveness {
        self.result
    }

    fn summary(&self) -> Liveness {
        let mut evidence: Vec<f32> = self.evidence.iter().copied().collect();
        evidence.sort_by(|one, other| other.total_cmp(one));
        let watched = self.frames >= WATCHED;
        let moved = evidence.get(AGREEING - 1).copied().filter(|_| watched).unwrap_or(0.0);
        let blinked = self.blinks.count() as f32 / BLINKS;
        let count = self.model_scores.len();
        let score = self.model_scores.iter().sum::<f32>() / count.max(1) as f32;
        Liveness {
            score: moved.max(blinked),
            moved,
            turned: span(&self.yaw),
            screen: self.screen_pattern.is_seen(),
            model_accepts: self.has_model.then_some(count >= MODEL_SCORES && score >= self.threshold),
        }
    }
}

/// Adds to the last values.
fn remember(values: &mut VecDeque<f32>, value: f32) {
    if values.len() == REMEMBERED {
        values.pop_front();
    }
    values.push_back(value);
}

fn span(values: &VecDeque<f32>) -> f32 {
    let high = values.iter().copied().fold(f32::MIN, f32::max);
    let low = values.iter().copied().fold(f32::MAX, f32::min);
    (high - low).max(0.0)
}
