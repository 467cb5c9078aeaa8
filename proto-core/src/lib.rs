#![doc = include_str!("../README.md")]
#![cfg_attr(feature = "document-features", doc = "\n## Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod buffer;
mod connections;
mod error;
mod exchange;
mod exempt;
mod fair;
mod framing;
mod jitter;
mod limits;
mod list;
mod member;
mod message;
mod moderation;
#[cfg(feature = "names")]
mod names;
mod outbox;
mod owned;
mod parts;
mod peers;
mod rate;
mod reader;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod time;
mod timer;
mod violations;

#[cfg(feature = "names")]
pub use names::{
    KeptNames, MAX_NAME_LEN, NameError, Names, canonical_name, check_label, check_name, is_address_like,
    name_key,
};
#[cfg(feature = "std")]
pub use time::Clock;
pub use {
    buffer::{Cut, FrameBuf},
    connections::{Connections, NoPlace},
    error::{DecodeError, DecodeErrorKind, EncodeError, FrameError, Full},
    exchange::{
        Ask, Exchange, RequestError, Requester, RequesterEvent, Responder, ResponderSettings, ResponderStats,
    },
    exempt::Exempt,
    fair::{FairRate, Payer, Shares},
    framing::{Datagram, Framing, LengthPrefix, Progress},
    jitter::Jitter,
    limits::Limits,
    list::{Element, Iter, List},
    member::{Hearing, Member, Mute},
    message::{Message, Owned},
    moderation::{Ability, MemberChange, Moderation, Unsupported, Watched},
    outbox::Outbox,
    owned::{ByteString, Payload, SecretString},
    parts::{EqualPart, EqualParts, Part, PartClock, Parts},
    peers::{PeerId, PeerIds, PeerSlab, lengthen},
    rate::{Bucket, Rate, SourceRate, site, source},
    reader::Reader,
    session::{Deferred, DialId, FrameId, Handler, Input, Lane, ListenId, Output, Session, Via, dispatch},
    text::{OneLine, Untrusted, truncated},
    time::Instant,
    timer::Deadlines,
    violations::Violations,
};

/// Re-exported because [`Message`] encodes into any [`bytes::BufMut`].
pub use bytes;
