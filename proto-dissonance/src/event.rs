use crate::{Channel, ClientId, CodecSettings, Priority, Recipient, RoomRefused, Text, TextData, VoiceData};
use alloc::{borrow::Cow, boxed::Box};
use core::{fmt, net::SocketAddr};
use voxwire_core::{Instant, NameError, PeerId};

/// How far a connection is, seen from either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SessionState {
    /// No connection.
    Disconnected,
    /// Connected; the handshake is not answered yet.
    Negotiating,
    /// In the session.
    Connected,
}

impl SessionState {
    /// In words, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Negotiating => "negotiating",
            Self::Connected => "connected",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A room or a player, by name: what an application speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target<'a> {
    /// Every client that listens to the room.
    Room(&'a str),
    /// The client that has that name when the frame or text is sent.
    Player(&'a str),
}

/// What a client's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ClientCommand<'a> {
    /// Listen to a room. Counted: as many [`Leave`](Self::Leave)s end it. Works without a connection, too.
    Join {
        /// Its name, at most 255 bytes.
        room: &'a str,
    },
    /// Undo one [`Join`](Self::Join).
    Leave {
        /// Its name.
        room: &'a str,
    },
    /// Open a channel to a client or a room, from the next [`Say`](Self::Say) on; or change how it speaks.
    Open {
        /// To whom.
        to: Target<'a>,
        /// How.
        as_: Speech,
    },
    /// Close a channel. The frame of the next [`Say`](Self::Say) is marked as its last one. If no `Say` follows, listeners notice the end only
    /// after their [`speech_timeout`](crate::ClientSettings::speech_timeout).
    Close {
        /// To whom.
        to: Target<'a>,
    },
    /// Send one frame of encoded audio to every client that a channel is open to. It does not come back to us, even in a room that we listen
    /// to. Nothing is sent while no other client listens. The slice is free afterwards.
    Say {
        /// One frame, as [`ClientSettings::codec`](crate::ClientSettings::codec) says; at most 996 bytes, less 4 for each open channel. With
        /// [`CodecSettings::DEFAULT`] it is one Opus packet of 960 samples, without a container. The session does not look into it.
        frame: &'a [u8],
    },
    /// Send text by the server. We need not listen to the room. If no other client does, nothing is sent, and that is no error.
    Text {
        /// To whom.
        to: Target<'a>,
        /// What.
        text: &'a str,
    },
    /// Ask the driver for a connection that carries datagrams to another client: [`Output::Dial`](voxwire_core::Output::Dial). Voice goes
    /// there directly once it has answered. For drivers of your own: `voxwire-transport` answers with
    /// [`Input::DialFailed`](voxwire_core::Input::DialFailed). There `DirectSettings` has the addresses of other clients.
    Reach {
        /// Host name or address.
        host: &'a str,
        /// UDP port.
        port: u16,
    },
}

/// How a channel speaks: its volume, its priority, and whether it has a place in the game.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speech {
    /// Whether it comes from a place in the game.
    pub positional: bool,
    /// How important it is.
    pub priority: Priority,
    /// Volume, from 0 to 2.
    pub volume: f32,
}

impl Speech {
    /// Without a place, at the default priority and volume 1.
    pub const DEFAULT: Self = Self { positional: false, priority: Priority::Default, volume: 1.0 };
}

