//! What a terminal holds.

/// What a terminal holds, by its latest hello.
pub struct Held {
    /// The revision of its gallery.
    pub gallery: u64,
    /// The sha256 of its embedder.
    pub embedder: String,
    /// The key that answers must carry.
    pub key: Vec<u8>,
}
