//! Reading: from the stream into a buffer, and from there to the session. A connection holds no more memory meanwhile than it may.

use super::driver::{DISPLACED, End, Phase, StreamDriver};
use crate::hub::core::ReadStatus;
use crate::hub::partial::{AGAIN, FrameProgress, OWN};
use crate::stream::io::{READ, READS, poll_discard, poll_fill};
use core::task::{Context, Poll};
use voxwire_core::{FrameBuf, FrameError, Framing, Instant, Session};

/// Moves the unread bytes to a buffer with room for `capacity` bytes.
fn move_unread(from: &mut FrameBuf, to: &mut FrameBuf, capacity: usize) {
    let len = from.unread().len();
    if let Some(spare) = to.spare(capacity.max(len)).get_mut(..len) {
        spare.copy_from_slice(from.unread());
    }
    to.filled(len);
    from.consume(len);
}

/// Whether there is memory to read more of a frame into.
enum Room {
    There,
    /// Not now; or there is nothing to read.
    Wait,
    /// The peer has closed its side while its frame waited for memory.
    Gone,
}

impl<S: Session> StreamDriver<S> {
    /// There is nothing to read. A TLS record that has not come in whole has the same deadline as a partial frame.
    fn account_for_records(&mut self) {
        let (undelivered, before) = (self.stream.undelivered(), self.stream.partial_since());
        if undelivered == before.map_or(0, |(_, bytes)| bytes) {
            return;
        }
        let now = self.shared.common.clock.now();
        self.stream
            .note_partial((undelivered > 0).then(|| (before.map_or(now, |(since, _)| since), undelivered)));
        if undelivered > 0 {
            let unread = self.buffer.as_ref().map_or(0, |buffer| buffer.unread().len());
            self.shared.common.partials.on_received(
                &self.reservation,
                now,
                unread.saturating_add(undelivered),
            );
        } else if self.buffer.as_ref().is_none_or(FrameBuf::is_empty) {
            self.shared.common.partials.release(&mut self.reservation, now);
        }
        let deadline = self.next_deadline();
        let mut state = self.conn.lock();
        if state.closing.is_none() {
            state.deadline = deadline;
        }
    }

    pub(super) fn read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut needed = READ;
        // Frames that a pause left in the buffer come first.
        if self.buffer.as_ref().is_some_and(|buffer| !buffer.is_empty()) {
            match self.process_buffer(cx) {
                Ok(Some(need)) => needed = need,
                Ok(None) => return Poll::Pending,
                Err(error) => return Poll::Ready(End::Broken(error)),
            }
        }
        for _ in 0..READS {
            match self.reserve(cx, needed) {
                Room::There => {}
                Room::Wait => return self.lie_idle(cx),
                Room::Gone => return Poll::Ready(End::Closed),
            }
            let mut buffer = self.buffer_to_read(needed);
            let most = self.may_hold().saturating_sub(buffer.unread().len()).max(1);
            let poll = poll_fill(&mut self.stream, cx, &mut buffer, needed, most);
            let unread = buffer.unread().len();
            self.buffer = Some(buffer);
            match poll {
                Poll::Pending => {
                    self.account_for_records();
                    return self.lie_idle(cx);
                }
                Poll::Ready(Err(error)) => {
                    self.failed(&error);
                    return Poll::Ready(End::Closed);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Closed),
                Poll::Ready(Ok(_)) => {
                    self.stream.note_partial(None);
                    // If the frame has lost its memory meanwhile, `step` finds that.
                    self.shared.common.partials.on_received(
                        &self.reservation,
                        self.shared.common.clock.now(),
                        unread,
                    );
                    match self.process_buffer(cx) {
                        Ok(Some(need)) => needed = need,
                        Ok(None) => return Poll::Pending,
                        Err(error) => return Poll::Ready(End::Broken(error)),
                    }
                }
            }
        }
        self.shrink_buffer(cx, false);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// There is nothing to read, or no memory to read into.
    fn lie_idle(&mut self, cx: &Context<'_>) -> Poll<End> {
        self.shrink_buffer(cx, false);
        if self.shared.common.partials.on_idle(&self.reservation, self.shared.common.clock.now()) {
            Poll::Pending
        } else {
            Poll::Ready(End::Late(DISPLACED))
        }
    }

