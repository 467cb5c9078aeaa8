//! A server's settings, and the original's profile.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use voxwire_core::{Limits, Rate};

/// Unanswered carried calls of one caller at a time.
pub const MAX_PENDING_CALLS: usize = 16;

/// Calls of one caller that a refusal can answer: older ones are forgotten.
pub const MAX_CALLED: usize = 32;

/// Settings of a [`Server`](crate::Server): limits, rates, choices. Every limit has a safe default.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// `max_peers` connections, `max_outbox` bytes of outputs waiting to be drained, the rest on the wire. Default:
    /// [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// Raise [`ServerEvent::LoggingIn`](crate::ServerEvent::LoggingIn) and wait for the application, instead of giving every
    /// client every free name. Default: off.
    pub ask: bool,
    /// Show connections without a name as `""` in contact lists, and their end as that of a contact; let them call, and be called
    /// as `""`. As the original does. Default: off.
    pub unnamed_take_part: bool,
    /// Tell connections without a name who comes and goes, as the original does. Default: on.
    pub unnamed_are_told: bool,
    /// Hand on the host that a caller names, where it is an address, instead of the one that is seen. The original never does.
    /// Any client can then have callees connect anywhere: for trusted networks. Default: off.
    pub trust_host: bool,
    /// The lowest port that a callee is told to connect to. The original hands on every port. Default: 1024.
    pub lowest_port: u16,
    /// Hand on a CallRefused only if it answers a CallRequest. The original keeps no account of calls. Default: on.
    pub only_requested_refusals: bool,
    /// Who comes and goes is told at once, but not more often than this in a storm, when what happens in between is told
    /// together. Zero, as in the original, tells everything one by one. Default: 50 ms.
    pub coalesce: Duration,
    /// Carry calls: callees are told to connect to this address of the server's, and neither side sees the other's. Default:
    /// none.
    pub relay: Option<RelayAddress>,
    /// Show every client a contact [`ECHO`](crate::ECHO), a name that no client gets then. The server itself takes each call of it: it connects
    /// to where the caller listens, at the address that is seen, and hands the caller's sound back. A caller with port 0 needs `relay`.
    /// Default: off.
    pub echo: bool,
    /// How long a call may take to come up, where calls are carried. (Otherwise the server does not see it.) Default: 60 s.
    pub answer_timeout: Duration,
    /// How long the port of a carried call stays open after the caller has given up or the time is over: who accepts too late is
    /// connected, and closed. An original callee ends itself where it cannot connect. Default: 10 s.
    pub linger: Duration,
    /// Most calls carried at a time, those included that linger. Default: 2000.
    pub max_relays: usize,
    /// Most calls carried at a time for callers at one source address (loopback and [`Server::exempt`](crate::Server::exempt)
    /// are exempt). Default: 128.
    pub max_source_relays: usize,
    /// Clients may log in under any bytes, which are compared as they are: the original asks nothing. Without it a name is
    /// checked by [`check_name`](crate::check_name), and compared in its canonical form. Default: off.
    pub any_name: bool,
    /// How long the name of a lost connection is kept from other addresses. Not at all where its own stands for many people
    /// (loopback, [`Server::exempt`](crate::Server::exempt)): nothing would show whose it was. Default: 30 s.
    pub quarantine: Duration,
    /// Whether a new connection from the same address displaces the holder of its name (never on loopback or from
    /// [`Server::exempt`](crate::Server::exempt), where one address is many people). The document says that it gets
    /// LoginFailed. Default: off.
    pub same_address_displaces: bool,
    /// Packets of one connection; beyond it reading pauses, nothing is dropped. Default: 10 a second, 80 at once.
    pub control: Rate,
    /// VoiceData packets of one side of a carried call; beyond it reading pauses, nothing is dropped. Originals send what has
    /// piled up at the start of a call in one burst. Default: 120 a second, 500 at once.
    pub voice: Rate,
    /// Log-ins and calls of one source address (loopback and [`Server::exempt`](crate::Server::exempt) are exempt). All
    /// connections of the source share this rate, and each has an equal part of the same rate again. A quarter of the burst is kept for
    /// connections that have had none yet. Default: 2 a second, 40 at once.
    pub attempts: Rate,
    /// Calls handed on to one callee, from all callers together. Default: 10 a second, 100 at once.
    pub rings: Rate,
    /// Calls handed on to one callee from one source address (on loopback and from [`Server::exempt`](crate::Server::exempt),
    /// from one connection): a fraction of `rings`. Default: 1 a second, 10 at once.
    pub source_rings: Rate,
    /// Sound that may be queued for a slow listener, in bytes; one packet always may. Default: 16 KiB.
    pub droppable_budget: usize,
}

/// Where a server that carries calls can be reached, as its clients see it. Clients on the server's own machine are told its
/// loopback address, as that is where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// For clients that came in over IPv4. Originals know nothing else.
    pub v4: Option<Ipv4Addr>,
    /// For clients that came in over IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl RelayAddress {
    /// What a client at `address` is told.
    pub(super) fn seen_from(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) if v4.is_loopback() => Some(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(v6) if v6.is_loopback() => Some(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

impl ServerSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        ask: false,
        unnamed_take_part: false,
        unnamed_are_told: true,
        trust_host: false,
        lowest_port: 1024,
        only_requested_refusals: true,
        coalesce: Duration::from_millis(50),
        relay: None,
        echo: false,
        answer_timeout: Duration::from_secs(60),
        linger: Duration::from_secs(10),
        max_relays: 2000,
        max_source_relays: 128,
        any_name: false,
        quarantine: Duration::from_secs(30),
        same_address_displaces: false,
        control: Rate { per_second: 10, burst: 80 },
        voice: Rate { per_second: 120, burst: 500 },
        attempts: Rate { per_second: 2, burst: 40 },
        rings: Rate { per_second: 10, burst: 100 },
        source_rings: Rate { per_second: 1, burst: 10 },
        droppable_budget: 16 * 1024,
    };

    /// What the original server does wherever the two differ.
    pub const ORIGINAL: Self = Self {
        unnamed_take_part: true,
        lowest_port: 0,
        only_requested_refusals: false,
        coalesce: Duration::ZERO,
        any_name: true,
        quarantine: Duration::ZERO,
        ..Self::DEFAULT
    };
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
