use crate::types::Text;
use alloc::boxed::Box;
use core::{fmt, net::SocketAddr, time::Duration};
use voxwire_core::{DialId, List, ListenId, PeerId};

/// One call of a client's, as caller or callee; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CallId(u32);

impl CallId {
    /// The call of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The port on which this client listens for the call.
    pub(crate) const fn to_listen(self) -> ListenId {
        ListenId::new(self.0)
    }

    /// The call for which this client listens on that port.
    pub(crate) const fn from_listen(id: ListenId) -> Self {
        Self(id.get())
    }

    /// The connection that this client makes for the call.
    pub(crate) const fn to_dial(self) -> DialId {
        DialId::new(self.0)
    }

    /// The call for which this client makes that connection.
    pub(crate) const fn from_dial(id: DialId) -> Self {
        Self(id.get())
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

/// What a client's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ClientCommand<'a> {
    /// Ask for a name; sent as soon as the server has said hello. Answered by `LoggedIn` or `LoginFailed`.
    Login {
        /// 1 to 255 bytes of UTF-8.
        name: &'a str,
    },
    /// Call a client. [`Client::calls`](crate::Client::calls) shows the call; `Established`, `Rejected` or `Ended` follows.
    /// Several calls may be up at once.
    Call {
        /// Whom.
        contact: &'a [u8],
    },
    /// Take a call of `Incoming`.
    Accept {
        /// Which.
        call: CallId,
    },
    /// Refuse a call of `Incoming`.
    Refuse {
        /// Which.
        call: CallId,
    },
    /// End a call, or give up one that is not up yet. No event follows.
    HangUp {
        /// Which.
        call: CallId,
    },
    /// Send a packet of sound on every call that is up, or on one: one every 20 ms, in pauses one of silence. Without a call that is up nothing is
    /// sent, and that is no error.
    Say {
        /// On which; `None` for all.
        call: Option<CallId>,
        /// One Opus packet: 48 kHz, two channels, 20 ms, or originals cannot play it. At most 8 KiB.
        packet: &'a [u8],
    },
}

/// What a client's application learns.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// The server has said hello.
    Connected,
    /// We have the name we asked for.
    LoggedIn,
    /// We do not have it.
    LoginFailed {
        /// Why, in the server's words.
        reason: Text<'a>,
    },
    /// These are there, too; see [`Client::contacts`](crate::Client::contacts) for all.
    Added {
        /// Their names. Original servers write an empty one for a connection without a name.
        contacts: List<'a, Text<'a>>,
    },
    /// These have gone.
    Removed {
        /// Their names.
        contacts: List<'a, Text<'a>>,
    },
    /// A call comes in. Answer with `Accept` or `Refuse`.
    Incoming {
        /// The call.
        call: CallId,
        /// Who calls, as the server says.
        caller: Text<'a>,
    },
    /// A client called while we were busy, and was refused; see [`ClientSettings::busy`](crate::ClientSettings::busy).
    Missed {
        /// Who.
        caller: Text<'a>,
    },
    /// A call is up.
    Established {
        /// Which.
        call: CallId,
    },
    /// Sound.
    Voice {
        /// From which call.
        call: CallId,
        /// One Opus packet.
        packet: &'a [u8],
    },
    /// The server cannot put a call through, which is over then. Also the reason of a kick: `Disconnected` follows.
    Rejected {
        /// Which; `None` if the error fits none.
        call: Option<CallId>,
        /// Why, in the server's words.
        what: Text<'a>,
    },
    /// A call is over.
    Ended {
        /// Which.
        call: CallId,
        /// With whom.
        contact: Box<[u8]>,
        /// Why.
        cause: Cause,
    },
    /// The connection to the server is lost. Calls that are up go on.
    Disconnected,
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Cause {
    /// The other side hung up, or its connection is lost.
    HungUp,
    /// The callee refused.
    Refused,
    /// No client answered in time.
    NoAnswer,
    /// The caller cannot be reached where it listens; or we cannot listen.
    Unreachable,
    /// The other side sent what no client can understand.
    Misbehaved,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HungUp => "hung up",
            Self::Refused => "refused",
            Self::NoAnswer => "no answer",
            Self::Unreachable => "cannot be reached",
            Self::Misbehaved => "the other side does not speak this protocol",
        })
    }
}

/// What a server's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ServerCommand<'a> {
    /// Log a client in that asked for it in `LoggingIn`. Where the name is taken, the client gets LoginFailed, no `LoggedIn` follows, and this is
    /// no error. A name that is not valid is an error; the client still waits then: answer `Reject`.
    Admit {
        /// Who asked.
        peer: PeerId,
        /// What others see. May differ from what it asked for, as where that held a secret.
        name: &'a str,
        /// It has shown that the name is its own: then it displaces the holder.
        proven: bool,
    },
    /// Do not log it in.
    Reject {
        /// Who asked.
        peer: PeerId,
        /// Why, for people; at most 255 bytes are sent.
        reason: &'a str,
    },
    /// Disconnect a client, and end the calls of it that the server carries: [`Moderation::kick`](voxwire_core::Moderation::kick). `Gone` follows.
    Kick {
        /// Whom.
        peer: PeerId,
        /// Why, for people; at most 255 bytes are sent, as an ErrorResponse.
        reason: &'a str,
    },
}

