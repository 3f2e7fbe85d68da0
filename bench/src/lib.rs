//! What the benches share: photos to measure with, rendered sequences, and statistics.

pub mod photos;
pub mod render;
pub mod statistics;
