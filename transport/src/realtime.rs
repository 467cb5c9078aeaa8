//! Real-time audio without a runtime: one thread for one socket and one datagram session, such as syfala's.
//!
//! A [`Hub`](crate::Hub) serves thousands of peers. It needs tokio, which takes time to wake a task: 20 to 40 µs as a rule, and
//! milliseconds at times. A buffer of 32 frames at 48 kHz lasts 667 µs. [`Driver`] is for that case: a plain thread waits in the system for
//! datagrams, and hands them to the session itself.
//!
//! # From the sound callback to the network
//!
//! [`AudioSender::send`] may be called from a sound callback (JACK, ALSA, cpal, ASIO). It never waits for a lock, never allocates, and never
//! blocks in the system:
//!
//! 1. It copies the samples into a ring.
//! 2. If no other thread works on the session, the calling thread makes the datagrams and sends them, all of one period with one system
//!    call where the system supports it (Linux). That takes some microseconds. A wake of another thread takes longer.
//! 3. Otherwise the thread that works on the session sends them before it goes on to the next datagram. The callback returns at once.
//!
//! With [`Wait::Spin`] the callback makes no system call at all: the driver's thread looks at the ring all the time.
//!
//! # From the network to the sound callback
//!
//! The driver's thread calls the handler with each event, audio included. The handler passes samples on through a ring of its own
//! ([rtrb](https://docs.rs/rtrb)); the sound callback takes them from there. For syfala, `voxwire_syfala::stream::Receiving` puts messages in
//! order and keeps a store against jitter.
//!
//! # The thread
//!
//! It asks for `SCHED_FIFO` at [`Settings::priority`]. Linux permits that to root, to processes with `CAP_SYS_NICE`, and to users whose
//! `rtprio` limit is high enough (`/etc/security/limits.d`, as for JACK). Where it is not permitted the thread runs as any other, and
//! [`Handle::scheduling`] says why. The driver does not lock memory: an application that can be swapped out calls `mlockall`.
//!
//! All else goes through [`Handle::call`], which runs on the driver's thread: no thread of normal priority ever holds the session, so none
//! can make the sound callback's datagrams late.
//!
//! ```
//! use voxwire_core::{Handler, Instant, Session};
//! use voxwire_syfala::{Client, ClientCommand, ClientEvent, ClientSettings};
//! use voxwire_transport::realtime::{AudioHandler, Driver, Settings, Socket};
//!
//! struct App {
//!     server: Option<voxwire_core::PeerId>,
//!     to_callback: rtrb::Producer<u8>,
//! }
//!
//! impl Handler<Client> for App {
//!     fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
//!         match event {
//!             ClientEvent::Found { server, .. } => {
//!                 let _ = client.handle_command(now, ClientCommand::Accept { server });
//!                 let _ = client.handle_command(now, ClientCommand::StartIo { server });
//!                 self.server = Some(server);
//!             }
//!             ClientEvent::Audio { audio, .. } => {
//!                 let _ = self.to_callback.push_entire_slice(audio.payload);
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//!
//! impl AudioHandler<Client> for App {
//!     fn on_audio(&mut self, client: &mut Client, now: Instant, _sender: usize, samples: &[u8]) {
//!         if let Some(server) = self.server {
//!             let _ = client.handle_command(now, ClientCommand::Play { server, stream: 0, samples });
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (to_callback, mut heard) = rtrb::RingBuffer::new(64 * 1024);
//! # let device = "127.0.0.1:9".parse()?;
//! let socket = Socket::bind("0.0.0.0:0".parse()?)?.with_broadcast(vec![device])?;
//! let client = Client::new(ClientSettings::DEFAULT);
//! let mut driver = Driver::new(socket, client, App { server: None, to_callback }, Settings::DEFAULT)?;
//! let mut sender = driver.sender(16 * 1024);
//! let handle = driver.start()?;
//! handle.call(|client, now| client.handle_command(now, ClientCommand::Discover))??;
//!
//! // In the sound callback, each period:
//! let mut period = [0; 256];
//! let _ = sender.send(&period);
//! let _ = heard.pop_entire_slice(&mut period);
//!
//! handle.stop()?;
//! # Ok(()) }
//! ```

