//! What a model file is, where it came from and how it is fed: one TOML beside each file.
//!
//! A manifest carries everything that differs between two models of one role, so that another
//! embedder (another input, normalisation, alignment template, threshold table) needs no code.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::geometry::Point;

/// What a model is for. Its manifest is `<role>.toml`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Finds faces of any size but those that fill the frame.
    Detector,
    /// Finds faces that fill the frame.
    DetectorNear,
    /// Places 468 points on a face.
    Mesh,
    /// Turns an aligned face into an embedding.
    Embedder,
    /// Turns it into more of an embedding, where the first is not sure; a folder may do without.
    EmbedderSecond,
    /// Tells people from pictures; a folder may do without.
    Liveness,
}

impl Role {
    fn file(self) -> &'static str {
        match self {
            Self::Detector => "detector.toml",
            Self::DetectorNear => "detector-near.toml",
            Self::Mesh => "mesh.toml",
            Self::Embedder => "embedder.toml",
            Self::EmbedderSecond => "embedder-second.toml",
            Self::Liveness => "liveness.toml",
        }
    }
}

/// The numbers that a tensor holds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 32-bit float.
    F32,
    /// Unsigned byte.
    Uint8,
    /// Signed byte.
    Int8,
}

/// The order of a pixel's channels in the input.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// The input: a square picture.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `[1, side, side, 3]`.
    pub shape: Vec<usize>,
    /// The numbers. Bytes are fed as they are (`int8`: less 128), floats as `pixel * scale + offset`.
    #[serde(rename = "type")]
    pub element: Element,
    /// Factor for each channel, in the order that is fed. For floats only.
    #[serde(default = "ones")]
    pub scale: [f32; 3],
    /// Summand for each channel, in the order that is fed. For floats only.
    #[serde(default)]
    pub offset: [f32; 3],
    /// Which channel comes first.
    #[serde(default)]
    pub order: Order,
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

impl Input {
    /// Pixels a side.
    pub fn side(&self) -> usize {
        self.shape[1]
    }
}

/// An output, found by its shape: its place in the file is not part of the contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// What it means to the code of the role, such as `boxes` or `scores`.
    pub name: String,
    /// All dimensions.
    pub shape: Vec<usize>,
    /// The numbers; bytes are turned into floats with the file's own quantization.
    #[serde(rename = "type")]
    pub element: Element,
}

/// One grid of a detector's anchors.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Cells a side.
    pub cells: usize,
    /// Anchors a cell.
    pub anchors: usize,
}

impl Grid {
    /// All its anchors. `None` for none, or too many to count.
    fn count(&self) -> Option<usize> {
        self.cells.checked_mul(self.cells)?.checked_mul(self.anchors).filter(|all| *all > 0)
    }
}

/// How a detector's output is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorSpec {
    /// The grids, in the order of the output's rows.
    pub grids: Vec<Grid>,
    /// A face from this score on (0 to 1).
    pub score: f32,
    /// Boxes that overlap by more than this share are one face.
    pub overlap: f32,
}

/// How the mesh is fed and read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshSpec {
    /// Side of the piece that is cut out, over the detection's longer side.
    pub margin: f32,
    /// A face from this presence on (0 to 1).
    pub presence: f32,
}

/// A mesh point and where it lies in the embedder's input.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplatePoint {
    /// Index of the mesh point, 0 to 467.
    pub mesh: usize,
    /// Pixels in the embedder's input: x, y.
    pub at: [f32; 2],
}

impl TemplatePoint {
    /// The place as a point.
    pub fn point(&self) -> Point {
        Point { x: self.at[0], y: self.at[1] }
    }
}

/// A measured operating point.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// The share of pairs of different people that are nearer than `distance`.
    pub far: f64,
    /// Euclidean distance between unit-length embeddings, 0 to 2.
    pub distance: f32,
}

/// How faces are aligned for the embedder, and which distances mean "the same person".
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderSpec {
    /// Mesh points and where they go.
    pub template: Vec<TemplatePoint>,
    /// Further from the mean of somebody's faces than this, a face is somebody else's.
    pub apart: f32,
    /// Measured operating points, the largest `far` first.
    pub thresholds: Vec<OperatingPoint>,
    /// How faces are looked for among many people.
    pub identification: IdentificationSpec,
}

