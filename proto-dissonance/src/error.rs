use crate::{ClientId, SessionState};
use core::fmt;
use thiserror::Error;
use voxwire_core::{DecodeError, EncodeError, Full, NameError, NoPlace, Unsupported};

/// Why an input was ignored: the peer's fault, a limit, or an input that was on its way when something changed. Answers and closes that it
/// calls for are among the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Violation {
    /// The frame is no packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The packet belongs to another session.
    #[error("session {got:#010x}, expected {expected:#010x}")]
    WrongSession {
        /// The number found.
        got: u32,
        /// Ours.
        expected: u32,
    },
    /// The packet makes no sense in this state, or from this side.
    #[error("{message} while {state}")]
    Unexpected {
        /// How far the peer is.
        state: SessionState,
        /// What it sent.
        message: &'static str,
    },
    /// The packet says that another client sent it.
    #[error("sender {got}, expected {expected}")]
    Forged {
        /// The client named.
        got: ClientId,
        /// The client that sent it.
        expected: ClientId,
    },
    /// The packet names a number that its sender had before its last handshake; it was on its way.
    #[error("sender {0}, which is this connection's former number")]
    FormerNumber(ClientId),
    /// A packet on a direct path names another sender than the client that the path belongs to.
    #[error("sender {0}, to whom this direct path does not belong")]
    NotTheirs(ClientId),
    /// What a relay packet carries is not handed on: only VoiceData, and TextData reliably, are.
    #[error("{0} cannot be relayed")]
    NotRelayed(&'static str),
    /// A client's name is not valid, or a room's name is missing or not UTF-8: which of the two, and why. For the name in a handshake a server
    /// raises [`ServerEvent::InvalidName`](crate::ServerEvent::InvalidName) instead.
    #[error("invalid {0}: {1}")]
    InvalidName(&'static str, NameError),
    /// A ClientState whose name or codec is not the one of the handshake.
    #[error("{0} is not the one of the handshake")]
    Changed(&'static str),
    /// More voice than the client, or all clients of its address together, may send.
    #[error("too much voice")]
    TooMuchVoice,
    /// More than is allowed: see [`Resource`].
    #[error("too many {0}")]
    TooMany(Resource),
    /// A client that is not in the session.
    #[error("unknown client {0}")]
    UnknownClient(ClientId),
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
    /// What honest clients cause, too, is not counted: they ask for a name again and again, carry on after a restart of the server, find the
    /// server full, or have a packet on its way when they get another number.
    ///
    /// A client counts nothing. On a client, voice that overtakes the news of its speaker is an [`UnknownClient`](Self::UnknownClient) of an
    /// honest peer.
    pub const fn is_counted(&self) -> bool {
        !matches!(
            self,
            Self::OutboxFull(_)
                | Self::UnknownPeer
                | Self::WrongSession { .. }
                | Self::FormerNumber(_)
                | Self::TooMuchVoice
                | Self::TooMany(
                    Resource::Connections
                        | Resource::Handshakes
                        | Resource::Clients
                        | Resource::Channels
                        | Resource::Packets
                )
        )
    }
}

impl From<NoPlace> for Violation {
    fn from(_: NoPlace) -> Self {
        Self::TooMany(Resource::Connections)
    }
}

/// Why a client may not listen to a room, or why the number of a room cannot be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RoomRefused {
    /// The client listens to as many rooms as it may.
    #[error("too many rooms")]
    Quota,
    /// Another room has the same number.
    #[error("another room has the same number")]
    Collision,
    /// The application does not want it there.
    #[error("not allowed")]
    Policy,
    /// The server does not take such a name.
    #[error("{0}")]
    Name(NameError),
}

/// What there may be only so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Resource {
    /// Connections.
    Connections,
    /// Clients in a session.
    Clients,
    /// Handshakes of one address.
    Handshakes,
    /// Packets that come as datagrams while reading pauses.
    Packets,
    /// Rooms of a client.
    Rooms,
    /// Channels of one voice packet.
    Channels,
    /// Direct paths of a client.
    DirectPaths,
    /// Changes of rooms that the server has not confirmed.
    Changes,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Clients => "clients",
            Self::Handshakes => "handshakes",
            Self::Packets => "packets",
            Self::Rooms => "rooms",
            Self::Channels => "channels",
            Self::DirectPaths => "direct paths",
            Self::Changes => "unanswered changes",
        })
    }
}

/// Why a command was not carried out: the caller's fault, or a limit. Nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// There is no session yet, or any more.
    #[error("not connected")]
    NotConnected,
    /// No such peer.
    #[error("unknown peer")]
    UnknownPeer,
    /// No such client.
    #[error("unknown client")]
    UnknownClient,
    /// The command makes no sense in this state.
    #[error("cannot {command}: {state}")]
    Unexpected {
        /// What is going on.
        state: &'static str,
        /// What was asked for.
        command: &'static str,
    },
    /// A client's name or a room's name is not valid: which of the two, and why.
    #[error("invalid {0}: {1}")]
    InvalidName(&'static str, NameError),
    /// A room that may not be listened to.
    #[error("room refused: {0}")]
    Room(#[from] RoomRefused),
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
