//! The bytes of the TCP + UDP transport, as in `PROTOCOL.md`.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// What both hellos start with: magic and version.
const MAGIC: [u8; 5] = *b"VOXL\x01";
/// Bytes of a client's hello before its token.
pub(crate) const CLIENT_HELLO: usize = 8;
/// Bytes of a server's hello.
pub(crate) const SERVER_HELLO: usize = 32;
/// Longest token, in bytes.
pub(crate) const MAX_TOKEN: usize = 1024;
/// The largest packet in one unit, in bytes.
pub(crate) const MAX_UNIT: usize = 65_534;
/// The longest control of a unit, in bytes. Those of today have 35 at most.
pub(crate) const MAX_CONTROL: usize = 255;

/// How often a client sends a BIND, or a PING.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// The silence after which UDP counts as blocked.
pub(crate) const PATH_TIMEOUT: Duration = Duration::from_millis(1500);

/// A server sends droppable frames by TCP to a bound client from which no PING has come for so long.
pub(crate) const LAPSE: Duration = Duration::from_secs(5);

/// Kinds of units on the TCP side.
pub(crate) mod unit {
    pub(crate) const RELIABLE: u8 = 0;
    pub(crate) const DROPPABLE: u8 = 1;
    pub(crate) const CONTROL: u8 = 2;
}

/// Kinds of datagrams.
pub(crate) mod datagram {
    pub(crate) const BIND: u8 = 1;
    pub(crate) const CHALLENGE: u8 = 2;
    pub(crate) const DATA: u8 = 3;
    pub(crate) const PING: u8 = 4;
    pub(crate) const PONG: u8 = 5;
    // Between clients.
    pub(crate) const PROBE: u8 = 6;
    pub(crate) const PROBE_ACK: u8 = 7;
    pub(crate) const DROPPABLE: u8 = 8;
    pub(crate) const RELIABLE: u8 = 9;
    pub(crate) const RELIABLE_ACK: u8 = 10;
}

/// Identifies a connection in its datagrams: its slot, and a secret of four bytes.
pub(crate) type Tag = [u8; 7];
/// Identifies the owner of a TCP connection on the UDP side.
pub(crate) type Cookie = [u8; 16];
/// Proves on the TCP side that a datagram has arrived.
pub(crate) type Nonce = [u8; 8];
/// Identifies two clients to each other.
pub(crate) type PathKey = [u8; 16];
/// Bytes at the start of every datagram: its kind and the tag.
pub(crate) const HEAD: usize = 8;

pub(crate) const fn head(kind: u8, tag: Tag) -> [u8; HEAD] {
    let [a, b, c, d, e, f, g] = tag;
    [kind, a, b, c, d, e, f, g]
}

/// A datagram's kind, its tag and what follows.
pub(crate) fn read_head(datagram: &[u8]) -> Option<(u8, Tag, &[u8])> {
    let ([kind, tag @ ..], body) = datagram.split_first_chunk::<HEAD>()?;
    Some((*kind, *tag, body))
}

/// The tag of the connection in `slot`, of which 24 bits count.
pub(crate) fn tag(slot: u32, secret: [u8; 4]) -> Tag {
    let [_, a, b, c] = slot.to_be_bytes();
    let [d, e, f, g] = secret;
    [a, b, c, d, e, f, g]
}

pub(crate) fn slot([a, b, c, ..]: Tag) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// The tag of datagrams between two clients.
pub(crate) fn path_tag(key: PathKey) -> Tag {
    let [a, b, c, d, e, f, g, ..] = key;
    [a, b, c, d, e, f, g]
}

/// What a client asks for in its hello.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClientWants {
    /// UDP for droppable frames.
    pub(crate) udp: bool,
    /// Direct paths to other clients that ask for them.
    pub(crate) direct: bool,
}

/// A client's hello.
pub(crate) fn client_hello(wants: ClientWants, token: &[u8]) -> Vec<u8> {
    let len = u16::try_from(token.len().min(MAX_TOKEN)).unwrap_or(0);
    let mut hello = MAGIC.to_vec();
    hello.push(u8::from(wants.udp) | u8::from(wants.direct) << 1);
    hello.extend(len.to_be_bytes());
    hello.extend(token.iter().take(MAX_TOKEN));
    hello
}

/// What a client's hello asks for, and the length of its token; `None` if the bytes are no hello.
pub(crate) fn read_client_hello(head: &[u8; CLIENT_HELLO]) -> Option<(ClientWants, usize)> {
    let [magic @ .., flags, a, b] = head;
    let len = usize::from(u16::from_be_bytes([*a, *b]));
    let wants = ClientWants { udp: flags & 1 != 0, direct: flags & 2 != 0 };
    (*magic == MAGIC && len <= MAX_TOKEN).then_some((wants, len))
}

