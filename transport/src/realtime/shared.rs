//! What a driver's thread shares with sound callbacks and handles, and the thread itself.

use super::core::{Core, Link, deliver};
use super::counters::Counters;
use super::settings::{AudioHandler, Settings, Wait};
use super::socket::Socket;
use super::wake::Waker;
use crate::udp::Received;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use core::time::Duration;
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use voxwire_core::{Clock, Instant, Session};

/// How many times in a row the thread receives before it looks at timers and calls.
const MAX_RECEIVES: u32 = 32;

/// Something to do on the driver's thread.
pub(super) type Call<S> = Box<dyn FnOnce(&mut S, Instant) + Send>;

/// What a driver, its thread, its handle and its senders share.
pub(super) struct Shared<S: Session> {
    pub(super) core: Mutex<Core<S>>,
    pub(super) socket: Socket,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) counters: Counters,
    /// Counts the blocks that sound callbacks have written.
    pub(super) written: AtomicU64,
    pub(super) waker: Waker,
    pub(super) stopping: AtomicBool,
    pub(super) ended: AtomicBool,
}

impl<S: Session> Shared<S> {
    pub(super) fn new(
        socket: Socket,
        session: S,
        handler: Box<dyn AudioHandler<S> + Send>,
        settings: Settings,
    ) -> io::Result<Self> {
        Ok(Self {
            core: Mutex::new(Core::new(session, handler, &settings)),
            socket,
            settings,
            clock: Clock::start(),
            counters: Counters::default(),
            written: AtomicU64::new(0),
            waker: Waker::new()?,
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    const fn link(&self) -> Link<'_> {
        Link { socket: &self.socket, counters: &self.counters, written: &self.written }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core<S>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the blocks that sound callbacks have written, unless another thread has the session: that thread sends them then.
    pub(super) fn send_written(&self) {
        loop {
            // Either this thread finds the session free, or the thread that has it finds the block after it has let go.
            fence(SeqCst);
            let mut core = match self.core.try_lock() {
                Ok(core) => core,
                Err(TryLockError::Poisoned(core)) => core.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            core.drain_rings(self.link(), self.clock.now());
            let seen = self.let_go(core, true);
            if self.written.load(SeqCst) == seen {
                return;
            }
        }
    }

    /// Releases the session. Returns how many blocks had been written when the rings were read last.
    fn let_go(&self, core: MutexGuard<'_, Core<S>>, wake: bool) -> u64 {
        let due = core.session.poll_timeout();
        let earlier = due.is_some_and(|due| core.armed.is_none_or(|armed| due < armed));
        let seen = core.seen;
        drop(core);
        fence(SeqCst);
        if wake && earlier {
            self.waker.wake();
        }
        seen
    }

    /// Runs `f` with the session, then sends blocks that were written meanwhile. For the driver's thread.
    fn locked(&self, f: impl FnOnce(&mut Core<S>, Link<'_>, Instant)) {
        let mut core = self.lock();
        let now = self.clock.now();
        f(&mut core, self.link(), now);
        core.armed = core.session.poll_timeout();
        let seen = self.let_go(core, false);
        if self.written.load(SeqCst) != seen {
            self.send_written();
        }
    }
}

/// The thread.
impl<S: Session> Shared<S> {
    pub(super) fn run(&self, calls: &Receiver<Call<S>>) {
        let mut received = Received::plain();
        loop {
            if self.stopping.load(SeqCst) {
                return self.locked(Core::shutdown);
            }
            let mut due = None;
            self.locked(|core, link, now| {
                while let Ok(call) = calls.try_recv() {
                    call(&mut core.session, now);
                    core.settle(link, now);
                }
                core.expire(link, now);
                due = core.session.poll_timeout();
            });
            if self.settings.wait == Wait::Sleep {
                let longest = due.map(|due| due.saturating_duration_since(self.clock.now()));
                if let Err(error) = self.waker.sleep(&self.socket, longest) {
                    self.failed(&error);
                }
            }
            self.receive(&mut received);
        }
    }

    /// Hands received datagrams to the session. Timers fire after that: as a rule once all of them have been read, under a flood after
    /// [`MAX_RECEIVES`] calls of the system.
    fn receive(&self, received: &mut Received) {
        for _ in 0..MAX_RECEIVES {
            match self.socket.receive(received) {
                Ok(()) => {
                    self.locked(|core, link, now| deliver(core, link, now, received));
                    if !received.is_full() || self.stopping.load(Relaxed) {
                        return;
                    }
                }
                Err(error) => {
                    return match error.kind() {
                        io::ErrorKind::WouldBlock => core::hint::spin_loop(),
                        // This concerns a datagram that was sent earlier.
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {}
                        _ => self.failed(&error),
                    };
                }
            }
        }
    }

    /// The system cannot receive, or wait: it may be out of memory.
    fn failed(&self, error: &io::Error) {
        if self.counters.receive_errors.fetch_add(1, Relaxed) == 0 {
            crate::log::warn!(%error, "cannot receive datagrams");
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Notes that the thread has ended, even if a handler has panicked.
pub(super) struct EndGuard<'s, S: Session>(pub(super) &'s Shared<S>);

impl<S: Session> Drop for EndGuard<'_, S> {
    fn drop(&mut self) {
        self.0.ended.store(true, SeqCst);
    }
}
