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

pub mod audio;
mod format;
mod message;
#[cfg(feature = "serde")]
pub mod owned;
pub mod stream;
mod varint;
mod wire;

pub use {
    format::{Format, Formats, SampleRate, SampleType},
    message::{Audio, ClientMessage, ServerMessage},
    wire::{AUDIO_HEAD_LEN, DEFAULT_PORT, LIMITS, MAX_DATAGRAM, MAX_PAYLOAD, MAX_STREAMS, Wire},
};