/// A server's hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerHello {
    pub(crate) accepted: bool,
    /// 0: no UDP.
    pub(crate) udp_port: u16,
    pub(crate) tag: Tag,
    pub(crate) cookie: Cookie,
}

impl ServerHello {
    /// The client is admitted, without UDP.
    pub(crate) const fn without_udp() -> Self {
        Self { accepted: true, udp_port: 0, tag: [0; 7], cookie: [0; 16] }
    }

    /// The client is not admitted.
    pub(crate) const fn refused() -> Self {
        Self { accepted: false, ..Self::without_udp() }
    }

    pub(crate) fn to_bytes(self) -> [u8; SERVER_HELLO] {
        let mut bytes = [0; SERVER_HELLO];
        let parts =
            [&MAGIC[..], &[u8::from(!self.accepted)], &self.udp_port.to_be_bytes(), &self.tag, &self.cookie];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    pub(crate) fn read(bytes: &[u8; SERVER_HELLO]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<5>()?;
        let ([status, a, b], rest) = rest.split_first_chunk::<3>()?;
        let (tag, rest) = rest.split_first_chunk::<7>()?;
        let cookie = rest.first_chunk::<16>()?;
        let udp_port = u16::from_be_bytes([*a, *b]);
        (*magic == MAGIC).then_some(Self { accepted: *status == 0, udp_port, tag: *tag, cookie: *cookie })
    }
}

/// A control message: what the transports say to each other on the TCP side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Client: the challenge has arrived.
    Confirm(Nonce),
    /// Client: nothing arrives by UDP.
    Down,
    /// Server: droppable frames go by UDP from now on.
    Bound,
    /// Server: another client, and its address.
    Peer(PathKey, SocketAddr),
    /// Server: that client has left.
    Gone(PathKey),
}

impl Control {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        match *body {
            [1, ref nonce @ ..] => Some(Self::Confirm(*nonce.first_chunk()?)),
            [2, ..] => Some(Self::Down),
            [3, ..] => Some(Self::Bound),
            [4, ref rest @ ..] => {
                let (key, rest) = rest.split_first_chunk()?;
                let (port, ip) = rest.split_first_chunk()?;
                let ip = match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
                    (Ok(v4), _) => IpAddr::from(v4),
                    (_, Ok(v6)) => IpAddr::from(v6),
                    _ => return None,
                };
                Some(Self::Peer(*key, SocketAddr::new(ip, u16::from_be_bytes(*port))))
            }
            [5, ref key @ ..] => Some(Self::Gone(*key.first_chunk()?)),
            _ => None,
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Confirm(nonce) => [&[1][..], &nonce].concat(),
            Self::Down => vec![2],
            Self::Bound => vec![3],
            Self::Peer(key, at) => {
                let mut bytes = [&[4][..], &key, &at.port().to_be_bytes()].concat();
                match at.ip() {
                    IpAddr::V4(v4) => bytes.extend(v4.octets()),
                    IpAddr::V6(v6) => bytes.extend(v6.octets()),
                }
                bytes
            }
            Self::Gone(key) => [&[5][..], &key].concat(),
        }
    }
}

/// A unit with a control message.
pub(crate) fn control_unit(control: Control) -> Vec<u8> {
    let (body, mut unit) = (control.to_bytes(), Vec::new());
    put_unit_head(unit::CONTROL, body.len(), &mut unit);
    unit.extend(body);
    unit
}

