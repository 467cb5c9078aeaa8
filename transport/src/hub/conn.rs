//! One connection of a hub, as the session's side sees it: what is queued for it, and how it is closed or reset.

mod state;

use super::common::Common;
use crate::stream::framing::StreamFraming;
use crate::stream::queue::Overflow;
use crate::stream::shared_frames::SharedFrames;
use crate::tcp_udp::{Control, control_unit};
use core::num::NonZeroU64;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Waker;
use core::time::Duration;
use state::Closing;
pub(super) use state::{State, update_total};
use std::sync::{Mutex, MutexGuard, PoisonError};
use voxwire_core::{FrameId, Framing, Instant, Lane};

/// One connection.
pub(super) struct Conn<F> {
    state: Mutex<State<F>>,
    #[cfg(feature = "quic")]
    quic: Option<crate::quic::Datagrams>,
}

/// Why a frame will not be sent, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// With the frame too much is queued for its connection. Or all queues together hold more than the limit and an eighth.
    Overflow,
    /// All queues together hold more than the limit. Others may be reset, and the frame tried again.
    OverTotal,
    /// The frame is reliable, and the stream cannot carry it to this peer.
    Unsendable,
}

impl From<Overflow> for NotQueued {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// Whether a frame is queued although all queues together hold more than `max_queued_total`. Its connection is one that pays
/// (`Load::needs_room`).
///
/// - At the first try (`again` is false) it is not: the caller resets connections, and tries again.
/// - At the second try it is, while all queues hold no more than an eighth over the limit. The memory of the reset connections is free only
///   when their tasks have run.
fn check_total(common: &Common, again: bool) -> Result<(), NotQueued> {
    if !again {
        Err(NotQueued::OverTotal)
    } else if common.queued.load(Relaxed) > common.settings.hard_queued_total() {
        Err(NotQueued::Overflow)
    } else {
        Ok(())
    }
}

impl<F: Framing> Conn<F> {
    pub(super) fn new(
        framing: StreamFraming<F>,
        max_queued: usize,
        #[cfg(feature = "quic")] quic: Option<crate::quic::Datagrams>,
    ) -> Self {
        Self {
            state: Mutex::new(State::new(framing, max_queued)),
            #[cfg(feature = "quic")]
            quic,
        }
    }

    pub(super) const fn is_on_quic(&self) -> bool {
        #[cfg(feature = "quic")]
        let on_quic = self.quic.is_some();
        #[cfg(not(feature = "quic"))]
        let on_quic = false;
        on_quic
    }

    /// Bytes that QUIC may keep of this connection if it ends now; `None` where it is not on QUIC, or has ended.
    #[cfg(feature = "quic")]
    pub(super) fn leaves(&self) -> Option<usize> {
        self.quic.as_ref()?.leaves()
    }

    /// Sends a frame in a QUIC datagram. Returns how many frames were dropped; `None` if the frame cannot go in a datagram.
    #[cfg(feature = "quic")]
    pub(super) fn send_datagram(&self, frame: &[u8]) -> Option<u64> {
        self.quic.as_ref()?.send(frame)
    }

