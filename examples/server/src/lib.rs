#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod error;
mod service;
mod status;
mod voicelink;

pub use {
    config::{Config, FixedName, Flags, Http, Profile, Protocol, Voicelink, Wanted},
    error::Error,
    service::{Listening, Running, start},
};
