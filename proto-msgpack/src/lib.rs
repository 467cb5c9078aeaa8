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
mod code;
mod error;
mod event;
mod framing;
mod message;
mod objects;
pub mod owned;
mod server;
mod text;
pub mod voice;
mod wire;
pub mod zmtp;

/// The protocol in bytes, and the decisions of this crate.
///
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use {
    client::{Client, ClientSettings, ClientStats, Reconnect, SessionState},
    code::Code,
    error::{Refusal, Resource, Violation},
    event::{ClientCommand, ClientEvent, ServerCommand, ServerEvent, Ticket},
    framing::{Dialect, Framing},
    message::{ClientMessage, ServerMessage},
    objects::Action,
    server::{
        CREATION, Digest, MAX_MUTED, MAX_QUEUED_BYTES, MAX_RECORDING, MIN_KEPT_COST, RECORDING_CHANNELS,
        RECORDING_RATES, REGISTRATION, RESUMPTION, Server, ServerSettings, ServerStats,
    },
    text::{Secret, Text},
    voice::{SampleKind, Samples},
    voxwire_core::{NameError, check_name},
    wire::{
        CLIENT_LIMITS, DEFAULT_PORT, ECHO, LIMITS, MAX_BEFORE_LOGIN, MAX_CALL_SAMPLES, MAX_CONTENT, MAX_NAME,
        MAX_VOICE_FRAME, MAX_VOICE_SAMPLES, SAMPLE_RATE, TOKEN_LEN, Wire,
    },
};
