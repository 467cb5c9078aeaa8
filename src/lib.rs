//! Five voice and chat protocols as sans-IO crates, and tokio transports for them. Each protocol is a feature, and a re-export below.
//!
//! A session takes frames and time, and gives outputs and events ([`core::Session`]). The page of each protocol begins with an example of
//! its session alone. `transport::Connection` drives a client's session on tokio, `transport::Hub` a server's. The
//! [README](https://github.com/voxwire/voxwire#as-a-dependency) has complete clients.
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
