#![doc = include_str!("../README.md")]
#![cfg_attr(feature = "document-features", doc = "\n## Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
#![doc = "\n## Protocol\n\nThe module [`protocol`] is `PROTOCOL.md`."]
#![cfg_attr(docsrs, feature(doc_cfg))]
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
// What only events say.
#![cfg_attr(not(feature = "tracing"), allow(unused_variables, dead_code))]

#[cfg(all(test, feature = "quic"))]
#[path = "../tests/harness/certificates.rs"]
mod certificates;
mod connection;
mod error;
mod gate;
mod grace;
mod histogram;
mod hub;
mod listener;
mod log;
mod pool;
#[cfg(feature = "quic")]
mod quic;
#[cfg(all(feature = "realtime", unix))]
pub mod realtime;
#[cfg(feature = "tls")]
mod records;
#[cfg(test)]
mod settings_docs;
mod socket_options;
mod source_counts;
mod stream;
mod tcp_udp;
#[cfg(feature = "tls")]
pub mod tls;
mod udp;

/// TCP + UDP, direct paths and QUIC in bytes.
///
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}

pub use {
    connection::{
        Connection, ConnectionSettings, DirectSettings, PathStats, Remote, TcpUdpSettings, Turn, UdpState,
    },
    error::Error,
    histogram::{Histogram, HistogramStats},
    hub::{Drained, Handle, Hub, HubSettings, HubStats},
    listener::Listener,
    socket_options::Keepalive,
};