mod core;
mod handle;
mod ring;
mod socket;
mod wake;

use self::core::{Core, Link, deliver};
use crate::udp::Received;
use ::core::fmt;
use ::core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use ::core::time::Duration;
pub use handle::{Ended, Handle, Scheduling, Stats};
use ring::RingWriter;
pub use socket::Socket;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use voxwire_core::{Clock, Framing as _, Handler, Instant, Rate, Session};
use wake::Waker;

/// How many times in a row the thread receives before it looks at timers and calls.
const MAX_RECEIVES: u32 = 32;

/// An application on top of a session on a [`Driver`].
pub trait AudioHandler<S: Session>: Handler<S> {
    /// Samples that a sound callback has written with one [`AudioSender::send`]: the session is to send them now. `sender` is the number of
    /// the [`AudioSender`], in the order in which the driver made them, from 0.
    ///
    /// It runs on the callback's thread or on the driver's. It must not wait, nor allocate.
    fn on_audio(&mut self, session: &mut S, now: Instant, sender: usize, samples: &[u8]);
}

/// Limits of a [`Driver`], and how its thread runs.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The priority of the thread under `SCHED_FIFO`, from 1 to 99; `None` for a thread like any other. It should be below that of the
    /// sound system's own thread (JACK: 70 to 80 as a rule). 60 by default.
    pub priority: Option<u8>,
    /// How the thread waits. [`Wait::Sleep`] by default.
    pub wait: Wait,
    /// Datagrams of one source; beyond it they are dropped. 50 000 a second and 50 000 at once by default.
    pub datagrams: Rate,
    /// Sources that the session has not validated, remembered at a time. 256 by default.
    pub max_unvalidated: usize,
}

