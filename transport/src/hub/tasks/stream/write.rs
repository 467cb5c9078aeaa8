//! Writing: everything that is queued, with as few system calls as possible; then shutting our side.

use super::driver::{End, Phase, StreamDriver};
use crate::hub::conn::{State, update_total};
use crate::hub::load::WRITE_BATCH;
use crate::hub::write_stall::WriteStall;
use crate::stream::io::poll_write;
use crate::stream::queue::WriteBatch;
use core::task::{Context, Poll};
use voxwire_core::Session;

/// Bytes of a write buffer that goes back to the pool.
const KEPT: usize = 8 * 1024;
/// A batch that the peer does not take moves to smaller memory where more than this is freed, in bytes.
const SPARED: usize = 4 * 1024;

impl<S: Session> StreamDriver<S> {
    /// Writes everything that is queued, with one call if the system takes it all. Then closes, if the session wants that.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut batch = self.conn.lock().parked.take().map(|batch| *batch).unwrap_or_default();
        let mut taken = false;
        loop {
            if batch.is_empty() {
                self.lend_written(core::mem::take(&mut batch).into_memory());
                batch = match self.next_batch(cx) {
                    Ok(batch) => batch,
                    Err(poll) => return poll,
                };
            }
            match poll_write(&mut self.stream, cx, &mut batch, &mut taken) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.failed(&error);
                    self.conn.lock().parked = Some(batch.into());
                    return Poll::Ready(End::Closed);
                }
                Poll::Pending => {
                    self.park(cx, batch, taken);
                    return Poll::Pending;
                }
            }
        }
    }

    /// The last batch is written. Returns the next one; where nothing is queued, the result of `write`.
    fn next_batch(&mut self, cx: &mut Context<'_>) -> Result<WriteBatch, Poll<End>> {
        let common = &self.shared.common;
        let flushed = self.stream.poll_flush(cx);
        let mut state = self.conn.lock();
        update_total(&common.queued, state.writing_memory, 0);
        (state.writing, state.writing_memory) = (0, 0);
        // A peer is blocked as long as TLS holds bytes for it.
        if flushed.is_ready() {
            state.unanswered = 0;
            state.blocked_since = None;
        }
        if !state.queue.is_empty() {
            let memory = state.queue.memory();
            let batch = state.queue.take_next(WRITE_BATCH, || common.write_buffers.take());
            (state.writing, state.writing_memory) = (batch.len(), batch.memory());
            update_total(&common.queued, memory, state.queue.memory().saturating_add(state.writing_memory));
            return Ok(batch);
        }
        // Under the same lock: whatever is queued from now on wakes this task.
        state.sleep(cx);
        state.waiting_to_write = true;
        if flushed.is_ready() {
            let limit = common.settings.unacknowledged.unwrap_or_default();
            state.stall.take_if(|stall| !stall.on_drained(common.clock.now(), limit));
        }
        let closing = state.closing.is_some();
        let probes = if flushed.is_ready() { core::mem::take(&mut state.unwritten) } else { 0 };
        drop(state);
        if flushed.is_pending() {
            self.enter_unsent();
        }
        if probes > 0 && !closing {
            // If the session sends more for that, this task is woken.
            self.shared.written(self.peer, probes);
        }
        Err(match (closing, self.phase, flushed) {
            (_, _, Poll::Ready(Err(_))) => Poll::Ready(End::Closed),
            (true, Phase::Open | Phase::Shutting, Poll::Ready(Ok(()))) => self.shut(cx),
            _ => Poll::Pending,
        })
    }

    /// The peer is blocked. Parks the rest of the batch in the connection's state, where others can discard it, and moves it to smaller memory:
    /// it may stay there for long. `taken`: the peer has taken a part of the batch.
    fn park(&mut self, cx: &Context<'_>, mut batch: WriteBatch, taken: bool) {
        // Bytes that TLS has taken have not reached the peer.
        let sent = self.stream.take_sent(taken);
        let spent = batch.shrink(SPARED, WRITE_BATCH);
        // An abort and the sweep have to wake a task that waits for the peer.
        let mut state = self.conn.lock();
        state.sleep(cx);
        update_total(&self.shared.common.queued, state.writing_memory, batch.memory());
        (state.writing, state.writing_memory) = (batch.len(), batch.memory());
        state.parked = Some(batch.into());
        if taken {
            state.unanswered = 0;
        }
        self.block(&mut state, sent);
        drop(state);
        spent.into_iter().for_each(|spent| self.lend_written(spent));
    }

    /// TLS holds bytes that the peer does not take: they count, and the peer is blocked.
    fn enter_unsent(&mut self) {
        let unsent = self.stream.unsent();
        if unsent > 0 {
            let taken = self.stream.take_sent(false);
            let mut state = self.conn.lock();
            update_total(&self.shared.common.queued, state.writing_memory, unsent);
            state.writing_memory = unsent;
            self.block(&mut state, taken);
        }
    }

    /// The peer is blocked. `taken`: it has taken some bytes since the last call; `None` on connections that are not on TCP.
    fn block(&self, state: &mut State<S::Framing>, taken: Option<bool>) {
        let now = self.shared.common.clock.now();
        state.blocked_since.get_or_insert(now);
        let (Some(limit), Some(taken)) = (self.shared.common.settings.unacknowledged, taken) else { return };
        let stall = state.stall.get_or_insert_with(|| WriteStall::new(now).into());
        if let Some(limit) = stall.on_blocked(now, taken, limit) {
            self.stream.set_unacknowledged(Some(limit));
        }
    }

    /// Restores the system's timeout for a peer that takes nothing (`WriteStall`).
    pub(super) fn restore_timeout(&self) {
        self.stream.set_unacknowledged(self.shared.common.settings.unacknowledged);
    }

    /// Gives a write buffer back to the pool, cut to [`KEPT`] bytes.
    fn lend_written(&self, mut out: Vec<u8>) {
        if out.capacity() > 0 {
            out.clear();
            out.shrink_to(KEPT);
            self.shared.common.write_buffers.give(out);
        }
    }

    fn shut(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.phase = Phase::Shutting;
        match self.stream.poll_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(End::Closed),
            Poll::Ready(Ok(())) => {
                self.phase = Phase::Lingering(
                    self.shared.common.clock.now().saturating_add(self.shared.common.settings.linger),
                );
                self.partial = None;
                Poll::Pending
            }
        }
    }
}
