#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod certificate;
mod config;
mod dissonance;
mod error;
mod opcode;
mod service;
mod status;
pub mod syfala;
mod voicelink;

pub use {
    config::{
        Config, Dissonance, FixedName, Flags, Http, Opcode, Profile, Protocol, QUIC_PORT, Syfala,
        SyfalaSound, Voicelink, Wanted, sample_type,
    },
    error::Error,
    service::{Listening, Running, start},
};
