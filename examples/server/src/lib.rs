#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod certificate;
mod config;
mod control;
mod defaults;
pub mod descriptors;
mod dissonance;
mod echo;
mod error;
mod figure;
mod given;
pub mod logging;
mod memory;
mod msgpack;
mod names;
pub mod notify;
mod opcode;
mod private_files;
mod protocols;
mod recording;
mod refusals;
mod service;
mod status;
pub mod syfala;
mod voicelink;

pub use {
    certificate::MakeCertificate,
    config::{Command, Config, Flags, Http, Profile, Source, Wanted, unknown_variables},
    control::{ControlSettings, Ctl},
    defaults::default_config,
    dissonance::{DEFAULT_QUIC_PORT, Dissonance},
    error::Error,
    msgpack::Msgpack,
    opcode::Opcode,
    protocols::{Protocol, Sections},
    recording::RecordingSettings,
    service::{Listening, Running, check, start},
    syfala::{Syfala, SyfalaSound, sample_type},
    voicelink::{FixedName, Voicelink},
};
