//! The networks that the machine is on, and a socket that hears broadcasts on them.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use std::io;
use voxwire_syfala::Network;
use voxwire_transport::Listener;

/// An address of the machine, the network it is on, and the interface.
#[derive(Debug, Clone)]
struct Place {
    device: String,
    address: IpAddr,
    network: Network,
}

/// All addresses of interfaces that are up.
fn places() -> io::Result<Vec<Place>> {
    let up = getifaddrs()?.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let places = up.filter_map(|interface| {
        let address = ip(interface.address?)?;
        let bits = match ip(interface.netmask?)? {
            IpAddr::V4(mask) => u32::from(mask).count_ones(),
            IpAddr::V6(mask) => u128::from(mask).count_ones(),
        };
        let network = Network::new(address, u8::try_from(bits).ok()?)?;
        Some(Place { device: interface.interface_name, address, network })
    });
    Ok(places.collect())
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// The networks that a device on `bind` may serve: those of its interface, or of all.
///
/// # Errors
/// The system's.
pub fn networks(bind: IpAddr) -> io::Result<Vec<Network>> {
    if bind.is_loopback() {
        return Ok(Network::LOOPBACK.into());
    }
    let places = places()?.into_iter();
    let at = places.filter(|place| bind.is_unspecified() || place.address == bind);
    Ok(at.map(|place| place.network).collect())
}

/// The broadcast addresses of those networks.
///
/// # Errors
/// The system's.
pub fn broadcast_addresses(bind: IpAddr, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut all: Vec<SocketAddr> = networks(bind)?
        .into_iter()
        .filter_map(|network| network.broadcast())
        .map(|address| SocketAddr::new(address, port))
        .collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// Binds a device's socket so that it hears broadcasts: to all addresses, and to the interface that `bind` is on. Returns the address by
/// which it is to be known, too.
///
/// # Errors
/// The system's.
pub fn bind(bind: IpAddr, port: u16) -> io::Result<(Listener, SocketAddr)> {
    // A socket bound to one address never hears broadcasts. (IPv6 has no such address.)
    if bind.is_unspecified() || bind.is_ipv6() {
        let listener = Listener::bind_udp(SocketAddr::new(bind, port))?;
        let address = listener.local_addr()?;
        return Ok((listener, address));
    }
    let places = places()?;
    let own = places.iter().find(|place| place.address == bind);
    // All of 127.0.0.0/8 is ours.
    let own = own.or_else(|| places.iter().find(|place| bind.is_loopback() && place.network.contains(bind)));
    let device = &own.ok_or(io::ErrorKind::AddrNotAvailable)?.device;
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let listener = match Listener::bind_udp_on(any, device) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            // Who is elsewhere is not answered anyway.
            tracing::warn!(device, %error, "cannot bind to the interface alone");
            Listener::bind_udp(any)?
        }
        listener => listener?,
    };
    let address = SocketAddr::new(bind, listener.local_addr()?.port());
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s_05_loopback_is_a_network_of_its_own_with_a_broadcast_address() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(networks(loopback).unwrap(), Network::LOOPBACK);
        assert!(networks(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).unwrap().iter().any(|n| n.contains(loopback)));
        let wildcard = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert!(broadcast_addresses(wildcard, 7).unwrap().contains(&"127.255.255.255:7".parse().unwrap()));
        assert_eq!(broadcast_addresses(loopback, 7).unwrap(), ["127.255.255.255:7".parse().unwrap()]);
        let (_listener, address) = bind(loopback, 0).unwrap();
        assert!(address.ip() == loopback && address.port() != 0);
        assert!(bind("192.0.2.77".parse().unwrap(), 0).is_err(), "not an address of this machine");
    }
}
