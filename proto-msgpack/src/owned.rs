//! Messages and events that own what they hold: to be kept, sent to another task, or (with the feature `serde`) stored.
//!
//! [`ClientMessage::into_owned`](crate::ClientMessage::into_owned), [`ClientEvent::into_owned`](crate::ClientEvent::into_owned) and their
//! like of the server make them; [`ClientMessage::with`] and [`ServerMessage::with`] lend a message to be sent again. Where only bytes are
//! kept, [`voxwire_core::Owned`] is smaller.
//!
//! ```
//! use voxwire_core::Message;
//! use voxwire_msgpack::{Code, ServerMessage, Wire, owned};
//!
//! let kept: owned::ServerMessage =
//!     ServerMessage::Response { action: "logout".into(), code: Code::SUCCESS }.into_owned();
//! let mut frame = Vec::new();
//! kept.with(|message| message.encode(&Wire::SERVER, &mut frame))?;
//! assert_eq!(frame, *b"\xa8response\xa6logout\0");
//! # Ok::<(), voxwire_core::EncodeError>(())
//! ```

use crate::{Action, Code, SampleKind, Secret, Text, Ticket};
use alloc::{boxed::Box, vec, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{ByteString, Instant, NameError, PeerId, SecretString, owned};

owned! {
    pub enum ClientMessage {
        Register { username: ByteString, password: SecretString },
        Login { username: ByteString, password: SecretString },
        LoginForRequests { username: ByteString, password: SecretString },
        Logout { username: ByteString },
        AddContact { username: ByteString, token: SecretString, contact: ByteString },
        Whisper { username: ByteString, token: SecretString, recipient: ByteString, content: ByteString },
        CreateGroup { username: ByteString, token: SecretString, group_name: ByteString },
        JoinGroup { username: ByteString, token: SecretString, group_name: ByteString },
        MsgGroup { username: ByteString, token: SecretString, group_name: ByteString, content: ByteString },
        VoiceMsg {
            username: ByteString,
            token: SecretString,
            recipient: ByteString,
            channels: u64,
            sample_rate: u64,
            samples: Samples,
        },
        JoinCall { username: ByteString, token: SecretString, group_name: ByteString },
        LeaveCall { username: ByteString, token: SecretString },
        CallData { username: ByteString, token: SecretString, group_name: ByteString, samples: Samples },
    }
}

owned! {
    pub enum ServerMessage {
        Response { action: ByteString, code: Code },
        LoggedIn { username: ByteString, token: SecretString },
        CallJoined { group_name: ByteString },
        Whisper { sender: ByteString, content: ByteString },
        MsgGroup { group_name: ByteString, sender: ByteString, content: ByteString },
        VoiceMsg { sender: ByteString, channels: u64, sample_rate: u64, samples: Samples },
        CallData { sender: ByteString, samples: Samples },
    }
}

owned! {
    #[non_exhaustive]
    pub enum ClientEvent {
        Connected,
        Response { action: Action, code: Code, again: bool },
        LoggedIn { username: ByteString, again: bool },
        Skipped,
        CallJoined { group_name: ByteString, again: bool },
        Whisper { sender: ByteString, content: ByteString },
        MsgGroup { group_name: ByteString, sender: ByteString, content: ByteString },
        VoiceMsg { sender: ByteString, channels: u64, sample_rate: u64, samples: Samples },
        CallData { sender: ByteString, samples: Samples },
        NoAnswer { action: Action },
        Disconnected { unanswered: Vec<Action>, retry_at: Option<Instant> },
    }
}

owned! {
    #[non_exhaustive]
    pub enum ServerEvent {
        Connected { peer: PeerId, from: Option<SocketAddr> },
        Registering { ticket: Ticket, peer: PeerId, username: ByteString, password: SecretString },
        InvalidName { peer: PeerId, error: NameError },
        LoggingIn { ticket: Ticket, peer: PeerId, username: ByteString, password: SecretString },
        AddingContact {
            ticket: Ticket,
            peer: PeerId,
            username: ByteString,
            contact: ByteString,
            store: bool,
        },
        CreatingGroup { ticket: Ticket, peer: PeerId, group_name: ByteString, owner: ByteString },
        JoiningGroup { ticket: Ticket, peer: PeerId, group_name: ByteString, username: ByteString },
        GroupUsed { group_name: ByteString },
        GroupForgotten { group_name: ByteString },
        Keeping {
            ticket: Ticket,
            peer: PeerId,
            recipients: Vec<ByteString> = |recipients: Vec<Box<[u8]>>| {
                recipients.into_iter().map(ByteString::from).collect()
            },
            update: ServerMessage,
        },
        Taken { peer: PeerId },
        Received { peer: PeerId, messages: usize },
        Resumed { peer: PeerId, lost: PeerId, received: usize },
        LoggedOut { peer: PeerId, username: ByteString, received: usize },
        CallJoined { peer: PeerId, group_name: ByteString },
        Voice { peer: PeerId, username: ByteString, group_name: ByteString, samples: Samples },
        CallLeft { peer: PeerId },
        Gone {
            peer: PeerId,
            username: Option<ByteString> = |username: Option<Box<[u8]>>| username.map(ByteString::from),
        },
    }
}

/// [`crate::Samples`], owned. An `f64` of the wire becomes an `f32`.
#[derive(Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Samples {
    /// Integers, as [`SampleKind::Int`] has them.
    Int(Vec<i16>),
    /// Floats, as [`SampleKind::Float`] has them.
    Float(Vec<f32>),
}

