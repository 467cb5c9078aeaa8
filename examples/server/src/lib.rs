#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod certificate;
mod config;
mod dissonance;
mod error;
mod opcode;
mod service;
mod status;
mod voicelink;

pub use {
    config::{
        Config, Dissonance, FixedName, Flags, Http, Opcode, Profile, Protocol, QUIC_PORT, Voicelink, Wanted,
    },
    error::Error,
    service::{Listening, Running, start},
};
