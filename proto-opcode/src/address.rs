//! Addresses that calls go to.

use core::net::IpAddr;

/// Whether a client can listen there.
pub(crate) fn is_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}
