//! The task of one connection: it reads and writes until the connection ends.

mod driver;
mod read;
mod write;

#[cfg(feature = "quic")]
use super::udp;
use crate::grace::EXCUSE;
use crate::hub::partial::Reservation;
use crate::hub::peers::Transport;
use crate::hub::quotas::ConnPermit;
use crate::hub::shared::Shared;
use crate::stream::socket::Stream;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use driver::{CLOSING, DISPLACED, End, Phase, StreamDriver};
use std::sync::Arc;
use voxwire_core::{Bucket, FrameBuf, FrameError, Instant, Session, Via};

/// How soon the sweep looks again whether the peer of a connection that is not read is still there.
const WATCH: Duration = Duration::from_secs(1);

/// Starts the task of a connection that has a permit. False while the hub drains.
pub(in crate::hub) fn serve<S>(
    shared: Arc<Shared<S>>,
    stream: Stream,
    (from, via): (SocketAddr, Via),
    transport: Transport,
    permit: ConnPermit,
) -> bool
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    #[cfg(feature = "quic")]
    let quic = if let Transport::Quic(datagrams) = &transport { Some(datagrams.clone()) } else { None };
    let Some((peer, conn)) = shared.open((from, via), transport, permit) else { return false };
    #[cfg(feature = "quic")]
    let datagrams = quic.map(|datagrams| {
        let shared = shared.clone();
        let receiving = async move { udp::receive_quic(&shared, peer, datagrams).await };
        Box::pin(receiving) as Pin<Box<dyn Future<Output = ()> + Send>>
    });
    let reservation = Reservation::new(shared.common.quotas.payer(from.ip()));
    tokio::spawn(StreamDriver {
        shared,
        peer,
        conn,
        stream,
        from,
        #[cfg(feature = "quic")]
        datagrams,
        buffer: None,
        reservation,
        partial: None,
        handshaking_since: None,
        silent_at: None,
        ingress: Bucket::default(),
        phase: Phase::Open,
        sleep: None,
        halted: false,
        late_since: None,
    });
    true
}

impl<S: Session> Future for StreamDriver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let end = ready!(this.poll_to_the_end(cx));
        if let End::Late(what) = end {
            crate::log::debug!(from = %this.from, "{what} took too long");
            this.shared.common.counters.broken.count();
        }
        // The system's buffers have no more time than those of other connections.
        if this.conn.lock().stall.take().is_some_and(|stall| stall.has_extended()) {
            this.restore_timeout();
        }
        let too_late = matches!(end, End::Late(CLOSING));
        if too_late || matches!(end, End::Aborted) {
            this.stream.reset();
        }
        this.shared.common.partials.release(&mut this.reservation, this.shared.common.clock.now());
        this.shared.ended(this.peer, &this.conn);
        Poll::Ready(())
    }
}

