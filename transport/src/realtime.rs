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
mod counters;
mod handle;
mod ring;
mod settings;
mod shared;
mod socket;
mod wake;

use ::core::fmt;
use ::core::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};
pub use handle::{Ended, Handle, Scheduling, Stats};
use ring::RingWriter;
pub use settings::{AudioHandler, Settings, Wait};
use shared::{EndGuard, Shared};
pub use socket::Socket;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use voxwire_core::{Framing as _, Session};

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
        Ok(Self { shared: Arc::new(Shared::new(socket, session, Box::new(handler), settings)?) })
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
