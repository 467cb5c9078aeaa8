//! The tasks of a hub: each accepts, drives one connection, receives datagrams, or fires timers.

pub(super) mod accept;
mod dial;
pub(super) mod stream;
pub(super) mod timer;
pub(super) mod udp;
