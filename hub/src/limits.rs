//! How many of something one key may have at once: connections of an address, requests of an account.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// What counts as one address: of IPv6 the first 64 bits, for one host has all that begin with them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(bits).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A limit on how many of something each key has at once. Cheap to clone.
pub struct KeyedLimit<K> {
    most: usize,
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for KeyedLimit<K> {
    fn clone(&self) -> Self {
        Self { most: self.most, counts: self.counts.clone() }
    }
}

/// One permit, until it is dropped.
pub struct Permit<K: Eq + Hash> {
    limit: KeyedLimit<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> KeyedLimit<K> {
    /// At most so many at once for each key.
    pub fn new(most: usize) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// `None`: this key has enough of them.
    pub fn take(&self, key: K) -> Option<Permit<K>> {
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Permit { limit: self.clone(), key })
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut counts = self.limit.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_key_has_so_many_turns_at_once_and_no_more() {
        let limit = KeyedLimit::new(2);
        let mut held: Vec<_> = (0..2).filter_map(|_| limit.take("one")).collect();
        assert_eq!(held.len(), 2);
        assert!(limit.take("one").is_none() && limit.take("other").is_some());
        held.pop();
        assert!(limit.take("one").is_some());
        held.clear();
        assert!(limit.counts.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let read = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(read("2001:db8:1:2:3::4"), read("2001:db8:1:2::5"));
        assert_ne!(read("2001:db8:1:2::1"), read("2001:db8:1:3::1"));
        assert_eq!(read("::ffff:192.0.2.1"), ONE);
        assert_ne!(read("192.0.2.2"), ONE);
    }
}
