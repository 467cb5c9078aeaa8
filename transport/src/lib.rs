#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation
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

#[cfg(all(test, feature = "quic"))]
#[path = "../tests/harness/certificates.rs"]
mod certificates;
mod connection;
mod error;
mod grace;
mod hub;
mod listener;
mod pool;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "tls")]
mod records;
#[cfg(test)]
mod settings_docs;
mod socket_options;
mod stream;
mod tcp_udp;
#[cfg(feature = "tls")]
pub mod tls;
mod udp;

pub use {
    connection::{Connection, ConnectionSettings, DirectSettings, Remote, TcpUdpSettings, Turn, UdpState},
    error::Error,
    hub::{Drained, Handle, Hub, HubSettings, HubStats},
    listener::Listener,
    socket_options::Keepalive,
};
