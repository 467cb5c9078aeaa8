//! A server's settings.

use crate::Timing;
use core::time::Duration;
use voxwire_core::{Limits, Rate};

/// Settings of a [`Server`](crate::Server): limits, rates, choices. Every limit has a safe default.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// `max_peers` sources of datagrams, `max_outbox` bytes of outputs waiting, `max_frame` and `max_items` on the wire.
    /// Default: [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// How often each side sends something. Default: [`Timing::DEFAULT`].
    pub timing: Timing,
    /// Clients at a time. Default: 16.
    pub max_clients: usize,
    /// Clients at a time at one address (loopback is exempt): others are to find room, too. Default: 4.
    pub max_source_clients: usize,
    /// How long an offer, Connect, can be accepted. Default: 5 s.
    pub offer_timeout: Duration,
    /// How long nothing is offered to a source that has refused. Default: 30 s.
    pub refusal_pause: Duration,
    /// Offers to one source: a Discovery is one byte, a Connect many, and a source can be forged. Loopback is exempt. Default: 2
    /// a second, 2 at once.
    pub replies: Rate,
    /// Offers to all sources together. Default: 20 a second, 20 at once.
    pub all_replies: Rate,
    /// Bytes taken while more sources ask than may be answered, to tell which keep asking: those are answered, their addresses in
    /// turns. 0: those that come first are answered. Default: 256 KiB.
    pub crowd_memory: usize,
    /// Say Connect to every host on the local network as often as this, without being asked. Any host there may accept it. Default:
    /// none.
    pub announce_interval: Option<Duration>,
}

impl ServerSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        timing: Timing::DEFAULT,
        max_clients: 16,
        max_source_clients: 4,
        offer_timeout: Duration::from_secs(5),
        refusal_pause: Duration::from_secs(30),
        replies: Rate { per_second: 2, burst: 2 },
        all_replies: Rate { per_second: 20, burst: 20 },
        crowd_memory: 256 * 1024,
        announce_interval: None,
    };
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
