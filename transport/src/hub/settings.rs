//! Limits and deadlines of a hub.

use crate::socket_options::{Keepalive, SocketOptions};
use core::net::IpAddr;
use core::time::Duration;
use voxwire_core::Rate;

/// Limits and deadlines of a [`Hub`](crate::Hub). Build it with `..HubSettings::DEFAULT`.
#[derive(Debug, Clone, Copy)]
pub struct HubSettings {
    /// Connections in all, and as many descriptors. At the limit one connection is evicted for a new one: one that is closing, otherwise the
    /// oldest that has not logged in. If there is none, the new one is closed as soon as it is accepted. The same holds when the process
    /// has no descriptors left. 20 000 by default.
    pub max_connections: usize,
    /// Connections from one address (IPv6: from one /64). Loopback is exempt. 256 by default.
    pub max_per_address: usize,
    /// Addresses that stand for many people, as that of a proxy that terminates TLS. No limit for one address holds for them, as none does for
    /// loopback. Other addresses in the same IPv6 /64 are limited as usual, and connections of an exempt address do not count against them.
    /// The session has limits by address of its own: behind a proxy or a NAT, give `Server::exempt` of the protocol the same addresses.
    /// A list that is read at the start of a program lives as long with `Vec::leak`. None by default.
    pub exempt: &'static [IpAddr],
    /// How long each of these may take: a TLS or QUIC handshake, the hello of TCP + UDP, the handshake of a framing (ZMTP), and connecting
    /// where the session asks for it ([`Output::Dial`](voxwire_core::Output::Dial)). 10 s by default.
    pub handshake_timeout: Duration,
    /// How far a frame may fall behind `min_bytes_per_second`, at any time from its first byte to its last. 10 s by default.
    pub frame_timeout: Duration,
    /// The slowest a long frame may come in, in bytes per second. 16 KiB/s by default.
    pub min_bytes_per_second: u32,
    /// The rate of frames from one connection, those included that its framing skips. Beyond it reading pauses, and nothing is dropped.
    ///
    /// Datagrams of a connection (the UDP side of TCP + UDP, or QUIC's) have a second allowance of the same size. Beyond it they are dropped.
    /// 2000 a second and 10 000 at once by default.
    pub frames: Rate,
    /// The rate of datagrams from one source of plain UDP. Beyond it they are dropped. 50 000 a second and 50 000 at once by default.
    pub datagrams: Rate,
    /// Bytes of reliable frames that may be queued for one connection; beyond it the connection is reset. One frame is always taken. It is
    /// the budget for droppable frames of a slow peer, too, unless the session sets one. 64 KiB by default.
    pub max_queued: usize,
    /// A peer is blocked while a write for it is pending, because the send buffer of its socket on our side is full. It is slow once it has been blocked for
    /// this long. For a slow peer the session's budget of droppable frames counts; before that, up to 1 MiB of them is queued, or the budget if that
    /// is larger. 200 ms by default.
    pub slow_after: Duration,
    /// Bytes queued for all connections. A reliable frame of 1 KiB or more (256 bytes or more for a blocked peer) counts once, however many
    /// connections it is queued for. What TLS holds for a peer that takes nothing counts
    /// 16 KiB. 128 MiB by default.
    ///
    /// While more than this is queued, these rules hold for connections with more than 64 KiB queued, or with a blocked peer:
    ///
    /// - Droppable frames for them are dropped.
    /// - A reliable frame for them resets the connections that hold most memory, those being closed first, until an eighth of the limit is
    ///   free. Their memory is free a little later. Until then an eighth more than the limit may be queued. Beyond that, the connection of the
    ///   frame is reset.
    /// - The framing leaves the questions of a blocked peer unanswered.
    pub max_queued_total: usize,
    /// Bytes that all partial frames together may hold, beyond 2 KiB each. TLS records that have not come in whole count with them, and
    /// `frame_timeout` holds for them, too. 64 MiB by default.
    ///
    /// There are three size classes. Each has a share of these bytes:
    ///
    /// | frames of | share | of one source | gives way when silent for |
    /// | --- | --- | --- | --- |
    /// | up to 64 KiB | a quarter | a sixteenth | 0.5 s |
    /// | up to 1 MiB | a quarter | a sixteenth | 1 s |
    /// | more | half | a quarter | 1 s |
    ///
    /// A source is an IPv4 address, or a /64 of IPv6; loopback is exempt. A frame may be larger than its share, up to all of these bytes, while no
    /// other of its class holds memory. A frame for which there is no room waits until all of it fits.
    ///
    /// Among sources that wait (IPv6: among /48s, and in one among /64s) the one that has held least lately is next, in bytes times seconds,
    /// ended frames included. What was held counts half every two minutes. Of each frame the first 6 s do not count (1.5 s of a small
    /// one, 3 s of a medium one).
    ///
    /// While a frame waits, connections that hold memory of its class end:
    ///
    /// - those that are silent for the time above;
    /// - those that send less than 256 KiB/s, and less than half the rate of the frame that waits;
    /// - those that are so slow that their frame would not end in nine tenths of `partial_wait`; a frame of unknown length has to end in
    ///   that time;
    /// - those that the hub does not read, after some seconds.
    pub partial_frames: usize,
    /// How long a frame may wait for a part of `partial_frames` before its connection is closed. 30 s by default.
    pub partial_wait: Duration,
    /// How a connection is probed on which nothing is heard; `None`: it is not probed. [`Keepalive::DEFAULT`] by default.
    pub keepalive: Option<Keepalive>,
    /// Two limits, both 14 s by default; `None`: neither holds.
    ///
    /// - how long sent bytes may stay unacknowledged, by TCP (on Linux only) or on QUIC's stream;
    /// - how long a peer may take nothing of what is queued for it. A peer that takes 8 kB/s is not closed.
    ///
    /// A peer that has vanished is gone after `keepalive` and this together: 28 s with the defaults. Bytes that are sent just before
    /// `keepalive` gives up restart `unacknowledged`. A peer that was slow before it vanished is gone after 30 s.
    pub unacknowledged: Option<Duration>,
    /// The system's send buffer per connection, in bytes: stale audio that no budget can take back, because it has left the queue; `None` for
    /// the system's own size. On QUIC, what has been sent and has not arrived; `None` for 64 KiB. 64 KiB by
    /// default.
    pub send_buffer: Option<usize>,
    /// What a client on QUIC may have sent on its stream that has not been read, in bytes. 32 KiB by default.
    pub receive_window: usize,
    /// What all clients on QUIC together may have sent that has not been read, in bytes. 128 MiB by default, which some 400 clients fit in.
    ///
    /// - A client is granted 4 KiB until its hello has come, and up to `receive_window` then. Once most of these bytes are granted, it is
    ///   granted less.
    /// - Each client counts 252 KiB more from its first packet on: for the connection, and for packets that QUIC keeps while others before
    ///   them are missing.
    /// - A client that has ended counts for what it has sent, and for what was sent to it and has not arrived, until QUIC has forgotten it.
    ///   An eighth of these bytes is set aside for such clients.
    /// - Clients of one address (IPv6: of one /64; loopback is exempt) may have an eighth.
    /// - The last eighth for clients that are connected is for addresses that have one client at most.
    ///
    /// Where there is no room for a new client, at most three others on QUIC are evicted, as at `max_connections`. It is refused if that frees
    /// too little within 0.8 s.
    pub receive_windows: usize,
    /// QUIC handshakes at a time, on each listener. 512 by default.
    ///
    /// - One address (IPv6: one /64; loopback is exempt) may have an eighth of them.
    /// - Where no place is left for a new handshake, the oldest one is ended, if it has taken longer than 1 s.
    /// - Otherwise the new handshake is not answered, and its client tries again.
    ///
    /// The same number and the same rules hold for TLS handshakes on TCP in which the client has sent more than 4 KiB, except that a new one
    /// without a place is closed. With more than 16 KiB a TLS handshake fails in any case.
    pub handshakes: usize,
    /// How long a connection that is being closed has for what is queued for it; then it is reset. It is looked at once a second. `linger`
    /// is a part of this time. 10 s by default.
    pub close_timeout: Duration,
    /// How long to wait for the peer to close its side after we closed ours. 2 s by default.
    pub linger: Duration,
    /// To how many others a client on TCP + UDP is introduced at most. To introduce two clients is to tell each the other's UDP address, so that
    /// they can try a direct path. Both have to ask for that. 32 by default.
    pub introductions: usize,
    /// The first and the last of the ports that a session may have opened beside its listeners, by
    /// [`Output::Listen`](voxwire_core::Output::Listen); `None` for any that is free. They are opened where the first listener
    /// listens, without TLS. `None` by default.
    pub ports: Option<(u16, u16)>,
    /// Sources of plain UDP that the session has not validated, remembered at a time. 256 by default.
    pub max_unvalidated: usize,
    /// Free buffers kept for connections that need one: so many to read into, of 16 KiB, and so many to write from,
    /// of 8 KiB at most. Those that no connection needs are given up after some seconds, but for 64. 1024 by default.
    pub pooled: usize,
}

