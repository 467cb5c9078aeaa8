//! Our transport over TCP + UDP, in which sessions of datagrams travel: `transport/PROTOCOL.md`.

use crate::follow::{Follow, Follows, Names, Note, Opening, Sender};
use crate::protocol::{Problem, Protocol, Shown, Side, Stop};
use core::ops::Range;
use serde_json::json;

/// Length of the server's hello, of the fixed part of the client's, and of the head of a datagram.
const SERVER_HELLO: usize = 32;
const CLIENT_HELLO: usize = 8;
const DATAGRAM_HEAD: usize = 8;

/// The largest token in a client's hello.
const MAX_TOKEN: usize = 1024;

const HELLO: &[u8] = b"VOXL\x01";

/// A session inside of the transport.
pub(crate) trait Inner {
    /// Decodes its packets.
    fn protocol(&self) -> &dyn Protocol;

    fn note(&mut self, _names: &mut Names, _from: Side, packet: &[u8]) -> Result<Note, Problem> {
        Ok(Note::of(self.protocol().decode(packet)?.message))
    }

    fn user(&self) -> Option<&str> {
        None
    }

    fn speaker(&self, _names: &Names, _speaker: u64) -> String {
        "?".into()
    }
}

/// What is in a unit or in a datagram.
enum Content<'a> {
    Packet(&'a [u8]),
    /// Of the transport itself.
    Own(&'static str),
}

/// Who has sent these bytes, if they are of the transport; `is_inner` tells whether a packet is of the session inside. The transport alone
/// does not tell the session: that takes a packet.
pub(crate) fn recognise(opening: &Opening<'_>, is_inner: fn(&[u8]) -> bool) -> Option<Sender> {
    let mut rest = opening.bytes;
    if !opening.is_tcp {
        return match (datagram(rest)?, rest.first()?) {
            (Content::Packet(packet), _) => is_inner(packet).then_some(Sender::Either),
            (Content::Own(_), _) if !opening.is_last => None,
            (Content::Own(_), 1 | 4) => Some(Sender::Client),
            (Content::Own(_), 2 | 5) => Some(Sender::Server),
            (Content::Own(_), _) => Some(Sender::Either),
        };
    }
    let mut sender = Sender::Either;
    if rest.starts_with(HELLO) {
        // A server's hello has a port and a tag where a client's has the length of its token, which is zero as a rule.
        let token = usize::from(u16::from_be_bytes([*rest.get(6)?, *rest.get(7)?]));
        let is_server = rest[5] == 0 && rest.len() >= SERVER_HELLO && token > 0;
        sender = if is_server { Sender::Server } else { Sender::Client };
        rest = rest.get(if is_server { SERVER_HELLO } else { CLIENT_HELLO + token }..).unwrap_or(&[]);
        if opening.is_last {
            return Some(sender);
        }
    }
    while let [high, low, kind, body @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        match (kind, body.first()) {
            (0 | 1, _) => return is_inner(body.get(..len.checked_sub(1)?)?).then_some(sender),
            (2, Some(1 | 2)) => sender = Sender::Client,
            (2, Some(3..=5)) => sender = Sender::Server,
            _ => return None,
        }
        if opening.is_last {
            return Some(sender);
        }
        rest = rest.get(2 + len..)?;
    }
    None
}

/// What is in a datagram; `None` for one that is not of the transport.
fn datagram(bytes: &[u8]) -> Option<Content<'_>> {
    let body = bytes.get(DATAGRAM_HEAD..)?;
    Some(match (bytes[0], body.len()) {
        (1, 16) => Content::Own("BIND"),
        (2, 8) => Content::Own("CHALLENGE"),
        (3, 1..) => Content::Packet(body),
        (4, 0..=64) => Content::Own("PING"),
        (5, 0..=64) => Content::Own("PONG"),
        (6, 17) => Content::Own("PROBE"),
        (7, 17) => Content::Own("PROBE_ACK"),
        (8, 1..) => Content::Packet(body),
        (9, 7..) => Content::Packet(&body[6..]),
        (10, 6) => Content::Own("RELIABLE_ACK"),
        _ => return None,
    })
}

/// What is in a unit on TCP.
fn unit(from: Side, bytes: &[u8]) -> Result<Content<'_>, Problem> {
    if bytes.starts_with(HELLO) {
        return Ok(Content::Own(if from == Side::Client { "client hello" } else { "server hello" }));
    }
    let control = match (bytes.get(2), bytes.get(3..)) {
        (Some(0 | 1), Some(packet)) => return Ok(Content::Packet(packet)),
        (Some(2), Some(control)) => control.first(),
        (kind, _) => {
            let text = format!("kind at offset 2: {kind:?} found, expected 0, 1 or 2");
            return Err(Problem { at: Some(("kind", 2)), text });
        }
    };
    Ok(Content::Own(match control {
        Some(1) => "CONFIRM",
        Some(2) => "DOWN",
        Some(3) => "BOUND",
        Some(4) => "PEER",
        Some(5) => "GONE",
        _ => "control",
    }))
}

/// Whether these first bytes of a server may be of a hello that is not complete.
pub(crate) fn is_part_of_hello(bytes: &[u8]) -> bool {
    let known = bytes.len().min(HELLO.len());
    bytes.len() < SERVER_HELLO && bytes[..known] == HELLO[..known]
}