/// What a server's application learns. Relayed voice is no event.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent<'a> {
    /// A client is connected.
    Connected {
        /// The client.
        peer: PeerId,
        /// Its address.
        from: Option<SocketAddr>,
    },
    /// A client asks for a name and [`ServerSettings::ask`](crate::ServerSettings::ask) is set: answer with `Admit` or `Reject`.
    LoggingIn {
        /// The client.
        peer: PeerId,
        /// As received; it may hold a secret. `Admit` checks whether it is valid.
        name: Text<'a>,
    },
    /// A client has a name now.
    LoggedIn {
        /// The client; [`Server::name`](crate::Server::name) tells the name.
        peer: PeerId,
    },
    /// A client did not get the name it asked for. Not raised for `Admit` and `Reject`.
    LoginFailed {
        /// The client.
        peer: PeerId,
        /// The name, as received.
        name: Text<'a>,
    },
    /// A call was handed on to the callee.
    Calling {
        /// Who calls.
        caller: PeerId,
        /// Who is called.
        callee: PeerId,
    },
    /// A call was not handed on.
    Unreachable {
        /// Who called.
        caller: PeerId,
        /// Whom, as received.
        contact: Text<'a>,
        /// Why.
        cause: Unreachable,
    },
    /// A call was refused.
    Refused {
        /// Who called.
        caller: PeerId,
        /// Who was called.
        callee: PeerId,
    },
    /// A relayed call is up.
    Established {
        /// Who called.
        caller: PeerId,
        /// Who was called.
        callee: PeerId,
    },
    /// Voice in a relayed call of a client that is watched: see [`Moderation::watch`](voxwire_core::Moderation::watch).
    Voice {
        /// The connection that carries it: [`Server::parties_of`](crate::Server::parties_of) tells whose it is.
        leg: PeerId,
        /// One packet, as it came.
        data: &'a [u8],
    },
    /// A relayed call is over, or will not come up any more.
    Ended {
        /// Who called.
        caller: PeerId,
        /// Who was called.
        callee: PeerId,
        /// The caller's name: it may have gone before the call.
        caller_name: Box<[u8]>,
        /// The callee's.
        callee_name: Box<[u8]>,
        /// Whose fault it was that it never came up, if any client's.
        missing: Option<Role>,
        /// How long it was up; `None` if it never was.
        lasted: Option<Duration>,
        /// VoiceData packets relayed, both ways together.
        packets: u64,
    },
    /// A client is gone: it left, or the session closed its connection (then this comes with the next time-out, which is
    /// due at once).
    Gone {
        /// The client.
        peer: PeerId,
        /// The name it had.
        name: Option<Box<[u8]>>,
    },
}

/// Why a call was not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Unreachable {
    /// No client has that name.
    NotFound,
    /// The callee is called too often.
    Busy,
    /// No client could connect to where the caller listens.
    Address,
    /// The server cannot carry more calls.
    NoRelay,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "nobody has that name",
            Self::Busy => "the callee is called too often",
            Self::Address => "nobody can connect to where the caller listens",
            Self::NoRelay => "the server cannot carry more calls",
        })
    }
}

/// Names are shown escaped, sound by its length alone.
impl fmt::Debug for ClientEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("Connected"),
            Self::LoggedIn => f.write_str("LoggedIn"),
            Self::LoginFailed { reason } => write!(f, "LoginFailed({reason:?})"),
            Self::Added { contacts } => write!(f, "Added({contacts:?})"),
            Self::Removed { contacts } => write!(f, "Removed({contacts:?})"),
            Self::Incoming { call, caller } => write!(f, "Incoming({call}, {caller:?})"),
            Self::Missed { caller } => write!(f, "Missed({caller:?})"),
            Self::Established { call } => write!(f, "Established({call})"),
            Self::Voice { call, packet } => write!(f, "Voice({call}, {} bytes)", packet.len()),
            Self::Rejected { call: Some(call), what } => write!(f, "Rejected({call}, {what:?})"),
            Self::Rejected { call: None, what } => write!(f, "Rejected(-, {what:?})"),
            Self::Ended { call, contact, cause } => {
                write!(f, "Ended({call}, {:?}, {cause})", Text(contact))
            }
            Self::Disconnected => f.write_str("Disconnected"),
        }
    }
}

/// Never shows what may be a secret.
impl fmt::Debug for ServerEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { peer, from } => write!(f, "Connected({peer}, {from:?})"),
            Self::LoggingIn { peer, .. } => write!(f, "LoggingIn({peer})"),
            Self::LoggedIn { peer } => write!(f, "LoggedIn({peer})"),
            Self::LoginFailed { peer, .. } => write!(f, "LoginFailed({peer})"),
            Self::Calling { caller, callee } => write!(f, "Calling({caller} -> {callee})"),
            Self::Unreachable { caller, contact, cause } => {
                write!(f, "Unreachable({caller} -> {contact:?}, {cause:?})")
            }
            Self::Refused { caller, callee } => write!(f, "Refused({caller} -> {callee})"),
            Self::Established { caller, callee } => write!(f, "Established({caller} -> {callee})"),
            Self::Voice { leg, data } => write!(f, "Voice({leg}, {} bytes)", data.len()),
            Self::Ended { caller, callee, missing, lasted, packets, .. } => {
                write!(f, "Ended({caller} -> {callee}, {missing:?}, {lasted:?}, {packets} packets)")
            }
            Self::Gone { peer, name } => {
                write!(f, "Gone({peer}, {:?})", name.as_deref().map(Text))
            }
        }
    }
}