    /// Bytes that QUIC holds because they have not arrived.
    fn lent(&self) -> usize {
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            return quic.held();
        }
        0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame. Returns how many droppable frames were dropped; the frame itself may be one of them.
    ///
    /// While all queues together hold too much, a connection may have to pay for a reliable frame (`Load::needs_room`). The first try then
    /// returns [`NotQueued::OverTotal`]: the caller resets connections, and tries `again`.
    pub(super) fn push(
        &self,
        common: &Common,
        (lane, id, frame): (Lane, FrameId, &[u8]),
        again: bool,
        frames: &mut SharedFrames,
        wakers: &mut Vec<Waker>,
    ) -> Result<u64, NotQueued> {
        let mut state = self.lock();
        if state.abort.is_some() {
            return Ok(0);
        }
        let load = state.load(common);
        let fits = state.framing.fits(frame);
        if lane == Lane::Reliable && !fits {
            return Err(NotQueued::Unsendable);
        }
        if load.needs_room(lane, frame.len()) {
            check_total(common, again)?;
        }
        let dropped = state.queue.dropped;
        state.with_queue(&common.queued, |queue, framing| {
            if load.drops_queued(queue.droppable()) {
                queue.drop_droppable();
            }
            if !fits {
                queue.dropped = queue.dropped.saturating_add(1);
                Ok(())
            } else if load.drops(lane, frame.len()) {
                queue.drop_droppable();
                queue.dropped = queue.dropped.saturating_add(1);
                Ok(())
            } else if load.is_shared(lane, frame.len()) {
                queue.push_shared(framing, frames.share(id, frame, &common.queued))
            } else {
                // A buffer of the pool is for connections that give it back soon.
                let buffer = || if load.blocked { Vec::new() } else { common.write_buffers.take() };
                queue.push(framing, lane, frame, load.burst(), buffer)
            }
        })?;
        wakers.extend(state.take_writer());
        Ok(state.queue.dropped.saturating_sub(dropped))
    }

    /// Queues a control message of TCP + UDP. A second BOUND is not queued while the first one is.
    ///
    /// [`NotQueued::Overflow`] if the queue is over its limit. [`NotQueued::OverTotal`] at the first try if all queues together are over
    /// theirs and this one holds much (`Load::needs_room_for_control`).
    pub(super) fn push_control(
        &self,
        common: &Common,
        control: Control,
        again: bool,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), NotQueued> {
        let bytes = control_unit(control);
        let mut state = self.lock();
        if state.abort.is_some() {
            return Ok(());
        }
        if state.load(common).needs_room_for_control() {
            check_total(common, again)?;
        }
        state.with_queue(&common.queued, |queue, _| match control {
            Control::Bound => queue.push_once(&bytes),
            _ => queue.push_raw(&bytes),
        })?;
        wakers.extend(state.take_writer());
        Ok(())
    }

    /// Queues the server's hello.
    pub(super) fn push_hello(&self, common: &Common, bytes: &[u8]) {
        // It cannot overflow: the first frame of a queue is always admitted.
        let _ = self.lock().with_queue(&common.queued, |queue, _| queue.push_raw(bytes));
    }

    /// The session has closed the connection: its task reads nothing more, and ends once everything is written, or is reset at `until`.
    /// Returns the task's waker, if the task sleeps.
    pub(super) fn begin_close(&self, until: Instant, id: NonZeroU64) -> Option<Waker> {
        let mut state = self.lock();
        state.closing = Some(Closing { until, id }.into());
        state.deadline = Some(until);
        state.notify()
    }

    /// Bytes of memory held for the connection; `None` if it may not be reset to make room for others (`Load::may_be_reset`), or ends already.
    pub(super) fn memory_if_resettable(&self, common: &Common, little: usize) -> Option<usize> {
        let (state, lent) = (self.lock(), self.lent());
        let mut load = state.load(common);
        load.queued = load.queued.saturating_add(lent);
        let own = state.queue.memory().saturating_add(state.writing_memory);
        let parked = state.parked.as_ref().map_or(0, |batch| batch.part());
        let all = own.saturating_add(state.queue.part()).saturating_add(parked).saturating_add(lent);
        (load.may_be_reset(all, little) && state.abort.is_none()).then_some(all)
    }

    /// The peer is blocked since `now`.
    #[cfg(test)]
    pub(super) fn block(&self, now: Instant) {
        self.lock().blocked_since = Some(now);
    }

    /// Forgets what is queued, and has the connection reset. The peer stays: the session hears of the end from the connection's task. Returns the
    /// bytes that are held until the task has run.
    pub(super) fn reset(&self, common: &Common, wakers: &mut Vec<Waker>) -> usize {
        let left = self.discard(common);
        wakers.extend(self.end(true));
        left
    }

