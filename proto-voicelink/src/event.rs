use crate::{ByteOrder, Parameters};
use alloc::boxed::Box;
use core::{fmt, net::SocketAddr, time::Duration};
use voxwire_core::{PeerId, Untrusted};

/// What a client's application can ask for.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum ClientCommand<'a> {
    /// Take a name, so that others can call. Answered by `Registered` or `RegistrationRefused`.
    Register {
        /// 1 to 255 bytes of UTF-8.
        name: &'a str,
        /// Where the server asks for one.
        secret: Option<&'a [u8]>,
        /// The audio this client would like best.
        preferred: Parameters,
        /// The order of the samples this client sends and expects; lets the server translate.
        samples: ByteOrder,
    },
    /// Call a client.
    Call {
        /// Whom.
        user: &'a [u8],
        /// The audio wanted.
        parameters: Parameters,
        /// Anything, for the callee.
        optional: &'a [u8],
    },
    /// Callee: take the call as proposed. Caller: take the callee's counter-proposal.
    Accept {
        /// Anything, for the other side.
        optional: &'a [u8],
    },
    /// Callee: propose other parameters.
    Counter {
        /// The audio wanted instead.
        parameters: Parameters,
        /// Anything, for the caller.
        optional: &'a [u8],
    },
    /// Caller: do not take the callee's counter-proposal.
    Close {
        /// Anything, for the callee.
        optional: &'a [u8],
    },
    /// Refuse, cancel or hang up.
    Drop {
        /// Anything, for the other side.
        optional: &'a [u8],
    },
    /// Send audio, in the agreed format; at most 1 MiB less 6 bytes. The slice is free afterwards.
    Say {
        /// Raw samples.
        samples: &'a [u8],
    },
}

/// What a client's application learns.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// The connection to the server is up.
    Connected,
    /// The server took our name.
    Registered,
    /// The server did not take our name.
    RegistrationRefused {
        /// Why, in the server's words.
        reason: &'a [u8],
    },
    /// A call comes in. Answer with `Accept`, `Counter` or `Drop`.
    Incoming {
        /// Who, as the server says.
        caller: &'a [u8],
        /// The audio proposed.
        parameters: Parameters,
        /// Anything, from the caller.
        optional: &'a [u8],
        /// Our own request had crossed this call on the way and is void.
        superseded: bool,
    },
    /// The callee proposes other parameters. Answer with `Accept`, `Close` or `Drop`.
    Countered {
        /// The audio proposed.
        parameters: Parameters,
        /// Anything, from the callee.
        optional: &'a [u8],
    },
    /// The other side accepted: the call is up. (After our own `Accept` it is up at once, without an event.)
    Established {
        /// The audio agreed on.
        parameters: Parameters,
        /// Anything, from the other side.
        optional: &'a [u8],
    },
    /// Audio, in the agreed format.
    Data {
        /// Raw samples.
        samples: &'a [u8],
    },
    /// The server knows no client of that name.
    NotFound,
    /// The caller did not take our counter-proposal; the call is over.
    Closed {
        /// Anything, from the caller.
        optional: &'a [u8],
    },
    /// The call was refused, cancelled or hung up; or we refused it ourselves because its parameters were out of range.
    Dropped {
        /// Anything; from our server the reason, as text.
        optional: &'a [u8],
    },
    /// No client answered in time. A call is given up; a registration may still be answered, and nothing else can be asked for
    /// until then.
    NoAnswer {
        /// What was under way.
        request: Request,
    },
    /// The connection is lost, and a call with it.
    Disconnected {
        /// Whether a call was under way.
        in_call: bool,
    },
}

/// What a client can be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Request {
    /// A registration.
    Register,
    /// A call.
    Call,
}

