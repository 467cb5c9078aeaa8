use core::fmt;
use thiserror::Error;
use voxwire_core::{DecodeError, EncodeError, Full, Unsupported};

/// Why an input was ignored: the peer's fault, a limit, or an input that was on its way when something changed. Answers and closes that it
/// calls for are among the outputs.
///
/// The server removes no peer for the number of its violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Violation {
    /// The datagram is no message. It does not keep a connection alive.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The message makes no sense in this state, or from a host that is not connected.
    #[error("{message} while {state}")]
    Unexpected {
        /// What was going on.
        state: &'static str,
        /// What the peer sent.
        message: &'static str,
    },
    /// A source that is not on the networks that are served, or a broadcast or multicast address as one.
    #[error("the source is not on this network")]
    OffLink,
    /// Another server's Connect, which begins like a client's Discovery.
    #[error("Connect from another server")]
    NotAClient,
    /// More questions than are answered.
    #[error("too many questions")]
    OverBudget,
    /// A server without streams: what reference clients send by mistake says so.
    #[error("a server without streams")]
    NoStreams,
    /// Audio of a stream that is not among the formats.
    #[error("there is no stream {0}")]
    UnknownStream(u32),
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

/// What there may be only so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Resource {
    /// Sources of datagrams.
    Sources,
    /// Clients of a server, in all or at one address.
    Clients,
    /// Servers that a client has accepted.
    Servers,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sources => "sources",
            Self::Clients => "clients",
            Self::Servers => "servers",
        })
    }
}

/// Why a command was not carried out: the caller's fault, or a limit. Nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// A stream that is not among the formats.
    #[error("there is no stream {0}")]
    UnknownStream(u32),
    /// The command makes no sense in this state.
    #[error("cannot {command} while {state}")]
    Unexpected {
        /// What is going on.
        state: &'static str,
        /// What was asked for.
        command: &'static str,
    },
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