/// Their number alone.
impl core::fmt::Debug for Samples {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.lend().fmt(f)
    }
}

impl From<crate::Samples<'_>> for Samples {
    fn from(samples: crate::Samples<'_>) -> Self {
        match samples.kind() {
            SampleKind::Int => {
                let mut pcm = Vec::new();
                samples.append_to(&mut pcm);
                Self::Int(pcm)
            }
            SampleKind::Float => {
                let mut floats = vec![0.0; samples.len()];
                samples.copy_to_f32(&mut floats);
                Self::Float(floats)
            }
        }
    }
}

impl Samples {
    /// The samples, borrowed.
    pub fn lend(&self) -> crate::Samples<'_> {
        match self {
            Self::Int(pcm) => pcm[..].into(),
            Self::Float(floats) => floats[..].into(),
        }
    }
}

impl From<Text<'_>> for ByteString {
    fn from(text: Text<'_>) -> Self {
        text.0.into()
    }
}

impl From<Secret<'_>> for SecretString {
    fn from(secret: Secret<'_>) -> Self {
        secret.0.into()
    }
}

impl ClientMessage {
    /// Lends the message to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::ClientMessage<'_>) -> R) -> R {
        use crate::ClientMessage as Lent;
        f(match self {
            Self::Register { username, password } => {
                Lent::Register { username: Text(username), password: Secret(password) }
            }
            Self::Login { username, password } => {
                Lent::Login { username: Text(username), password: Secret(password) }
            }
            Self::LoginForRequests { username, password } => {
                Lent::LoginForRequests { username: Text(username), password: Secret(password) }
            }
            Self::Logout { username } => Lent::Logout { username: Text(username) },
            Self::AddContact { username, token, contact } => {
                Lent::AddContact { username: Text(username), token: Secret(token), contact: Text(contact) }
            }
            Self::Whisper { username, token, recipient, content } => Lent::Whisper {
                username: Text(username),
                token: Secret(token),
                recipient: Text(recipient),
                content: Text(content),
            },
            Self::CreateGroup { username, token, group_name } => Lent::CreateGroup {
                username: Text(username),
                token: Secret(token),
                group_name: Text(group_name),
            },
            Self::JoinGroup { username, token, group_name } => Lent::JoinGroup {
                username: Text(username),
                token: Secret(token),
                group_name: Text(group_name),
            },
            Self::MsgGroup { username, token, group_name, content } => Lent::MsgGroup {
                username: Text(username),
                token: Secret(token),
                group_name: Text(group_name),
                content: Text(content),
            },
            Self::VoiceMsg { username, token, recipient, channels, sample_rate, samples } => Lent::VoiceMsg {
                username: Text(username),
                token: Secret(token),
                recipient: Text(recipient),
                channels: *channels,
                sample_rate: *sample_rate,
                samples: samples.lend(),
            },
            Self::JoinCall { username, token, group_name } => Lent::JoinCall {
                username: Text(username),
                token: Secret(token),
                group_name: Text(group_name),
            },
            Self::LeaveCall { username, token } => {
                Lent::LeaveCall { username: Text(username), token: Secret(token) }
            }
            Self::CallData { username, token, group_name, samples } => Lent::CallData {
                username: Text(username),
                token: Secret(token),
                group_name: Text(group_name),
                samples: samples.lend(),
            },
        })
    }
}

impl ServerMessage {
    /// Lends the message to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::ServerMessage<'_>) -> R) -> R {
        use crate::ServerMessage as Lent;
        f(match self {
            Self::Response { action, code } => Lent::Response { action: Text(action), code: *code },
            Self::LoggedIn { username, token } => {
                Lent::LoggedIn { username: Text(username), token: Secret(token) }
            }
            Self::CallJoined { group_name } => Lent::CallJoined { group_name: Text(group_name) },
            Self::Whisper { sender, content } => {
                Lent::Whisper { sender: Text(sender), content: Text(content) }
            }
            Self::MsgGroup { group_name, sender, content } => {
                Lent::MsgGroup { group_name: Text(group_name), sender: Text(sender), content: Text(content) }
            }
            Self::VoiceMsg { sender, channels, sample_rate, samples } => Lent::VoiceMsg {
                sender: Text(sender),
                channels: *channels,
                sample_rate: *sample_rate,
                samples: samples.lend(),
            },
            Self::CallData { sender, samples } => {
                Lent::CallData { sender: Text(sender), samples: samples.lend() }
            }
        })
    }
}