/// What a second embedder adds to the first. Its `[embedder]` section has its own template, and the
/// thresholds and rules of both together.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondSpec {
    /// Its share of the similarity, 0.01 to 0.99.
    pub share: f32,
    /// It is asked where the nearest candidate's distance by the rules of the first embedder alone is
    /// nearer to the threshold than this, on either side.
    pub unsure: f32,
}

impl SecondSpec {
    fn check(self) -> std::result::Result<(), String> {
        if !(0.01..=0.99).contains(&self.share) || !(0.0..=2.0).contains(&self.unsure) {
            return Err("second: share lies between 0.01 and 0.99, unsure between 0 and 2".into());
        }
        Ok(())
    }
}

/// How a face is told from many people: see [`crate::identify`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentificationSpec {
    /// People from whom on it counts how crowded it is around a face.
    pub people: usize,
    /// How many people make a crowd.
    pub neighbours: usize,
    /// How much a crowd's similarity weighs.
    pub weight: f32,
    /// The usual similarity to a crowd, at which nothing is taken off.
    pub usual: f32,
    /// The distance up to which a candidate is the person, in galleries of `people` or more: measured
    /// so that one look in a hundred at a stranger finds somebody.
    pub distance: f32,
    /// Two people whose similarities differ by less are not told apart.
    pub margin: f32,
}

impl IdentificationSpec {
    fn check(&self) -> std::result::Result<(), String> {
        let shares = [self.weight, self.usual, self.margin].iter().all(|share| (0.0..=1.0).contains(share));
        if !shares || !(0.0..=2.0).contains(&self.distance) {
            return Err("embedder.identification: weight, usual and margin lie between 0 and 1, distance between 0 and 2".into());
        }
        if !(1..=64).contains(&self.neighbours) || self.people <= self.neighbours {
            return Err("embedder.identification: neighbours from 1 to 64, and more people than that".into());
        }
        Ok(())
    }
}

/// How a face is cut out for a liveness model, and how its output `alive` is read.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessSpec {
    /// Side of the piece that is cut out, over the longer side of the face.
    pub margin: f32,
    /// Which number of the output is that of people.
    #[serde(default)]
    pub class: usize,
    /// Whether the output holds logits; else shares from 0 to 1.
    #[serde(default)]
    pub logits: bool,
    /// A person from this share on (0 to 1).
    pub threshold: f32,
}

impl LivenessSpec {
    fn check(&self, classes: usize) -> std::result::Result<(), String> {
        if !(0.5..=8.0).contains(&self.margin) || !(0.0..=1.0).contains(&self.threshold) {
            return Err("liveness: margin lies between 0.5 and 8, threshold between 0 and 1".into());
        }
        if self.class >= classes {
            return Err(format!(
                "liveness.class is one of the {classes} numbers of the output `alive`, from 0 on"
            ));
        }
        Ok(())
    }
}

/// A model file's manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it is for.
    pub role: Role,
    /// The file's name, beside the manifest.
    pub file: String,
    /// The file's hash in hexadecimal.
    pub sha256: String,
    /// Where it came from.
    pub source: String,
    /// Its SPDX licence identifier.
    pub licence: String,
    /// What it is fed.
    pub input: Input,
    /// What it gives.
    pub outputs: Vec<Output>,
    /// For detectors.
    pub detector: Option<DetectorSpec>,
    /// For the mesh.
    pub mesh: Option<MeshSpec>,
    /// For the embedder, and the second one.
    pub embedder: Option<EmbedderSpec>,
    /// For the second embedder.
    pub second: Option<SecondSpec>,
    /// For liveness.
    pub liveness: Option<LivenessSpec>,
}

