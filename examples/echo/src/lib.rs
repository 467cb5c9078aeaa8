#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

extern crate alloc;

mod client;
mod message;
mod server;

pub use {
    client::{Ask, Client, ClientEvent},
    message::{DEFAULT_PORT, Error, LIMITS, MAX_PAYLOAD, Packet},
    server::{Server, ServerSettings, ServerStats},
};
