//! The protocols that this program speaks, one row each. What one of them needs is in its own module.

use crate::plan::Plan;
use crate::user::Run;
use crate::{dissonance, msgpack, opcode, syfala, voicelink};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use core::fmt;
use core::future::Future;
use core::ops::RangeInclusive;
use core::pin::Pin;
use std::rc::Rc;
use voxwire_server::Config;

/// Every protocol that this program speaks.
pub(crate) const PROTOCOLS: &[Entry] =
    &[voicelink::ENTRY, opcode::ENTRY, msgpack::ENTRY, dissonance::ENTRY, syfala::ENTRY];

/// What one user does from its beginning to its end.
type Life = Pin<Box<dyn Future<Output = ()>>>;

/// A row of the table.
pub(crate) struct Entry {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// The server's port unless another one is given.
    pub(crate) port: u16,
    /// The same by QUIC; `None` where QUIC is not spoken.
    pub(crate) quic_port: Option<u16>,
    /// Whether TLS is spoken.
    pub(crate) encrypted: bool,
    pub(crate) grouping: Grouping,
    /// Whether a server may not change the order of frames.
    pub(crate) ordered: bool,
    /// Frames a second, and bytes of a frame; `None` where the server says them.
    pub(crate) frames: Option<Frames>,
    /// Users a second that join, unless something else is said.
    pub(crate) ramp: u32,
    /// Descriptors that this program needs for one user.
    pub(crate) descriptors: u64,
    /// Which settings of the server mend what users fail of.
    pub(crate) advice: &'static str,
    /// The settings of a server that this program starts itself.
    pub(crate) configure: fn(&mut Config, &Plan),
    /// The life of one user.
    pub(crate) live: fn(Rc<Run>, u32) -> Life,
}

/// Who hears whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// Two in a call.
    Pairs,
    /// All of a group but oneself.
    Groups,
    /// Each user itself: the server echoes.
    Alone,
}

/// What may be asked for: frames a second of one talker, and bytes of one frame.
#[derive(Debug, Clone)]
pub(crate) struct Frames {
    pub(crate) rate: RangeInclusive<u32>,
    pub(crate) bytes: RangeInclusive<usize>,
    pub(crate) default_bytes: usize,
    /// A frame has a multiple of so many bytes.
    pub(crate) unit: usize,
}

/// Frames a second, unless something else is said.
pub(crate) const DEFAULT_RATE: u32 = 50;

impl Entry {
    pub(crate) const FIRST: &'static Self = &voicelink::ENTRY;

    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|entry| entry.name == name)
    }

    /// Reads a name on the command line.
    pub(crate) fn parser() -> impl TypedValueParser<Value = &'static Self> {
        PossibleValuesParser::new(PROTOCOLS.iter().map(|entry| entry.name))
            .try_map(|name| Self::named(&name).ok_or("no such protocol"))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}
