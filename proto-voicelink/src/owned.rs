//! Packets and events that own what they hold: to be kept, sent to another task, or (with the feature `serde`) stored.
//!
//! [`Packet::into_owned`](crate::Packet::into_owned), [`ClientEvent::into_owned`](crate::ClientEvent::into_owned) and
//! [`ServerEvent::into_owned`](crate::ServerEvent::into_owned) make them; [`Packet::with`] lends a packet to be sent again. Where only bytes
//! are kept, [`voxwire_core::Owned`] is smaller.
//!
//! ```
//! use voxwire_core::Message;
//! use voxwire_voicelink::{Packet, Wire, owned};
//!
//! let kept: owned::Packet = Packet::Data(&[1, 2]).into_owned();
//! let mut frame = Vec::new();
//! kept.with(|packet| packet.encode(&Wire::default(), &mut frame))?;
//! assert_eq!(frame, [0, 0, 0, 8, 0, 6, 1, 2]);
//! # Ok::<(), voxwire_core::EncodeError>(())
//! ```

use crate::{ByteOrder, Ended, Parameters, Request, Unreachable};
use alloc::{boxed::Box, string::String};
use core::net::SocketAddr;
use voxwire_core::{ByteString, Payload, PeerId, SecretString, owned};

owned! {
    pub enum Packet {
        Handshake(handshake: Handshake),
        UserNotFound,
        Parameters { parameters: Parameters, optional: ByteString },
        Close { optional: ByteString },
        Accept { optional: ByteString },
        Drop { optional: ByteString },
        Data(data: Payload),
    }
}

owned! {
    pub struct Handshake {
        parameters: Parameters,
        user_name: ByteString,
        optional: SecretString,
    }
}

owned! {
    #[non_exhaustive]
    pub enum ClientEvent {
        Connected,
        Registered,
        RegistrationRefused { reason: ByteString },
        Incoming { caller: ByteString, parameters: Parameters, optional: ByteString, superseded: bool },
        Countered { parameters: Parameters, optional: ByteString },
        Established { parameters: Parameters, optional: ByteString },
        Data { samples: Payload },
        NotFound,
        Closed { optional: ByteString },
        Dropped { optional: ByteString },
        NoAnswer { request: Request },
        Disconnected { in_call: bool },
    }
}

owned! {
    #[non_exhaustive]
    pub enum ServerEvent {
        Connected { peer: PeerId, from: Option<SocketAddr> },
        Registering {
            peer: PeerId,
            name: String,
            secret: Option<SecretString> = |secret: Option<&[u8]>| secret.map(SecretString::from),
            preferred: Parameters,
        },
        Registered { peer: PeerId },
        NameRefused { peer: PeerId, name: Box<str> },
        Ringing { caller: PeerId, callee: PeerId, parameters: Parameters },
        Unreachable { caller: PeerId, user: ByteString, cause: Unreachable },
        Established { caller: PeerId, callee: PeerId, parameters: Parameters },
        Voice { peer: PeerId, to: PeerId, parameters: Parameters, order: ByteOrder, data: Payload },
        Ended(ended: Ended),
        Gone { peer: PeerId, name: Option<Box<str>>, ended: Option<Ended> },
    }
}

impl Packet {
    /// Lends the packet to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::Packet<'_>) -> R) -> R {
        use crate::Packet as Lent;
        f(match self {
            Self::Handshake(Handshake { parameters, user_name, optional }) => {
                Lent::Handshake(crate::Handshake { parameters: *parameters, user_name, optional })
            }
            Self::UserNotFound => Lent::UserNotFound,
            Self::Parameters { parameters, optional } => {
                Lent::Parameters { parameters: *parameters, optional }
            }
            Self::Close { optional } => Lent::Close { optional },
            Self::Accept { optional } => Lent::Accept { optional },
            Self::Drop { optional } => Lent::Drop { optional },
            Self::Data(data) => Lent::Data(data),
        })
    }
}