impl Manifest {
    /// Reads and checks a manifest.
    fn read(path: &Path, role: Role) -> Result<Self> {
        let bad = |reason: String| Error::Manifest { path: path.to_owned(), reason };
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, role).map_err(bad)
    }

    /// Takes a manifest's text apart and checks it. An error is the first thing wrong with it.
    pub fn parse(text: &str, role: Role) -> std::result::Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|e| one_line(&e.to_string()))?;
        manifest.check(role)?;
        Ok(manifest)
    }

    fn check(&self, role: Role) -> std::result::Result<(), String> {
        if self.role != role {
            return Err(format!("role is {:?}, expected {role:?}", self.role));
        }
        if self.file.contains('/') {
            return Err("file must be a name beside the manifest".into());
        }
        match self.input.shape[..] {
            [1, height, width, 3] if height == width && (16..=1024).contains(&height) => {}
            _ => return Err("input.shape must be [1, side, side, 3] with a side from 16 to 1024".into()),
        }
        if !self.input.scale.iter().chain(&self.input.offset).all(|number| number.is_finite()) {
            return Err("input: scale and offset must be finite".into());
        }
        let checked = match role {
            Role::Detector | Role::DetectorNear => self.detector.as_ref().map(|spec| spec.check(self.rows())),
            Role::Mesh => self.mesh.as_ref().map(MeshSpec::check),
            Role::Embedder => self.embedder.as_ref().map(EmbedderSpec::check),
            Role::EmbedderSecond => {
                let both = self.embedder.as_ref().zip(self.second.as_ref());
                both.map(|(spec, second)| spec.check().and_then(|()| second.check()))
            }
            Role::Liveness => self.liveness.as_ref().map(|spec| spec.check(self.classes())),
        };
        checked.unwrap_or_else(|| Err(format!("the section for the role {role:?} is missing")))
    }

    /// The numbers of a liveness model's output.
    fn classes(&self) -> usize {
        let alive = self.outputs.iter().find(|output| output.name == "alive");
        alive.map_or(0, |output| output.shape.iter().fold(1, |sum, size| sum.saturating_mul(*size)))
    }

    /// The rows of a detector's output.
    fn rows(&self) -> usize {
        let boxes = self.outputs.iter().find(|output| output.name == "boxes");
        boxes.and_then(|output| output.shape.get(1)).copied().unwrap_or(0)
    }
}

impl DetectorSpec {
    fn check(&self, rows: usize) -> std::result::Result<(), String> {
        if !(0.0..=1.0).contains(&self.score) || !(0.0..=1.0).contains(&self.overlap) {
            return Err("detector: score and overlap lie between 0 and 1".into());
        }
        let all = self.grids.iter().try_fold(0_usize, |sum, grid| sum.checked_add(grid.count()?));
        if all != Some(rows) {
            return Err(format!("detector.grids must have one anchor for each of the {rows} boxes"));
        }
        Ok(())
    }
}

impl MeshSpec {
    fn check(&self) -> std::result::Result<(), String> {
        if !(0.1..=10.0).contains(&self.margin) || !(0.0..=1.0).contains(&self.presence) {
            return Err("mesh: margin lies between 0.1 and 10, presence between 0 and 1".into());
        }
        Ok(())
    }
}