impl<S: Session> StreamDriver<S> {
    /// One step. After an error in the stream nothing more is read, but what is queued is written: that may be an answer which says why.
    fn poll_to_the_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // The end of the connection shows on the stream.
        #[cfg(feature = "quic")]
        self.datagrams.take_if(|receiving| receiving.as_mut().poll(cx).is_ready());
        match self.step(cx) {
            Poll::Ready(End::Broken(error)) => {
                // At most one line a second, at the level that operators see.
                if matches!(error, FrameError::Handshake(_)) && self.shared.claim_refusal_log() {
                    crate::log::info!(from = %self.from, %error, "a connection is refused");
                } else {
                    crate::log::debug!(from = %self.from, %error, "stream broken");
                }
                self.shared.common.counters.broken.count();
                self.shared.stream_broken(self.peer);
                self.step(cx)
            }
            poll => poll,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = self.shared.common.clock.now();
        let (closing, cut, paused, ended) = {
            let mut state = self.conn.lock();
            // No wake-up is needed while this task runs.
            state.waker = None;
            state.waiting_to_write = false;
            state.missed_wake = false;
            let ended = state.stall.take_if(|stall| stall.ends_at().is_some_and(|ends| ends <= now));
            let closing = state.closing.as_ref().map(|closing| closing.until);
            (closing, state.abort, state.rests_until(), ended.is_some())
        };
        if ended {
            self.restore_timeout();
        }
        if let Some(reset) = cut {
            return Poll::Ready(if reset { End::Aborted } else { End::Closed });
        }
        if closing.is_some_and(|until| until <= now) {
            return Poll::Ready(End::Late(CLOSING));
        }
        if closing.is_none() && !self.shared.common.partials.is_held(&self.reservation) {
            return Poll::Ready(End::Late(DISPLACED));
        }
        if closing.is_some() && self.buffer.take().is_some() {
            self.shared.common.partials.release(&mut self.reservation, now);
        }
        if self.phase == Phase::Open && closing.is_none() {
            if let Poll::Ready(end) = self.poll_incoming(cx, now, paused) {
                return Poll::Ready(end);
            }
        }
        if let Poll::Ready(end) = self.write(cx) {
            return Poll::Ready(end);
        }
        if let Phase::Lingering(_) = self.phase {
            return self.discard(cx);
        }
        Poll::Pending
    }

    /// Reads, unless reading is `paused`, and looks whether the peer is late or has vanished.
    fn poll_incoming(&mut self, cx: &mut Context<'_>, now: Instant, paused: Option<Instant>) -> Poll<End> {
        let resting = paused.is_some_and(|until| self.sleep_until(cx, now, until));
        if resting {
            self.shared.common.partials.on_pause(&mut self.reservation, now);
        }
        if core::mem::replace(&mut self.halted, resting) && !resting {
            // The time in which the hub did not read does not count against the peer.
            self.delay(|_| now);
            self.conn.lock().deadline = self.next_deadline();
        }
        if !resting {
            if let Poll::Ready(end) = self.read(cx) {
                return Poll::Ready(end);
            }
        }
        if self.halted && self.check_vanished(cx, now) {
            return Poll::Ready(End::Closed);
        }
        // Only after everything that has come in has been read.
        self.confirm_late().map_or(Poll::Pending, |late| Poll::Ready(End::Late(late)))
    }

    /// What takes too long, if it does at two looks at least [`EXCUSE`] apart. At the first look, this process may not have run for some time:
    /// the system may not have told of received data, and the peer may not have had the time to go on.
    fn confirm_late(&mut self) -> Option<&'static str> {
        let now = self.shared.common.clock.now();
        let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let waits = self.reservation.waiting_since();
        let patience = self.shared.common.settings.partial_wait;
        let late = if waits.is_some_and(|since| since.saturating_add(patience) <= now) {
            "waiting for memory"
        } else if !self.halted && is_over(self.handshake_deadline()) {
            "the handshake"
        } else if !self.halted && waits.is_none() && is_over(self.frame_deadline()) {
            // The time in which a frame waits for memory does not count against the peer.
            "a frame"
        } else if !self.halted && is_over(self.silent_at) {
            "the next sign of life, which the peer had promised,"
        } else {
            self.late_since = None;
            return None;
        };
        if self.conn.lock().closing.is_some() {
            return None;
        }
        let since = *self.late_since.get_or_insert(now);
        (since.saturating_add(EXCUSE) <= now).then_some(late)
    }

    /// Whether the peer has vanished while the hub does not read. The sweep makes this look again within two seconds.
    fn check_vanished(&self, cx: &mut Context<'_>, now: Instant) -> bool {
        let taken = self.buffer.as_ref().is_none_or(FrameBuf::is_empty);
        if self.conn.is_over() || self.stream.has_vanished(cx, taken) {
            return true;
        }
        let again = now.saturating_add(WATCH);
        let mut state = self.conn.lock();
        state.deadline = Some(state.deadline.map_or(again, |deadline| deadline.min(again)));
        false
    }
}