impl Default for Speech {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a client's application learns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientEvent<'a> {
    /// The handshake is done. Who is there, and where, follows.
    Connected {
        /// Our number.
        id: ClientId,
        /// The session's number.
        session: u32,
    },
    /// The handshake was not answered for [`handshake_interval`](crate::ClientSettings::handshake_interval), and is asked for again: the server is slow, or does not let us in,
    /// perhaps because a client has our name.
    NoAnswer {
        /// How often it has been asked for.
        asked: u32,
    },
    /// The connection is lost or given up.
    Disconnected {
        /// Why.
        cause: Lost,
        /// When the session connects again; `None` for never.
        retry_at: Option<Instant>,
    },
    /// A client is in the session. Raised for ourselves, too.
    Entered {
        /// Who.
        client: ClientId,
        /// Its name.
        name: Cow<'a, str>,
    },
    /// A client has left.
    Left {
        /// Who it was.
        client: ClientId,
        /// Its name.
        name: Box<str>,
    },
    /// A client has told all its rooms at once: [`Client::rooms`](crate::Client::rooms) has them.
    Rooms {
        /// Who.
        client: ClientId,
    },
    /// One room of a client has changed: it starts or stops listening to it.
    Listening {
        /// Who.
        client: ClientId,
        /// To which.
        room: Cow<'a, str>,
        /// Starts.
        joined: bool,
    },
    /// We listen to other rooms than we asked for: the server moved us, or (`joined` is false) refused a
    /// [`Join`](ClientCommand::Join). The protocol has no reason for it.
    Moved {
        /// Which.
        room: Box<str>,
        /// We listen to it.
        joined: bool,
    },
    /// Speech.
    Voice(Voice<'a>),
    /// A client's speech has ended without a last frame for us.
    SpeechEnded {
        /// Whose.
        client: ClientId,
    },
    /// Text to us, or to a room that we listen to.
    Text {
        /// From whom.
        from: ClientId,
        /// To whom.
        recipient: Recipient,
        /// What; possibly null or not UTF-8.
        text: Text<'a>,
    },
    /// Voice for a client goes directly from now on, or by the server again.
    Direct {
        /// Whom.
        client: ClientId,
        /// Directly.
        up: bool,
    },
}

/// Why a client lost its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Lost {
    /// The connection ended.
    Connection,
    /// No connection could be made.
    Unreachable,
    /// The server has another session: it was restarted.
    WrongSession,
    /// The server removed us: we were kicked, or another connection took our name.
    Kicked,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "the connection ended",
            Self::Unreachable => "no connection could be made",
            Self::WrongSession => "the server has another session",
            Self::Kicked => "removed by the server",
        })
    }
}

/// One frame of a client's speech.
#[derive(Clone, Copy, PartialEq)]
pub struct Voice<'a> {
    /// Who speaks.
    pub from: ClientId,
    /// The first frame of a speech.
    pub start: bool,
    /// The speech before ended with this packet, and another one started.
    pub restart: bool,
    /// The last frame of the speech.
    pub end: bool,
    /// Counts the frames of the speech as they were spoken. The one that comes in first has number [`Voice::FIRST`]. Frames that it overtook
    /// have lower numbers. After a frame with [`end`](Self::end) late frames of the same speech may still follow.
    pub sequence: u32,
    /// Frames that are missing between this one and the newest one before.
    pub lost: u32,
    /// How it came in.
    pub order: Order,
    /// Whether all channels that reach us are positional.
    pub positional: bool,
    /// The loudest of them.
    pub volume: f32,
    /// The most important of them.
    pub priority: Priority,
    /// All channels of the packet, those that are not for us included.
    pub channels: &'a [Channel],
    /// Encoded audio, as [`Client::codec_of`](crate::Client::codec_of) the sender says; may be empty.
    pub frame: &'a [u8],
}

impl Voice<'_> {
    /// The `sequence` of the frame of a speech that comes in first, and begins it.
    pub const FIRST: u32 = crate::client::FIRST;
}

impl fmt::Debug for Voice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice")
            .field("from", &self.from)
            .field("start", &self.start)
            .field("restart", &self.restart)
            .field("end", &self.end)
            .field("sequence", &self.sequence)
            .field("lost", &self.lost)
            .field("order", &self.order)
            .field("len", &self.frame.len())
            .finish_non_exhaustive()
    }
}

/// As `Debug`.
#[cfg(feature = "defmt")]
impl defmt::Format for Voice<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "Voice {{ from: {}, start: {}, restart: {}, end: {}, sequence: {}, lost: {}, order: {}, len: {} }}",
            self.from,
            self.start,
            self.restart,
            self.end,
            self.sequence,
            self.lost,
            self.order,
            self.frame.len()
        );
    }
}

/// How a frame came in, seen from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Order {
    /// The newest so far.
    Newest,
    /// After a newer one; counted as lost until now.
    Late,
    /// Once more, or too late to tell: more than 64 frames behind. Not to be played.
    Duplicate,
}

