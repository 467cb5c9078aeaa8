//! What a connection's task and the session share: the queue, and why the task sleeps.

use crate::hub::common::Common;
use crate::hub::load::Load;
use crate::hub::write_stall::WriteStall;
use crate::stream::framing::StreamFraming;
use crate::stream::queue::{Overflow, Queue, WriteBatch};
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::task::{Context, Waker};
use voxwire_core::{FrameError, Framing, Instant};

/// How many questions of a peer may stay unanswered because it does not take its answers. With one more it is closed.
const MAX_UNANSWERED: u32 = 64;

/// Updates `total` after one of its parts has changed from `before` to `after`.
pub(in crate::hub) fn update_total(total: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        total.fetch_add(after.saturating_sub(before), Relaxed);
    } else {
        total.fetch_sub(before.saturating_sub(after), Relaxed);
    }
}

pub(in crate::hub) struct State<F> {
    pub(in crate::hub) framing: StreamFraming<F>,
    pub(in crate::hub) queue: Queue,
    /// Wakes the connection's task.
    pub(in crate::hub) waker: Option<Waker>,
    /// Since when the peer is blocked: a write for it is pending.
    pub(in crate::hub) blocked_since: Option<Instant>,
    /// How fast a blocked peer on TCP takes bytes. On the heap, because most connections have nothing queued.
    pub(in crate::hub) stall: Option<Box<WriteStall>>,
    /// Bytes that the task has taken from the queue and not written yet.
    pub(in crate::hub) writing: usize,
    /// Memory that is held for those bytes and for no other connection.
    pub(in crate::hub) writing_memory: usize,
    /// Those bytes, while the task waits for the peer to take them. On the heap, because most connections wait for nothing.
    pub(in crate::hub) parked: Option<Box<WriteBatch>>,
    /// The task waits for something to write, and not for the peer to take what is being written.
    pub(in crate::hub) waiting_to_write: bool,
    /// The session has closed the connection. The task reads nothing more, writes what is queued, and ends. On the heap, because most
    /// connections are not being closed.
    pub(in crate::hub) closing: Option<Box<Closing>>,
    /// How many questions of the peer were not answered since it last took something.
    pub(in crate::hub) unanswered: u32,
    /// The connection ends at once; by a reset if true.
    pub(in crate::hub) abort: Option<bool>,
    /// The task was notified while it ran. It may have looked before that, so it must look again.
    pub(in crate::hub) missed_wake: bool,
    /// Nothing is read until then: the session wants that.
    pub(in crate::hub) paused_until: Option<Instant>,
    /// Nothing is read until then: the peer has sent more than `HubSettings::frames` allows.
    pub(in crate::hub) throttled_until: Option<Instant>,
    /// When the sweep wakes the task, because something takes too long.
    pub(in crate::hub) deadline: Option<Instant>,
    /// The largest frame that the session takes from this peer, in bytes; `u32::MAX` where the session has set none.
    max_frame: u32,
    /// Probes for which the peer cannot be asked. The session learns instead when all that is queued now has been written.
    pub(in crate::hub) unwritten: u32,
    /// The session has been told that the peer takes nothing but answers.
    answers_only: bool,
}

/// The session has closed a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct Closing {
    /// When the connection is reset, if not everything has been written by then.
    pub(in crate::hub) until: Instant,
    /// The connection's number among those that are being closed.
    pub(in crate::hub) id: NonZeroU64,
}

impl<F: Framing> State<F> {
    pub(super) const fn new(framing: StreamFraming<F>, max_queued: usize) -> Self {
        Self {
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
        }
    }

    /// Changes the queue, and the total of all queues with it. A frame that overflows the queue is in it all the same, and counts until the
    /// connection is reset.
    pub(super) fn with_queue<R>(
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
    pub(super) fn take_writer(&mut self) -> Option<Waker> {
        if self.waiting_to_write { self.waker.take() } else { None }
    }

    /// How much is queued, and whether the peer takes it.
    pub(super) fn load(&self, common: &Common) -> Load {
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
    pub(in crate::hub) fn resume(&mut self) -> Option<Waker> {
        self.paused_until = None;
        self.notify()
    }

    /// Sets the largest frame that the session takes. Returns the task's waker, if the framing waits for that and the task sleeps.
    pub(in crate::hub) fn set_max(&mut self, max: usize) -> Option<Waker> {
        let waiting = self.framing.is_waiting();
        self.framing.set_max(max);
        self.max_frame = u32::try_from(max).unwrap_or(u32::MAX);
        if waiting { self.notify() } else { None }
    }

    /// The task has to look again. Returns its waker, if it sleeps.
    pub(super) fn notify(&mut self) -> Option<Waker> {
        self.missed_wake = true;
        self.waker.take()
    }

    /// The task goes to sleep, unless it was notified since it looked.
    pub(in crate::hub) fn sleep(&mut self, cx: &Context<'_>) {
        if core::mem::take(&mut self.missed_wake) {
            cx.waker().wake_by_ref();
        } else {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(in crate::hub) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// The largest frame that the session takes from this peer; `usize::MAX` where the session has set none.
    pub(in crate::hub) fn max_frame(&self) -> usize {
        if self.max_frame == u32::MAX {
            usize::MAX
        } else {
            usize::try_from(self.max_frame).unwrap_or(usize::MAX)
        }
    }

    /// Until when nothing is read.
    pub(in crate::hub) fn rests_until(&self) -> Option<Instant> {
        self.paused_until.max(self.throttled_until)
    }

    /// Notes whether the peer takes nothing but answers. True when that shows for the first time.
    pub(in crate::hub) fn note_answers_only(&mut self) -> bool {
        self.framing.answers_only() && !core::mem::replace(&mut self.answers_only, true)
    }

    /// Asks the peer, behind what is queued, to answer once it has read all of that. A peer that cannot be asked is not: the session learns
    /// when all of it has been written. Returns the waker of a task that waits for something to write.
    pub(in crate::hub) fn probe(&mut self, total: &AtomicUsize) -> Result<Option<Waker>, Overflow> {
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
    pub(in crate::hub) fn push_pending(&mut self, common: &Common) -> Result<(), FrameError> {
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
    use super::super::Conn;
    use super::*;
    use crate::hub::HubSettings;
    use voxwire_core::{Progress, bytes::BufMut};

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

    /// F-43, F-46: a peer that does not take its answers gets no more of them while all together have too much queued, however little it has
    /// itself; and others do.
    #[test]
    fn f_46_over_the_total_those_who_take_nothing_are_not_answered() {
        let conn = Conn::new(
            StreamFraming::Session(Answers),
            1 << 20,
            #[cfg(feature = "quic")]
            None,
        );
        let settings = HubSettings { max_queued_total: 1000, ..HubSettings::DEFAULT };
        let common = Common::new(settings, Vec::new(), (None, None));
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
