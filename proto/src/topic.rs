//! Where each message is published. A terminal publishes below its own `up/` and subscribes to its
//! own `down/`, nothing else.

use crate::device::DeviceId;

/// What all hubs subscribe to.
pub const ALL_UP: &str = "/tenants/+/up/#";

/// What terminals subscribe to, together.
pub const ALL_DOWN: &str = "/tenants/+/down/#";

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `PunchBatch`, upwards.
    Punches,
    /// `Hello`, upwards.
    Hello,
    /// `Heartbeat`, upwards.
    Heartbeat,
    /// `Receipt`, downwards.
    Receipt,
    /// `Sealed` with a `GalleryUpdate` in it, downwards.
    Gallery,
    /// `Answer`, downwards.
    Answer,
}

impl Topic {
    /// What a terminal publishes to.
    pub const UP: [Self; 3] = [Self::Punches, Self::Hello, Self::Heartbeat];
    /// What a terminal subscribes to.
    pub const DOWN: [Self; 3] = [Self::Receipt, Self::Gallery, Self::Answer];

    fn tail(self) -> &'static str {
        match self {
            Self::Punches => "up/punches",
            Self::Hello => "up/hello",
            Self::Heartbeat => "up/heartbeat",
            Self::Receipt => "down/receipt",
            Self::Gallery => "down/roster",
            Self::Answer => "down/answer",
        }
    }

    /// The topic of a terminal.
    pub fn of(self, device: &DeviceId) -> String {
        format!("/tenants/{device}/{}", self.tail())
    }

    /// Whose and what a topic is. `None` for any other.
    pub fn parse(topic: &str) -> Option<(DeviceId, Self)> {
        let (device, tail) = topic.strip_prefix("/tenants/")?.split_once('/')?;
        let kind = Self::UP.into_iter().chain(Self::DOWN).find(|kind| kind.tail() == tail)?;
        Some((device.parse().ok()?, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_go_there_and_back() {
        let device = DeviceId::from_random([7; 16]);
        for kind in Topic::UP.into_iter().chain(Topic::DOWN) {
            assert_eq!(Topic::parse(&kind.of(&device)), Some((device.clone(), kind)));
        }
        for wrong in ["", "/tenants/x/up/punches", "/tenants/07070707070707070707070707070707/up/other"] {
            assert_eq!(Topic::parse(wrong), None, "{wrong}");
        }
    }
}
