//! A server's settings, and the profiles.

use core::{ops::RangeInclusive, time::Duration};
use voxwire_core::{Limits, Rate};

/// What a registration costs of [`ServerSettings::registrations`], in tokens.
pub const REGISTRATION: u32 = 15;

/// What a log-in that is taken up costs of [`ServerSettings::resumptions`], in tokens.
pub const RESUMPTION: u32 = 4;

/// What a new group costs of [`ServerSettings::creations`], in tokens.
pub const CREATION: u32 = 60;

/// Users who are muted.
pub const MAX_MUTED: usize = 100_000;

/// Channels of a recording that is handed on.
pub const RECORDING_CHANNELS: RangeInclusive<u64> = 1..=64;

/// Frames per second of a recording that is handed on.
pub const RECORDING_RATES: RangeInclusive<u64> = 1000..=384_000;

/// Longest recording, in seconds.
pub const MAX_RECORDING: u64 = 120;

/// What a copy that is kept costs its sender at least, in bytes of [`ServerSettings::messages`]: the application stores each.
pub const MIN_KEPT_COST: usize = 2048;

/// What the waiting requests of one connection may have before its reading pauses, in bytes.
pub const MAX_QUEUED_BYTES: usize = 64 * 1024;

/// Settings of a [`Server`](crate::Server): limits, rates, choices. Every limit has a safe default.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// `max_peers` connections, `max_outbox` bytes of outputs waiting to be drained, and the limits of [`Wire`](crate::Wire). Default:
    /// [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// Read arguments that are missing as empty, and let names be any bytes, none included. Default: off.
    pub lenient: bool,
    /// A token is worth something only on the connection that logged in. Default: on.
    pub bound_tokens: bool,
    /// All connections of a user have one token, that of the first. Default: off.
    pub shared_tokens: bool,
    /// Live audio is taken only from those who take part in the call, and a call is joined by a connection rather than by a user.
    /// Default: on.
    pub participants_only: bool,
    /// Each user is a member of the group [`ECHO`](crate::ECHO), unless there is one of that name: in its call the server hands live audio
    /// back to its sender. Default: off.
    pub echo: bool,
    /// Ask the application to keep messages for users who are offline, rather than refuse them. Default: on.
    pub keep: bool,
    /// Have the application look whether the users of `add_contact` exist before anything else is checked. Default: off.
    pub contacts_first: bool,
    /// How long the log-in of a lost connection may be taken up again, with its token, from the same address. Default: 60 s.
    pub resume_timeout: Duration,
    /// Log-ins of one user that are taken up again. Each costs [`RESUMPTION`] tokens. Beyond it the token is worth nothing on
    /// another connection, and the user has to log in. Default: 1 token a second and 128 at once, that is 15 a minute and 32 at once.
    pub resumptions: Rate,
    /// How long the application may take to answer, before the client is told `SERVER_UNAVAILABLE`. A group message
    /// that a member has received is answered `SUCCESS`. Default: 30 s.
    pub answer_timeout: Duration,
    /// The same for log-ins and registrations, which wait for each other. Clients wait for 40 s. Default: 38 s.
    pub admission_timeout: Duration,
    /// How long after the client's connection has taken an update ([`Input::Answered`](voxwire_core::Input::Answered),
    /// [`Input::Written`](voxwire_core::Input::Written)) the update counts as received, if the connection lasts. The time that the delivery takes at
    /// 16 KiB a second comes on top. It is longer than a driver waits for sent bytes to be acknowledged. Default: 45 s.
    pub receipt_timeout: Duration,
    /// Connections of one user. As many more may be logged in for requests alone; one beyond those displaces the oldest of them.
    /// Default: 16.
    pub max_connections: usize,
    /// Groups in all. Default: 100 000.
    pub max_groups: usize,
    /// Groups that one user has made. Default: 64.
    pub max_own_groups: usize,
    /// Members of one group. Default: 1000.
    pub max_members: usize,
    /// Malformed messages after which a connection is closed; one a minute is forgiven. Default: 16.
    pub max_violations: u32,
    /// Requests of one connection; beyond it they wait for their turn, nothing is dropped. Default: 10 a second, 80 at once.
    pub requests: Rate,
    /// Requests of one connection that wait for their turn: behind one that the application works on, or for their rate. With so
    /// many, or 64 KiB of them, reading pauses. Default: 16.
    pub max_queued_requests: usize,
    /// Bytes of the requests of all connections that wait, beside 4 KiB of each; those of one address (loopback and
    /// [`Server::exempt`](crate::Server::exempt) are exempt) have a quarter. What would be more is answered `REQUEST_OVER_LIMIT` when its turn comes.
    /// Default: 32 MiB.
    pub max_queued_request_bytes: usize,
    /// `call_data` of one connection; beyond it reading pauses, nothing is dropped. Default: 120 a second, 500 at once.
    pub voice: Rate,
    /// Registrations of one address. Each costs [`REGISTRATION`] tokens (loopback and
    /// [`Server::exempt`](crate::Server::exempt) are exempt). Log-ins are not refused by address, so that no user can keep its neighbours out: the
    /// application serves them in an order of its own. Default: 1 token a second and 600 at once, that is four a minute and 40 at
    /// once.
    pub registrations: Rate,
    /// New groups of one address. Each costs [`CREATION`] tokens (loopback and [`Server::exempt`](crate::Server::exempt) are exempt). Default: 1
    /// token a second and 3840 at once, that is one a minute and 64 at once.
    pub creations: Rate,
    /// After which time a group is forgotten that only its owner is a member of, and that no user has used. Default: a day.
    pub lone_group_lifetime: Duration,
    /// After which time a group is forgotten that has members, if no user has joined it, written to it or joined its call. (With what one address may make, that keeps a part of [`ServerSettings::max_groups`] free.) Default: 60 days.
    pub unused_group_lifetime: Duration,
    /// Bytes of whispers and recordings for one user, from all senders together: more than a connection takes would cost it. One sender
    /// may take a quarter of it, the senders of one address (loopback and [`Server::exempt`](crate::Server::exempt) are exempt) a half; one message may
    /// go beyond that share if half of it is left and a quarter of the whole remains for others: what is too much is made up for.
    /// And bytes of all messages of one user, times those who get them; a copy that is kept counts as 2 KiB at least. Default:
    /// 256 KiB a second, 32 MiB at once.
    pub messages: Rate,
    /// Live audio that may be queued for a slow listener, in bytes; one message always may. Default: 128 KiB.
    pub droppable_budget: usize,
}