    fn discard(&self, common: &Common) -> usize {
        let mut state = self.lock();
        state.with_queue(&common.queued, |queue, _| drop(queue.take()));
        if state.parked.take().is_some_and(|batch| !batch.is_empty()) {
            update_total(&common.queued, state.writing_memory, 0);
            (state.writing_memory, state.writing) = (0, 0);
        }
        let left = state.writing_memory;
        drop(state);
        #[cfg(feature = "quic")]
        self.quic.as_ref().inspect(|quic| quic.abandon());
        left
    }

    /// Whether a connection on QUIC has ended while nothing is read from it. False while reading is paused for no other reason than that the
    /// peer sent too fast: what it sent before it ended is still read.
    pub(super) fn is_over(&self) -> bool {
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            let state = self.lock();
            let throttled = state.throttled_until.is_some() && state.paused_until.is_none();
            drop(state);
            return !throttled && quic.is_closed();
        }
        false
    }

    /// Whether the peer is stuck: it has taken nothing of what is queued for `limit`; on QUIC, it has acknowledged nothing.
    ///
    /// It has to be found so by two sweeps in a row. On TCP a sweep that is `overslept` does not count: this process did not run, so the
    /// connection's task may not have had the time to write.
    pub(super) fn confirm_stuck(&self, limit: Option<Duration>, now: Instant, overslept: bool) -> bool {
        let Some(limit) = limit else { return false };
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            return quic.confirm_stuck(limit);
        }
        let mut state = self.lock();
        let aborted = state.abort.is_some();
        state.stall.as_mut().is_some_and(|stall| !aborted && stall.confirm_stuck(limit, now, overslept))
    }

    /// Whether the peer on QUIC sends handshake data without end.
    pub(super) fn is_never_ready(&self) -> bool {
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            return quic.is_never_ready();
        }
        false
    }

    /// Ends the connection at once. With `reset` the system keeps nothing of it. Returns the task's waker, if the task sleeps.
    pub(super) fn end(&self, reset: bool) -> Option<Waker> {
        let mut state = self.lock();
        state.abort = Some(reset);
        state.notify()
    }

    /// The task's waker, if something has taken too long for its connection.
    pub(super) fn sweep(&self, now: Instant) -> Option<Waker> {
        let mut state = self.lock();
        let due = [state.deadline, state.stall.as_ref().and_then(|stall| stall.ends_at())];
        if due.into_iter().flatten().any(|due| due <= now) { state.waker.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubSettings;
    use voxwire_core::Datagram;

    /// C-06: up to and including 1 MiB of droppable frames is queued for a peer that is not slow, and no more than its budget for one that
    /// is.
    #[test]
    fn c_06_the_burst_of_a_peer_that_is_not_slow_ends_at_a_mebibyte() {
        /// With the three bytes of a unit's head, 1 KiB.
        const FRAME: [u8; 1021] = [7; 1021];
        let dropped = |slow_after, blocked| {
            let settings = HubSettings { slow_after, ..HubSettings::DEFAULT };
            let common = Common::new(settings, Vec::new(), (None, None));
            let conn = Conn::new(
                StreamFraming::units(Datagram { max: 2000 }),
                settings.max_queued,
                #[cfg(feature = "quic")]
                None,
            );
            if blocked {
                conn.block(Instant::ZERO);
            }
            let push = |frame: &[u8]| {
                let frame = (Lane::Droppable, FrameId::new(0), frame);
                conn.push(&common, frame, false, &mut SharedFrames::default(), &mut Vec::new()).unwrap()
            };
            let within: u64 = (0..1024).map(|_| push(&FRAME)).sum();
            let queued = conn.lock().queue.len();
            (within, queued, push(&[7]))
        };
        let (never, at_once) = (Duration::from_secs(3600), Duration::ZERO);
        assert_eq!(dropped(never, false), (0, 1 << 20, 1));
        assert_eq!(dropped(never, true), (0, 1 << 20, 1), "it has only just begun to take nothing");
        assert_eq!(dropped(at_once, true), (1024 - 64, 64 * 1024, 1));
    }
}