/// Has a server's hello name another UDP port, if it names one. Returns that.
pub(crate) fn set_udp_port(bytes: &mut [u8], port: u16) -> Option<u16> {
    let hello = bytes.get_mut(..SERVER_HELLO).filter(|hello| hello.starts_with(HELLO))?;
    let named = u16::from_be_bytes([hello[6], hello[7]]);
    if named == 0 {
        return None;
    }
    hello[6..8].copy_from_slice(&port.to_be_bytes());
    Some(named)
}

/// A protocol of which nothing has to be remembered from one packet to the next.
#[allow(dead_code, reason = "of which none may be built in")]
pub(crate) struct Stateless<P>(pub(crate) P);

impl<P: Protocol> Inner for Stateless<P> {
    fn protocol(&self) -> &dyn Protocol {
        &self.0
    }
}

/// How a session inside is told from others, and followed; `port` is its default port, for both lanes.
pub(crate) const fn follows(
    port: u16,
    recognise: fn(&Opening<'_>) -> Option<Sender>,
    start: fn() -> Box<dyn Follow>,
) -> Follows {
    Follows { tcp_port: Some(port), udp_port: Some(port), recognise, start }
}

pub(crate) fn follow(inner: impl Inner + 'static) -> Box<dyn Follow> {
    Box::new(Transport { inner, is_udp: false })
}

struct Transport<I> {
    inner: I,
    /// Until something is cut out of a stream.
    is_udp: bool,
}

impl<I: Inner> Transport<I> {
    fn content<'a>(&self, from: Side, bytes: &'a [u8]) -> Result<Content<'a>, Problem> {
        if !self.is_udp {
            return unit(from, bytes);
        }
        datagram(bytes).ok_or_else(|| Problem {
            at: Some(("kind", 0)),
            text: "kind at offset 0: expected 1 to 10, and as many bytes as it has".into(),
        })
    }
}

impl<I: Inner> Follow for Transport<I> {
    fn cut(&mut self, from: Side, unread: &[u8]) -> Result<(Option<Range<usize>>, usize), Stop> {
        let need = |len: usize| match len.checked_sub(unread.len()) {
            Some(missing @ 1..) => Err(Stop::Short(missing)),
            _ => Ok((Some(0..len), len)),
        };
        let known = unread.len().min(HELLO.len());
        if unread.starts_with(&HELLO[..known]) && unread.first() == Some(&b'V') {
            if unread.len() < CLIENT_HELLO {
                return Err(Stop::Short(CLIENT_HELLO - unread.len()));
            }
            if from == Side::Server {
                return need(SERVER_HELLO);
            }
            let token = usize::from(u16::from_be_bytes([unread[6], unread[7]]));
            if token > MAX_TOKEN {
                return Err(Stop::Wrong(format!("a token of {token} bytes, expected at most {MAX_TOKEN}")));
            }
            return need(CLIENT_HELLO + token);
        }
        match unread {
            [] | [_] => Err(Stop::Short(2 - unread.len())),
            [0, 0, ..] => Err(Stop::Wrong("a unit of length 0, expected at least 1".into())),
            [high, low, ..] => need(2 + usize::from(u16::from_be_bytes([*high, *low]))),
        }
    }

    fn datagrams(&mut self) {
        self.is_udp = true;
    }

    /// All have the same kind and tag.
    fn datagram_size(&self, datagrams: &[u8]) -> usize {
        let len = datagrams.len();
        let (Some(head), Some(Content::Packet(_))) = (datagrams.get(..DATAGRAM_HEAD), datagram(datagrams))
        else {
            return len;
        };
        let starts = |at: usize| datagrams.get(at..).is_some_and(|rest| rest.starts_with(head));
        let Some(size) = (DATAGRAM_HEAD + 1..len).find(|at| starts(*at)) else { return len };
        if (size..len).step_by(size).all(starts) { size } else { len }
    }

    fn note(&mut self, names: &mut Names, from: Side, message: &[u8]) -> Result<Note, Problem> {
        match self.content(from, message)? {
            Content::Packet(packet) => self.inner.note(names, from, packet),
            Content::Own(name) => Ok(Note::of(name)),
        }
    }

    fn show(&self, from: Side, message: &[u8]) -> Result<Shown, Problem> {
        match self.content(from, message)? {
            Content::Packet(packet) => self.inner.protocol().decode(packet),
            Content::Own(message_name) => Ok(Shown {
                message: message_name,
                length: message.len(),
                fields: json!({ "bytes": hex::encode(message) }),
                trailing: 0,
            }),
        }
    }

    fn packet<'a>(&self, from: Side, unit: &'a [u8]) -> Option<&'a [u8]> {
        match self.content(from, unit) {
            Ok(Content::Packet(packet)) => Some(packet),
            _ => None,
        }
    }

    fn user(&self, side: Side) -> Option<&str> {
        self.inner.user().filter(|_| side == Side::Client)
    }

    fn speaker(&self, names: &Names, _from: Side, speaker: u64) -> String {
        self.inner.speaker(names, speaker)
    }
}