impl ServerSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        lenient: false,
        bound_tokens: true,
        shared_tokens: false,
        participants_only: true,
        echo: false,
        keep: true,
        contacts_first: false,
        resume_timeout: Duration::from_secs(60),
        resumptions: Rate { per_second: 1, burst: 32 * RESUMPTION },
        answer_timeout: Duration::from_secs(30),
        admission_timeout: Duration::from_secs(38),
        receipt_timeout: Duration::from_secs(45),
        max_connections: 16,
        max_groups: 100_000,
        max_own_groups: 64,
        max_members: 1000,
        max_violations: 16,
        requests: Rate { per_second: 10, burst: 80 },
        max_queued_requests: 16,
        max_queued_request_bytes: 32 * 1024 * 1024,
        voice: Rate { per_second: 120, burst: 500 },
        registrations: Rate { per_second: 1, burst: 40 * REGISTRATION },
        creations: Rate { per_second: 1, burst: 64 * CREATION },
        lone_group_lifetime: Duration::from_secs(24 * 60 * 60),
        unused_group_lifetime: Duration::from_secs(60 * 24 * 60 * 60),
        messages: Rate { per_second: 256 * 1024, burst: 32 * 1024 * 1024 },
        // 200 ms of one speaker are 26 KB.
        droppable_budget: 128 * 1024,
    };

    /// What the original server does wherever the two differ.
    pub const ORIGINAL: Self = Self {
        lenient: true,
        bound_tokens: false,
        shared_tokens: true,
        participants_only: false,
        echo: false,
        keep: false,
        contacts_first: true,
        ..Self::DEFAULT
    };
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
