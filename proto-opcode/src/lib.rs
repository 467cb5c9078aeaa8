#![doc = include_str!("../README.md")]
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
#[cfg(test)]
extern crate std;

mod client;
mod error;
mod event;
mod framing;
mod message;
mod server;
pub mod types;
pub mod voice;
mod wire;

pub use {
    client::{CallState, Client, ClientSettings, ClientStats, Phase},
    error::{Refusal, Resource, Violation},
    event::{CallId, Cause, ClientCommand, ClientEvent, Role, ServerCommand, ServerEvent, Unreachable},
    framing::Framing,
    message::{CallRequest, ClientMessage, Packet, ServerMessage},
    server::{RelayAddress, Server, ServerSettings, ServerStats, reason},
    types::Text,
    wire::{CLIENT_LIMITS, DEFAULT_PORT, HEAD_LEN, LIMITS, MAX_NAME, MAX_VOICE, VOICE_HEAD_LEN, Wire},
};
