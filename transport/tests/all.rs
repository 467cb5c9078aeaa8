//! The tests of this crate, in one binary: each takes its time to link. A new file needs a line here.

mod harness {
    #[cfg(feature = "tls")]
    pub(crate) mod certificates;
    pub(crate) mod players;
    pub(crate) mod shouting;
}

mod calls;
mod cancel;
mod caps;
#[cfg(feature = "tls")]
mod certificates;
mod closing;
mod deferred;
mod direct;
mod gate;
mod handshake;
mod inside;
mod misuse;
mod partial;
mod pauses;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "quic")]
mod stalled;
mod tcp;
mod tcp_udp;
mod tcp_udp_by_hand;
#[cfg(feature = "tls")]
mod tls;
mod trees;
mod udp;
mod udp_sockets;
mod zmtp;
