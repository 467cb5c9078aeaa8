//! One connection of a hub, as the session's side sees it: what is queued for it, and how its task is woken.

use super::common::Common;
use super::load::Load;
use super::write_stall::WriteStall;
use crate::stream::framing::StreamFraming;
use crate::stream::held::Frames;
use crate::stream::queue::{Overflow, Queue, WriteBatch};
use crate::tcp_udp::{Control, control_unit};
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::task::{Context, Waker};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};
use voxwire_core::{FrameError, FrameId, Framing, Instant, Lane};

/// How many questions of a peer may stay unanswered because it does not take its answers. With one more it is closed.
const MAX_UNANSWERED: u32 = 64;

/// Updates `total` after one of its parts has changed from `before` to `after`.
pub(super) fn update_total(total: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        total.fetch_add(after.saturating_sub(before), Relaxed);
    } else {
        total.fetch_sub(before.saturating_sub(after), Relaxed);
    }
}

/// One connection.
pub(super) struct Conn<F> {
    state: Mutex<State<F>>,
    #[cfg(feature = "quic")]
    quic: Option<crate::quic::Datagrams>,
}

pub(super) struct State<F> {
    pub(super) framing: StreamFraming<F>,
    pub(super) queue: Queue,
    /// Wakes the connection's task.
    pub(super) waker: Option<Waker>,
    /// Since when the peer is blocked: it has not taken all that was written to it.
    pub(super) blocked_since: Option<Instant>,
    /// How fast a blocked peer on TCP takes bytes. On the heap, because most connections have nothing queued.
    pub(super) stall: Option<Box<WriteStall>>,
    /// Bytes that the task has taken from the queue and not written yet.
    pub(super) writing: usize,
    /// Memory that is held for those bytes and for no other connection.
    pub(super) writing_memory: usize,
    /// Those bytes, while the task waits for the peer to take them. On the heap, because most connections wait for nothing.
    pub(super) parked: Option<Box<WriteBatch>>,
    /// The task waits for something to write, and not for the peer to take what is being written.
    pub(super) waiting_to_write: bool,
    /// The session has closed the connection. The task reads nothing more, writes what is queued, and ends. On the heap, because most
    /// connections are not being closed.
    pub(super) closing: Option<Box<Closing>>,
    /// How many questions of the peer were not answered since it last took something.
    pub(super) unanswered: u32,
    /// The connection ends at once; by a reset if true.
    pub(super) abort: Option<bool>,
    /// The task was notified while it ran. It may have looked before that, so it must look again.
    pub(super) missed_wake: bool,
    /// Nothing is read until then: the session wants that.
    pub(super) paused_until: Option<Instant>,
    /// Nothing is read until then: the peer has sent more than `HubSettings::frames` allows.
    pub(super) throttled_until: Option<Instant>,
    /// When the sweep wakes the task, because something takes too long.
    pub(super) deadline: Option<Instant>,
    /// The largest frame that the session takes from this peer, in bytes; `u32::MAX` where the session has set none.
    max_frame: u32,
    /// Probes for which the peer cannot be asked. The session learns instead when all that is queued now has been written.
    pub(super) unwritten: u32,
    /// The session has been told that the peer takes nothing but answers.
    answers_only: bool,
}

/// The session has closed a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    /// When the connection is reset, if not everything has been written by then.
    pub(super) until: Instant,
    /// The connection's number among those that are being closed.
    pub(super) id: NonZeroU64,
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// Too much is queued for its connection. Or all queues together hold more than the limit and an eighth.
    Overflow,
    /// All queues together hold more than the limit. Others may be closed, and the frame tried again.
    OverGlobalLimit,
    /// The frame is reliable, and the stream cannot carry it to this peer.
    Unsendable,
}