impl HubSettings {
    /// Safe values for a server on the internet.
    pub const DEFAULT: Self = Self {
        max_connections: 20_000,
        max_per_address: 256,
        exempt: &[],
        handshake_timeout: Duration::from_secs(10),
        frame_timeout: Duration::from_secs(10),
        min_bytes_per_second: 16 * 1024,
        frames: Rate { per_second: 2000, burst: 10_000 },
        datagrams: Rate { per_second: 50_000, burst: 50_000 },
        max_queued: 64 * 1024,
        slow_after: Duration::from_millis(200),
        max_queued_total: 128 * 1024 * 1024,
        partial_frames: 64 * 1024 * 1024,
        partial_wait: Duration::from_secs(30),
        keepalive: Some(Keepalive::DEFAULT),
        unacknowledged: Some(Duration::from_secs(14)),
        send_buffer: Some(64 * 1024),
        receive_window: 32 * 1024,
        receive_windows: 128 * 1024 * 1024,
        handshakes: 512,
        close_timeout: Duration::from_secs(10),
        linger: Duration::from_secs(2),
        introductions: 32,
        ports: None,
        max_unvalidated: 256,
        pooled: 1024,
    };

    /// Bytes that may be queued for all connections while those that were reset for `max_queued_total` still end.
    pub(super) const fn hard_queued_total(&self) -> usize {
        self.max_queued_total.saturating_add(self.max_queued_total / 8)
    }

