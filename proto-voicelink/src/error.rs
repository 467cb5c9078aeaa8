use core::fmt;
use thiserror::Error;
use voxwire_core::{DecodeError, EncodeError, Full, NameError, NoPlace, Unsupported};

/// Why an input was ignored: the peer's fault, a limit, or an input that was on its way when something changed. Answers and closes that it
/// calls for are among the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The frame is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A parameter is outside what is handed on.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The message makes no sense in this state.
    #[error("{message} while {state}")]
    Unexpected {
        /// What the peer was doing.
        state: &'static str,
        /// What it sent.
        message: &'static str,
    },
    /// Data outside a call, beyond what can be left over from one.
    #[error("data without a call")]
    StrayData,
    /// A registration whose name is not valid, or reads like the address of a caller that has none.
    #[error("invalid name in a registration: {0}")]
    InvalidName(NameError),
    /// More than is allowed: see [`Resource`].
    #[error("too many {0}")]
    TooMany(Resource),
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// The outbox is full; the input may be tried again after draining.
    #[error(transparent)]
    OutboxFull(#[from] Full),
}

impl Violation {
    /// Whether a server takes it for the peer's fault, and counts it towards [`max_violations`](crate::ServerSettings::max_violations).
    ///
    /// Not counted are data that come after the end of a call, limits of the server, and attempts that others of the same address may have
    /// used up. A client counts nothing.
    pub const fn is_counted(&self) -> bool {
        !matches!(
            self,
            Self::StrayData
                | Self::OutboxFull(_)
                | Self::UnknownPeer
                | Self::TooMany(Resource::Connections | Resource::Attempts)
        )
    }
}

impl From<NoPlace> for Violation {
    fn from(_: NoPlace) -> Self {
        Self::TooMany(Resource::Connections)
    }
}

/// What there may be only so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Connections, of a client to its server included.
    Connections,
    /// Calls and registrations of one address.
    Attempts,
    /// Entries of the block list.
    BlockList,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Attempts => "attempts",
            Self::BlockList => "entries of the block list",
        })
    }
}

/// Why a command was not carried out: the caller's fault, or a limit. Nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no connection yet, or any more.
    #[error("not connected")]
    NotConnected,
    /// A call or a registration is under way.
    #[error("busy: {state}")]
    Busy {
        /// What is going on.
        state: &'static str,
    },
    /// The command makes no sense in this state.
    #[error("cannot {command} while {state}")]
    Unexpected {
        /// What is going on.
        state: &'static str,
        /// What was asked for.
        command: &'static str,
    },
    /// A parameter is out of range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A name that is not valid.
    #[error("invalid name: {0}")]
    InvalidName(#[from] NameError),
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// There are as many as may be.
    #[error("{what}: at most {max}")]
    Full {
        /// Of what.
        what: Resource,
        /// The limit.
        max: usize,
    },
    /// The message cannot be encoded, or the outbox is full.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The protocol, as it is served, has no such thing.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self::Encode(full.into())
    }
}

/// A parameter that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{field} {got}, expected {min} to {max}")]
pub struct RangeError {
    /// The document's name of the field.
    pub field: &'static str,
    /// The value found.
    pub got: u32,
    /// The smallest value allowed.
    pub min: u32,
    /// The largest value allowed.
    pub max: u32,
}
