//! Reaching a driver that runs.

use super::shared::{Call, Shared};
use core::fmt;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use voxwire_core::{Instant, Session};

/// Reaches a [`Driver`](super::Driver) that runs. When it is dropped, the driver stops: the drop waits for its thread, unless it is that
/// thread (a handler that owns the handle).
pub struct Handle<S: Session> {
    shared: Arc<Shared<S>>,
    calls: Sender<Call<S>>,
    thread: Option<JoinHandle<()>>,
    scheduling: Scheduling,
}

/// How a driver's thread is scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduling {
    /// Under `SCHED_FIFO`, at this priority.
    RealTime(u8),
    /// As any other thread.
    Normal {
        /// Why not in real time; `None` if the settings ask for no priority.
        reason: Option<String>,
    },
}

/// What a driver has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams that were dropped because their source sent more than it may.
    pub over_rate: u64,
    /// Datagrams that the system did not take.
    pub unsent: u64,
    /// Blocks of samples for which a ring had no room.
    pub refused_blocks: u64,
    /// Times that the system could not receive.
    pub receive_errors: u64,
}

/// The driver has ended: it was stopped, or its handler has panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver has ended: it was stopped, or its handler has panicked")]
pub struct Ended;

impl<S: Session> Handle<S> {
    pub(super) const fn new(
        shared: Arc<Shared<S>>,
        calls: Sender<Call<S>>,
        thread: JoinHandle<()>,
        scheduling: Scheduling,
    ) -> Self {
        Self { shared, calls, thread: Some(thread), scheduling }
    }

    /// Runs `f` with the session on the driver's thread, and waits for its result. The session's outputs are carried out after that. Not for a sound
    /// callback, nor for the driver's own handler, which would wait for itself. Keep it short: audio waits meanwhile.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut S, Instant) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let (answer, answered) = channel();
        let call = Box::new(move |session: &mut S, now: Instant| {
            let _ = answer.send(f(session, now));
        });
        self.calls.send(call).map_err(|_| Ended)?;
        self.shared.waker.wake();
        answered.recv().map_err(|_| Ended)
    }

    /// How the thread is scheduled.
    pub const fn scheduling(&self) -> &Scheduling {
        &self.scheduling
    }

    /// What it has counted so far.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        Stats {
            over_rate: counters.over_rate.load(Relaxed),
            unsent: counters.unsent.load(Relaxed),
            refused_blocks: counters.refused_blocks.load(Relaxed),
            receive_errors: counters.receive_errors.load(Relaxed),
        }
    }

    /// Lets the session say goodbye, and ends the thread. What sound callbacks had written before is sent.
    ///
    /// # Errors
    /// [`Ended`] if the driver's handler had panicked.
    pub fn stop(mut self) -> Result<Stats, Ended> {
        self.end().map(|()| self.stats())
    }

    fn end(&mut self) -> Result<(), Ended> {
        self.shared.stopping.store(true, SeqCst);
        self.shared.waker.wake();
        let thread = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id());
        thread.map_or(Ok(()), |thread| thread.join().map_err(|_| Ended))
    }
}

impl<S: Session> Drop for Handle<S> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl<S: Session> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheduling, .. } = self;
        f.debug_struct("Handle").field("scheduling", scheduling).field("stats", &self.stats()).finish()
    }
}

/// Schedules the calling thread under `SCHED_FIFO` at `priority`, where that is permitted.
pub(super) fn schedule(priority: Option<u8>) -> Scheduling {
    let Some(priority) = priority else { return Scheduling::Normal { reason: None } };
    let set = ThreadPriorityValue::try_from(priority).and_then(|value| {
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy)
            .map_err(|error| error.to_string())
    });
    match set {
        Ok(()) => Scheduling::RealTime(priority),
        Err(error) => Scheduling::Normal {
            reason: Some(format!(
                "SCHED_FIFO at priority {priority} is not permitted ({error}): run as root, with CAP_SYS_NICE, or with an rtprio limit of \
                 {priority} or more"
            )),
        },
    }
}
