//! Face recognition for Rollcall: from a frame to a sighting.
//!
//! Detects faces, aligns them, computes embeddings and searches a gallery. It does not know punches, terminals
//! or networks, and never writes a picture: only its working memory holds parts of the last frame.
#![warn(missing_docs)]

pub mod align;
pub mod detect;
pub mod embed;
pub mod error;
mod exposure;
pub mod eyes;
mod format;
pub mod frame;
pub mod gallery;
pub mod geometry;
pub mod identify;
pub mod liveness;
pub mod liveness_model;
pub mod manifest;
pub mod mesh;
pub mod motion;
pub mod photo;
pub mod pipeline;
pub mod quality;
pub mod resample;
pub mod template;
mod tensor_input;
pub mod tflite;
pub mod threshold;
pub mod track;
mod track_state;

pub use detect::Detection;
pub use embed::Look;
pub use error::Error;
pub use eyes::Eyes;
pub use frame::Frame;
pub use gallery::Gallery;
pub use identify::{Candidate, Finding, Identifier, Rules, Verdict};
pub use liveness::Liveness;
pub use manifest::{Folder, Manifest, Role};
pub use pipeline::{Pipeline, Sighting};
pub use quality::{Flaw, Quality};
pub use template::{Embedding, Template};
pub use threshold::Thresholds;
pub use track::TrackId;
pub use track_state::Departure;