impl From<Overflow> for NotQueued {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// Whether a frame is queued although all queues together hold more than `max_queued_total`. Its connection is one that pays
/// ([`Load::refuses`]).
///
/// - At the first try (`again` is false) it is not: the caller closes other connections, and tries again.
/// - At the second try it is, while all queues hold no more than an eighth over the limit. The memory of the closed connections is free only
///   when their tasks have run.
fn check_total(common: &Common, again: bool) -> Result<(), NotQueued> {
    if !again {
        Err(NotQueued::OverGlobalLimit)
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
        let state = State {
            framing,
            queue: Queue::new(max_queued),
            waker: None,
            blocked_since: None,
            stall: None,
            writing: 0,
            writing_memory: 0,
            parked: None,
            waiting_to_write: false,
            closing: None,
            unanswered: 0,
            abort: None,
            missed_wake: false,
            paused_until: None,
            throttled_until: None,
            deadline: None,
            max_frame: u32::MAX,
            unwritten: 0,
            answers_only: false,
        };
        Self {
            state: Mutex::new(state),
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
        let quic = self.quic.as_ref()?;
        quic.send(frame).then(|| quic.take_dropped())
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
    /// While all queues together hold too much, a connection may have to pay for a reliable frame ([`Load::refuses`]). The first try then
    /// returns [`NotQueued::OverGlobalLimit`]: the caller closes other connections, and tries `again`.
    pub(super) fn push(
        &self,
        common: &Common,
        (lane, id, frame): (Lane, FrameId, &[u8]),
        again: bool,
        frames: &mut Frames,
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
        if load.refuses(lane, frame.len()) {
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
            } else if load.shares(lane, frame.len()) {
                queue.push_held(framing, frames.hold(id, frame, &common.queued))
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
    /// [`NotQueued::Overflow`] if the queue is over its limit. [`NotQueued::OverGlobalLimit`] at the first try if all queues together are over
    /// theirs and this one holds much ([`Load::refuses_control`]).
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
        if state.load(common).refuses_control() {
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
        // One is admitted, however long.
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

    /// Bytes held for the connection; `None` if it may not be closed to make room for others ([`Load::may_be_closed`]), or ends already.
    pub(super) fn queued_over_share(&self, common: &Common, little: usize) -> Option<usize> {
        let (state, lent) = (self.lock(), self.lent());
        let mut load = state.load(common);
        load.queued = load.queued.saturating_add(lent);
        let own = state.queue.memory().saturating_add(state.writing_memory);
        let parked = state.parked.as_ref().map_or(0, |batch| batch.share());
        let all = own.saturating_add(state.queue.share()).saturating_add(parked).saturating_add(lent);
        (load.may_be_closed(all, little) && state.abort.is_none()).then_some(all)
    }

    /// The peer is blocked since `now`.
    #[cfg(test)]
    pub(super) fn block(&self, now: Instant) {
        self.lock().blocked_since = Some(now);
    }

    /// Forgets what is queued, and has the connection reset. Returns the bytes that are held until its task has run.
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
    /// It has to be found so by two sweeps in a row. On TCP a sweep that is `late` does not count: this process did not run, so the
    /// connection's task may not have had the time to write.
    pub(super) fn confirm_stuck(&self, limit: Option<Duration>, now: Instant, late: bool) -> bool {
        let Some(limit) = limit else { return false };
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            return quic.confirm_stuck(limit);
        }
        let mut state = self.lock();
        let aborted = state.abort.is_some();
        state.stall.as_mut().is_some_and(|stall| !aborted && stall.confirm_stuck(limit, now, late))
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

impl<F: Framing> State<F> {
    /// Changes the queue, and the total of all queues with it. A queue over its limit counts until its connection is gone.
    fn with_queue<R>(
        &mut self,
        total: &AtomicUsize,
        change: impl FnOnce(&mut Queue, &mut StreamFraming<F>) -> R,
    ) -> R {
        let before = self.queue.memory();
        let result = change(&mut self.queue, &mut self.framing);
        update_total(total, before, self.queue.memory());
        result
    }

    /// The task's waker, if the task waits for something to write.
    fn take_writer(&mut self) -> Option<Waker> {
        if self.waiting_to_write { self.waker.take() } else { None }
    }

    /// How much is queued, and whether the peer takes it.
    fn load(&self, common: &Common) -> Load {
        let settings = &common.settings;
        // The clock is read only for a blocked peer.
        let slow = self
            .blocked_since
            .is_some_and(|since| common.clock.now() > since.saturating_add(settings.slow_after));
        Load {
            blocked: self.blocked_since.is_some(),
            slow,
            queued: self.queue.len().saturating_add(self.writing),
            writing: self.writing,
            over_total: common.queued.load(Relaxed) > settings.max_queued_total,
        }
    }

    /// Ends the session's own pause. A pause of the transport's (`throttled_until`) stays. Returns the task's waker, if the task sleeps.
    pub(super) fn resume(&mut self) -> Option<Waker> {
        self.paused_until = None;
        self.notify()
    }

    /// Sets the largest frame that the session takes. Returns the task's waker, if the framing waits for that and the task sleeps.
    pub(super) fn set_max(&mut self, max: usize) -> Option<Waker> {
        let waiting = self.framing.is_waiting();
        self.framing.set_max(max);
        self.max_frame = u32::try_from(max).unwrap_or(u32::MAX);
        if waiting { self.notify() } else { None }
    }

    /// The task has to look again. Returns its waker, if it sleeps.
    fn notify(&mut self) -> Option<Waker> {
        self.missed_wake = true;
        self.waker.take()
    }

    /// The task goes to sleep, unless it was notified since it looked.
    pub(super) fn sleep(&mut self, cx: &Context<'_>) {
        if core::mem::take(&mut self.missed_wake) {
            cx.waker().wake_by_ref();
        } else {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// The largest frame that the session takes from this peer; `usize::MAX` where the session has set none.
    pub(super) fn max_frame(&self) -> usize {
        if self.max_frame == u32::MAX {
            usize::MAX
        } else {
            usize::try_from(self.max_frame).unwrap_or(usize::MAX)
        }
    }

    /// Until when nothing is read.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.paused_until.max(self.throttled_until)
    }

    /// Notes whether the peer takes nothing but answers. True when that shows for the first time.
    pub(super) fn note_answers_only(&mut self) -> bool {
        self.framing.answers_only() && !core::mem::replace(&mut self.answers_only, true)
    }

    /// Asks the peer, behind what is queued, to answer once it has read all of that. A peer that cannot be asked is not: the session learns
    /// when all of it has been written. Returns the waker of a task that waits for something to write.
    pub(super) fn probe(&mut self, total: &AtomicUsize) -> Result<Option<Waker>, NotQueued> {
        let mut question = Vec::new();
        if !self.framing.probe() || self.framing.take_pending(&mut question) == 0 {
            self.unwritten = self.unwritten.saturating_add(1);
            return Ok(self.take_writer());
        }
        self.with_queue(total, |queue, _| queue.push_raw(&question))?;
        Ok(self.take_writer())
    }

    /// Queues what the framing has to say. A peer that does not take its answers ([`Load::refuses_answers`]) gets none. It may ask
    /// [`MAX_UNANSWERED`] times; with one more question this is an error.
    pub(super) fn push_pending(&mut self, common: &Common) -> Result<(), FrameError> {
        const REFUSED: FrameError = FrameError::Handshake("a peer that takes the answers to its commands");
        if self.load(common).refuses_answers() {
            let asked = self.framing.take_pending(&mut Vec::new()) > 0;
            self.unanswered = self.unanswered.saturating_add(asked.into());
            return if self.unanswered > MAX_UNANSWERED { Err(REFUSED) } else { Ok(()) };
        }
        let pushed = self.with_queue(&common.queued, Queue::push_pending);
        pushed.map_err(|Overflow| REFUSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubSettings;
    use voxwire_core::{Datagram, Progress, bytes::BufMut};

    /// Answers without end.
    struct Answers;

    impl Framing for Answers {
        fn next_frame(&mut self, _unread: &[u8]) -> Result<Progress, FrameError> {
            Ok(Progress::need(1))
        }

        fn set_max(&mut self, _max: usize) {}

        fn take_pending(&mut self, out: &mut impl BufMut) -> usize {
            out.put_slice(&[7; 7]);
            7
        }
    }

    /// C-06: up to and including 1 MiB of droppable frames is queued for a peer that is not slow, and no more than its budget for one that
    /// is.
    #[test]
    fn c_06_the_burst_of_a_peer_that_is_not_slow_ends_at_a_mebibyte() {
        /// With the three bytes of a unit's head, 1 KiB.
        const FRAME: [u8; 1021] = [7; 1021];
        let dropped = |slow_after, blocked| {
            let settings = HubSettings { slow_after, ..HubSettings::DEFAULT };
            let common = Common::new(settings, Vec::new(), None);
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
                conn.push(&common, frame, false, &mut Frames::default(), &mut Vec::new()).unwrap()
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

    /// F-43, F-46: a peer that does not take its answers gets no more of them while all together have too much queued, however little it has
    /// itself; and others do.
    #[test]
    fn f_46_over_the_ceiling_those_who_take_nothing_are_not_answered() {
        let conn = Conn::new(
            StreamFraming::Session(Answers),
            1 << 20,
            #[cfg(feature = "quic")]
            None,
        );
        let settings = HubSettings { max_queued_total: 1000, ..HubSettings::DEFAULT };
        let common = Common::new(settings, Vec::new(), None);
        common.queued.store(1001, Relaxed);
        let ask = |times: u32| (0..times).take_while(|_| conn.lock().push_pending(&common).is_ok()).count();
        assert_eq!((ask(100), conn.lock().queue.len()), (100, 700));
        conn.block(Instant::ZERO);
        assert_eq!((ask(100), conn.lock().queue.len()), (64, 700), "and is closed for asking on");
        conn.lock().unanswered = 0;
        common.queued.store(999, Relaxed);
        assert_eq!((ask(1), conn.lock().queue.len()), (1, 707));
    }
}
