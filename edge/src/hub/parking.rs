//! How many viewers wait, in all and from each address.
//!
//! A place is held as long as its viewer waits; dropping it gives it back. What they wait for is not known here.

use crate::failure::Failure;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most viewers who may wait at a time.
const PARKED_MAX: usize = 100_000;

/// Of these, most from one address of the public Internet: a fifth. No household, office or mobile network comes near it
/// (the listener takes 1,024 connections from one address, and a player waits for two or three things), and five such
/// addresses are still needed to be in everybody's way. A CDN's node may fetch for very many viewers over one connection,
/// but asks once for what is the same.
const PER_ADDRESS_MAX: usize = PARKED_MAX / 5;

/// Tables that addresses are spread over, so that viewers who come and go at the same moment don't wait for each other.
const SHARDS: usize = 16;

/// The count.
#[derive(Debug)]
pub(crate) struct Parking {
    all: AtomicUsize,
    max: usize,
    per_address: usize,
    by_address: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
    hasher: RandomState,
}

/// One viewer's place.
#[derive(Debug)]
pub(crate) struct Parked<'a> {
    parking: &'a Parking,
    /// Whose it is, if that is counted.
    address: Option<IpAddr>,
}

impl Default for Parking {
    fn default() -> Self {
        Self::new(PARKED_MAX, PER_ADDRESS_MAX)
    }
}

impl Parking {
    fn new(max: usize, per_address: usize) -> Self {
        let by_address = std::array::from_fn(|_| Mutex::default());
        Self { all: AtomicUsize::new(0), max, per_address, by_address, hasher: RandomState::new() }
    }

    /// Asks for a place for a viewer at `peer`.
    pub(crate) fn park(&self, peer: IpAddr) -> Result<Parked<'_>, Failure> {
        let add = |all: usize| all.checked_add(1).filter(|all| *all <= self.max);
        if self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return Err(Failure::Crowd);
        }
        let peer = peer.to_canonical();
        let mut parked = Parked { parking: self, address: None };
        if speaks_for_many(peer) {
            return Ok(parked);
        }
        let address = block(peer);
        let mut table = self.table(&address);
        let here = table.entry(address).or_default();
        if *here >= self.per_address {
            return Err(Failure::Crowd);
        }
        *here = here.saturating_add(1);
        parked.address = Some(address);
        Ok(parked)
    }

    /// Viewers who wait.
    pub(crate) fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    fn table(&self, address: &IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let shard = self.hasher.hash_one(address) % SHARDS as u64;
        let [first, ..] = &self.by_address;
        let table = usize::try_from(shard).ok().and_then(|shard| self.by_address.get(shard)).unwrap_or(first);
        // Nothing panics while it holds the lock.
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.parking.all.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut table = self.parking.table(&address);
        if let Some(here) = table.get_mut(&address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                table.remove(&address);
            }
        }
    }
}

/// Whether behind an address there may be everybody: a proxy on this machine, a balancer or another edge in our own
/// network. Nobody gets here from the Internet under such an address, so these may take all places.
fn speaks_for_many(peer: IpAddr) -> bool {
    match peer {
        // 100.64.0.0/10 is the space that networks share behind their NAT (RFC 6598).
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || (first, second & 0xc0) == (100, 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// What counts as one address: whoever has an IPv6 address has the /64 around it, and often gets a whole /48 (RFC 6177).
fn block(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn park<'a>(parking: &'a Parking, peer: &str) -> Result<Parked<'a>, Failure> {
        parking.park(peer.parse().unwrap())
    }

    #[test]
    fn one_address_takes_a_share_and_gives_it_back() {
        let parking = Parking::new(10, 2);
        let first = park(&parking, "192.0.2.1").unwrap();
        let _second = park(&parking, "::ffff:192.0.2.1").unwrap();
        assert_eq!(park(&parking, "192.0.2.1").unwrap_err(), Failure::Crowd);
        let _other = park(&parking, "192.0.2.2").unwrap();
        assert_eq!(parking.count(), 3, "who was refused waits no more");
        drop(first);
        let _third = park(&parking, "192.0.2.1").unwrap();
        let _six = ["2001:db8::1", "2001:db8::2"].map(|peer| park(&parking, peer).unwrap());
        assert_eq!(park(&parking, "2001:db8::3").unwrap_err(), Failure::Crowd);
        assert_eq!(park(&parking, "2001:db8:0:1::1").unwrap_err(), Failure::Crowd, "of the same /48");
        assert!(park(&parking, "2001:db8:1::1").is_ok());
    }

    #[test]
    fn nobody_is_remembered_who_does_not_wait() {
        let parking = Parking::new(10, 2);
        drop([park(&parking, "192.0.2.1").unwrap(), park(&parking, "2001:db8::1").unwrap()]);
        assert_eq!(parking.count(), 0);
        assert!(parking.by_address.iter().all(|table| table.lock().unwrap().is_empty()));
    }

    #[test]
    fn our_own_network_may_take_all_places_and_nobody_more() {
        for peer in ["127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.7.7", "100.64.0.1", "fd00::1", "fe80::1"] {
            let parking = Parking::new(5, 1);
            let _all: Vec<_> = (0..5).map(|_| park(&parking, peer).unwrap()).collect();
            assert_eq!(park(&parking, peer).unwrap_err(), Failure::Crowd, "{peer}");
        }
        for peer in ["100.128.0.1", "100.63.0.1", "172.32.0.1", "11.0.0.1", "2001:db8::1"] {
            let parking = Parking::new(5, 1);
            let _one = park(&parking, peer).unwrap();
            assert_eq!(park(&parking, peer).unwrap_err(), Failure::Crowd, "{peer}");
        }
    }

    #[test]
    fn a_share_is_generous() {
        let parking = Parking::default();
        assert!(parking.per_address >= 2_000 && parking.per_address * 5 <= parking.max);
    }
}
