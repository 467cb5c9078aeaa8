//! Packets and events that own what they hold: to be kept, sent to another task, or (with the feature `serde`) stored.
//!
//! [`Packet::into_owned`](crate::Packet::into_owned), [`ClientEvent::into_owned`](crate::ClientEvent::into_owned) and
//! [`ServerEvent::into_owned`](crate::ServerEvent::into_owned) make them; [`Packet::with`] lends a packet to be sent again. Where only bytes
//! are kept, [`voxwire_core::Owned`] is smaller.
//!
//! ```
//! use voxwire_core::Message;
//! use voxwire_opcode::{Packet, Wire, owned};
//!
//! let kept: owned::Packet = Packet::Login { name: "ann".into() }.into_owned();
//! assert_eq!(kept, owned::Packet::Login { name: "ann".into() });
//! let mut frame = Vec::new();
//! kept.with(|packet| packet.encode(&Wire::CLIENT, &mut frame))?;
//! assert_eq!(frame, *b"\x0d\0\0\0\0\0\0\0\x02\0\x03\0\0\0\0\0\0\0ann");
//! # Ok::<(), voxwire_core::EncodeError>(())
//! ```

use crate::{CallId, Cause, Role, Text, Unreachable};
use alloc::{boxed::Box, vec::Vec};
use core::{net::SocketAddr, time::Duration};
use voxwire_core::{ByteString, List, Payload, PeerId, SecretString, owned};

owned! {
    pub enum Packet {
        HelloConnect,
        Login { name: ByteString },
        LoginSuccess,
        LoginFailed { reason: ByteString },
        AddContact { contacts: Vec<ByteString> },
        CallRequest(request: CallRequest),
        VoiceData(data: Payload),
        ErrorResponse { what: ByteString },
        CallRefused { contact: ByteString },
        DelContact { contacts: Vec<ByteString> },
        ConnectionEstablished,
    }
}

owned! {
    pub struct CallRequest {
        contact: ByteString,
        host: ByteString,
        port: u16,
    }
}

owned! {
    #[non_exhaustive]
    pub enum ClientEvent {
        Connected,
        LoggedIn,
        LoginFailed { reason: ByteString },
        Added { contacts: Vec<ByteString> },
        Removed { contacts: Vec<ByteString> },
        Incoming { call: CallId, caller: ByteString },
        Missed { caller: ByteString },
        Established { call: CallId },
        Voice { call: CallId, packet: Payload },
        Rejected { call: Option<CallId>, what: ByteString },
        Ended { call: CallId, contact: ByteString, cause: Cause },
        Disconnected,
    }
}

owned! {
    #[non_exhaustive]
    pub enum ServerEvent {
        Connected { peer: PeerId, from: Option<SocketAddr> },
        LoggingIn { peer: PeerId, name: SecretString },
        LoggedIn { peer: PeerId },
        LoginFailed { peer: PeerId, name: SecretString },
        Calling { caller: PeerId, callee: PeerId },
        Unreachable { caller: PeerId, contact: ByteString, cause: Unreachable },
        Refused { caller: PeerId, callee: PeerId },
        Established { caller: PeerId, callee: PeerId },
        Voice { leg: PeerId, data: Payload },
        Ended {
            caller: PeerId,
            callee: PeerId,
            caller_name: ByteString,
            callee_name: ByteString,
            missing: Option<Role>,
            lasted: Option<Duration>,
            packets: u64,
        },
        Gone {
            peer: PeerId,
            name: Option<ByteString> = |name: Option<Box<[u8]>>| name.map(ByteString::from),
        },
    }
}

impl From<Text<'_>> for ByteString {
    fn from(text: Text<'_>) -> Self {
        text.0.into()
    }
}

/// What may hold a secret.
impl From<Text<'_>> for SecretString {
    fn from(text: Text<'_>) -> Self {
        text.0.into()
    }
}

fn texts(list: &[ByteString]) -> Vec<Text<'_>> {
    list.iter().map(|text| Text(text)).collect()
}

impl Packet {
    /// Lends the packet to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::Packet<'_>) -> R) -> R {
        use crate::Packet as Lent;
        match self {
            Self::HelloConnect => f(Lent::HelloConnect),
            Self::Login { name } => f(Lent::Login { name: Text(name) }),
            Self::LoginSuccess => f(Lent::LoginSuccess),
            Self::LoginFailed { reason } => f(Lent::LoginFailed { reason: Text(reason) }),
            Self::AddContact { contacts } => {
                f(Lent::AddContact { contacts: List::from(&texts(contacts)[..]) })
            }
            Self::CallRequest(CallRequest { contact, host, port }) => {
                let (contact, host, port) = (Text(contact), Text(host), *port);
                f(Lent::CallRequest(crate::CallRequest { contact, host, port }))
            }
            Self::VoiceData(data) => f(Lent::VoiceData(data)),
            Self::ErrorResponse { what } => f(Lent::ErrorResponse { what: Text(what) }),
            Self::CallRefused { contact } => f(Lent::CallRefused { contact: Text(contact) }),
            Self::DelContact { contacts } => {
                f(Lent::DelContact { contacts: List::from(&texts(contacts)[..]) })
            }
            Self::ConnectionEstablished => f(Lent::ConnectionEstablished),
        }
    }
}
