#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod certificate;
mod config;
pub mod descriptors;
mod dissonance;
mod error;
pub mod logging;
mod memory;
mod msgpack;
mod names;
mod opcode;
mod service;
mod status;
pub mod syfala;
mod voicelink;

pub use {
    config::{
        Config, DEFAULT_QUIC_PORT, Dissonance, FixedName, Flags, Http, Msgpack, Opcode, Profile, Protocol,
        Syfala, SyfalaSound, Voicelink, Wanted, sample_type,
    },
    error::Error,
    service::{Listening, Running, start},
};
