use crate::{Audio, Formats, Network};
use core::{fmt, net::SocketAddr};
use voxwire_core::PeerId;

/// Whether audio goes both ways on a connection, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum IoState {
    /// No audio.
    Inactive,
    /// The client has asked for it, and has no answer yet.
    StartPending,
    /// Audio, in all streams.
    Active,
    /// The client has asked for its end, and has no answer yet.
    StopPending,
}

impl IoState {
    /// In words, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inactive => "IO is stopped",
            Self::StartPending => "IO is being started",
            Self::Active => "IO is active",
            Self::StopPending => "IO is being stopped",
        }
    }
}

/// How it went to start or stop IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum IoResult {
    /// It is done.
    Success,
    /// It is not done; another attempt may succeed.
    Failed,
    /// It is not done, and another attempt will not succeed.
    Refused,
}

/// Why a peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// It said so.
    Disconnected,
    /// Nothing has been heard of it for too long.
    TimedOut,
    /// It has come back with other streams.
    Changed,
    /// There are too many servers that have not been accepted, and others were heard of later.
    Displaced,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "disconnected",
            Self::TimedOut => "nothing has been heard of it",
            Self::Changed => "it has other streams now",
            Self::Displaced => "too many servers",
        })
    }
}

/// What a client's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ClientCommand<'a> {
    /// Look for servers, at once and again and again: `Found` comes for each.
    Discover,
    /// Look no more.
    StopDiscovery,
    /// Listen to servers on these networks alone: any host could claim to be one, and have us send audio elsewhere. Without this
    /// servers are listened to wherever they are.
    Seek {
        /// In place of those before.
        networks: &'a [Network],
    },
    /// Connect to a server that was found. All its streams can be served: they become active together.
    Accept {
        /// The server.
        server: PeerId,
    },
    /// Do not connect now; the server may offer itself again.
    Fail {
        /// The server.
        server: PeerId,
    },
    /// Do not connect: its formats cannot be served. A server of ours does not offer itself again for a while.
    Refuse {
        /// The server.
        server: PeerId,
    },
    /// Start audio, in all streams. Asked again until there is an answer; `Started` comes, or `StartRefused`.
    StartIo {
        /// The server.
        server: PeerId,
    },
    /// Stop it. Asked again until there is an answer; `Stopped` comes, or `StopRefused`.
    StopIo {
        /// The server.
        server: PeerId,
    },
    /// Send audio to one of the server's outputs, while IO is active. Cut into messages here.
    Play {
        /// The server.
        server: PeerId,
        /// Which of its outputs.
        stream: u32,
        /// Bytes that follow those of the call before; best whole frames.
        samples: &'a [u8],
    },
    /// End a connection, or forget a server that was found. No event follows.
    Disconnect {
        /// The server.
        server: PeerId,
    },
}

/// What a client's application learns.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientEvent<'a> {
    /// A server is there: answer with `Accept`, `Fail` or `Refuse`.
    Found {
        /// The server.
        server: PeerId,
        /// Where it is.
        from: Option<SocketAddr>,
        /// Its streams, fixed for the connection; [`Client::formats`](crate::Client::formats) tells them later.
        formats: Formats<'a>,
    },
    /// Audio goes both ways from now on; both sides count their bytes from 0.
    Started {
        /// The server.
        server: PeerId,
    },
    /// The server could not start; it is asked again.
    StartFailed {
        /// The server.
        server: PeerId,
    },
    /// The server does not want to start.
    StartRefused {
        /// The server.
        server: PeerId,
    },
    /// Audio has ended as asked for.
    Stopped {
        /// The server.
        server: PeerId,
    },
    /// The server could not stop; it is asked again.
    StopFailed {
        /// The server.
        server: PeerId,
    },
    /// The server does not want to stop: audio goes on. (`Started` comes instead where it had not come yet.)
    StopRefused {
        /// The server.
        server: PeerId,
    },
    /// The server has stopped although it was not asked to; it is asked to start again, and `Started` comes.
    Interrupted {
        /// The server.
        server: PeerId,
    },
    /// Audio of one of the server's inputs; a [`Receiving`](crate::stream::Receiving) puts it in order.
    Audio {
        /// The server.
        server: PeerId,
        /// The message.
        audio: Audio<'a>,
    },
    /// A server is gone: one that was connected, or only found.
    Lost {
        /// The server.
        server: PeerId,
        /// Why.
        cause: Cause,
    },
}

/// What a server's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ServerCommand<'a> {
    /// The answer to `StartIo`. With success the client may send at once, and hears what is played from now on.
    StartIoResult {
        /// The client.
        client: PeerId,
        /// How it went.
        result: IoResult,
    },
    /// The answer to `StopIo`.
    StopIoResult {
        /// The client.
        client: PeerId,
        /// How it went.
        result: IoResult,
    },
    /// Send audio of one of the server's inputs, while IO is active. Cut into messages here.
    Play {
        /// The client.
        client: PeerId,
        /// Which of the inputs.
        stream: u32,
        /// Bytes that follow those of the call before; best whole frames.
        samples: &'a [u8],
    },
    /// End a connection. `Gone` does not follow.
    Disconnect {
        /// The client.
        client: PeerId,
    },
    /// Who is answered from now on: the networks of the interfaces, or those few that are trusted. Without any no host is.
    Serve {
        /// In place of those before.
        networks: &'a [Network],
    },
}

/// What a server's application learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ServerEvent<'a> {
    /// A client has accepted the formats.
    Connected {
        /// The client.
        client: PeerId,
        /// Where it is.
        from: Option<SocketAddr>,
    },
    /// A client has not accepted the formats.
    Declined {
        /// Where it is.
        from: Option<SocketAddr>,
        /// Whether it says that another attempt will not succeed.
        permanent: bool,
    },
    /// A client wants audio: prepare everything, then answer with `StartIoResult`.
    StartIo {
        /// The client.
        client: PeerId,
    },
    /// A client wants no more audio: free what it took, then answer with `StopIoResult`.
    StopIo {
        /// The client.
        client: PeerId,
    },
    /// Audio for one of the outputs; a [`Receiving`](crate::stream::Receiving) puts it in order.
    Audio {
        /// The client.
        client: PeerId,
        /// The message.
        audio: Audio<'a>,
    },
    /// A client is gone.
    Gone {
        /// The client.
        client: PeerId,
        /// Why.
        cause: Cause,
        /// How far it was: what was prepared for its audio is to be freed.
        io: IoState,
    },
}
