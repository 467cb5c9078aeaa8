use crate::{Action, Code, Samples, Secret, ServerMessage, Text};
use alloc::{boxed::Box, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{Instant, NameError, PeerId};

/// What a client's application can ask for. Every one but `Say` is a request, answered in order by a
/// [`ClientEvent::Response`], [`LoggedIn`](ClientEvent::LoggedIn) or [`CallJoined`](ClientEvent::CallJoined).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ClientCommand<'a> {
    /// Make an account.
    Register {
        /// Its name.
        username: Text<'a>,
        /// Its password.
        password: Secret<'a>,
    },
    /// Log in. The session keeps name and password, to log in again after a lost connection.
    Login {
        /// Who.
        username: Text<'a>,
        /// The password.
        password: Secret<'a>,
    },
    /// Log in for requests alone, where the server can do that: what is kept stays there, and what others send is not sent to this
    /// connection. In plain objects ([`Dialect::Plain`](crate::Dialect::Plain)), where nothing can stand behind the last argument, it is
    /// [`Login`](Self::Login).
    LoginForRequests {
        /// Who.
        username: Text<'a>,
        /// The password.
        password: Secret<'a>,
    },
    /// Log out.
    Logout,
    /// Put a user on the contact list.
    AddContact {
        /// Who.
        contact: Text<'a>,
    },
    /// Send a text to a user.
    Whisper {
        /// To whom.
        recipient: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// Make a group.
    CreateGroup {
        /// Its name.
        group_name: Text<'a>,
    },
    /// Become a member of a group.
    JoinGroup {
        /// Of which.
        group_name: Text<'a>,
    },
    /// Send a text to all members of a group.
    MsgGroup {
        /// Of which.
        group_name: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// Send a recording to a user.
    VoiceMsg {
        /// To whom.
        recipient: Text<'a>,
        /// Its channels, whose samples are interleaved.
        channels: u64,
        /// In frames per second.
        sample_rate: u64,
        /// The recording.
        samples: Samples<'a>,
    },
    /// Take part in a group's call.
    JoinCall {
        /// In which.
        group_name: Text<'a>,
    },
    /// Take part no more.
    LeaveCall,
    /// Send live audio to the call that was joined. The slice is free afterwards.
    Say {
        /// Mono, 44 100 Hz.
        samples: Samples<'a>,
    },
}

/// What a client's application learns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// The connection to the server is up.
    Connected,
    /// A request is answered.
    Response {
        /// Which.
        action: Action,
        /// How it went.
        code: Code,
        /// It was asked of the session's own accord, after a lost connection. If the server is only busy, it will be asked again.
        again: bool,
    },
    /// Logged in.
    LoggedIn {
        /// As whom.
        username: Text<'a>,
        /// Of the session's own accord, after a lost connection.
        again: bool,
    },
    /// A message of the server's was too large, or had several frames: it is lost.
    Skipped,
    /// In the call.
    CallJoined {
        /// Of which group.
        group_name: Text<'a>,
        /// Of the session's own accord, after a lost connection.
        again: bool,
    },
    /// A text.
    Whisper {
        /// Who sent it.
        sender: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// A text for a group; one's own come back, too.
    MsgGroup {
        /// Which.
        group_name: Text<'a>,
        /// Who sent it.
        sender: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// A recording.
    VoiceMsg {
        /// Who sent it.
        sender: Text<'a>,
        /// Its channels, whose samples are interleaved.
        channels: u64,
        /// In frames per second.
        sample_rate: u64,
        /// The recording.
        samples: Samples<'a>,
    },
    /// Live audio of the call.
    CallData {
        /// Who speaks.
        sender: Text<'a>,
        /// Mono, 44 100 Hz.
        samples: Samples<'a>,
    },
    /// A request was not answered in time, or a later one was answered first. (The original never answers `leave_call`.)
    NoAnswer {
        /// Which.
        action: Action,
    },
    /// The connection is lost. What was not answered may have been done or not.
    Disconnected {
        /// Requests without an answer.
        unanswered: Vec<Action>,
        /// When the session connects again; `None` for never.
        retry_at: Option<Instant>,
    },
}

/// Names a question that the application is asked, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ticket(pub u64);

/// What a server's application can ask for.
///
/// Answer each event that has a ticket exactly once, at once or later, by `Allow`, `Admit` or `Refuse`. Meanwhile further requests of that
/// client are queued, and `call_data` is not delayed; reading pauses when the queue is full (`ServerSettings::max_queued_requests`). A client that has
/// waited for too long, or has gone, needs no answer: its ticket is unknown then. Answer for groups in any case, because what was
/// stored is true.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ServerCommand<'a> {
    /// It is done, and will not be lost: `Registering`, `AddingContact`, `CreatingGroup`, `JoiningGroup`, `Keeping`.
    Allow {
        /// Which question this answers.
        ticket: Ticket,
    },
    /// Name and password are right: `LoggingIn`.
    Admit {
        /// Which question this answers.
        ticket: Ticket,
        /// A new one: a UUID of version 4, in lower case. Where tokens are shared the user's present one is sent instead.
        token: Secret<'a>,
    },
    /// It is not done.
    Refuse {
        /// Which question this answers.
        ticket: Ticket,
        /// Why.
        code: Code,
    },
    /// Send an update that was kept, the oldest first, to a user who is logged in, or between `LoggingIn` and `Admit`. `Received` follows once
    /// the client has shown that it has the update, or once its connection has taken the update and has lasted for
    /// [`receipt_timeout`](crate::ServerSettings::receipt_timeout) since.
    Deliver {
        /// To whom.
        peer: PeerId,
        /// `Whisper`, `MsgGroup` or `VoiceMsg`.
        update: ServerMessage<'a>,
    },
    /// There is a group, as it was stored. Without effect where it is known.
    Group {
        /// Its name.
        group_name: Text<'a>,
        /// Who made it.
        owner: Text<'a>,
    },
    /// A stored group has been unused for some time, see `GroupUsed`. Give its members before the next time-out.
    Unused {
        /// The group.
        group_name: Text<'a>,
        /// For how long.
        time: core::time::Duration,
    },
    /// A group has a member, as it was stored.
    Member {
        /// The group.
        group_name: Text<'a>,
        /// The member.
        username: Text<'a>,
    },
    /// Disconnect a client. `Gone` follows.
    Kick {
        /// Whom.
        peer: PeerId,
    },
}

/// What a server's application learns. What goes straight to others, texts and audio, is no event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ServerEvent<'a> {
    /// A client is connected.
    Connected {
        /// The client.
        peer: PeerId,
        /// Its address.
        from: Option<SocketAddr>,
    },
    /// A user wants an account: store it and `Allow`, or `Refuse` with `USER_ALREADY_EXIST`.
    Registering {
        /// Names it in the answer.
        ticket: Ticket,
        /// Who asks.
        peer: PeerId,
        /// Its name.
        username: Text<'a>,
        /// Its password.
        password: Secret<'a>,
    },
    /// A user wants an account or a group under a name that is not valid, and has been answered with `REQUEST_INVALID`, which
    /// has no room for the reason.
    InvalidName {
        /// Who asks.
        peer: PeerId,
        /// What is wrong with the name.
        error: NameError,
    },
    /// A user logs in: `Admit`, or `Refuse` with `USER_WRONG_PASSWORD`.
    LoggingIn {
        /// Names it in the answer.
        ticket: Ticket,
        /// Who asks.
        peer: PeerId,
        /// Who it wants to be.
        username: Text<'a>,
        /// Its password.
        password: Secret<'a>,
    },
    /// A user wants another one on its contact list: store it and `Allow`, or `Refuse` with `USER_DOES_NOT_EXIST` if either is
    /// unknown.
    AddingContact {
        /// Names it in the answer.
        ticket: Ticket,
        /// Who asks.
        peer: PeerId,
        /// Whose list.
        username: Text<'a>,
        /// Who is put on it.
        contact: Text<'a>,
        /// Otherwise only look: this user has not shown who it is, and is told so unless one of them is unknown.
        store: bool,
    },
    /// A user makes a group, whose name is free: store it, and its owner as a member, and `Allow`.
    CreatingGroup {
        /// Names it in the answer.
        ticket: Ticket,
        /// Who asks.
        peer: PeerId,
        /// Its name.
        group_name: Text<'a>,
        /// Who makes it.
        owner: Text<'a>,
    },
    /// A user becomes a member of a group: store it and `Allow`.
    JoiningGroup {
        /// Names it in the answer.
        ticket: Ticket,
        /// Who asks.
        peer: PeerId,
        /// The group.
        group_name: Text<'a>,
        /// The user.
        username: Text<'a>,
    },
    /// A group is used; at most once a day for a group. Store the day: `Unused` is to tell it after a restart.
    GroupUsed {
        /// The group.
        group_name: Box<[u8]>,
    },
    /// A group that no user has used for a while is forgotten: remove it and its members from what is stored.
    GroupForgotten {
        /// The group.
        group_name: Box<[u8]>,
    },
    /// An update for users who are offline: keep it and `Allow`, or `Refuse` with `USER_NOT_CONNECTED` if there is no such user, and with
    /// `MAILBOX_FULL` if there is no room. (Where some members of a
    /// group have it already, the request succeeds in any case.)
    Keeping {
        /// Names it in the answer.
        ticket: Ticket,
        /// Who sent it.
        peer: PeerId,
        /// For whom.
        recipients: Vec<Box<[u8]>>,
        /// `Whisper`, `MsgGroup` or `VoiceMsg`.
        update: ServerMessage<'a>,
    },
    /// The client's transport has read all that was delivered so far (ZMTP 3.1 can ask for that): deliver the next updates. It does not show
    /// that the client has them: `Received` does.
    Taken {
        /// The client.
        peer: PeerId,
    },
    /// Delivered updates have arrived, and need not be kept any longer.
    Received {
        /// The client.
        peer: PeerId,
        /// How many more updates, the first delivered ones.
        messages: usize,
    },
    /// A client is logged in again with the token of its lost connection: deliver what was kept meanwhile.
    Resumed {
        /// The client.
        peer: PeerId,
        /// The connection that was lost.
        lost: PeerId,
        /// How many more updates have arrived of those that were delivered to the lost connection: the ones before the answer with the token.
        /// Deliver the later ones once more.
        received: usize,
    },
    /// A user has logged out.
    LoggedOut {
        /// The client.
        peer: PeerId,
        /// Who it was.
        username: Box<[u8]>,
        /// How many more updates have arrived of those that were delivered to the client: the ones before the answer to the log-in, and the
        /// ones that its connection had taken before the client asked. Deliver the later ones once more.
        received: usize,
    },
    /// A user takes part in a call.
    CallJoined {
        /// The client.
        peer: PeerId,
        /// The group.
        group_name: Text<'a>,
    },
    /// A user who is watched, or who takes part in the call of a group that is watched, speaks: see
    /// [`Moderation::watch`](voxwire_core::Moderation::watch).
    Voice {
        /// The client.
        peer: PeerId,
        /// Who speaks.
        username: Text<'a>,
        /// To which group.
        group_name: Text<'a>,
        /// The audio, mono at [`SAMPLE_RATE`](crate::SAMPLE_RATE).
        samples: Samples<'a>,
    },
    /// A user has left the call, and is still connected.
    CallLeft {
        /// The client.
        peer: PeerId,
    },
    /// A client is gone: it left, or the session closed its connection (then this comes with the next time-out, which is due
    /// at once).
    Gone {
        /// The client.
        peer: PeerId,
        /// Who it was.
        username: Option<Box<[u8]>>,
    },
}

impl ServerEvent<'_> {
    /// The ticket to answer with, of an event that asks something.
    pub const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Registering { ticket, .. }
            | Self::LoggingIn { ticket, .. }
            | Self::AddingContact { ticket, .. }
            | Self::CreatingGroup { ticket, .. }
            | Self::JoiningGroup { ticket, .. }
            | Self::Keeping { ticket, .. } => Some(*ticket),
            _ => None,
        }
    }
}