    pub(super) const fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            keepalive: self.keepalive,
            unacknowledged: self.unacknowledged,
            send_buffer: self.send_buffer,
        }
    }

    #[cfg(feature = "quic")]
    pub(crate) fn quic_limits(&self) -> crate::quic::QuicLimits {
        crate::quic::QuicLimits {
            silence: crate::quic::silence(self.keepalive, self.unacknowledged),
            send: self.send_buffer.unwrap_or(64 * 1024),
            receive: self.receive_window,
        }
    }
}

impl Default for HubSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings_docs::{assert_defaults, bytes, count, time};

    /// C-04: the doc of each field says its default.
    #[test]
    fn every_doc_says_the_default() {
        let HubSettings {
            max_connections,
            max_per_address,
            exempt,
            handshake_timeout,
            frame_timeout,
            min_bytes_per_second,
            frames,
            datagrams,
            max_queued,
            slow_after,
            max_queued_total,
            partial_frames,
            partial_wait,
            keepalive,
            unacknowledged,
            send_buffer,
            receive_window,
            receive_windows,
            handshakes,
            close_timeout,
            linger,
            introductions,
            ports,
            max_unvalidated,
            pooled,
        } = HubSettings::DEFAULT;
        let rate = |Rate { per_second, burst }| {
            format!("{} a second and {} at once", count(per_second), count(burst))
        };
        assert!(exempt.is_empty() && keepalive == Some(Keepalive::DEFAULT) && ports.is_none());
        let defaults = [
            ("max_connections", count(max_connections)),
            ("max_per_address", count(max_per_address)),
            ("exempt", "None".into()),
            ("handshake_timeout", time(handshake_timeout)),
            ("frame_timeout", time(frame_timeout)),
            ("min_bytes_per_second", bytes(min_bytes_per_second) + "/s"),
            ("frames", rate(frames)),
            ("datagrams", rate(datagrams)),
            ("max_queued", bytes(max_queued)),
            ("slow_after", time(slow_after)),
            ("max_queued_total", bytes(max_queued_total)),
            ("partial_frames", bytes(partial_frames)),
            ("partial_wait", time(partial_wait)),
            ("keepalive", "[`Keepalive::DEFAULT`]".into()),
            ("unacknowledged", time(unacknowledged.unwrap())),
            ("send_buffer", bytes(send_buffer.unwrap())),
            ("receive_window", bytes(receive_window)),
            ("receive_windows", bytes(receive_windows)),
            ("handshakes", count(handshakes)),
            ("close_timeout", time(close_timeout)),
            ("linger", time(linger)),
            ("introductions", count(introductions)),
            ("ports", "`None`".into()),
            ("max_unvalidated", count(max_unvalidated)),
            ("pooled", count(pooled)),
        ];
        assert_defaults(include_str!("settings.rs"), &defaults);
    }
}
