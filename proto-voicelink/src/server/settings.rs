//! A server's settings.

use crate::Ranges;
use core::time::Duration;
use voxwire_core::{Limits, Rate};

/// Settings of a [`Server`](crate::Server): limits, rates, choices. Every limit has a safe default.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// `max_peers` connections, `max_outbox` bytes of outputs waiting to be drained, `max_frame` and `max_text` on the wire.
    /// Default: [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// The audio that is handed on to callees; anything else is answered with Drop and the reason. Default:
    /// [`Ranges::DEFAULT`].
    pub ranges: Ranges,
    /// Raise [`ServerEvent::Registering`](crate::ServerEvent::Registering) and wait for the application, instead of taking
    /// every free name. Default: off.
    pub ask: bool,
    /// Forward a call with the name as received, the callee's own, instead of the caller's. Default: off.
    pub forward_callee_name: bool,
    /// Answer a call to an unknown user as if the user were busy: no client can find out who exists. Default: off.
    pub hide_unknown: bool,
    /// Answer a call to [`ECHO`](crate::ECHO), where no client has that name: what the caller says comes back to it. Default: off.
    pub echo: bool,
    /// How long a call may ring, and how long a counter-proposal may wait. Default: 30 s.
    pub answer_timeout: Duration,
    /// How long a call may be up with no audio either way. Default: 1 h.
    pub call_idle_timeout: Duration,
    /// How long a peer without a name and without a call may stay. (Registered peers wait for hours.) Default: 300 s.
    pub idle_timeout: Duration,
    /// How long the name of a lost connection is kept from other addresses. Not at all where its own stands for many people
    /// (loopback, [`Server::exempt`](crate::Server::exempt)): nothing would show whose it was. Default: 30 s.
    pub quarantine: Duration,
    /// How long a newcomer waits for the holder of its name to go, before it is told that the name is taken: a client that
    /// reconnects may be seen before the end of its old connection is. Default: 300 ms.
    pub grace: Duration,
    /// Whether a new connection from the same address displaces the holder of its name (never on loopback or from
    /// [`Server::exempt`](crate::Server::exempt), where one address is many people). Without it only
    /// [`ServerCommand::Admit`](crate::ServerCommand::Admit) with `proven` does. Default: on.
    pub same_address_displaces: bool,
    /// Malformed or misplaced packets after which a connection is closed; one a minute is forgiven. Default: 16.
    pub max_violations: u32,
    /// Data packets without a call, of 4 KiB each; a connection that sends more is closed. Default: 100 a second, 1000 at once.
    pub stray: Rate,
    /// Control packets of one connection; beyond it reading pauses, nothing is dropped. Default: 10 a second, 80 at once.
    pub control: Rate,
    /// Audio packets of one connection; beyond it reading pauses, nothing is dropped. Default: 1000 a second, 5000 at once.
    pub voice: Rate,
    /// Calls and registrations of one source address (loopback and [`Server::exempt`](crate::Server::exempt) are exempt). All
    /// connections of the source share this rate, and each has an equal part of the same rate again. A quarter of the burst is kept for
    /// connections that have had none yet. Default: 2 a second, 40 at once.
    pub attempts: Rate,
    /// Calls put through to one callee, from all callers together; beyond it the callee is busy. Default: 10 a second, 100 at
    /// once.
    pub rings: Rate,
    /// Calls put through to one callee from one source address (on loopback and from [`Server::exempt`](crate::Server::exempt),
    /// from one connection): a fraction of `rings`. Default: 1 a second, 10 at once.
    pub source_rings: Rate,
    /// Milliseconds for which one source may keep one callee ringing without an answer. Meanwhile the callee is busy for
    /// every other client. Default: 500 a second, 30 000 at once: one call that no client answers, and then half of the time.
    pub source_ringing: Rate,
    /// Audio that may be queued for a slow listener, as the duration that it plays; one packet always may. Default: 200 ms.
    pub droppable_budget: Duration,
    /// Most entries of the block list. Default: 100 000.
    pub max_blocked: usize,
}

impl ServerSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        ranges: Ranges::DEFAULT,
        ask: false,
        forward_callee_name: false,
        hide_unknown: false,
        echo: false,
        answer_timeout: Duration::from_secs(30),
        call_idle_timeout: Duration::from_secs(3600),
        idle_timeout: Duration::from_secs(300),
        quarantine: Duration::from_secs(30),
        grace: Duration::from_millis(300),
        same_address_displaces: true,
        max_violations: 16,
        stray: Rate { per_second: 100, burst: 1000 },
        control: Rate { per_second: 10, burst: 80 },
        voice: Rate { per_second: 1000, burst: 5000 },
        attempts: Rate { per_second: 2, burst: 40 },
        rings: Rate { per_second: 10, burst: 100 },
        source_rings: Rate { per_second: 1, burst: 10 },
        source_ringing: Rate { per_second: 500, burst: 30_000 },
        droppable_budget: Duration::from_millis(200),
        max_blocked: 100_000,
    };
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
