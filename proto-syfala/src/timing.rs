use core::time::Duration;
use voxwire_core::{Deadlines, Instant, PeerId};

/// How often each side speaks up, and how long it waits; the document names no times but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which the other side is gone. (The reference's client: 600 ms.)
    pub deadline: Duration,
    /// How often a Heartbeat is sent.
    pub heartbeat: Duration,
    /// How soon a request is repeated, and a side is told that the two do not agree on whether IO is active.
    pub retry: Duration,
    /// How long IO may be active without any audio from the other side before it is asked whether it knows.
    pub quiet: Duration,
}

impl Timing {
    /// 600 ms, a heartbeat each 100 ms, a repetition after 100 ms, a question after 1 s.
    pub const DEFAULT: Self = Self {
        deadline: Duration::from_millis(600),
        heartbeat: Duration::from_millis(100),
        retry: Duration::from_millis(100),
        quiet: Duration::from_secs(1),
    };

    /// The shortest time that is kept: none at all would be due for ever.
    pub(crate) const LEAST: Duration = Duration::from_millis(1);

    /// With no time shorter than that.
    pub(crate) fn checked(self) -> Self {
        let Self { deadline, heartbeat, retry, quiet } = self;
        let least = |time: Duration| time.max(Self::LEAST);
        Self {
            deadline: least(deadline),
            heartbeat: least(heartbeat),
            retry: least(retry),
            quiet: least(quiet),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a session waits for, of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// To hear anything.
    Deadline,
    /// To send a Heartbeat.
    Beat,
    /// To repeat a request.
    Retry,
}

/// All of a session's timers.
pub(crate) type Timers = Deadlines<(PeerId, Timer)>;

pub(crate) fn clear(timers: &mut Timers, peer: PeerId) {
    for timer in [Timer::Deadline, Timer::Beat, Timer::Retry] {
        timers.clear((peer, timer));
    }
}

/// When what happened last on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    /// Anything valid came in.
    pub(crate) heard: Instant,
    /// Audio came in.
    pub(crate) audio: Instant,
    /// IO became what it is.
    pub(crate) since: Instant,
    /// The other side was told that it is wrong about that.
    pub(crate) told: Instant,
}

impl Moments {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { heard: now, audio: now, since: now, told: now }
    }

    /// Whether it is time to tell the other side that it is wrong: not while what was sent before the last change may
    /// still be on its way, and not for each of its messages.
    pub(crate) fn tell(&mut self, now: Instant, timing: &Timing) -> bool {
        let settled = now.saturating_duration_since(self.since) >= timing.retry;
        let again = now.saturating_duration_since(self.told) >= timing.retry;
        if settled && again {
            self.told = now;
        }
        settled && again
    }

    /// Whether the other side is to be asked if it knows that IO is active.
    pub(crate) fn wonder(&mut self, now: Instant, timing: &Timing) -> bool {
        let quiet = now.saturating_duration_since(self.audio) >= timing.quiet;
        if quiet {
            self.audio = now;
        }
        quiet
    }
}