    /// Asks for memory for a frame of which `needed` bytes are missing. A peer that has sent nothing more gets none.
    fn reserve(&mut self, cx: &mut Context<'_>, needed: usize) -> Room {
        let unread = self.buffer.as_ref().map_or(0, |buffer| buffer.unread().len());
        let total = unread.saturating_add(needed);
        if unread < OWN || total <= self.may_hold() {
            return Room::There;
        }
        if self.reservation.waiting_since().is_some() && self.stream.is_closed_by_peer(cx) {
            return Room::Gone;
        }
        if self.stream.poll_peek(cx).is_pending() {
            return Room::Wait;
        }
        let now = self.shared.common.clock.now();
        let (known, max_frame) = {
            let state = self.conn.lock();
            (state.framing.announces(), state.max_frame())
        };
        let demand = self.shared.common.partials.demand(total, known, max_frame);
        let (waited, progress) = (self.reservation.waiting_since(), self.progress(now, known));
        if self.shared.common.partials.ask(&mut self.reservation, now, demand, progress, cx.waker()) {
            // The time in which the frame waited for memory does not count against the peer.
            if let Some(waited) = waited {
                self.delay(|since| since.saturating_add(now.saturating_duration_since(waited)));
            }
            return Room::There;
        }
        self.sleep_until(cx, now, now.saturating_add(AGAIN));
        Room::Wait
    }

    /// How many bytes the buffer may hold during a read. What is left in it afterwards is entered (`enter`).
    fn may_hold(&self) -> usize {
        let free = if self.shared.common.partials.is_scarce() { OWN } else { READ };
        self.reservation.may_hold().max(free)
    }

    fn progress(&self, now: Instant, known: bool) -> FrameProgress {
        let (began, received) = self.partial.or_else(|| self.stream.partial_since()).unwrap_or((now, 0));
        FrameProgress { began, received, known }
    }

    /// A buffer to read into. A partial frame that has outgrown its small buffer moves to a larger one.
    fn buffer_to_read(&mut self, needed: usize) -> FrameBuf {
        let Some(mut kept) = self.buffer.take() else { return self.shared.common.read_buffers.take() };
        let outgrown = kept.unread().len().saturating_add(needed.min(READ)) > kept.capacity();
        if kept.capacity() > OWN || !outgrown || self.shared.common.partials.is_scarce() {
            return kept;
        }
        let mut buffer = self.shared.common.read_buffers.take();
        move_unread(&mut kept, &mut buffer, READ);
        self.give_back(kept);
        buffer
    }

    /// Keeps only as much memory as the unread bytes need until the connection is read again, and counts it. `spared`: it is the hub that does
    /// not read on.
    fn shrink_buffer(&mut self, cx: &Context<'_>, spared: bool) {
        self.lend_back();
        // Bytes that TLS holds count as well: of a partial record, and those that have not been read.
        let undelivered =
            self.stream.partial_since().map_or(0, |(_, bytes)| bytes).max(self.stream.held_by_tls());
        let undelivered = undelivered.next_multiple_of(2 * OWN);
        let Some(mut buffer) = self.buffer.take() else {
            self.record(cx, undelivered, spared);
            return;
        };
        let unread = buffer.unread().len();
        // A buffer within the granted memory stays: more of the frame is to come.
        let fits = if unread <= OWN { OWN } else { unread.next_multiple_of(2 * OWN) };
        if buffer.capacity() > fits && buffer.capacity() > self.reservation.may_hold() {
            let mut smaller =
                if unread <= OWN { self.shared.common.small_buffers.take() } else { FrameBuf::new() };
            move_unread(&mut buffer, &mut smaller, fits);
            self.give_back(buffer);
            buffer = smaller;
        }
        self.record(cx, buffer.capacity().saturating_add(undelivered), spared);
        self.buffer = Some(buffer);
    }

