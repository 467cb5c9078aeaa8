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
mod format;
mod framing;
mod message;
mod network;
pub mod owned;
mod server;
pub mod stream;
mod timing;
mod varint;
pub mod voice;
mod wire;

/// The protocol in bytes, and the decisions of this crate.
///
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use {
    client::{Client, ClientSettings, ClientStats},
    error::{Refusal, Resource, Violation},
    event::{Cause, ClientCommand, ClientEvent, IoResult, IoState, ServerCommand, ServerEvent},
    format::{Format, Formats, SampleRate, SampleType},
    framing::Framing,
    message::{Audio, ClientMessage, ServerMessage},
    network::{InvalidNetwork, Network},
    server::{Server, ServerSettings, ServerStats},
    timing::Timing,
    wire::{AUDIO_HEAD_LEN, CLIENT_PORT, DEFAULT_PORT, LIMITS, MAX_DATAGRAM, MAX_PAYLOAD, MAX_STREAMS, Wire},
};
