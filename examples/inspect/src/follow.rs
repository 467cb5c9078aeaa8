//! What a protocol's module provides to have its conversations followed: in a capture, or by the proxy.

use crate::protocol::{Problem, Shown, Side, Stop};
use core::ops::Range;
use std::collections::HashMap;

/// How conversations of a protocol are told from others, and followed.
#[derive(Debug)]
pub(crate) struct Follows {
    /// The default ports of its servers.
    pub(crate) tcp_port: Option<u16>,
    pub(crate) udp_port: Option<u16>,
    /// Who has sent these bytes, if they are the protocol's.
    pub(crate) recognise: fn(&Opening<'_>) -> Option<Sender>,
    pub(crate) start: fn() -> Box<dyn Follow>,
}

/// Bytes that may be the first of a message: those of a datagram, or of one side of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) is_tcp: bool,
    pub(crate) bytes: &'a [u8],
    /// Nothing more will tell: what several protocols begin with has to do.
    pub(crate) is_last: bool,
}

/// What bytes say of their sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Either side sends such bytes.
    Either,
    Client,
    Server,
}

/// One conversation.
pub(crate) trait Follow {
    /// Returns where the message lies in the next unit of a stream, if it is one, and the unit's length.
    ///
    /// # Errors
    /// More is needed; or the stream cannot be followed.
    fn cut(&mut self, from: Side, unread: &[u8]) -> Result<(Option<Range<usize>>, usize), Stop>;

    /// Messages come in datagrams, not in a stream.
    fn datagrams(&mut self) {}

    /// The size of each of these datagrams, but for the last, which may be smaller. A capture on the sender's machine may hold several as
    /// one, before the system has cut them (segmentation offload).
    fn datagram_size(&self, datagrams: &[u8]) -> usize {
        datagrams.len()
    }

    /// A part of the stream is missing: the next unit may be any.
    fn restart(&mut self, _from: Side) {}

    /// Decodes a message or a datagram, as far as counting needs it.
    fn note(&mut self, names: &mut Names, from: Side, message: &[u8]) -> Result<Note, Problem>;

    /// Decodes it with all fields.
    fn show(&self, from: Side, message: &[u8]) -> Result<Shown, Problem>;

    /// The message in a unit, as `decode` takes it; `None` for what is of the transport alone.
    fn packet<'a>(&self, _from: Side, unit: &'a [u8]) -> Option<&'a [u8]> {
        Some(unit)
    }

    /// The form of the bytes where a protocol has several, as the vectors of the tree name it.
    fn wire(&self) -> Option<&'static str> {
        None
    }

    /// The name of the user on that side, once that is known.
    fn user(&self, _side: Side) -> Option<&str> {
        None
    }

    /// The name of a speaker whose voice that side sends.
    fn speaker(&self, _names: &Names, from: Side, _speaker: u64) -> String {
        self.user(from).unwrap_or("?").to_owned()
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) name: &'static str,
    pub(crate) voice: Option<Voice>,
}

impl Note {
    pub(crate) const fn of(name: &'static str) -> Self {
        Self { name, voice: None }
    }
}

/// Where in a speaker's sound a message belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice {
    /// Distinguishes the speakers in one direction of a conversation.
    pub(crate) speaker: u64,
    /// Another number begins anew: a new utterance, whose positions have nothing to do with the ones before.
    pub(crate) run: u64,
    pub(crate) position: Position,
    /// How many units of the position it covers.
    pub(crate) span: u64,
    /// How long a unit lasts, in nanoseconds; 0 where that is not known.
    pub(crate) unit: f64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Position {
    /// A counter that wraps.
    Counter(u16),
    At(u64),
    /// Behind the message before: nothing is lost on the way.
    Next,
}

/// Names and units of sound that are learned in one conversation and needed in others. Bounded.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<u64, (String, f64)>);

impl Names {
    const MAX: usize = 65_536;

    pub(crate) fn learn(&mut self, key: u64, name: &[u8], unit: f64) {
        if self.0.get(&key).is_some_and(|(known, of)| known.as_bytes() == name && *of == unit) {
            return;
        }
        if self.0.len() < Self::MAX || self.0.contains_key(&key) {
            self.0.insert(key, (readable(name), unit));
        }
    }

    pub(crate) fn get(&self, key: u64) -> Option<(&str, f64)> {
        self.0.get(&key).map(|(name, unit)| (name.as_str(), *unit))
    }
}

/// A name for a line of text.
pub(crate) fn readable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars().take(64).collect()
}
