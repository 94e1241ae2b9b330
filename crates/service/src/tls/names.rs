//! What this machine is called on its own network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address that nobody has (RFC 5737): only the way to it is asked for.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Every name and address under which devices of the same network, or this machine itself, may reach it.
pub(super) fn of_machine() -> BTreeSet<String> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    names(host.as_deref(), addresses)
}

/// This machine's address on its network, as far as there is one: what to type on another device.
pub fn lan_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    let address = socket.local_addr().ok()?.ip();
    is_reachable(address).then_some(address)
}

fn names(host: Option<&str>, addresses: impl Iterator<Item = IpAddr>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if let Some(host) = host.map(str::to_ascii_lowercase).filter(|host| is_host(host)) {
        let first = host.split('.').next().unwrap_or_default();
        // Under the second, devices find it by multicast DNS.
        names.extend([first.to_owned(), format!("{first}.local"), host.clone()]);
    }
    names.extend(addresses.filter(|address| is_reachable(*address)).map(|address| address.to_string()));
    names
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    text.split('.').all(label)
}

/// Whether other devices may know a machine by this address.
fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_its_name_and_its_addresses() {
        let addresses =
            ["127.0.0.1", "192.168.1.5", "169.254.3.4", "fe80::1", "fd00::5"].map(|text| text.parse().unwrap());
        let names = names(Some("Den.home.arpa"), addresses.into_iter());
        let expected = ["127.0.0.1", "192.168.1.5", "::1", "den", "den.home.arpa", "den.local", "fd00::5", "localhost"];
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_name_that_is_none_is_left_out() {
        for host in [None, Some(""), Some("my_box"), Some("a..b"), Some("é")] {
            assert_eq!(names(host, std::iter::empty()).len(), 3, "{host:?}");
        }
    }

    #[test]
    fn this_machine_is_at_least_itself() {
        assert!(of_machine().is_superset(&names(None, std::iter::empty())));
    }
}
