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
mod registration;
mod server;
pub mod voice;
mod wire;

/// The protocol in bytes, and the decisions of this crate.
///
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use {
    client::{Client, ClientSettings, ClientStats, SessionState},
    error::{RangeError, Refusal, Resource, Violation},
    event::{Cause, ClientCommand, ClientEvent, Ended, Request, ServerCommand, ServerEvent, Unreachable},
    framing::Framing,
    message::{ClientMessage, Handshake, Packet, ServerMessage},
    registration::Registration,
    server::{Server, ServerSettings, ServerStats, reason},
    voxwire_core::{NameError, check_name},
    wire::{
        ByteOrder, DEFAULT_PORT, ECHO, Format, HANDSHAKE_HEAD_LEN, HEAD_LEN, LIMITS, MAX_CONTROL, MAX_DATA,
        MAX_FIRST, MAX_NAME, MAX_STRAY_DATA, PARAMETERS_HEAD_LEN, Parameters, Ranges, Wire,
    },
};
