//! Five voice and chat protocols as sans-IO crates, and tokio transports for them. Each protocol is a feature, and a re-export below.
//!
//! A session takes frames and time, and gives outputs and events ([`core::Session`]). The page of each protocol begins with examples of
//! its codec and of its session alone. `transport::Connection` drives a client's session on tokio, `transport::Hub` a server's. The page
//! of `transport` begins with a server and a client, and the [README](https://github.com/voxwire/voxwire#as-a-dependency) has more clients.
//! [`core`](core#glossary) has a glossary. The [`guide`] has chapters on drivers of your own, programs without a runtime, firmware, browsers, several sessions in one program,
//! and threats.
//!
//! ## Installation
//!
//! Until the crates are published:
//!
//! ```toml
//! voxwire = { git = "https://github.com/voxwire/voxwire", features = ["voicelink", "transport"] }
//! ```
//!
//! Then from crates.io:
//!
//! ```toml
//! voxwire = { version = "0.1", features = ["voicelink", "transport"] }
//! ```
//!
//! ## Example
//!
//! ```
//! # #[cfg(feature = "voicelink")] {
//! use voxwire::core::Message;
//! use voxwire::voicelink::{Packet, Wire};
//!
//! let packet = Packet::decode(&[0, 0, 0, 8, 0, 6, 1, 2], &Wire::default())?;
//! assert_eq!(packet, Packet::Data(&[1, 2]));
//! let error = Packet::decode(&[0, 0, 0, 6, 0, 9], &Wire::default()).unwrap_err();
//! assert_eq!(error.to_string(), "Message Type at offset 4: unknown tag 9, expected a type from 0 to 6");
//! # }
//! # Ok::<(), voxwire::core::DecodeError>(())
//! ```
//!
//! ## Limits, errors, slow peers
//!
//! The page of each protocol, and that of `transport`, has the sections Limits, Errors, Slow peers and Testing.
//!
//! ## Rust version
//!
//! Rust 1.85, and 1.89 with the feature `msgpack`. A minor version (0.x) may need a newer Rust, a patch version does not.
#![cfg_attr(feature = "document-features", doc = "\n## Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![forbid(unsafe_code)]

/// The traits and tools that all protocols share.
#[doc(inline)]
pub use voxwire_core as core;
/// Voice chat for games: rooms and direct speech, relayed or peer to peer.
#[cfg(feature = "dissonance")]
#[doc(inline)]
pub use voxwire_dissonance as dissonance;
/// Accounts, chat, groups, voice messages and group calls, in MessagePack over ZeroMQ.
#[cfg(feature = "msgpack")]
#[doc(inline)]
pub use voxwire_msgpack as msgpack;
/// Log-in, contacts and calls over TCP, Opus voice straight between two clients.
#[cfg(feature = "opcode")]
#[doc(inline)]
pub use voxwire_opcode as opcode;
/// Real-time audio between drivers and devices, discovered on the local network.
#[cfg(feature = "syfala")]
#[doc(inline)]
pub use voxwire_syfala as syfala;
/// tokio transports for any session.
#[cfg(feature = "transport")]
#[doc(inline)]
pub use voxwire_transport as transport;
/// Voice calls over TCP through an intermediary, raw PCM.
#[cfg(feature = "voicelink")]
#[doc(inline)]
pub use voxwire_voicelink as voicelink;

#[cfg(any(doc, doctest))]
pub mod guide;

/// The examples of the README are compiled.
#[cfg(all(
    doctest,
    feature = "dissonance",
    feature = "msgpack",
    feature = "transport",
    feature = "voicelink"
))]
#[doc = include_str!("../README.md")]
struct Readme;