/// Appends the head of a unit for a packet of `len` bytes.
pub(crate) fn put_unit_head(kind: u8, len: usize, out: &mut Vec<u8>) {
    let [a, b] = u16::try_from(len.saturating_add(1)).unwrap_or(u16::MAX).to_be_bytes();
    out.extend([a, b, kind]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::framing::{Kind, StreamFraming};
    use voxwire_core::{Datagram, Framing, Progress};

    #[test]
    fn d_15_hellos_as_the_protocol_page_has_them() {
        let hello = client_hello(ClientWants { udp: true, direct: false }, b"secret");
        assert_eq!(hello, *b"VOXL\x01\x01\x00\x06secret");
        assert_eq!(
            read_client_hello(hello.first_chunk().unwrap()),
            Some((ClientWants { udp: true, direct: false }, 6))
        );
        assert_eq!(read_client_hello(b"GET / HT"), None);
        assert_eq!(read_client_hello(b"VOXL\x01\x00\xff\xff"), None);
        let server =
            ServerHello { accepted: true, udp_port: 4244, tag: [1, 2, 3, 4, 5, 6, 7], cookie: [9; 16] };
        let bytes = server.to_bytes();
        assert_eq!(bytes[..15], *b"VOXL\x01\x00\x10\x94\x01\x02\x03\x04\x05\x06\x07");
        assert_eq!(ServerHello::read(&bytes), Some(server));
        assert_eq!(slot(tag(0x0102_0304, [0; 4])), 0x0002_0304);
    }

    /// The value of a field of a vector, as bytes.
    fn field(fields: &str, name: &str) -> Vec<u8> {
        let field = fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        voxwire_core::testing::unhex(field.unwrap_or_default())
    }

    /// D-15: the vectors that other implementations read, too.
    #[test]
    fn d_15_the_bytes_are_those_of_the_vectors() {
        let mut compared = 0;
        for line in include_str!("../tests/vectors/tcp_udp.txt").lines() {
            let mut words = line.splitn(4, ' ');
            let (Some(name), Some(hex), Some(kind)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if name.starts_with('#') {
                continue;
            }
            let (bytes, fields) = (voxwire_core::testing::unhex(hex), words.next().unwrap_or_default());
            let is = |field: &str| fields.split(' ').any(|other| other == field);
            match kind {
                "client-hello" => {
                    let wants = ClientWants { udp: is("udp=1"), direct: is("direct=1") };
                    let token = field(fields, "token");
                    assert_eq!(client_hello(wants, &token), bytes, "{name}");
                    assert_eq!(
                        read_client_hello(bytes.first_chunk().unwrap()),
                        Some((wants, token.len())),
                        "{name}"
                    );
                }
                "no-client-hello" => {
                    assert_eq!(read_client_hello(bytes.first_chunk().unwrap()), None, "{name}")
                }
                "server-hello" => {
                    let hello = ServerHello::read(bytes.first_chunk().unwrap()).unwrap();
                    assert!(is(&format!("admitted={}", u8::from(hello.accepted))), "{name}");
                    assert!(is(&format!("port={}", hello.udp_port)), "{name}");
                    assert_eq!(
                        (&hello.tag[..], &hello.cookie[..]),
                        (&*field(fields, "tag"), &*field(fields, "cookie"))
                    );
                    assert_eq!(hello.to_bytes()[..], bytes, "{name}");
                }
                "no-server-hello" => {
                    assert_eq!(ServerHello::read(bytes.first_chunk().unwrap()), None, "{name}")
                }
                "unit" => {
                    let mut framing = StreamFraming::units(Datagram { max: 1024 });
                    let (body, mut written) = (field(fields, "body"), Vec::new());
                    let progress = framing.next_frame(&bytes);
                    assert_eq!(progress, Ok(Progress::Frame { header: 3, body: body.len() }), "{name}");
                    match framing.kind() {
                        Kind::Control => written.extend(control_unit(Control::read(&body).unwrap())),
                        Kind::Frame(lane) => {
                            framing.put_head(lane, &body, &mut written);
                            written.extend(&body);
                        }
                    }
                    assert_eq!(written, bytes, "{name}");
                }
                "datagram" => {
                    let (kind, tag, body) = read_head(&bytes).unwrap();
                    assert!(is(&format!("kind={kind}")), "{name}");
                    let key = <PathKey>::try_from(field(fields, "key"));
                    let expected: Vec<u8> = ["epoch", "number", "first", "second", "body"]
                        .iter()
                        .flat_map(|part| field(fields, part))
                        .collect();
                    match key {
                        Ok(key) => {
                            assert_eq!(tag, path_tag(key), "{name}");
                            assert_eq!(body, [&key[7..], &expected].concat(), "{name}");
                        }
                        Err(_) => {
                            assert_eq!(tag[..], field(fields, "tag"), "{name}");
                            assert_eq!(body, expected, "{name}");
                        }
                    }
                    assert_eq!([&head(kind, tag)[..], body].concat(), bytes, "{name}");
                }
                other => assert_eq!(other, "a known kind", "{name}"),
            }
            compared += 1;
        }
        assert!(compared > 25, "{compared} vectors");
    }

    #[test]
    fn controls_are_read_and_others_are_not() {
        for control in [
            Control::Confirm([3; 8]),
            Control::Down,
            Control::Bound,
            Control::Peer([7; 16], ([192, 0, 2, 1], 4244).into()),
            Control::Peer([7; 16], (core::net::Ipv6Addr::LOCALHOST, 1).into()),
            Control::Gone([8; 16]),
        ] {
            assert_eq!(Control::read(&control.to_bytes()), Some(control));
        }
        assert_eq!((Control::read(&[1, 2]), Control::read(&[]), Control::read(&[99])), (None, None, None));
    }
}