/// What a server's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ServerCommand<'a> {
    /// Let a peer have the name it asked for in `Registering`. If another client may keep it, the peer waits for a moment;
    /// then `Registered` or `NameRefused` follows.
    Admit {
        /// Who asked.
        peer: PeerId,
        /// Whether it has shown that the name is its own: then it displaces the holder.
        proven: bool,
    },
    /// Do not let a peer have the name it asked for.
    Reject {
        /// Who asked.
        peer: PeerId,
        /// Why, for people; at most 255 bytes are sent.
        reason: &'a str,
    },
    /// Give a peer a name of the application's own accord, from `Connected` on. Its holder is displaced; a connection
    /// from the same address only loses the name, and keeps its call.
    Introduce {
        /// Who.
        peer: PeerId,
        /// What callees see.
        name: &'a str,
        /// Whether it can be called by that name.
        reachable: bool,
        /// The byte order to ring it in if it has not sent anything: a client that was only ever given a name may wait in
        /// silence. `None` is network order.
        order: Option<ByteOrder>,
    },
    /// Put no call of `caller` through to `callee` any more: the caller hears that the callee is busy.
    Block {
        /// The name of the one who is not to be called.
        callee: &'a str,
        /// The name of the one whose calls are refused.
        caller: &'a str,
    },
    /// Undo `Block`.
    Unblock {
        /// As in `Block`.
        callee: &'a str,
        /// As in `Block`.
        caller: &'a str,
    },
    /// End the call a peer is in, for both sides. `Ended` follows.
    EndCall {
        /// One of the two.
        peer: PeerId,
        /// Why, for people; at most 255 bytes are sent.
        reason: &'a str,
    },
    /// Disconnect a peer. `Gone` follows.
    Kick {
        /// Whom.
        peer: PeerId,
        /// Why, for people; at most 255 bytes are sent.
        reason: &'a str,
    },
}

/// What a server's application learns. Relayed audio is no event.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent<'a> {
    /// A client is connected. `Introduce` may give it a name.
    Connected {
        /// The client.
        peer: PeerId,
        /// Its address.
        from: Option<SocketAddr>,
    },
    /// A client asks for a name and [`ServerSettings::ask`](crate::ServerSettings::ask) is set: answer with `Admit` or `Reject`.
    Registering {
        /// The client.
        peer: PeerId,
        /// A valid name.
        name: &'a str,
        /// What it shows for it.
        secret: Option<&'a [u8]>,
        /// The audio it would like best; unchecked.
        preferred: Parameters,
    },
    /// A client has a name now (where no client was asked, or it had to wait).
    Registered {
        /// The client; [`Server::name`](crate::Server::name) tells the name.
        peer: PeerId,
    },
    /// A name was refused by the session itself because it is taken.
    NameRefused {
        /// Who asked.
        peer: PeerId,
        /// The name asked for.
        name: Box<str>,
    },
    /// A call was put through to the callee.
    Ringing {
        /// Who calls.
        caller: PeerId,
        /// Who is called.
        callee: PeerId,
        /// The audio proposed.
        parameters: Parameters,
    },
    /// A call was not put through.
    Unreachable {
        /// Who called.
        caller: PeerId,
        /// Whom, as received.
        user: &'a [u8],
        /// Why.
        cause: Unreachable,
    },
    /// A call is up.
    Established {
        /// Who called.
        caller: PeerId,
        /// Who was called.
        callee: PeerId,
        /// The audio agreed on.
        parameters: Parameters,
    },
    /// Audio in a call of a client that is watched: see [`Moderation::watch`](voxwire_core::Moderation::watch).
    Voice {
        /// Who speaks.
        peer: PeerId,
        /// To whom.
        to: PeerId,
        /// The audio agreed on.
        parameters: Parameters,
        /// The order of the samples' bytes, as their sender has declared it; otherwise that of its heads.
        order: ByteOrder,
        /// The samples.
        data: &'a [u8],
    },
    /// A call is over; both clients are still here.
    Ended(Ended),
    /// A client is gone: it left, or the session closed its connection (then this comes with the next time-out, which is
    /// due at once).
    Gone {
        /// The client.
        peer: PeerId,
        /// The name it had.
        name: Option<Box<str>>,
        /// The call it was in.
        ended: Option<Ended>,
    },
}

/// Why a call was not put through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Unreachable {
    /// No client has that name.
    NotFound,
    /// In another call, or in the middle of registering.
    Busy,
    /// The caller called itself.
    Oneself,
    /// The callee wants no call of this caller.
    Blocked,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "nobody has that name",
            Self::Busy => "busy",
            Self::Oneself => "the caller called itself",
            Self::Blocked => "the callee blocks the caller",
        })
    }
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ended {
    /// Who called.
    pub caller: PeerId,
    /// Who was called.
    pub callee: PeerId,
    /// Why it ended.
    pub cause: Cause,
    /// How long it was up; `None` if it never was.
    pub lasted: Option<Duration>,
    /// Data packets relayed, both ways together.
    pub packets: u64,
    /// Bytes of audio relayed, both ways together.
    pub bytes: u64,
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Cause {
    /// One side dropped it: refused, cancelled or hung up.
    Dropped {
        /// Which.
        by: PeerId,
    },
    /// The caller did not take the callee's parameters.
    Closed,
    /// No answer in time.
    NoAnswer,
    /// Up, but silent on both sides for too long.
    Idle,
    /// One side's connection is gone.
    Lost {
        /// Whose.
        peer: PeerId,
    },
    /// The application ended it.
    Application,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { by } => write!(f, "dropped by {by}"),
            Self::Closed => f.write_str("the caller did not take the callee's parameters"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Idle => f.write_str("idle"),
            Self::Lost { peer } => write!(f, "the connection of {peer} is lost"),
            Self::Application => f.write_str("ended by the application"),
        }
    }
}

