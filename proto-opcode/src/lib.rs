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

mod address;
mod client;
mod error;
mod event;
mod framing;
mod message;
pub mod owned;
mod server;
pub mod types;
pub mod voice;
mod wire;

/// The protocol in bytes, and the decisions of this crate.
///
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use {
    client::{CallState, Client, ClientSettings, ClientStats, SessionState},
    error::{Refusal, Resource, Violation},
    event::{CallId, Cause, ClientCommand, ClientEvent, Role, ServerCommand, ServerEvent, Unreachable},
    framing::Framing,
    message::{CallRequest, ClientMessage, Packet, ServerMessage},
    server::{MAX_CALLED, MAX_PENDING_CALLS, RelayAddress, Server, ServerSettings, ServerStats, reason},
    types::Text,
    voxwire_core::{NameError, check_name},
    wire::{CLIENT_LIMITS, DEFAULT_PORT, ECHO, HEAD_LEN, LIMITS, MAX_NAME, MAX_VOICE, VOICE_HEAD_LEN, Wire},
};
