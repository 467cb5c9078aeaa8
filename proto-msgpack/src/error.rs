use crate::Action;
use core::fmt;
use thiserror::Error;
use voxwire_core::{DecodeError, EncodeError, Full, NameError, NoPlace, Unsupported};

/// Why an input was ignored: the peer's fault, a limit, or an input that was on its way when something changed. Answers and closes that it
/// calls for are among the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The frame is no message. A request is answered with `REQUEST_INVALID`.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// `Server::receive` was called while an earlier request is being handled.
    #[error("a message while a request is in work")]
    InWork,
    /// A response to nothing that was asked.
    #[error("a response that answers nothing")]
    Unasked,
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
    /// Only malformed messages are counted. A client counts nothing.
    pub const fn is_counted(&self) -> bool {
        matches!(self, Self::Decode(_))
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
    /// Connections to a server.
    Connections,
    /// Connections of one user.
    UserConnections,
    /// Requests of a client without an answer.
    Requests,
    /// Groups of a server.
    Groups,
    /// Users of a server who are muted.
    MutedUsers,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::UserConnections => "connections of a user",
            Self::Requests => "requests in work",
            Self::Groups => "groups",
            Self::MutedUsers => "muted users",
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
    /// Only who is logged in can do that.
    #[error("cannot {} without being logged in", .action.name())]
    NotLoggedIn {
        /// What was asked for.
        action: Action,
    },
    /// There is no call to talk in.
    #[error("not in a call")]
    NotInCall,
    /// The command makes no sense in this state.
    #[error("cannot {command} while {state}")]
    Unexpected {
        /// What is going on.
        state: &'static str,
        /// What was asked for.
        command: &'static str,
    },
    /// A token that is not 36 characters long.
    #[error("a token has 36 characters")]
    Token,
    /// A peer the session does not know.
    #[error("unknown peer")]
    UnknownPeer,
    /// A question that was never asked, or is answered already, or to which no user awaits the answer any more.
    #[error("unknown ticket: never asked, answered already, or not awaited any more")]
    UnknownTicket,
    /// A user's name is not valid, for this reason.
    #[error("invalid name: {0}")]
    InvalidName(NameError),
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
