//! A server's settings, and the original's profile.

use crate::Profile;
use core::time::Duration;
use voxwire_core::{Limits, Rate};

/// Settings of a [`Server`](crate::Server): limits, rates, choices. Every limit has a safe default.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// `max_peers` connections, `max_outbox` bytes of outputs waiting to be drained, `max_frame` and `max_text` on the wire.
    /// Default: [`LIMITS`](crate::LIMITS), with 64 MiB of outputs.
    pub limits: Limits,
    /// What is sent where releases differ. Default: [`Profile::Later`].
    pub profile: Profile,
    /// Raise [`ServerEvent::Joining`](crate::ServerEvent::Joining) and wait for the application, instead of letting every
    /// client join. Default: off.
    pub ask: bool,
    /// A handshake under a name that a client has displaces the holder, as in the original. Without it only one from the
    /// holder's own address does (never on loopback and [`Server::exempt`](crate::Server::exempt), where one address is many
    /// people); any other client goes on asking. Default: off.
    pub newest_wins: bool,
    /// Clients and rooms may have any name of at most 255 bytes of UTF-8, as in the original, and clients' names are compared byte by
    /// byte. Otherwise a client's name is checked by [`check_name`](voxwire_core::check_name) and compared in its canonical form, and a
    /// room's name, which the game chooses, is checked by [`check_label`](voxwire_core::check_label). Default: off.
    pub any_name: bool,
    /// A repeated handshake removes the client and lets it join again, as in later originals, rather than being answered once
    /// more, as in those of 2018. Default: off.
    pub repeat_replaces: bool,
    /// Relay only to clients that the inner packet is addressed to, rather than to all that the sender lists. Default: on.
    pub addressed_only: bool,
    /// Voice relayed as type 7 is handed on reliably, as the type says. (Old releases do so by mistake.) Default: off.
    pub reliable_voice: bool,
    /// Who listens to the room [`ECHO`](crate::ECHO) hears there a player of that name, a name that no client gets then: what it says to the
    /// room, or to that player, comes back to it, and goes to no other client. Default: off.
    pub echo: bool,
    /// How long a client's number rests after the client has left. With at most 1000 resting and none free, the oldest is reused; otherwise joins are
    /// refused. Default: 30 s.
    pub id_quarantine: Duration,
    /// How long the name of a lost connection is kept from other addresses. Not at all where its own stands for many people
    /// (loopback, [`Server::exempt`](crate::Server::exempt)): nothing would show whose it was. Default: 30 s.
    pub quarantine: Duration,
    /// How long a connection may stay without joining the session. Default: 300 s.
    pub idle_timeout: Duration,
    /// Rooms that one client may listen to. Default: 64.
    pub max_rooms: usize,
    /// Malformed or misplaced packets after which a client is kicked; one a minute is forgiven. Default: 16.
    pub max_violations: u32,
    /// Voice packets of one client; beyond it they are dropped. Default: 120 a second, 120 at once.
    pub voice: Rate,
    /// Texts of one client; beyond it reading pauses, nothing is dropped. Default: 10 a second, 80 at once.
    pub text: Rate,
    /// Handshakes, states and deltas of one client; beyond it reading pauses, nothing is dropped. Default: 10 a second, 80 at
    /// once.
    pub state: Rate,
    /// Bytes of states, deltas and texts of one client, which others must take; beyond it reading pauses. Default: 4 KiB a
    /// second, 16 KiB at once.
    pub reliable_bytes: Rate,
    /// How soon a handshake that is repeated is answered once more. Default: 1500 ms.
    pub answer_interval: Duration,
    /// Voice with more channels than this is not relayed. Default: 64.
    pub max_channels: usize,
    /// Answers to wrong sessions, for each connection. Default: 2 a second, 10 at once.
    pub wrong_session: Rate,
    /// Handshakes of all connections of one source address together, shared out as `source_voice` is; beyond it they are
    /// refused, and each counts as a change of state. A source is an IPv4 address or an IPv6 /64; loopback and
    /// [`Server::exempt`](crate::Server::exempt) are exempt. Default: 10 a second, 300 at once.
    pub attempts: Rate,
    /// Voice packets of all connections of one source together: each connection has an equal part of this rate, and all
    /// share the same rate again. So a source may send up to twice this rate. Beyond it packets are dropped. Loopback is exempt.
    /// Default: 1920 a second, 1920 at once.
    pub source_voice: Rate,
    /// Texts of one source, in the same way; beyond it reading pauses. Default: 40 a second, 320 at once.
    pub source_text: Rate,
    /// Handshakes, states and deltas of one source, in the same way; beyond it reading pauses. Default: 160 a second, 1 280 at
    /// once.
    pub source_state: Rate,
    /// Bytes of states, deltas and texts of one source, in the same way; beyond it reading pauses. A listener that takes
    /// twice this rate is never cut off because of one source. Default: 16 KiB a second, 64 KiB at once.
    pub source_bytes: Rate,
    /// Voice that may be queued for a slow listener, in bytes. Default: 16 KiB.
    pub droppable_budget: usize,
}

impl ServerSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: Limits { max_outbox: 64 * 1024 * 1024, ..crate::LIMITS },
        profile: Profile::Later,
        ask: false,
        newest_wins: false,
        any_name: false,
        repeat_replaces: false,
        addressed_only: true,
        reliable_voice: false,
        echo: false,
        id_quarantine: Duration::from_secs(30),
        quarantine: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(300),
        max_rooms: 64,
        max_violations: 16,
        voice: Rate { per_second: 120, burst: 120 },
        text: Rate { per_second: 10, burst: 80 },
        state: Rate { per_second: 10, burst: 80 },
        reliable_bytes: Rate { per_second: 4096, burst: 16 * 1024 },
        answer_interval: Duration::from_millis(1500),
        max_channels: 64,
        wrong_session: Rate { per_second: 2, burst: 10 },
        attempts: Rate { per_second: 10, burst: 300 },
        source_voice: Rate { per_second: 1920, burst: 1920 },
        source_text: Rate { per_second: 40, burst: 320 },
        source_state: Rate { per_second: 160, burst: 1280 },
        source_bytes: Rate { per_second: 16 * 1024, burst: 64 * 1024 },
        droppable_budget: 16 * 1024,
    };

    /// What the original does where the defaults are safer.
    pub const ORIGINAL: Self = Self {
        newest_wins: true,
        any_name: true,
        repeat_replaces: true,
        addressed_only: false,
        reliable_voice: true,
        id_quarantine: Duration::ZERO,
        quarantine: Duration::ZERO,
        ..Self::DEFAULT
    };
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
