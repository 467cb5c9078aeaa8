use thiserror::Error;
use voxwire_core::{DecodeError, EncodeError, Full, NameError};

/// Why an input was ignored: the peer's fault. Whatever had to be answered or closed is among the outputs.
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
    /// A name that will not do.
    #[error("invalid name: {0}")]
    InvalidName(NameError),
    /// A call from, or to, an address where no client can listen.
    #[error("no client can listen at {0}")]
    Address(&'static str),
    /// More log-ins and calls from one address than are allowed.
    #[error("too many attempts")]
    TooManyAttempts,
    /// More peers, calls or relays than there is room for.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// Somebody else than the one who was called connected to a port of a relayed call.
    #[error("not the one who was called")]
    Stranger,
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// The outbox is full; the input may be tried again after draining.
    #[error(transparent)]
    Backlog(#[from] Full),
}

/// Why a command was not carried out. Nothing was queued.
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
    /// A name that will not do.
    #[error("invalid name: {0}")]
    InvalidName(#[from] NameError),
    /// No such call.
    #[error("unknown call")]
    UnknownCall,
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// The table is at its limit.
    #[error("{what}: at most {max} entries")]
    Full {
        /// Which table.
        what: &'static str,
        /// Its limit.
        max: usize,
    },
    /// The packet cannot be encoded, or the outbox is full.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self::Encode(full.into())
    }
}
