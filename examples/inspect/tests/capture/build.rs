//! Captures of any link layer and file format, packet by packet.

use etherparse::PacketBuilder;
use std::net::{IpAddr, SocketAddr};

/// 2026-01-01, in nanoseconds since 1970.
pub const START: u64 = 1_767_225_600_000_000_000;

/// IP packets with their times.
#[derive(Debug, Default, Clone)]
pub struct Trace {
    pub packets: Vec<(u64, Vec<u8>)>,
    /// In nanoseconds since the start.
    pub now: u64,
    /// Added to the first sequence numbers.
    pub offset: u32,
}

/// Who of a connection sends: 0 is the client.
pub type End = usize;

/// A connection of TCP.
#[derive(Debug, Clone)]
pub struct Tcp {
    ends: [SocketAddr; 2],
    pub sequence: [u32; 2],
}

impl Trace {
    fn push(&mut self, packet: Vec<u8>) {
        self.packets.push((START + self.now, packet));
        self.now += 100_000;
    }

    /// Waits.
    pub fn wait(&mut self, micros: u64) {
        self.now += micros * 1000;
    }

    pub fn udp(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let mut packet = Vec::new();
        match (from.ip(), to.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => PacketBuilder::ipv4(a.octets(), b.octets(), 64)
                .udp(from.port(), to.port())
                .write_to_vec(&mut packet, data),
            (IpAddr::V6(a), IpAddr::V6(b)) => PacketBuilder::ipv6(a.octets(), b.octets(), 64)
                .udp(from.port(), to.port())
                .write_to_vec(&mut packet, data),
            _ => panic!("two families"),
        }
        .unwrap();
        self.push(packet);
    }

    /// A connection with its first three segments.
    pub fn connect(&mut self, client: SocketAddr, server: SocketAddr) -> Tcp {
        // They wrap soon.
        let mut tcp =
            Tcp { ends: [client, server], sequence: [(u32::MAX - 40).wrapping_add(self.offset); 2] };
        self.segment(&tcp, 0, tcp.sequence[0], b"", (true, false));
        self.segment(&tcp, 1, tcp.sequence[1], b"", (true, true));
        tcp.sequence = tcp.sequence.map(|sequence| sequence.wrapping_add(1));
        self.segment(&tcp, 0, tcp.sequence[0], b"", (false, true));
        tcp
    }

    /// The next bytes, in one segment.
    pub fn send(&mut self, tcp: &mut Tcp, end: End, data: &[u8]) {
        self.segment(tcp, end, tcp.sequence[end], data, (false, true));
        tcp.sequence[end] = tcp.sequence[end].wrapping_add(u32::try_from(data.len()).unwrap());
    }

    /// Any bytes at any place.
    pub fn segment(&mut self, tcp: &Tcp, end: End, sequence: u32, data: &[u8], (syn, ack): (bool, bool)) {
        let (from, to) = (tcp.ends[end], tcp.ends[1 - end]);
        let mut packet = Vec::new();
        match (from.ip(), to.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mut step = PacketBuilder::ipv4(a.octets(), b.octets(), 64).tcp(
                    from.port(),
                    to.port(),
                    sequence,
                    4096,
                );
                step = if syn { step.syn() } else { step };
                step = if ack { step.ack(tcp.sequence[1 - end]) } else { step };
                step.write_to_vec(&mut packet, data)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mut step = PacketBuilder::ipv6(a.octets(), b.octets(), 64).tcp(
                    from.port(),
                    to.port(),
                    sequence,
                    4096,
                );
                step = if syn { step.syn() } else { step };
                step = if ack { step.ack(tcp.sequence[1 - end]) } else { step };
                step.write_to_vec(&mut packet, data)
            }
            _ => panic!("two families"),
        }
        .unwrap();
        self.push(packet);
    }
}

impl Trace {
    /// The same packets as fragments with at most `size` bytes each, a multiple of eight. Those of each second packet are in the wrong order.
    pub fn fragmented(&self, size: usize) -> Self {
        let mut trace = Self { packets: Vec::new(), ..*self };
        for (number, (time, packet)) in (1_u32..).zip(&self.packets) {
            let mut fragments = fragments(packet, number, size);
            if number % 2 == 0 {
                fragments.reverse();
            }
            trace.packets.extend(fragments.into_iter().map(|fragment| (*time, fragment)));
        }
        trace
    }
}

fn fragments(packet: &[u8], number: u32, size: usize) -> Vec<Vec<u8>> {
    let is_v6 = packet[0] >> 4 == 6;
    let (head, payload) = packet.split_at(if is_v6 { 40 } else { 20 });
    let last = payload.len().div_ceil(size) - 1;
    if last == 0 {
        return vec![packet.to_vec()];
    }
    let one = |(at, part): (usize, &[u8])| {
        let (offset, more) = (u16::try_from(at * size / 8).unwrap(), u16::from(at < last));
        let mut fragment = head.to_vec();
        if is_v6 {
            fragment[4..6].copy_from_slice(&u16::try_from(part.len() + 8).unwrap().to_be_bytes());
            fragment[6] = 44;
            fragment.extend([head[6], 0]);
            fragment.extend((offset << 3 | more).to_be_bytes());
            fragment.extend(number.to_be_bytes());
        } else {
            fragment[2..4].copy_from_slice(&u16::try_from(part.len() + 20).unwrap().to_be_bytes());
            fragment[4..6].copy_from_slice(&number.to_be_bytes()[2..]);
            fragment[6..8].copy_from_slice(&(offset | more << 13).to_be_bytes());
        }
        fragment.extend(part);
        fragment
    };
    payload.chunks(size).enumerate().map(one).collect()
}