impl EmbedderSpec {
    fn check(&self) -> std::result::Result<(), String> {
        if self.template.len() < 2 || self.template.iter().any(|anchor| anchor.mesh >= 468) {
            return Err("embedder.template needs at least two mesh points from 0 to 467".into());
        }
        if !self.template.iter().flat_map(|anchor| anchor.at).all(f32::is_finite) {
            return Err("embedder.template: the places must be finite".into());
        }
        if !(0.0..=2.0).contains(&self.apart) {
            return Err("embedder.apart lies between 0 and 2".into());
        }
        // Their logarithms are what is reckoned with: two that are the same have no slope between them.
        let falling = |pair: &[OperatingPoint]| {
            pair[1].far.log10() < pair[0].far.log10() && pair[1].distance < pair[0].distance
        };
        if self.thresholds.len() < 2 || !self.thresholds.windows(2).all(falling) {
            return Err("embedder.thresholds needs two points or more, far and distance falling".into());
        }
        if self.thresholds.iter().any(|p| p.far <= 0.0 || p.far >= 1.0 || !(0.0..=2.0).contains(&p.distance))
        {
            return Err("embedder.thresholds: far lies between 0 and 1, distance between 0 and 2".into());
        }
        self.identification.check()
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder of model files with their manifests.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The given folder, else `$ROLLCALL_MODELS`, else `<exe>/../share/rollcall/models`, else
    /// `/usr/share/rollcall/models`.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Ok(Self(path.to_owned()));
        }
        if let Some(path) = std::env::var_os("ROLLCALL_MODELS") {
            return Ok(Self(path.into()));
        }
        let places = beside_executable("share/rollcall/models", "/usr/share/rollcall/models");
        match places.iter().find(|place| place.is_dir()) {
            Some(place) => Ok(Self(place.clone())),
            None => Err(Error::ModelsMissing { looked: listed(&places) }),
        }
    }

    /// Whether there is a manifest of that role.
    pub fn has(&self, role: Role) -> bool {
        self.0.join(role.file()).exists()
    }

    /// Reads the manifest of a role and the bytes that it names, their hash checked.
    pub fn load(&self, role: Role) -> Result<(Manifest, Vec<u8>)> {
        let manifest = Manifest::read(&self.0.join(role.file()), role)?;
        let bytes = read_pinned(&self.0.join(&manifest.file), &manifest.sha256)?;
        Ok((manifest, bytes))
    }

    /// Reads the manifest of a role without its model.
    pub fn manifest(&self, role: Role) -> Result<Manifest> {
        Manifest::read(&self.0.join(role.file()), role)
    }
}

/// `<exe>/../<relative>`, then `fixed`.
pub(crate) fn beside_executable(relative: &str, fixed: &str) -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join(relative)));
    beside.into_iter().chain([PathBuf::from(fixed)]).collect()
}

pub(crate) fn listed(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Reads a file and refuses it unless its sha256 is `expected`.
pub(crate) fn read_pinned(path: &Path, expected: &str) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found != expected {
        return Err(Error::Altered { path: path.to_owned(), found, expected: expected.to_owned() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECTOR: &str = include_str!("../data/detector.toml");
    const MESH: &str = include_str!("../data/mesh.toml");
    const EMBEDDER: &str = include_str!("../data/embedder.toml");
    const SECOND: &str = include_str!("../data/embedder-second.toml");

    #[test]
    fn the_manifests_of_this_release_are_right() {
        let near = include_str!("../data/detector-near.toml");
        let all = [DETECTOR, near, MESH, EMBEDDER, SECOND];
        let roles = [Role::Detector, Role::DetectorNear, Role::Mesh, Role::Embedder, Role::EmbedderSecond];
        for (text, role) in all.into_iter().zip(roles) {
            assert_eq!(Manifest::parse(text, role).expect("right").role, role);
            assert!(Manifest::parse(&text.replace("sha256", "hash"), role).is_err());
        }
        assert!(Manifest::parse(MESH, Role::Detector).is_err());
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        let wrong = [
            (Role::Detector, DETECTOR, "cells = 48", "cells = 4000000000"),
            (Role::Detector, DETECTOR, "cells = 48", "cells = 47"),
            (Role::Detector, DETECTOR, "[{ cells", "[{ cells = 4000000000, anchors = 0 }, { cells"),
            (Role::Detector, DETECTOR, "score = 0.5", "score = nan"),
            (Role::Detector, DETECTOR, "[-1.0, -1.0, -1.0]", "[inf, 0.0, 0.0]"),
            (Role::Mesh, MESH, "margin = 1.5", "margin = 0.0"),
            (Role::Embedder, EMBEDDER, "[74.0112, 87.7798]", "[nan, 87.7798]"),
            (Role::Embedder, EMBEDDER, "far = 1e-3", "far = 1e-1"),
            (Role::Embedder, EMBEDDER, "apart = 0.45", "apart = nan"),
            (Role::EmbedderSecond, SECOND, "share = 0.06", "share = 1.0"),
            (Role::EmbedderSecond, SECOND, "unsure = 0.055", "unsure = -1.0"),
            (Role::Embedder, EMBEDDER, "far = 1e-3", "far = 0.009999999999999999"),
        ];
        for (role, text, right, instead) in wrong {
            assert!(text.contains(right), "{right}");
            assert!(Manifest::parse(&text.replace(right, instead), role).is_err(), "{instead}");
        }
    }
}