/// Never shows a secret.
impl fmt::Debug for ClientCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { name, secret, preferred, samples } => {
                let secret = if secret.is_some() { "with" } else { "without" };
                let name = Untrusted::from(*name);
                write!(f, "Register({name:?}, {secret} a secret, {preferred}, {})", samples.tag())
            }
            Self::Call { user, parameters, optional } => {
                write!(f, "Call({:?}, {parameters}, {:?})", Untrusted::new(user), Untrusted::new(optional))
            }
            Self::Accept { optional } => write!(f, "Accept({:?})", Untrusted::new(optional)),
            Self::Counter { parameters, optional } => {
                write!(f, "Counter({parameters}, {:?})", Untrusted::new(optional))
            }
            Self::Close { optional } => write!(f, "Close({:?})", Untrusted::new(optional)),
            Self::Drop { optional } => write!(f, "Drop({:?})", Untrusted::new(optional)),
            Self::Say { samples } => write!(f, "Say({} bytes)", samples.len()),
        }
    }
}

impl fmt::Debug for ClientEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("Connected"),
            Self::Registered => f.write_str("Registered"),
            Self::NotFound => f.write_str("NotFound"),
            Self::RegistrationRefused { reason } => {
                write!(f, "RegistrationRefused({:?})", Untrusted::new(reason))
            }
            Self::Incoming { caller, parameters, optional, superseded } => {
                let superseded = if *superseded { ", superseded" } else { "" };
                write!(
                    f,
                    "Incoming({:?}, {parameters}, {:?}{superseded})",
                    Untrusted::new(caller),
                    Untrusted::new(optional)
                )
            }
            Self::Countered { parameters, optional } => {
                write!(f, "Countered({parameters}, {:?})", Untrusted::new(optional))
            }
            Self::Established { parameters, optional } => {
                write!(f, "Established({parameters}, {:?})", Untrusted::new(optional))
            }
            Self::Data { samples } => write!(f, "Data({} bytes)", samples.len()),
            Self::Closed { optional } => write!(f, "Closed({:?})", Untrusted::new(optional)),
            Self::Dropped { optional } => write!(f, "Dropped({:?})", Untrusted::new(optional)),
            Self::NoAnswer { request } => write!(f, "NoAnswer({request:?})"),
            Self::Disconnected { in_call } => write!(f, "Disconnected(in call: {in_call})"),
        }
    }
}

/// Never shows a secret.
impl fmt::Debug for ServerEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { peer, from } => write!(f, "Connected({peer}, {from:?})"),
            Self::Registering { peer, name, secret, preferred } => {
                let secret = if secret.is_some() { "with" } else { "without" };
                let name = Untrusted::from(*name);
                write!(f, "Registering({peer}, {name:?}, {secret} a secret, {preferred})")
            }
            Self::Registered { peer } => write!(f, "Registered({peer})"),
            Self::NameRefused { peer, name } => {
                write!(f, "NameRefused({peer}, {:?})", Untrusted::from(&**name))
            }
            Self::Ringing { caller, callee, parameters } => {
                write!(f, "Ringing({caller} -> {callee}, {parameters})")
            }
            Self::Unreachable { caller, user, cause } => {
                write!(f, "Unreachable({caller} -> {:?}, {cause:?})", Untrusted::new(user))
            }
            Self::Established { caller, callee, parameters } => {
                write!(f, "Established({caller} -> {callee}, {parameters})")
            }
            Self::Voice { peer, to, data, .. } => write!(f, "Voice({peer} -> {to}, {} bytes)", data.len()),
            Self::Ended(ended) => write!(f, "{ended:?}"),
            Self::Gone { peer, name, ended } => write!(f, "Gone({peer}, {name:?}, {ended:?})"),
        }
    }
}
