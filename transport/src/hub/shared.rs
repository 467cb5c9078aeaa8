//! The core behind its lock. After the lock is released, datagrams are sent and tasks are woken.

use super::common::Common;
use super::conn::Conn;
use super::core::{Core, DriverRequest, ReadStatus};
use super::peers::Transport;
use super::quotas::{ConnPermit, ENTERING};
use super::stats::HubStats;
use crate::listener::{is_exhausted, is_its_own};
use crate::pool::Pool;
use crate::udp::{DatagramBatch, Received, Udp};
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::task::Waker;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use voxwire_core::{FrameBuf, FrameError, Framing as _, Handler, Input, Instant, PeerId, Session, Via};

pub(super) struct Shared<S: Session> {
    pub(super) common: Common,
    core: Mutex<Core<S>>,
    /// Whether the session's framing finds the frames in a byte stream.
    pub(super) is_stream: bool,
    waker_lists: Pool<Vec<Waker>>,
    batches: Pool<DatagramBatch>,
    /// Tells the timer task that a timer is due earlier than it was.
    pub(super) timer: Notify,
    /// Tells the acceptors and the timer task to end.
    pub(super) drain: Notify,
    /// When it was last logged that a connection could not be accepted.
    logged: Mutex<Option<Instant>>,
    /// Counts the ports opened.
    opened_ports: AtomicUsize,
    /// The second after the one in which a refusal was logged last.
    refused_at: AtomicU64,
}

impl<S: Session> Shared<S> {
    pub(super) fn new(session: S, handler: Box<dyn Handler<S> + Send>, common: Common) -> Self {
        Self {
            is_stream: session.framing().is_stream(),
            core: Mutex::new(Core::new(session, handler, &common)),
            common,
            waker_lists: Pool::new(64),
            batches: Pool::new(64),
            timer: Notify::new(),
            drain: Notify::new(),
            logged: Mutex::new(None),
            opened_ports: AtomicUsize::new(0),
            refused_at: AtomicU64::new(0),
        }
    }

    /// Runs `f` under the lock, then sends its datagrams and wakes its tasks.
    pub(super) fn locked<R>(&self, f: impl FnOnce(&mut Core<S>, &Common, Instant) -> R) -> R {
        let begun = self.common.clock.now();
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = core.traffic.sent_frames;
        let result = f(&mut core, &self.common, self.common.clock.now());
        let sent = core.traffic.sent_frames != sent;
        let due = core.session.poll_timeout();
        if due.is_some_and(|due| core.armed.is_none_or(|armed| due < armed)) {
            core.armed = due;
            self.timer.notify_one();
        }
        if !core.requests.is_empty() {
            self.timer.notify_one();
        }
        self.common.counters.publish(&core.traffic);
        let handled = || {
            if sent {
                let took = self.common.clock.now().saturating_duration_since(begun);
                self.common.counters.handled.observe(took);
            }
        };
        let peers = &mut core.peers;
        if peers.wakers.is_empty() && peers.batch.is_empty() {
            handled();
            return result;
        }
        let mut wakers = core::mem::replace(&mut peers.wakers, self.waker_lists.take());
        let mut batch = core::mem::replace(&mut peers.batch, self.batches.take());
        drop(core);
        if !batch.is_empty() {
            let lost = batch.send(&self.common.sockets);
            self.common.counters.dropped_frames.add(lost);
            batch.clear();
        }
        self.batches.give(batch);
        wakers.drain(..).for_each(Waker::wake);
        self.waker_lists.give(wakers);
        handled();
        result
    }

    pub(super) fn call<R>(&self, f: impl FnOnce(&mut S, Instant) -> R) -> R {
        self.locked(|core, common, now| {
            let result = f(&mut core.session, now);
            core.settle(common, now);
            result
        })
    }

    /// A permit for one more connection from `address`; `None` over a cap. At `max_connections`, another connection ends for it, if one can
    /// ([`make_place`](Self::make_place)).
    pub(super) fn admit(&self, address: IpAddr) -> Option<ConnPermit> {
        let Common { quotas, counters, .. } = &self.common;
        counters.accepted.count();
        if !quotas.is_source_full(quotas.payer(address)) {
            while quotas.is_full() && self.make_place() {}
        }
        quotas.admit(counters, address)
    }

    /// Ends a connection to make room for a new one: one that is being closed, otherwise one that is entering, otherwise the first evictable
    /// one. False if there is none.
    fn make_place(&self) -> bool {
        let (quotas, now) = (&self.common.quotas, self.common.clock.now());
        if self.locked(|core, common, _| core.peers.reset_oldest_closing(common, false))
            || quotas.evict_entering(false, ENTERING, now)
        {
            return true;
        }
        let before = quotas.live();
        self.locked(Core::evict_first);
        quotas.live() < before || quotas.evict_entering(false, Duration::ZERO, now)
    }

