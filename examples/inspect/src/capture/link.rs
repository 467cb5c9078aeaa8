//! From a captured frame to what TCP or UDP carries.

use etherparse::{
    EtherType, IpFragOffset, IpNumber, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice,
    TransportSlice, UdpSlice,
};
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
#[derive(Debug)]
pub(crate) enum NotPacket<'a> {
    /// A link layer that is not known.
    Link,
    /// A part of an IP packet.
    Fragment(Fragment<'a>),
    /// Another protocol, or too short.
    Other,
}

/// A part of an IP packet.
#[derive(Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) key: FragmentKey,
    /// Where in the packet it begins.
    pub(crate) offset: IpFragOffset,
    /// Others follow.
    pub(crate) more: bool,
    pub(crate) payload: &'a [u8],
    /// Its end was not captured.
    pub(crate) is_cut: bool,
}

/// What all fragments of a packet have (RFC 791, 3.2; RFC 8200, 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FragmentKey {
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
    pub(crate) number: IpNumber,
    identification: u32,
}

/// Length of the header of the first and of the second version of Linux' cooked captures, and where in it the EtherType is.
const COOKED: [(usize, usize); 2] = [(16, 14), (20, 0)];

/// Finds the packet in a frame.
pub(crate) fn packet(link: Linktype, frame: &[u8]) -> Result<Packet<'_>, NotPacket<'_>> {
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
    let [source, target] = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let ends = [header.source_addr(), header.destination_addr()].map(IpAddr::from);
            if ip.is_payload_fragmented() {
                let place =
                    (header.identification().into(), header.fragments_offset(), header.more_fragments());
                return Err(NotPacket::Fragment(fragment(ends, place, ip.payload())));
            }
            ends
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let ends = [header.source_addr(), header.destination_addr()].map(IpAddr::from);
            if ip.is_payload_fragmented() {
                let extensions = ip.extensions();
                let place =
                    fragment_place(header.next_header(), extensions.slice()).ok_or(NotPacket::Other)?;
                return Err(NotPacket::Fragment(fragment(ends, place, ip.payload())));
            }
            ends
        }
        _ => return Err(NotPacket::Other),
    };
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Ok(of_tcp([source, target], tcp)),
        Some(TransportSlice::Udp(udp)) => Ok(of_udp([source, target], udp)),
        _ => Err(NotPacket::Other),
    }
}

/// What an IP packet carries that has been put together of fragments; `None` where that is neither TCP nor UDP.
pub(crate) fn transport<'a>(key: &FragmentKey, payload: &'a [u8]) -> Option<Packet<'a>> {
    let ends = [key.source, key.target];
    match key.number {
        IpNumber::TCP => TcpSlice::from_slice(payload).ok().map(|tcp| of_tcp(ends, &tcp)),
        IpNumber::UDP => UdpSlice::from_slice_lax(payload).ok().map(|udp| of_udp(ends, &udp)),
        _ => None,
    }
}

/// Identification, offset, and whether others follow, from the extension headers of IPv6 (RFC 8200, 4). The crate's own iterator reads
/// beyond the end of some that are cut off.
fn fragment_place(first: IpNumber, extensions: &[u8]) -> Option<(u32, IpFragOffset, bool)> {
    let (mut kind, mut rest) = (first, extensions);
    loop {
        let head: &[u8; 8] = rest.first_chunk()?;
        let [next, len, high, low, identification @ ..] = *head;
        let units = match kind {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let place = u16::from_be_bytes([high, low]);
                let offset = IpFragOffset::try_new(place >> 3).ok()?;
                return Some((u32::from_be_bytes(identification), offset, place & 1 == 1));
            }
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS => (usize::from(len) + 1) * 8,
            IpNumber::AUTHENTICATION_HEADER => (usize::from(len) + 2) * 4,
            _ => return None,
        };
        (kind, rest) = (IpNumber(next), rest.get(units..)?);
    }
}

fn fragment<'a>(
    [source, target]: [IpAddr; 2],
    (identification, offset, more): (u32, IpFragOffset, bool),
    payload: &LaxIpPayloadSlice<'a>,
) -> Fragment<'a> {
    let key = FragmentKey { source, target, number: payload.ip_number, identification };
    Fragment { key, offset, more, payload: payload.payload, is_cut: payload.incomplete }
}

fn of_tcp<'a>([source, target]: [IpAddr; 2], tcp: &TcpSlice<'a>) -> Packet<'a> {
    let acknowledged = tcp.ack().then(|| tcp.acknowledgment_number());
    Packet {
        source: SocketAddr::new(source, tcp.source_port()),
        target: SocketAddr::new(target, tcp.destination_port()),
        payload: tcp.payload(),
        tcp: Some(Tcp { sequence: tcp.sequence_number(), acknowledged, is_syn: tcp.syn() }),
    }
}

fn of_udp<'a>([source, target]: [IpAddr; 2], udp: &UdpSlice<'a>) -> Packet<'a> {
    Packet {
        source: SocketAddr::new(source, udp.source_port()),
        target: SocketAddr::new(target, udp.destination_port()),
        payload: udp.payload(),
        tcp: None,
    }
}