impl Settings {
    /// A thread at priority 60 that sleeps while nothing comes in; 50 000 datagrams a second from each source; 256 unknown sources.
    pub const DEFAULT: Self = Self {
        priority: Some(60),
        wait: Wait::Sleep,
        datagrams: Rate { per_second: 50_000, burst: 50_000 },
        max_unvalidated: 256,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How a [`Driver`]'s thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// In the system, until a datagram comes. Sound callbacks send their own datagrams.
    Sleep,
    /// By looking again and again. It saves the wake, and sound callbacks make no system call; it takes a processor core for itself. Under
    /// `SCHED_FIFO` nothing else runs on that core, but for what Linux reserves (`sched_rt_runtime_us`): only for machines with cores to
    /// spare.
    Spin,
}

/// A session, its handler and a socket, ready to be started.
pub struct Driver<S: Session> {
    shared: Arc<Shared<S>>,
}

impl<S: Session> Driver<S> {
    /// A driver of these. It receives nothing before [`start`](Self::start).
    ///
    /// # Errors
    /// The system's: it has no descriptors left. [`InvalidInput`](io::ErrorKind::InvalidInput) for a session whose frames lie in a byte
    /// stream.
    pub fn new(
        socket: Socket,
        session: S,
        handler: impl AudioHandler<S> + Send + 'static,
        settings: Settings,
    ) -> io::Result<Self> {
        if session.framing().is_stream() {
            let why = "this session's frames lie in a byte stream, which datagrams do not keep whole: use a `Hub` or a `Connection`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let core = Core::new(session, Box::new(handler), &settings);
        let shared = Shared {
            core: Mutex::new(core),
            socket,
            settings,
            clock: Clock::start(),
            counters: Counters::default(),
            written: AtomicU64::new(0),
            waker: Waker::new()?,
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The sender of one sound callback; each callback needs its own. Its ring holds `capacity` bytes of blocks, and four bytes more for each block.
    /// Room for four periods is plenty.
    pub fn sender(&mut self, capacity: usize) -> AudioSender<S> {
        let (writer, ring) = ring::ring(capacity);
        let mut core = self.shared.lock();
        core.rings.push(ring);
        let longest = core.block.len().max(capacity.saturating_add(4));
        core.block.resize(longest, 0);
        drop(core);
        AudioSender { shared: self.shared.clone(), writer }
    }
}

impl<S> Driver<S>
where
    S: Session + Send + 'static,
{
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's: no more threads are permitted. A priority that is not permitted is no error, see [`Handle::scheduling`].
    pub fn start(self) -> io::Result<Handle<S>> {
        let (calls, called) = channel();
        let (report, reported) = channel();
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("voxwire-audio".into()).spawn(move || {
            let guard = EndGuard(&shared);
            let _ = report.send(handle::schedule(shared.settings.priority));
            guard.0.run(&called);
        })?;
        let scheduling = reported.recv().unwrap_or(Scheduling::Normal { reason: None });
        Ok(Handle::new(self.shared, calls, thread, scheduling))
    }
}

impl<S: Session> fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("socket", &self.shared.socket).finish_non_exhaustive()
    }
}

/// Where a sound callback writes its samples.
pub struct AudioSender<S: Session> {
    shared: Arc<Shared<S>>,
    writer: RingWriter,
}

impl<S: Session> AudioSender<S> {
    /// Hands the samples of one period to [`AudioHandler::on_audio`], whole and in order. Never waits; see the [module](self).
    ///
    /// # Errors
    /// [`SendError`]; nothing of it is sent then.
    pub fn send(&mut self, samples: &[u8]) -> Result<(), SendError> {
        let shared = &*self.shared;
        if shared.ended.load(Relaxed) {
            return Err(SendError::Ended);
        }
        if !self.writer.write(samples) {
            shared.counters.refused_blocks.fetch_add(1, Relaxed);
            return Err(SendError::Full);
        }
        shared.written.fetch_add(1, SeqCst);
        if shared.settings.wait == Wait::Sleep {
            shared.send_written();
        }
        Ok(())
    }
}

impl<S: Session> fmt::Debug for AudioSender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioSender").field("writer", &self.writer).finish_non_exhaustive()
    }
}

/// Why samples were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The ring has no room for them: the driver's thread has not run for as long as the ring holds, or the block is longer than the ring.
    #[error(
        "no room for these samples: the ring is shorter than one block, or the driver's thread does not run"
    )]
    Full,
    /// The driver has ended.
    #[error("the driver has ended")]
    Ended,
}

/// What a driver counts.
#[derive(Debug, Default)]
struct Counters {
    over_rate: AtomicU64,
    unsent: AtomicU64,
    refused_blocks: AtomicU64,
    receive_errors: AtomicU64,
}

/// Something to do on the driver's thread.
type Call<S> = Box<dyn FnOnce(&mut S, Instant) + Send>;

struct Shared<S: Session> {
    core: Mutex<Core<S>>,
    socket: Socket,
    settings: Settings,
    clock: Clock,
    counters: Counters,
    /// Counts the blocks that sound callbacks have written.
    written: AtomicU64,
    waker: Waker,
    stopping: AtomicBool,
    ended: AtomicBool,
}

impl<S: Session> Shared<S> {
    const fn link(&self) -> Link<'_> {
        Link { socket: &self.socket, counters: &self.counters, written: &self.written }
    }

    fn lock(&self) -> MutexGuard<'_, Core<S>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the blocks that sound callbacks have written, unless another thread has the session: that thread sends them then.
    fn send_written(&self) {
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
    fn run(&self, calls: &Receiver<Call<S>>) {
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
                        io::ErrorKind::WouldBlock => ::core::hint::spin_loop(),
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
struct EndGuard<'s, S: Session>(&'s Shared<S>);

impl<S: Session> Drop for EndGuard<'_, S> {
    fn drop(&mut self) {
        self.0.ended.store(true, SeqCst);
    }
}
