//! From a captured frame to what TCP or UDP carries.

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;
use std::net::{IpAddr, SocketAddr};

/// A packet of TCP or UDP.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) target: SocketAddr,
    pub(crate) payload: &'a [u8],
    /// For UDP there is none.
    pub(crate) tcp: Option<Tcp>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcp {
    pub(crate) sequence: u32,
    pub(crate) acknowledged: Option<u32>,
    pub(crate) is_syn: bool,
}

/// Why a frame is not a packet of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPacket {
    /// A link layer that is not known.
    Link,
    /// A part of an IP packet: these are not put together.
    Fragment,
    /// Another protocol, or too short.
    Other,
}

/// Length of the header of the first and of the second version of Linux' cooked captures, and where in it the EtherType is.
const COOKED: [(usize, usize); 2] = [(16, 14), (20, 0)];

/// Finds the packet in a frame.
pub(crate) fn packet(link: Linktype, frame: &[u8]) -> Result<Packet<'_>, NotPacket> {
    let ip = |bytes| LaxSlicedPacket::from_ip(bytes).map_err(|_| NotPacket::Other);
    let cooked = |(len, at): (usize, usize)| {
        let (head, rest) = frame.split_at_checked(len).ok_or(NotPacket::Other)?;
        let kind = head.get(at..at + 2).map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
        Ok(LaxSlicedPacket::from_ether_type(EtherType(kind), rest))
    };
    let sliced = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(frame).map_err(|_| NotPacket::Other)?,
        // An address family in somebody's byte order; the packet itself says its version.
        Linktype::NULL | Linktype::LOOP => ip(frame.get(4..).unwrap_or(&[]))?,
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => ip(frame)?,
        Linktype::LINUX_SLL => cooked(COOKED[0])?,
        Linktype(276) => cooked(COOKED[1])?,
        _ => return Err(NotPacket::Link),
    };
    let (source, target, is_fragment) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let ends = [header.source_addr(), header.destination_addr()].map(IpAddr::from);
            (ends[0], ends[1], ip.is_payload_fragmented())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let ends = [header.source_addr(), header.destination_addr()].map(IpAddr::from);
            (ends[0], ends[1], ip.is_payload_fragmented())
        }
        _ => return Err(NotPacket::Other),
    };
    if is_fragment {
        return Err(NotPacket::Fragment);
    }
    let (ports, payload, tcp) = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let acknowledged = tcp.ack().then(|| tcp.acknowledgment_number());
            let flags = Tcp { sequence: tcp.sequence_number(), acknowledged, is_syn: tcp.syn() };
            ([tcp.source_port(), tcp.destination_port()], tcp.payload(), Some(flags))
        }
        Some(TransportSlice::Udp(udp)) => ([udp.source_port(), udp.destination_port()], udp.payload(), None),
        _ => return Err(NotPacket::Other),
    };
    let (source, target) = (SocketAddr::new(source, ports[0]), SocketAddr::new(target, ports[1]));
    Ok(Packet { source, target, payload, tcp })
}