/// What a server's application can ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ServerCommand<'a> {
    /// Let a peer join that asked in [`ServerEvent::Joining`].
    Admit {
        /// Who asked.
        peer: PeerId,
    },
    /// Do not let a peer join that asked in [`ServerEvent::Joining`]; its connection is closed.
    Reject {
        /// Who asked.
        peer: PeerId,
    },
    /// Remove a client, tell every client, and close its connection.
    Kick {
        /// Whom.
        client: ClientId,
    },
    /// Hand on no voice, or no text, of a client. One whose voice is muted is introduced to no client. Paths that its user configured by
    /// address bypass the server, and are not muted.
    Mute {
        /// Whose.
        client: ClientId,
        /// No voice.
        voice: bool,
        /// No text.
        text: bool,
    },
    /// Change, for every client, which rooms a client listens to. A client of this crate follows. An original client does not: it neither
    /// plays `to` nor notices that `from` goes silent.
    Move {
        /// Whom.
        client: ClientId,
        /// Stops listening to this room.
        from: Option<&'a str>,
        /// Starts listening to this one.
        to: Option<&'a str>,
    },
    /// Raise [`ServerEvent::Voice`] for the speech of a client, or of every client. A client that is watched is introduced to no client, as what
    /// goes directly is not seen. [`Moderation::watch`](voxwire_core::Moderation::watch) does the same for a room.
    Watch {
        /// Whose; `None` for every client's.
        client: Option<ClientId>,
        /// From now on, or no more.
        on: bool,
    },
}

/// What a server's application learns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ServerEvent<'a> {
    /// A connection.
    Connected {
        /// Its id.
        peer: PeerId,
        /// Where from.
        from: Option<SocketAddr>,
    },
    /// A peer wants to join; answer with `Admit` or `Reject`. Only with [`ServerSettings::ask`](crate::ServerSettings::ask). Until the answer it can
    /// ask for no other name.
    Joining {
        /// Who.
        peer: PeerId,
        /// The name it wants.
        name: Cow<'a, str>,
        /// How its voice is encoded.
        codec: CodecSettings,
    },
    /// A client has joined.
    Joined {
        /// Its connection.
        peer: PeerId,
        /// Its number.
        client: ClientId,
    },
    /// A peer may not have the name it asked for; it goes on asking.
    NameRefused {
        /// Who.
        peer: PeerId,
        /// The name.
        name: Cow<'a, str>,
    },
    /// A peer asked for a name that is not valid. The peer is not answered, as the protocol has no word for it, and goes on asking.
    InvalidName {
        /// Who.
        peer: PeerId,
        /// What is wrong with the name.
        error: NameError,
    },
    /// A client has told all its rooms at once: [`Server::rooms_of`](crate::Server::rooms_of) has them. Or a room was refused to it. One change
    /// that was allowed is [`Listening`](Self::Listening).
    Rooms {
        /// Who.
        client: ClientId,
        /// A room that it may not enter, or leave, and why; the last one, if there are several.
        refused: Option<(Cow<'a, str>, RoomRefused)>,
    },
    /// One room of a client has changed: it starts or stops listening to it.
    Listening {
        /// Who.
        client: ClientId,
        /// To which.
        room: Cow<'a, str>,
        /// Starts.
        joined: bool,
    },
    /// A client that is watched speaks, or speaks to a room that is; see [`ServerCommand::Watch`].
    Voice {
        /// Who.
        client: ClientId,
        /// The packet.
        voice: VoiceData<'a>,
        /// How many it was sent to.
        copies: usize,
    },
    /// A client has written something.
    Text {
        /// Who.
        client: ClientId,
        /// The packet.
        text: TextData<'a>,
        /// How many it was sent to.
        copies: usize,
    },
    /// A client has left the session.
    Left {
        /// Its connection.
        peer: PeerId,
        /// Its number.
        client: ClientId,
        /// Its name.
        name: Box<str>,
        /// Why.
        cause: LeftBecause,
    },
    /// A connection ended that was not, or not any more, in the session.
    Gone {
        /// Which.
        peer: PeerId,
    },
}

/// Why a client left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LeftBecause {
    /// Its connection ended.
    Connection,
    /// It asked to join again, under another name or with another codec.
    Again,
    /// Another client took its name over.
    Displaced,
    /// The application kicked it.
    Kicked,
    /// Too many violations.
    Violations,
    /// The server ended.
    Shutdown,
}

impl fmt::Display for LeftBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "its connection ended",
            Self::Again => "it joins again",
            Self::Displaced => "another connection took its name over",
            Self::Kicked => "kicked",
            Self::Violations => "too many violations",
            Self::Shutdown => "the server ends",
        })
    }
}
