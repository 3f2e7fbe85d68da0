//! What can go wrong between a model file and a sighting, each naming the operation and the thing.

use std::path::PathBuf;

/// An error of this crate. None of them carries pixels or embeddings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The LiteRT library is in none of the places where it is looked for.
    #[error(
        "the LiteRT library was not found (looked at {looked}): run models/fetch.sh, or name it in ROLLCALL_LITERT"
    )]
    LibraryMissing {
        /// The places.
        looked: String,
    },
    /// The models folder is in none of the places where it is looked for.
    #[error(
        "the models folder was not found (looked at {looked}): name it in the configuration or in ROLLCALL_MODELS"
    )]
    ModelsMissing {
        /// The places.
        looked: String,
    },
    /// The bytes are not the ones that were pinned.
    #[error("{path} has the wrong sha256 ({found}, expected {expected}): fetch it again")]
    Altered {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The pinned hash.
        expected: String,
    },
    /// The library could not be opened or lacks a function.
    #[error("cannot open {path}: {reason}: run models/fetch.sh again")]
    Library {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// This processor has no pinned library.
    #[error("Rollcall has no LiteRT library for {0}: x86_64 and aarch64 are supported")]
    Architecture(&'static str),
    /// A manifest does not say what it must.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The first thing wrong with it.
        reason: String,
    },
    /// A call of LiteRT failed.
    #[error("LiteRT: {operation} of {model} failed with status {status}")]
    Runtime {
        /// The call.
        operation: &'static str,
        /// The model's file name.
        model: String,
        /// LiteRT's status code.
        status: i32,
    },
    /// A model's tensors are not those that its manifest names.
    #[error("{model}: {what} is {found}, but the manifest says {expected}")]
    Shape {
        /// The model's file name.
        model: String,
        /// Which tensor.
        what: String,
        /// What the file holds.
        found: String,
        /// What the manifest says.
        expected: String,
    },
    /// A picture could not be decoded or has no sensible size.
    #[error("not a usable picture: {0}")]
    Picture(String),
    /// An embedding or template has the wrong length or is no unit vector.
    #[error("a template of {found} bytes does not fit this embedder ({expected} bytes)")]
    Template {
        /// Bytes given.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
}

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