    /// The same for a client on QUIC that needs memory: only other connections on QUIC free that.
    #[cfg(feature = "quic")]
    pub(super) fn make_place_on_quic(&self) -> bool {
        self.locked(|core, common, _| core.peers.reset_oldest_closing(common, true))
            || self.common.quotas.evict_entering(true, ENTERING, self.common.clock.now())
            || self.locked(Core::evict_on_quic)
    }

    /// A connection could not be accepted. Where descriptors have run out, another connection ends; the log says so once a minute.
    pub(super) async fn not_accepted(&self, error: &std::io::Error) {
        const PAUSE: Duration = Duration::from_millis(50);
        const MINUTE: Duration = Duration::from_secs(60);
        if is_its_own(error) {
            return;
        }
        let (quotas, now) = (&self.common.quotas, self.common.clock.now());
        {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.is_none_or(|logged| logged.saturating_add(MINUTE) <= now) {
                *logged = Some(now);
                crate::log::warn!(%error, connections = quotas.live(), "cannot accept (said once a minute at most)");
            }
        }
        let ended = quotas.ended();
        if is_exhausted(error) && self.make_place() {
            // Until a descriptor is free.
            let _ = tokio::time::timeout(PAUSE, ended).await;
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The next port from `first` to `end`, round and round; 0 for any.
    pub(super) fn next_port(&self, first: u16, end: u16) -> u16 {
        let count = usize::from(end.saturating_sub(first)).saturating_add(1);
        let at = self.opened_ports.fetch_add(1, Relaxed).checked_rem(count).unwrap_or(0);
        first.saturating_add(u16::try_from(at).unwrap_or(0))
    }

    /// Whether a refusal may be logged now: true once a second.
    pub(super) fn claim_refusal_log(&self) -> bool {
        let second = self.common.clock.now().as_nanos() / 1_000_000_000;
        // 0 means that nothing was logged yet.
        self.refused_at.swap(second.saturating_add(1), Relaxed) <= second
    }

    pub(super) fn stats(&self) -> HubStats {
        self.common.stats()
    }

    /// A connection is up. `None` while the hub drains.
    pub(super) fn open(
        &self,
        from: (SocketAddr, Via),
        transport: Transport,
        permit: ConnPermit,
    ) -> Option<(PeerId, Arc<Conn<S::Framing>>)> {
        self.locked(|core, common, now| {
            if common.quotas.is_draining() {
                return None;
            }
            core.open(common, now, from, transport, permit)
        })
    }

    /// The task of a connection has ended.
    pub(super) fn ended(&self, peer: PeerId, conn: &Conn<S::Framing>) {
        self.locked(|core, common, now| core.ended(common, now, peer, conn));
        self.common.quotas.notify_ended();
    }

    /// All that was sent before so many probes has been written. The peer cannot be asked whether it has read it.
    pub(super) fn written(&self, peer: PeerId, probes: u32) {
        self.locked(|core, common, now| {
            (0..probes).for_each(|_| core.input(common, now, Input::Written { peer }));
        });
    }

    pub(super) fn stream_broken(&self, peer: PeerId) {
        self.locked(|core, common, now| core.stream_broken(common, now, peer));
    }

    pub(super) fn dispatch_frames(
        &self,
        peer: PeerId,
        conn: &Conn<S::Framing>,
        buffer: &mut FrameBuf,
    ) -> Result<(u32, ReadStatus), FrameError> {
        self.locked(|core, common, now| core.dispatch_frames(common, now, (peer, conn), buffer))
    }

    pub(super) fn datagrams(&self, socket: usize, received: &Received) {
        self.locked(|core, common, now| core.datagrams(common, now, socket, received));
    }

    pub(super) fn take_requests(&self) -> Vec<DriverRequest> {
        self.locked(|core, _, _| core::mem::take(&mut core.requests))
    }

    /// Whether datagrams wait to be received.
    pub(super) fn has_unread_datagrams(&self) -> bool {
        self.common.sockets.iter().any(Udp::has_waiting)
    }

    /// Begins to close all connections. Returns how many there were, as [`Core::begin_drain`] counts them.
    pub(super) fn begin_drain(&self) -> usize {
        self.common.quotas.drain(self.common.clock.now());
        self.drain.notify_waiters();
        let told = self.locked(Core::begin_drain);
        self.timer.notify_one();
        told
    }

    /// The output of `future`; `None` if the hub drains before.
    pub(super) async fn unless_draining<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let drain = self.drain.notified();
        tokio::pin!(drain);
        // Registered before the flag is looked at, so that no notification is missed.
        drain.as_mut().enable();
        if self.common.quotas.is_draining() {
            return None;
        }
        tokio::select! {
            output = future => Some(output),
            () = drain => None,
        }
    }

    /// Whether no connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.common.quotas.all() == 0
    }

    /// Ends every connection that is still there. Returns how many.
    pub(super) fn end_all(&self) -> usize {
        let rest = self.common.quotas.all();
        self.locked(|core, _, _| core.peers.end_all());
        rest
    }
}
