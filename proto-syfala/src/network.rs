use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;
use thiserror::Error;

/// A range of addresses: those that begin with the same bits. `192.168.1.0/24`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an IP address, or one with the number of its bits that count, as in 192.168.1.0/24, expected")]
pub struct InvalidNetwork;

impl Network {
    /// All of 127.0.0.0/8, and ::1: the machine itself.
    pub const LOOPBACK: [Self; 2] = [
        Self { address: IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), prefix: 8 },
        Self { address: IpAddr::V6(core::net::Ipv6Addr::LOCALHOST), prefix: 128 },
    ];

    /// The addresses whose first `prefix` bits are those of `address`; `None` if there are not so many.
    pub const fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix <= bits { Some(Self { address, prefix }) } else { None }
    }

    /// One address.
    pub const fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }

    /// The address by which all of an IPv4 network are reached; `None` where there is none.
    pub fn broadcast(&self) -> Option<IpAddr> {
        let IpAddr::V4(address) = self.address else { return None };
        // Of 31 bits and more all are hosts.
        let hosts = u32::MAX.checked_shr(self.prefix.into()).filter(|_| self.prefix < 31)?;
        Some(IpAddr::V4((u32::from(address) | hosts).into()))
    }
}

/// Whether an address is that of a host on one of these networks: of one host, and with a port.
pub(crate) fn serves(networks: &[Network], from: Option<SocketAddr>) -> bool {
    let Some(from) = from else { return false };
    let ip = from.ip().to_canonical();
    let is_broadcast = |network: &Network| network.broadcast() == Some(ip);
    is_one(from) && !networks.iter().any(is_broadcast) && networks.iter().any(|network| network.contains(ip))
}

/// Whether an address can be that of one host.
pub(crate) fn is_one(from: SocketAddr) -> bool {
    let ip = from.ip().to_canonical();
    !ip.is_multicast() && !ip.is_unspecified() && ip != IpAddr::from([255; 4]) && from.port() != 0
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = match text.split_once('/') {
            None => text.parse().ok().map(Self::host),
            Some((address, prefix)) => {
                address.parse().ok().and_then(|address| Self::new(address, prefix.parse().ok()?))
            }
        };
        network.ok_or(InvalidNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_05_a_network_knows_its_addresses() {
        let network = |text: &str| text.parse::<Network>();
        let contains = |text, address: &str| network(text).unwrap().contains(address.parse().unwrap());
        assert!(contains("192.168.1.7/24", "192.168.1.200") && !contains("192.168.1.7/24", "192.168.2.7"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fe80::/64", "fe80::1") && !contains("fe80::/64", "fe81::1"));
        assert!(contains("127.0.0.0/8", "::ffff:127.9.9.9"), "an IPv4 address in clothes of IPv6");
        let broadcast = |text| network(text).unwrap().broadcast().map(|address| alloc::format!("{address}"));
        assert_eq!(broadcast("192.168.1.7/24").as_deref(), Some("192.168.1.255"));
        assert_eq!(broadcast("127.0.0.1/8").as_deref(), Some("127.255.255.255"));
        assert_eq!(
            (broadcast("10.0.0.0/31"), broadcast("10.0.0.1"), broadcast("fe80::/64")),
            (None, None, None)
        );
        for wrong in ["", "10.0.0.0/33", "fe80::/129", "10.0.0.0/-1", "10.0.0/8", "/8", "10.0.0.1/"] {
            assert_eq!(network(wrong), Err(InvalidNetwork), "{wrong}");
        }
        assert_eq!(alloc::format!("{}", network("10.1.2.3/8").unwrap()), "10.1.2.3/8");
    }
}
