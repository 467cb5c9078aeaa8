//! The state of a connection's task: its deadlines, its sleep, and how it ends.

use crate::hub::conn::{Conn, update_total};
use crate::hub::partial::Reservation;
use crate::hub::shared::Shared;
use crate::stream::socket::Stream;
#[cfg(feature = "quic")]
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use tokio::time::Sleep;
use voxwire_core::{Bucket, FrameBuf, FrameError, Instant, PeerId, Session};

pub(super) const CLOSING: &str = "closing";
pub(super) const DISPLACED: &str = "a frame that others had to wait for";

/// How a connection ends.
pub(super) enum End {
    Closed,
    /// To be reset.
    Aborted,
    Broken(FrameError),
    Late(&'static str),
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The last bytes are written; our side is being shut.
    Shutting,
    /// Our side is shut. Bytes that still come in are discarded until then: unread bytes would make the system reset the connection, and lose
    /// our final frames.
    Lingering(Instant),
}

/// Reads and writes until a connection ends. It is no `async fn`: that would hold the memory of the handshake for as long as the connection
/// lasts.
pub(super) struct StreamDriver<S: Session> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) peer: PeerId,
    pub(super) conn: Arc<Conn<S::Framing>>,
    pub(super) stream: Stream,
    pub(super) from: SocketAddr,
    /// Receives QUIC datagrams. On the heap, because most connections have none.
    #[cfg(feature = "quic")]
    pub(super) datagrams: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Holds a partial frame. A connection without one has a buffer only while it reads.
    pub(super) buffer: Option<FrameBuf>,
    /// The memory that the hub has granted for a partial frame.
    pub(super) reservation: Reservation,
    /// Since when a frame is incomplete, and how many of its bytes have come in.
    pub(super) partial: Option<(Instant, usize)>,
    /// Since when the framing's handshake goes on.
    pub(super) handshaking_since: Option<Instant>,
    /// The end of the longest silence that the peer has announced ([`Framing::silence`](voxwire_core::Framing::silence)).
    pub(super) silent_at: Option<Instant>,
    pub(super) ingress: Bucket,
    pub(super) phase: Phase,
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
    /// The hub does not read at present. It looks from time to time whether the peer is still there.
    pub(super) halted: bool,
    /// Since when something takes too long, although everything that had come in was read.
    pub(super) late_since: Option<Instant>,
}

impl<S: Session> StreamDriver<S> {
    /// Whether `until` has not come yet. Wakes the task then.
    pub(super) fn sleep_until(&mut self, cx: &mut Context<'_>, now: Instant, until: Instant) -> bool {
        if until <= now {
            let mut state = self.conn.lock();
            state.paused_until = state.paused_until.filter(|until| *until > now);
            state.throttled_until = state.throttled_until.filter(|until| *until > now);
            drop(state);
            self.sleep = None;
            return false;
        }
        let wake_at = self.shared.common.clock.to_std(until).into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wake_at)));
        if sleep.deadline() != wake_at {
            sleep.as_mut().reset(wake_at);
        }
        match sleep.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(()) => {
                cx.waker().wake_by_ref();
                true
            }
        }
    }

    /// The connection has failed. A timeout of the system's counts as `too_slow` if bytes wait for the peer, otherwise as `broken`.
    pub(super) fn failed(&self, error: &io::Error) {
        crate::log::trace!(%error, "the connection failed");
        if error.kind() == io::ErrorKind::TimedOut {
            let stalled = self.conn.lock().stall.as_ref().is_some_and(|stall| stall.is_stalled());
            let counters = &self.shared.common.counters;
            if stalled { &counters.too_slow } else { &counters.broken }.count();
            let what = if stalled { "takes nothing of what waits for it" } else { "answers nothing" };
            crate::log::debug!(from = %self.from, "closed: the peer {what}");
        }
    }

    pub(super) fn handshake_deadline(&self) -> Option<Instant> {
        Some(self.handshaking_since?.saturating_add(self.shared.common.settings.handshake_timeout))
    }

    /// The deadline of a partial frame or TLS record: `frame_timeout`, and the time that the bytes so far take at `min_bytes_per_second`.
    pub(super) fn frame_deadline(&self) -> Option<Instant> {
        let settings = &self.shared.common.settings;
        let deadline = |(since, bytes): (Instant, usize)| {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let transfer = bytes.checked_div(settings.min_bytes_per_second.into()).unwrap_or(u64::MAX);
            since.saturating_add(settings.frame_timeout).saturating_add(Duration::from_secs(transfer))
        };
        self.partial.into_iter().chain(self.stream.partial_since()).map(deadline).min()
    }

    /// Moves the times at which the partial frame and the partial TLS record began.
    pub(super) fn delay(&mut self, until: impl Fn(Instant) -> Instant) {
        let delayed = |(since, bytes)| (until(since), bytes);
        self.partial = self.partial.map(delayed);
        self.stream.note_partial(self.stream.partial_since().map(delayed));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.frame_deadline(), self.handshake_deadline(), self.silent_at];
        deadlines.into_iter().flatten().min()
    }
}

impl<S: Session> Drop for StreamDriver<S> {
    fn drop(&mut self) {
        let mut state = self.conn.lock();
        // What was not written counts no more, and nothing is queued from now on.
        update_total(
            &self.shared.common.queued,
            state.writing_memory.saturating_add(state.queue.memory()),
            0,
        );
        state.queue.take();
        state.parked = None;
        state.writing_memory = 0;
        let dropped = state.queue.dropped;
        drop(state);
        if dropped > 0 {
            crate::log::debug!(peer = %self.peer, dropped, "frames dropped for a slow connection");
        }
    }
}
