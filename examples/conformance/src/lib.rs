#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod datagrams;
mod dissonance;
mod flags;
mod layout;
mod log;
mod msgpack;
mod opcode;
mod peer;
mod protocols;
mod report;
mod run;
mod stage;
mod syfala;
#[cfg(test)]
mod vectors;
mod voicelink;

pub use {
    flags::Flags,
    report::Report,
    run::{UsageError, run},
};
