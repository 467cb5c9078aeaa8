//! How long a hub's lock is held: a session that looks at the clock when it is handed something, and when it is asked for its next timer,
//! which is the last thing before the lock is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use voxwire_core::{Clock, Deferred, Input, Instant, Outbox, PeerId, Session};

/// Time under the lock, in nanoseconds, of all who look.
#[derive(Clone, Default)]
pub(crate) struct Held(Arc<AtomicU64>);

impl Held {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

pub(crate) struct Watched<S> {
    session: S,
    clock: Clock,
    /// When it was handed something first, since the lock was released last; 0 if nothing.
    since: AtomicU64,
    held: Held,
}

impl<S> Watched<S> {
    pub(crate) fn new(session: S, held: Held) -> Self {
        Self { session, clock: Clock::start(), since: AtomicU64::new(0), held }
    }

    fn begin(&self) {
        if self.since.load(Relaxed) == 0 {
            self.since.store(self.clock.now().as_nanos(), Relaxed);
        }
    }
}

impl<S: Session> Session for Watched<S> {
    type Framing = S::Framing;
    type Command<'a> = S::Command<'a>;
    type Event<'a> = S::Event<'a>;
    type Violation = S::Violation;
    type Refusal = S::Refusal;

    fn framing(&self) -> Self::Framing {
        self.session.framing()
    }

    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<Self::Event<'a>>, Self::Violation> {
        self.begin();
        self.session.handle_input(now, input)
    }

    fn handle_command(&mut self, now: Instant, command: Self::Command<'_>) -> Result<(), Self::Refusal> {
        self.session.handle_command(now, command)
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<Self::Event<'a>> {
        self.session.handle_timeout(now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = self.session.poll_timeout();
        let since = self.since.swap(0, Relaxed);
        if since != 0 {
            self.held.0.fetch_add(self.clock.now().as_nanos().saturating_sub(since), Relaxed);
        }
        due
    }

    fn take_deferred(&mut self) -> Option<Deferred> {
        self.session.take_deferred()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.session.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        self.session.outbox()
    }

    fn shutdown(&mut self, now: Instant) {
        self.session.shutdown(now);
    }
}
