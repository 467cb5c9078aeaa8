#![doc = include_str!("../README.md")]
#![cfg_attr(feature = "document-features", doc = "\n## Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
#![doc = "\n## Protocol\n\nThe module [`protocol`] is `PROTOCOL.md`."]
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
#[cfg(any(feature = "arbitrary", test))]
extern crate std;

mod client;
mod error;
mod event;
mod framing;
mod message;
pub mod owned;
mod room;
mod rooms;
mod server;
mod state;
mod text;
pub mod voice;
mod wire;

/// The protocol in bytes, and the decisions of this crate.
///
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use {
    client::{Client, ClientSettings, ClientStats, SpeakerStats},
    error::{Refusal, Resource, RoomRefused, Violation},
    event::{
        ClientCommand, ClientEvent, LeftBecause, Lost, Order, ServerCommand, ServerEvent, SessionState,
        Speech, Target, Voice,
    },
    framing::Framing,
    message::{
        ClientInfo, ClientMessage, ClientState, DeltaClientState, HandshakeRequest, HandshakeResponse,
        Packet, RoomListeners, ServerMessage, ServerRelay, TextData,
    },
    room::room_id,
    server::{Server, ServerSettings, ServerStats},
    text::Text,
    voice::{Channel, Options, Priority, Recipient, VoiceData},
    voxwire_core::{NameError, check_label, check_name},
    wire::{
        ClientId, Codec, CodecSettings, DEFAULT_PORT, DEFAULT_QUIC_PORT, ECHO, HEAD_LEN, LIMITS, MAGIC,
        MAX_DESTINATIONS, MAX_NAME, MAX_PACKET, MAX_TEXT, Profile, RELAY_HEAD_LEN, RoomId, SERVER_ONLY,
        SERVER_ONLY_ROOM, TEXT_HEAD_LEN, VOICE_HEAD_LEN, Wire,
    },
};
