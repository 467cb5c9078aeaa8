//! What an application gives a driver.

use voxwire_core::{Handler, Instant, Rate, Session};

/// An application on top of a session on a [`Driver`](super::Driver).
pub trait AudioHandler<S: Session>: Handler<S> {
    /// Samples that a sound callback has written with one [`AudioSender::send`](super::AudioSender::send): the session is to send them now. `sender` is the number of
    /// the [`AudioSender`](super::AudioSender), in the order in which the driver made them, from 0.
    ///
    /// It runs on the callback's thread or on the driver's. It must not wait, nor allocate.
    fn on_audio(&mut self, session: &mut S, now: Instant, sender: usize, samples: &[u8]);
}

/// Limits of a [`Driver`](super::Driver), and how its thread runs.
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

/// How a [`Driver`](super::Driver)'s thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// In the system, until a datagram comes. Sound callbacks send their own datagrams.
    Sleep,
    /// By looking again and again. It saves the wake, and sound callbacks make no system call; it takes a processor core for itself. Under
    /// `SCHED_FIFO` nothing else runs on that core, but for what Linux reserves (`sched_rt_runtime_us`): only for machines with cores to
    /// spare.
    Spin,
}
