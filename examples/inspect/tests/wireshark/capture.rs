//! Captures, written by hand: Ethernet, IPv4, TCP with sequence numbers, UDP.

use std::path::Path;

const CLIENT_IP: [u8; 4] = [10, 0, 0, 1];
const SERVER_IP: [u8; 4] = [10, 0, 0, 2];
/// Sequence numbers near their end: they wrap within a stream.
const FIRST_SEQUENCE: u32 = u32::MAX - 40;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

use Side::{Client, Server};

impl Side {
    /// As `voxwire-inspect --from` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Client => "client",
            Server => "server",
        }
    }

    fn ips(self) -> [[u8; 4]; 2] {
        match self {
            Client => [CLIENT_IP, SERVER_IP],
            Server => [SERVER_IP, CLIENT_IP],
        }
    }
}

/// How messages are cut into TCP segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One message in each.
    Whole,
    /// One byte in each.
    Bytes,
    /// Two messages in each.
    Pairs,
    /// Of sizes that have nothing to do with messages.
    Ragged,
    /// One message in each, sent twice.
    Again,
    /// Ragged, and each second pair of segments in the wrong order.
    Swapped,
}

/// The packets of a capture.
#[derive(Debug, Default)]
pub struct Capture {
    packets: Vec<Vec<u8>>,
}

impl Capture {
    pub fn udp(&mut self, from: Side, client_port: u16, server_port: u16, data: &[u8]) {
        let [source, target] = match from {
            Client => [client_port, server_port],
            Server => [server_port, client_port],
        };
        let length = u16::try_from(8 + data.len()).unwrap();
        let mut datagram = Vec::new();
        for field in [source, target, length, 0] {
            datagram.extend(field.to_be_bytes());
        }
        datagram.extend(data);
        self.ip(from, 17, &datagram);
    }

    /// A connection in which both sides send messages in this order.
    pub fn tcp(&mut self, client_port: u16, server_port: u16, messages: &[(Side, Vec<u8>)], cut: Cut) {
        let mut tcp = Tcp { ports: [client_port, server_port], sequence: [FIRST_SEQUENCE; 2] };
        for (side, flags) in [(Client, SYN), (Server, SYN | ACK), (Client, ACK)] {
            tcp.send(self, side, flags, b"");
        }
        for run in messages.chunk_by(|a, b| a.0 == b.0) {
            let side = run[0].0;
            let sizes: Vec<usize> = run.iter().map(|(_, message)| message.len()).collect();
            let stream = run.iter().flat_map(|(_, message)| message).copied().collect::<Vec<u8>>();
            let segments = segments(&sizes, cut);
            let mut parts = Vec::new();
            let mut rest = &stream[..];
            for size in segments {
                let (part, after) = rest.split_at(size);
                parts.push(part);
                rest = after;
            }
            assert!(rest.is_empty());
            match cut {
                Cut::Again => {
                    for part in parts {
                        let before = tcp.sequence;
                        tcp.send(self, side, PUSH | ACK, part);
                        tcp.sequence = before;
                        tcp.send(self, side, PUSH | ACK, part);
                    }
                }
                Cut::Swapped => {
                    for (at, pair) in parts.chunks(2).enumerate() {
                        match *pair {
                            [first, second] if at % 2 == 1 => {
                                let index = usize::from(side == Server);
                                let before = tcp.sequence[index];
                                tcp.sequence[index] =
                                    before.wrapping_add(u32::try_from(first.len()).unwrap());
                                tcp.send(self, side, PUSH | ACK, second);
                                let after = tcp.sequence[index];
                                tcp.sequence[index] = before;
                                tcp.send(self, side, PUSH | ACK, first);
                                tcp.sequence[index] = after;
                            }
                            _ => pair.iter().for_each(|part| tcp.send(self, side, PUSH | ACK, part)),
                        }
                    }
                }
                _ => parts.iter().for_each(|part| tcp.send(self, side, PUSH | ACK, part)),
            }
        }
        for (side, flags) in [(Client, FIN | ACK), (Server, FIN | ACK), (Client, ACK)] {
            tcp.send(self, side, flags, b"");
        }
    }

    fn ip(&mut self, from: Side, protocol: u8, payload: &[u8]) {
        let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let [source, target] = from.ips();
        let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        packet.extend([0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0]);
        packet.extend(source);
        packet.extend(target);
        packet.extend(payload);
        self.packets.push(packet);
    }

    /// Writes it in the classic form of libpcap.
    pub fn write(&self, path: &Path) {
        let mut file = Vec::new();
        for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            file.extend(field.to_le_bytes());
        }
        for (number, packet) in (0_u32..).zip(&self.packets) {
            let length = u32::try_from(packet.len()).unwrap();
            for field in [1_700_000_000 + number / 1000, number % 1000 * 1000, length, length] {
                file.extend(field.to_le_bytes());
            }
            file.extend(packet);
        }
        std::fs::write(path, file).unwrap();
    }
}

struct Tcp {
    ports: [u16; 2],
    sequence: [u32; 2],
}

impl Tcp {
    fn send(&mut self, capture: &mut Capture, from: Side, flags: u8, data: &[u8]) {
        let us = usize::from(from == Server);
        let mut segment = Vec::new();
        segment.extend(self.ports[us].to_be_bytes());
        segment.extend(self.ports[1 - us].to_be_bytes());
        segment.extend(self.sequence[us].to_be_bytes());
        let acknowledged = if flags & ACK == 0 { 0 } else { self.sequence[1 - us] };
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(data);
        let taken = u32::try_from(data.len()).unwrap() + u32::from(flags & (SYN | FIN) != 0);
        self.sequence[us] = self.sequence[us].wrapping_add(taken);
        capture.ip(from, 6, &segment);
    }
}

/// Sizes of the segments of messages of these sizes.
fn segments(messages: &[usize], cut: Cut) -> Vec<usize> {
    let total: usize = messages.iter().sum();
    match cut {
        Cut::Whole | Cut::Again => messages.to_vec(),
        Cut::Bytes => vec![1; total],
        Cut::Pairs => messages.chunks(2).map(|pair| pair.iter().sum()).collect(),
        Cut::Ragged | Cut::Swapped => {
            let mut left = total;
            let sizes = [3, 1, 21, 8, 2, 55, 5, 13, 34].into_iter().cycle();
            let sizes = sizes.map_while(|size| {
                let size = size.min(left);
                left -= size;
                (size > 0).then_some(size)
            });
            sizes.collect()
        }
    }
}