/// Link layers, by the numbers of the registry of link types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    Vlan,
    Null,
    Loop,
    Raw,
    Cooked1,
    Cooked2,
}

impl Link {
    pub const ALL: [Self; 7] =
        [Self::Ethernet, Self::Vlan, Self::Null, Self::Loop, Self::Raw, Self::Cooked1, Self::Cooked2];

    pub const fn number(self) -> u16 {
        match self {
            Self::Ethernet | Self::Vlan => 1,
            Self::Null => 0,
            Self::Loop => 108,
            Self::Raw => 101,
            Self::Cooked1 => 113,
            Self::Cooked2 => 276,
        }
    }

    fn frame(self, packet: &[u8]) -> Vec<u8> {
        let is_v6 = packet[0] >> 4 == 6;
        let kind: [u8; 2] = if is_v6 { [0x86, 0xdd] } else { [8, 0] };
        let mut frame = match self {
            Self::Ethernet => [&[0; 12][..], &kind].concat(),
            Self::Vlan => [&[0; 12][..], &[0x81, 0, 0, 7], &kind].concat(),
            Self::Null => (if is_v6 { 10_u32 } else { 2 }).to_le_bytes().into(),
            Self::Loop => (if is_v6 { 10_u32 } else { 2 }).to_be_bytes().into(),
            Self::Raw => Vec::new(),
            Self::Cooked1 => [&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0][..], &kind].concat(),
            Self::Cooked2 => [&kind[..], &[0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        };
        frame.extend(packet);
        // Ethernet pads what is short.
        let min = if matches!(self, Self::Ethernet | Self::Vlan) { 60 } else { 0 };
        frame.resize(frame.len().max(min), 0);
        frame
    }
}

/// File formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// In either byte order, with times in microseconds or nanoseconds.
    Pcap { big: bool, nanos: bool },
    /// In either byte order, with times in microseconds, or in a power of two of a second.
    Pcapng { big: bool, binary: bool },
}

impl Format {
    pub const ALL: [Self; 8] = [
        Self::Pcap { big: false, nanos: false },
        Self::Pcap { big: true, nanos: false },
        Self::Pcap { big: false, nanos: true },
        Self::Pcap { big: true, nanos: true },
        Self::Pcapng { big: false, binary: false },
        Self::Pcapng { big: true, binary: false },
        Self::Pcapng { big: false, binary: true },
        Self::Pcapng { big: true, binary: true },
    ];
}

/// The file. At most `snap` bytes of each frame are in it.
pub fn file(trace: &Trace, link: Link, format: Format, snap: usize) -> Vec<u8> {
    let frames = trace.packets.iter().map(|(time, packet)| (*time, link.frame(packet)));
    match format {
        Format::Pcap { big, nanos } => {
            let put = Put { big };
            let mut out = put.u32(if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
            out.extend([put.u16(2), put.u16(4)].concat());
            for field in [0, 0, 65_535, u32::from(link.number())] {
                out.extend(put.u32(field));
            }
            for (time, frame) in frames {
                let fraction = time % 1_000_000_000 / if nanos { 1 } else { 1000 };
                let kept = &frame[..frame.len().min(snap)];
                let fields = [time / 1_000_000_000, fraction, kept.len() as u64, frame.len() as u64];
                for field in fields {
                    out.extend(put.u32(u32::try_from(field).unwrap()));
                }
                out.extend(kept);
            }
            out
        }
        Format::Pcapng { big, binary } => {
            let put = Put { big };
            let mut out = Vec::new();
            let head = [&put.u32(0x1a2b_3c4d)[..], &put.u16(1), &put.u16(0), &[0xff; 8]].concat();
            put.block(0x0a0d_0d0a, &head, &mut out);
            let mut interface = [put.u16(link.number()), put.u16(0)].concat();
            interface.extend(put.u32(65_535));
            if binary {
                // if_tsresol: 2^-20 of a second; the end of the options.
                interface.extend([&put.u16(9)[..], &put.u16(1), &[0x94, 0, 0, 0], &[0; 4]].concat());
            }
            put.block(1, &interface, &mut out);
            for (time, frame) in frames {
                let stamp = match binary {
                    true => u64::try_from((u128::from(time) << 20) / 1_000_000_000).unwrap(),
                    false => time / 1000,
                };
                let kept = &frame[..frame.len().min(snap)];
                let lens = [kept.len(), frame.len()].map(|len| put.u32(u32::try_from(len).unwrap()));
                let halves =
                    [stamp >> 32, stamp & 0xffff_ffff].map(|half| put.u32(u32::try_from(half).unwrap()));
                let mut body = [put.u32(0), halves[0], halves[1], lens[0], lens[1]].concat();
                body.extend(kept);
                body.resize(body.len().next_multiple_of(4), 0);
                put.block(6, &body, &mut out);
            }
            out
        }
    }
}

/// Numbers of one byte order.
#[derive(Clone, Copy)]
struct Put {
    big: bool,
}

impl Put {
    const fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    const fn u16(self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn block(self, kind: u32, body: &[u8], out: &mut Vec<u8>) {
        let len = self.u32(u32::try_from(body.len() + 12).unwrap());
        out.extend([&self.u32(kind)[..], &len, body, &len].concat());
    }
}