    /// Counts the memory that the connection keeps, if it is more than every connection may hold.
    fn record(&mut self, cx: &Context<'_>, bytes: usize, spared: bool) {
        if bytes > OWN {
            let now = self.shared.common.clock.now();
            // It does not grow beyond what has come in.
            let progress = self.progress(now, true);
            self.shared.common.partials.record(
                &mut self.reservation,
                now,
                bytes,
                progress,
                spared,
                cx.waker(),
            );
        }
    }

    /// Hands whole frames in the buffer to the session. Returns how many bytes the next frame needs; `None` if reading pauses.
    fn process_buffer(&mut self, cx: &mut Context<'_>) -> Result<Option<usize>, FrameError> {
        loop {
            let Some(buffer) = self.buffer.as_mut() else { return Ok(Some(READ)) };
            let (frames, status) = self.shared.dispatch_frames(self.peer, &self.conn, buffer)?;
            let handled = frames.saturating_add(buffer.take_skipped());
            let now = self.shared.common.clock.now();
            if frames > 0 || buffer.is_empty() {
                self.shared.common.partials.release(&mut self.reservation, now);
            }
            self.partial = match status {
                ReadStatus::NeedMore(_) if !buffer.is_empty() => {
                    let since = self.partial.filter(|_| frames == 0).map_or(now, |(since, _)| since);
                    Some((since, buffer.unread().len()))
                }
                // While the framing waits, time does not count against the peer.
                _ => None,
            };
            let mut state = self.conn.lock();
            if state.closing.is_some() {
                return Ok(None);
            }
            self.handshaking_since =
                self.handshaking_since.or(Some(now)).filter(|_| !state.framing.is_ready());
            let silence = state.framing.silence();
            self.silent_at = silence
                .filter(|_| !matches!(status, ReadStatus::Waiting))
                .map(|silence| now.saturating_add(silence));
            state.deadline = self.next_deadline();
            if let Some(until) = self.ingress.charge(now, self.shared.common.settings.frames, handled) {
                state.throttled_until = state.throttled_until.max(Some(until));
            }
            let paused = state.rests_until();
            drop(state);
            if let Some(until) = paused {
                if self.sleep_until(cx, now, until) {
                    self.halt(cx, now, until);
                    return Ok(None);
                }
            }
            match status {
                ReadStatus::NeedMore(needed) => {
                    return Ok(Some(needed.max(if self.partial.is_some() { 1 } else { READ })));
                }
                // The session's `Output::Limit` wakes this task.
                ReadStatus::Waiting => {
                    self.halted = true;
                    self.shrink_buffer(cx, true);
                    return Ok(None);
                }
                // The pause is over already. Whole frames may be left in the buffer.
                ReadStatus::Stopped => {}
            }
        }
    }

    /// Nothing is read until `until`.
    fn halt(&mut self, cx: &Context<'_>, now: Instant, until: Instant) {
        self.partial = None;
        self.halted = true;
        // The peer's silence does not count meanwhile.
        if let Some(at) = &mut self.silent_at {
            *at = at.saturating_add(until.saturating_duration_since(now));
        }
        self.conn.lock().deadline = self.silent_at;
        self.shrink_buffer(cx, true);
    }

    /// Gives an empty read buffer to a connection that needs one.
    fn lend_back(&mut self) {
        if let Some(buffer) = self.buffer.take_if(|buffer| buffer.is_empty()) {
            self.give_back(buffer);
        }
    }

    fn give_back(&self, mut buffer: FrameBuf) {
        buffer.shrink_to(READ);
        match buffer.capacity() {
            READ => self.shared.common.read_buffers.give(buffer),
            OWN => self.shared.common.small_buffers.give(buffer),
            // No other connection needs a buffer of this size.
            _ => {}
        }
    }

    /// Reads and discards until the peer closes its side.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Phase::Lingering(until) = self.phase else { return Poll::Pending };
        let now = self.shared.common.clock.now();
        if !self.sleep_until(cx, now, until) {
            return Poll::Ready(End::Closed);
        }
        let mut buffer = self.buffer.take().unwrap_or_else(|| self.shared.common.read_buffers.take());
        let end = poll_discard(&mut self.stream, cx, &mut buffer);
        buffer.consume(usize::MAX);
        self.give_back(buffer);
        end.map(|()| End::Closed)
    }
}
