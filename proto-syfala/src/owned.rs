//! Messages and events that own what they hold: to be kept, sent to another task, or (with the feature `serde`) stored.
//!
//! [`ServerMessage::into_owned`](crate::ServerMessage::into_owned), [`ServerEvent::into_owned`](crate::ServerEvent::into_owned) and their
//! like of the client make them; [`ClientMessage::with`] and [`ServerMessage::with`] lend a message to be sent again. Where only bytes are
//! kept, [`voxwire_core::Owned`] is smaller.
//!
//! ```
//! use voxwire_core::Message;
//! use voxwire_syfala::{ServerMessage, Wire, owned};
//!
//! let kept: owned::ServerMessage = ServerMessage::StartIoSuccess.into_owned();
//! let mut frame = Vec::new();
//! kept.with(|message| message.encode(&Wire::DEFAULT, &mut frame))?;
//! assert_eq!(frame, [3]);
//! # Ok::<(), voxwire_core::EncodeError>(())
//! ```

use crate::{Cause, Format, IoState};
use alloc::vec::Vec;
use core::net::SocketAddr;
use voxwire_core::{List, Payload, PeerId, owned};

#[cfg(feature = "serde")]
pub mod reference;

owned! {
    pub enum ClientMessage {
        Discovery,
        ConnectionSuccess,
        ConnectionFailed,
        ConnectionRefused,
        StartIo,
        StopIo,
        Audio(audio: Audio),
        Disconnect,
        Heartbeat,
    }
}

owned! {
    pub enum ServerMessage {
        Connect(formats: Formats),
        StartIoFailed,
        StartIoRefused,
        StartIoSuccess,
        StopIoFailed,
        StopIoRefused,
        StopIoSuccess,
        Audio(audio: Audio),
        Disconnect,
        Heartbeat,
    }
}

owned! {
    pub struct Audio {
        stream: u32,
        byte_index: u64,
        n_bytes: u32,
        payload: Payload,
    }
}

owned! {
    pub struct Formats {
        inputs: Vec<Format>,
        outputs: Vec<Format>,
    }
}

owned! {
    #[non_exhaustive]
    pub enum ClientEvent {
        Found { server: PeerId, from: Option<SocketAddr>, formats: Formats },
        Started { server: PeerId },
        StartFailed { server: PeerId },
        StartRefused { server: PeerId },
        Stopped { server: PeerId },
        StopFailed { server: PeerId },
        StopRefused { server: PeerId },
        Interrupted { server: PeerId },
        Audio { server: PeerId, audio: Audio },
        Lost { server: PeerId, cause: Cause },
    }
}

owned! {
    #[non_exhaustive]
    pub enum ServerEvent {
        Connected { client: PeerId, from: Option<SocketAddr> },
        Declined { from: Option<SocketAddr>, permanent: bool },
        StartIo { client: PeerId },
        StopIo { client: PeerId },
        Audio { client: PeerId, audio: Audio },
        Gone { client: PeerId, cause: Cause, io: IoState },
    }
}

impl ClientMessage {
    /// Lends the message to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::ClientMessage<'_>) -> R) -> R {
        use crate::ClientMessage as Lent;
        f(match self {
            Self::Discovery => Lent::Discovery,
            Self::ConnectionSuccess => Lent::ConnectionSuccess,
            Self::ConnectionFailed => Lent::ConnectionFailed,
            Self::ConnectionRefused => Lent::ConnectionRefused,
            Self::StartIo => Lent::StartIo,
            Self::StopIo => Lent::StopIo,
            Self::Audio(audio) => Lent::Audio(audio.lend()),
            Self::Disconnect => Lent::Disconnect,
            Self::Heartbeat => Lent::Heartbeat,
        })
    }
}

impl ServerMessage {
    /// Lends the message to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::ServerMessage<'_>) -> R) -> R {
        use crate::ServerMessage as Lent;
        f(match self {
            Self::Connect(Formats { inputs, outputs }) => Lent::Connect(crate::Formats {
                inputs: List::from(&inputs[..]),
                outputs: List::from(&outputs[..]),
            }),
            Self::StartIoFailed => Lent::StartIoFailed,
            Self::StartIoRefused => Lent::StartIoRefused,
            Self::StartIoSuccess => Lent::StartIoSuccess,
            Self::StopIoFailed => Lent::StopIoFailed,
            Self::StopIoRefused => Lent::StopIoRefused,
            Self::StopIoSuccess => Lent::StopIoSuccess,
            Self::Audio(audio) => Lent::Audio(audio.lend()),
            Self::Disconnect => Lent::Disconnect,
            Self::Heartbeat => Lent::Heartbeat,
        })
    }
}

impl Audio {
    fn lend(&self) -> crate::Audio<'_> {
        let (stream, byte_index, n_bytes) = (self.stream, self.byte_index, self.n_bytes);
        crate::Audio { stream, byte_index, n_bytes, payload: &self.payload }
    }
}
