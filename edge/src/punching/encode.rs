//! Encodes a punch, once, when it is made.

use models::Candidate;
use prost::Message;
use proto::{Direction, Punch};
use uuid::Uuid;

use crate::clock::Moment;

/// Encodes the punch `id` of a candidate recognised at `moment`. These bytes never change.
pub fn punch(id: Uuid, candidate: Candidate, threshold: f32, moment: &Moment) -> Vec<u8> {
    Punch {
        version: proto::VERSION,
        id: id.as_bytes().to_vec(),
        person: candidate.person.as_bytes().to_vec(),
        at_us: moment.wall_us,
        monotonic_us: moment.monotonic_us,
        boot: moment.boot.clone(),
        synchronised: moment.synchronised,
        direction: Direction::Unknown.into(),
        distance: candidate.distance,
        threshold,
    }
    .encode_to_vec()
}
