//! Which terminals are connected to this hub, how often they come and how much they say.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Result;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use proto::DeviceId;
use tokio_util::sync::CancellationToken;

use crate::mqtt::rejections::{RejectionKind, reject};

/// Connections of one terminal: a second between two in the long run, some more at once.
const CONNECTIONS: Quota = Quota::per_second(nonzero(1)).allow_burst(nonzero(30));
/// Packets of one terminal a second; more wait. An outbox of weeks drains with a quarter of it.
const PACKETS: Quota = Quota::per_second(nonzero(200)).allow_burst(nonzero(400));
/// Kibibytes of one terminal a second, packets of any size together.
const KIBIBYTES: Quota = Quota::per_second(nonzero(4096)).allow_burst(nonzero(8192));

const fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

/// What a terminal may do in a while.
pub struct Limits {
    connections: DefaultDirectRateLimiter,
    packets: DefaultDirectRateLimiter,
    kibibytes: DefaultDirectRateLimiter,
}

impl Limits {
    fn new() -> Self {
        let limiter = RateLimiter::direct;
        Self { connections: limiter(CONNECTIONS), packets: limiter(PACKETS), kibibytes: limiter(KIBIBYTES) }
    }

    /// Returns once the terminal may have sent a packet of so many bytes: whoever says more than
    /// they may is heard more slowly, and not read meanwhile.
    pub async fn pace(&self, bytes: usize) {
        self.packets.until_ready().await;
        let kibibytes = nonzero(1).saturating_add(u32::try_from(bytes / 1024).unwrap_or(u32::MAX));
        // A packet is smaller than the burst: it always fits at some time.
        let _ = self.kibibytes.until_n_ready(kibibytes).await;
    }
}

struct Entry {
    connection: u64,
    certificate: Vec<u8>,
    leave: CancellationToken,
}

#[derive(Default)]
struct Table {
    connections: u64,
    open: HashMap<DeviceId, Entry>,
    limits: HashMap<DeviceId, Arc<Limits>>,
}

/// All terminals that are connected, and what they have used up of their limits.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<Table>>);

/// A terminal's place, until it is dropped.
pub struct Session {
    sessions: Sessions,
    device: DeviceId,
    connection: u64,
    /// Cancelled when the terminal must go.
    pub leave: CancellationToken,
    /// What it may say.
    pub limits: Arc<Limits>,
}

impl Sessions {
    /// Seats a terminal. A connection of the same terminal that stands still is ended: it lost its
    /// network, and came back before anybody noticed.
    pub fn open(&self, device: &DeviceId, certificate: &[u8]) -> Result<Session> {
        let mut table = self.0.lock();
        let limits = table.limits.entry(device.clone()).or_insert_with(|| Arc::new(Limits::new())).clone();
        if limits.connections.check().is_err() {
            return Err(reject(RejectionKind::TooOften, format!("terminal {device} connects too often")));
        }
        table.connections += 1;
        let (connection, leave) = (table.connections, CancellationToken::new());
        let open = Entry { connection, certificate: certificate.to_vec(), leave: leave.clone() };
        if let Some(before) = table.open.insert(device.clone(), open) {
            before.leave.cancel();
        }
        Ok(Session { sessions: self.clone(), device: device.clone(), connection, leave, limits })
    }

    /// Ends a terminal's connection.
    pub fn kick(&self, device: &DeviceId) {
        let table = self.0.lock();
        if let Some(open) = table.open.get(device) {
            open.leave.cancel();
        }
    }

    /// Who is connected, each with the hash of the certificate that was shown.
    pub fn connected(&self) -> Vec<(DeviceId, Vec<u8>)> {
        let table = self.0.lock();
        table.open.iter().map(|(device, open)| (device.clone(), open.certificate.clone())).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut table = self.sessions.0.lock();
        if table.open.get(&self.device).is_some_and(|open| open.connection == self.connection) {
            table.open.remove(&self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_one_seat_and_the_later_visit_takes_it() {
        let sessions = Sessions::default();
        let device = DeviceId::from_random([1; 16]);
        let first = sessions.open(&device, b"a").expect("seated");
        let second = sessions.open(&device, b"b").expect("seated");
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled());
        drop(first);
        assert_eq!(sessions.connected(), [(device.clone(), b"b".to_vec())]);
        sessions.kick(&device);
        assert!(second.leave.is_cancelled());
        drop(second);
        assert!(sessions.connected().is_empty());
    }

    #[test]
    fn a_terminal_that_reconnects_all_the_time_is_rejected() {
        let sessions = Sessions::default();
        let device = DeviceId::from_random([1; 16]);
        let rejected =
            (0..40).find_map(|_| sessions.open(&device, b"a").err()).expect("rejected at some time");
        assert!(rejected.to_string().contains("too often"));
        assert!(sessions.open(&DeviceId::from_random([2; 16]), b"a").is_ok(), "another terminal");
    }
}
