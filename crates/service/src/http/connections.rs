//! How many connections are open, in all and from each address.
//!
//! A permit is held as long as its connection; dropping it gives the place back.

use super::Limits;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The count. Cloning gives another handle to the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Count>>);

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Permit {
    connections: Connections,
    address: IpAddr,
}

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The server has as many as it takes.
    InAll,
    /// This address has as many as one may.
    PerAddress,
}

impl Connections {
    /// Asks for a place for a connection from `peer`.
    pub(super) fn admit(&self, peer: IpAddr, limits: &Limits) -> Result<Permit, Full> {
        let peer = peer.to_canonical();
        let address = block(peer);
        let mut count = self.lock();
        if count.all >= limits.connections {
            return Err(Full::InAll);
        }
        let unlimited = peer.is_loopback() && limits.loopback_is_many;
        let here = count.by_address.entry(address).or_default();
        if *here >= limits.connections_per_address && !unlimited {
            return Err(Full::PerAddress);
        }
        *here += 1;
        count.all += 1;
        Ok(Permit { connections: self.clone(), address })
    }

    /// Nothing is done under the lock that can panic half way, so a poisoned one is still right.
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut count = self.connections.lock();
        count.all = count.all.saturating_sub(1);
        if let Some(here) = count.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                count.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: whoever has an IPv6 address has the whole /64 around it.
fn block(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, per_address: usize) -> Limits {
        Limits { connections, connections_per_address: per_address, ..Limits::new("test") }
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let (connections, limits) = (Connections::default(), limits(3, 2));
        let admit = |text: &str| connections.admit(text.parse().unwrap(), &limits);
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Full::PerAddress);
        assert_eq!(admit("::ffff:192.0.2.1").unwrap_err(), Full::PerAddress);
        let _third = admit("192.0.2.2").unwrap();
        assert_eq!(admit("192.0.2.3").unwrap_err(), Full::InAll);
        drop(first);
        let _fourth = admit("192.0.2.1").unwrap();
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (connections, limits) = (Connections::default(), limits(9, 1));
        let admit = |text: &str| connections.admit(text.parse().unwrap(), &limits);
        let _first = admit("2001:db8::1").unwrap();
        assert_eq!(admit("2001:db8::ffff:2").unwrap_err(), Full::PerAddress);
        assert!(admit("2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn loopback_may_speak_for_many() {
        let (connections, limits) = (Connections::default(), limits(9, 1));
        let _held: Vec<Permit> =
            (0..3).map(|_| connections.admit("127.0.0.1".parse().unwrap(), &limits).unwrap()).collect();
    }

    #[test]
    fn nothing_is_remembered_of_who_left() {
        let connections = Connections::default();
        drop(connections.admit("192.0.2.1".parse().unwrap(), &limits(9, 9)).unwrap());
        assert!(connections.lock().by_address.is_empty());
    }
}
