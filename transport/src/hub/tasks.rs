//! The tasks of a hub. Each task accepts connections, serves one connection, receives datagrams, or fires timers.

pub(super) mod accept;
mod dial;
pub(super) mod stream;
pub(super) mod timer;
pub(super) mod udp;
