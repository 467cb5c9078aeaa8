//! The test kit of the family: what every message and every session must satisfy, and a network to run sessions on.
//!
//! Outside semver until 1.0. Everything here panics on failure, as assertions do.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation
)]

mod chop;
mod json;
mod laws;
mod rng;
mod session;
mod sim;
mod vectors;

pub use {
    chop::{chop, frames},
    json::{assert_json_file, hex, json_object, json_string},
    laws::{law_frame, law_hostile, law_message, law_timers},
    rng::Rng,
    session::TestSession,
    sim::{LinkId, Log, Net, NodeId, Sim, Transport},
    vectors::{Vector, unhex, vectors},
};
