//! What holds for everybody, whatever their shift.

#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A punch at most so many seconds after the last that counts is a duplicate.
    pub duplicate_within_s: u32,
}
