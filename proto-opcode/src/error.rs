use core::fmt;
use thiserror::Error;
use voxwire_core::{DecodeError, EncodeError, Full, NameError, NoPlace, Unsupported};

/// Why an input was ignored: the peer's fault, a limit, or an input that was on its way when something changed. Answers and closes that it
/// calls for are among the outputs.
///
/// The server removes no peer for the number of its violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The frame is no packet. Its connection is closed, as the original does.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The packet makes no sense in this state, or from this side.
    #[error("{message} while {state}")]
    Unexpected {
        /// What was going on.
        state: &'static str,
        /// What the peer sent.
        message: &'static str,
    },
    /// A name that is not valid.
    #[error("invalid name: {0}")]
    InvalidName(NameError),
    /// A call from, or to, an address where no client can listen.
    #[error("no client can listen at {0}")]
    Address(&'static str),
    /// More than is allowed: see [`Resource`].
    #[error("too many {0}")]
    TooMany(Resource),
    /// A connection to the port of a relayed call from another address than that of the call.
    #[error("a connection from outside the call")]
    NotOfTheCall,
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// The outbox is full, and the input was ignored. A driver that carries out all outputs after each call never sees this.
    #[error(transparent)]
    OutboxFull(#[from] Full),
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
    /// Connections to a server.
    Connections,
    /// Connections of a client to its server: one.
    Servers,
    /// Log-ins and calls of one address.
    Attempts,
    /// Calls of a client.
    Calls,
    /// Connections to the port of one call.
    CallConnections,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Servers => "connections to a server",
            Self::Attempts => "attempts",
            Self::Calls => "calls",
            Self::CallConnections => "connections to the port of one call",
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
    /// The command makes no sense in this state.
    #[error("cannot {command} while {state}")]
    Unexpected {
        /// What is going on.
        state: &'static str,
        /// What was asked for.
        command: &'static str,
    },
    /// A name that is not valid.
    #[error("invalid name: {0}")]
    InvalidName(#[from] NameError),
    /// No such call.
    #[error("unknown call")]
    UnknownCall,
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
    /// The packet cannot be encoded, or the outbox is full.
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
