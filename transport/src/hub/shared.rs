//! The session behind its lock, and what all connections of a hub share.

use super::datagrams::{self, Route, UdpRoute};
use super::direct::Sociable;
use super::errands::{self, Errand};
use super::link::{HOARD, Link, NotTaken};
use super::partial::Partials;
use super::sources::Sources;
use super::{HubSettings, HubStats};
use crate::grace::{Grace, is_event};
use crate::held::Frames;
use crate::lanes::{Control, Cutter, Kind, ServerHello};
use crate::net::{is_exhausted, is_its_own};
use crate::pool::Pool;
#[cfg(feature = "quic")]
use crate::quic::Datagrams;
use crate::udp::{Batch, Udp};
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::task::Waker;
use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use voxwire_core::{
    Clock, Cut, FrameBuf, FrameError, Framing, Handler, Input, Instant, Lane, ListenId, Output, PeerId,
    PeerIds, PeerSlab, Session, Via,
};

pub(super) struct Shared<S: Session> {
    pub(super) settings: HubSettings,
    /// The UDP sides of listeners that have one.
    pub(super) sockets: Vec<Udp>,
    /// Where the first listener listens: further ports are opened there.
    pub(super) home: Option<IpAddr>,
    pub(super) clock: Clock,
    core: Mutex<Core<S>>,
    pub(super) read_buffers: Pool<FrameBuf>,
    /// For what little there is of a frame that has only begun to come in.
    pub(super) small_buffers: Pool<FrameBuf>,
    pub(super) write_buffers: Pool<Vec<u8>>,
    waker_lists: Pool<Vec<Waker>>,
    batches: Pool<Batch>,
    /// Tells the timer task that something is due earlier than it thinks.
    timer: Notify,
    /// Tells the acceptors and the timer task to end.
    pub(super) draining: AtomicBool,
    pub(super) drain: Notify,
    /// Told whenever a connection has ended.
    pub(super) gone: Notify,
    seats: Mutex<Seats>,
    /// Connections that count.
    live: AtomicUsize,
    /// Connections that are being closed, and give way to others.
    closing: AtomicUsize,
    /// From the settings, or what the application has said since.
    pub(super) max_connections: AtomicUsize,
    /// When it was last said that a connection could not be accepted.
    said: Mutex<Option<Instant>>,
    /// Validated sources of plain UDP.
    pub(super) kept: AtomicUsize,
    /// Counts the ports opened.
    opened_ports: AtomicUsize,
    /// What partial frames hold.
    pub(super) partials: Partials,
    /// Bytes that wait to be written, or are being written, on all connections.
    pub(super) waiting: Arc<AtomicUsize>,
    /// What QUIC may hold of all connections.
    #[cfg(feature = "quic")]
    pub(super) quic: crate::quic::QuicBudgets,
    pub(super) counters: Counters,
    /// The second behind the one in which a refusal was logged last.
    refused_at: AtomicU64,
}

/// Who counts against the caps.
#[derive(Debug, Default)]
struct Seats {
    /// How many connections each source has; those of addresses that stand for many people are nobody's.
    per_address: HashMap<IpAddr, usize>,
    /// Those that have not finished TLS or their hello, the oldest first.
    entering: BTreeMap<u64, Entering>,
    last: u64,
}

#[derive(Debug)]
struct Entering {
    address: IpAddr,
    #[cfg_attr(not(feature = "quic"), allow(dead_code, reason = "asked for QUIC alone"))]
    quic: bool,
    since: Instant,
    sent_away: Arc<Notify>,
}

/// So many are looked at for one on QUIC that leaves no more than so many bytes behind in QUIC's hands.
#[cfg(feature = "quic")]
const LOOKED_AT: usize = 16;
#[cfg(feature = "quic")]
const LITTLE: usize = 64 * 1024;
/// How soon it is looked again who holds most of what waits, where those who do are not enough.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// For so long nobody is sent away who has yet to say who it is, if there is anybody else.
pub(super) const ENTERING: Duration = Duration::from_secs(1);

/// Why no more frames were handed on.
pub(super) enum Fed {
    /// None is whole; so many bytes are missing at least.
    NeedMore(usize),
    /// The next one has to wait until the session says how large it may be.
    Waiting,
    /// Reading has to pause, or has ended; there may be more in the buffer.
    Stopped,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) too_slow: AtomicU64,
    pub(super) dropped_frames: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// How a connection came in.
#[derive(Debug, Clone)]
pub(super) enum Side {
    /// The session's own byte stream.
    Stream,
    /// As units; with the UDP socket of this index, if the client wants it, and direct ways, if it wants them.
    Lanes { udp: Option<usize>, direct: bool },
    /// As units, and with datagrams of its own.
    #[cfg(feature = "quic")]
    Quic(Datagrams),
}

/// What only the holder of the lock touches.
pub(super) struct Core<S: Session> {
    session: S,
    handler: Box<dyn Handler<S> + Send>,
    pub(super) links: PeerSlab<Arc<Link<S::Framing>>>,
    /// The UDP sides of those connections that have one, and sources of plain UDP.
    pub(super) routes: PeerSlab<Route>,
    /// Which peer a source of plain UDP is.
    pub(super) sources: Sources,
    /// Whom others can be introduced to.
    pub(super) sociable: Sociable,
    /// Datagrams to send once the lock is released.
    pub(super) batch: Batch,
    pub(super) ids: PeerIds,
    /// Connections that the session has closed, and that still write their last words, the oldest first.
    leaving: BTreeMap<u64, Arc<Link<S::Framing>>>,
    left: u64,
    /// An input is being handled for which peers may be closed to make room; for whom, if that is known.
    making_room: Option<Option<PeerId>>,
    /// Connections that have not taken what they had to, to be closed when outputs are moved next.
    pub(super) overflown: Vec<PeerId>,
    /// Nobody looks before then who holds most of what waits: there was nobody else.
    look_again: Instant,
    /// Frames that many wait for.
    frames: Frames,
    /// Connections to wake once the lock is released.
    pub(super) wakers: Vec<Waker>,
    /// What the timer task waits for.
    armed: Option<Instant>,
    /// What the timer task is to do.
    errands: Vec<Errand>,
    /// Ports opened for the session: ends their accepting.
    pub(super) ports: BTreeMap<ListenId, AbortHandle>,
}

impl<S: Session> Shared<S> {
    pub(super) fn new(
        session: S,
        handler: Box<dyn Handler<S> + Send>,
        settings: HubSettings,
        sockets: Vec<Udp>,
        home: Option<IpAddr>,
    ) -> Self {
        let core = Core {
            session,
            handler,
            links: PeerSlab::new(usize::MAX),
            routes: PeerSlab::new(usize::MAX),
            sources: Sources::new(settings.strangers),
            sociable: Sociable::new(),
            batch: Batch::default(),
            ids: PeerIds::new(),
            leaving: BTreeMap::new(),
            left: 0,
            making_room: None,
            overflown: Vec::new(),
            look_again: Instant::ZERO,
            frames: Frames::default(),
            wakers: Vec::new(),
            armed: None,
            errands: Vec::new(),
            ports: BTreeMap::new(),
        };
        let waiting: Arc<AtomicUsize> = Arc::default();
        Self {
            settings,
            sockets,
            home,
            clock: Clock::start(),
            core: Mutex::new(core),
            read_buffers: Pool::new(settings.pooled),
            small_buffers: Pool::new(settings.pooled),
            write_buffers: Pool::new(settings.pooled),
            waker_lists: Pool::new(64),
            batches: Pool::new(64),
            timer: Notify::new(),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            gone: Notify::new(),
            seats: Mutex::default(),
            live: AtomicUsize::new(0),
            closing: AtomicUsize::new(0),
            max_connections: AtomicUsize::new(settings.max_connections),
            said: Mutex::new(None),
            kept: AtomicUsize::new(0),
            opened_ports: AtomicUsize::new(0),
            partials: Partials::new(settings.partial_frames, settings.partial_wait),
            #[cfg(feature = "quic")]
            quic: crate::quic::QuicBudgets::new(waiting.clone(), settings.waiting, settings.receive_windows),
            waiting,
            counters: Counters::default(),
            refused_at: AtomicU64::new(0),
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more connection from `address`; false over a cap. Where there is no place, one that is being closed goes, or
    /// else one that has not said who it is.
    pub(super) fn admit(&self, address: IpAddr) -> bool {
        count(&self.counters.accepted);
        let payer = self.settings.payer(address);
        let has_its_part = |seats: &Seats| {
            let here = payer.and_then(|payer| seats.per_address.get(&payer));
            payer.is_some() && here.copied().unwrap_or(0) >= self.settings.max_per_address
        };
        if !has_its_part(&self.seats()) {
            while self.places() >= self.max_connections.load(Relaxed) && self.make_place() {}
        }
        let mut seats = self.seats();
        if has_its_part(&seats) || self.places() >= self.max_connections.load(Relaxed) {
            count(&self.counters.refused);
            return false;
        }
        if let Some(payer) = payer {
            let here = seats.per_address.entry(payer).or_default();
            *here = here.saturating_add(1);
        }
        self.live.fetch_add(1, Relaxed);
        true
    }

    /// Undoes `admit`.
    pub(super) fn dismiss(&self, address: IpAddr) {
        self.unseat(&mut self.seats(), address);
        self.gone.notify_waiters();
    }

    fn unseat(&self, seats: &mut Seats, address: IpAddr) {
        if let Some(payer) = self.settings.payer(address) {
            if let Some(count) = seats.per_address.get_mut(&payer) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    seats.per_address.remove(&payer);
                }
            }
        }
        self.live.fetch_sub(1, Relaxed);
    }

    /// Connections that take a place: they count, or are being closed.
    fn places(&self) -> usize {
        self.live().saturating_add(self.closing.load(Relaxed))
    }

    /// Ends a connection for which there is somebody better. False if there is none.
    fn make_place(&self) -> bool {
        if self.locked(|shared, core, _| core.cut_a_leaving_one(shared, |_| true)) {
            return true;
        }
        if self.send_away(|_| true, ENTERING) {
            return true;
        }
        let before = self.live();
        self.locked(|shared, core, now| core.input(shared, now, Input::Crowded));
        self.live() < before || self.send_away(|_| true, Duration::ZERO)
    }

    /// The same for a client on QUIC that needs memory: only others on QUIC have what it needs.
    #[cfg(feature = "quic")]
    pub(super) fn make_place_on_quic(&self) -> bool {
        self.locked(|shared, core, _| core.cut_a_leaving_one(shared, Link::is_on_quic))
            || self.send_away(|entering| entering.quic, ENTERING)
            || self.locked(|shared, core, now| core.evict_on_quic(shared, now))
    }

    /// Sends the oldest of those away that are still coming in and of that kind, if it has been for `least`.
    fn send_away(&self, is_of_kind: impl Fn(&Entering) -> bool, least: Duration) -> bool {
        let now = self.clock.now();
        let mut seats = self.seats();
        let oldest = seats.entering.iter().find(|(_, entering)| is_of_kind(entering));
        let oldest = oldest.filter(|(_, entering)| entering.since.saturating_add(least) <= now);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        if let Some(Entering { address, sent_away, .. }) = seats.entering.remove(&number) {
            self.unseat(&mut seats, address);
            sent_away.notify_one();
        }
        true
    }

    /// A connection has been admitted, and has yet to say who it is. Returns its number, and what tells it that its place is taken.
    pub(super) fn begin_entering(&self, address: IpAddr, quic: bool) -> (u64, Arc<Notify>) {
        let (since, sent_away) = (self.clock.now(), Arc::new(Notify::new()));
        let mut seats = self.seats();
        seats.last = seats.last.saturating_add(1);
        let number = seats.last;
        if self.draining.load(Relaxed) {
            self.unseat(&mut seats, address);
            sent_away.notify_one();
            return (number, sent_away);
        }
        seats.entering.insert(number, Entering { address, quic, since, sent_away: sent_away.clone() });
        (number, sent_away)
    }

    /// False if its place has been taken.
    pub(super) fn end_entering(&self, number: u64) -> bool {
        self.seats().entering.remove(&number).is_some()
    }

    /// A connection could not be accepted. Where descriptors have run out, somebody goes; the log says so once a minute.
    pub(super) async fn not_accepted(&self, error: &std::io::Error) {
        const PAUSE: Duration = Duration::from_millis(50);
        const MINUTE: Duration = Duration::from_secs(60);
        if is_its_own(error) {
            return;
        }
        let now = self.clock.now();
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.is_none_or(|said| said.saturating_add(MINUTE) <= now) {
                *said = Some(now);
                tracing::warn!(%error, connections = self.live(), "cannot accept (said once a minute at most)");
            }
        }
        let gone = self.gone.notified();
        if is_exhausted(error) && self.make_place() {
            // Until its descriptor is there, or somebody else's.
            let _ = tokio::time::timeout(PAUSE, gone).await;
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

    /// Whether another refusal may be logged: one a second.
    pub(super) fn may_say_refused(&self) -> bool {
        let second = self.clock.now().as_nanos() / 1_000_000_000;
        // What was said at the start was said in second 0.
        self.refused_at.swap(second.saturating_add(1), Relaxed) <= second
    }

    pub(super) fn live(&self) -> usize {
        self.live.load(Relaxed)
    }

    pub(super) fn stats(&self) -> HubStats {
        let Counters { accepted, refused, broken, too_slow, dropped_frames } = &self.counters;
        HubStats {
            closing: self.closing.load(Relaxed),
            connections: self.live().saturating_add(self.kept.load(Relaxed)),
            waiting: self.waiting.load(Relaxed),
            partial: self.partials.used(),
            accepted: accepted.load(Relaxed),
            refused: refused.load(Relaxed),
            broken: broken.load(Relaxed),
            too_slow: too_slow.load(Relaxed),
            dropped_frames: dropped_frames.load(Relaxed),
        }
    }

    /// A connection is up: the session learns of it, and it gets its link.
    pub(super) fn open(
        &self,
        from: SocketAddr,
        side: &Side,
        via: Via,
    ) -> Option<(PeerId, Arc<Link<S::Framing>>)> {
        self.locked(|shared, core, now| {
            if shared.draining.load(Relaxed) {
                return None;
            }
            let peer = core.ids.mint()?;
            let framing = core.session.framing();
            let cutter = match side {
                Side::Stream => Cutter::Plain(framing),
                _ => Cutter::Lanes(framing),
            };
            let link = Arc::new(Link::new(cutter, shared.settings.backlog, from.ip(), side));
            let (route, hello) = match side {
                Side::Stream => (None, None),
                Side::Lanes { udp: None, .. } => (None, Some(ServerHello::without_udp())),
                Side::Lanes { udp: Some(socket), direct } => {
                    let port = datagrams::port(&shared.sockets, *socket);
                    let (route, hello) = UdpRoute::new(*socket, port, peer, *direct)?;
                    (Some(Route::Udp(route)), Some(hello))
                }
                #[cfg(feature = "quic")]
                Side::Quic(datagrams) => {
                    (Some(Route::Quic(datagrams.clone())), Some(ServerHello::without_udp()))
                }
            };
            if let Some(hello) = hello {
                link.push_hello(&hello.to_bytes(), shared);
            }
            if let Some(route) = route {
                core.routes.insert(peer, route);
            }
            core.links.insert(peer, link.clone());
            core.input(shared, now, Input::Opened { peer, via, from: Some(from) });
            if core.links.get(peer).is_none() {
                count(&shared.counters.refused);
            }
            Some((peer, link))
        })
    }

    /// A connection has ended; the session learns of it, unless it closed the connection itself.
    pub(super) fn close(&self, peer: PeerId, link: &Link<S::Framing>) {
        self.locked(|shared, core, now| {
            let left = link.lock().left;
            if left.and_then(|left| core.leaving.remove(&left)).is_some() {
                shared.closing.fetch_sub(1, Relaxed);
            }
            if left.is_none() {
                shared.unseat(&mut shared.seats(), link.address);
            }
            if core.links.remove(peer).is_some() {
                core.leave_route(shared, peer);
                core.ids.retire(peer);
                core.input(shared, now, Input::Closed { peer });
            }
        });
        self.gone.notify_waiters();
    }

    /// What was sent before so many probes, which the peer cannot answer, has been written.
    pub(super) fn written(&self, peer: PeerId, probes: u32) {
        self.locked(|shared, core, now| {
            (0..probes).for_each(|_| core.input(shared, now, Input::Written { peer }));
        });
    }

    /// A connection makes no sense any more: the session hears that it is closed, and it is once what waits is written.
    pub(super) fn part_with(&self, peer: PeerId) {
        self.locked(|shared, core, now| {
            if core.links.get(peer).is_some() {
                core.dismiss(shared, peer);
                core.input(shared, now, Input::Closed { peer });
            }
        });
    }

    /// Hands the whole frames in `buffer` to the session. Returns how many there were, and why it stopped.
    pub(super) fn feed(
        &self,
        peer: PeerId,
        link: &Link<S::Framing>,
        buffer: &mut FrameBuf,
    ) -> Result<(u32, Fed), FrameError> {
        self.locked(|shared, core, now| {
            let mut frames: u32 = 0;
            loop {
                let (cut, kind, waiting, answered, answers_only) = {
                    let mut state = link.lock();
                    if state.closing.is_some() || state.rests_until().is_some_and(|until| until > now) {
                        return Ok((frames, Fed::Stopped));
                    }
                    let cut = buffer.next_frame(&mut state.framing);
                    state.push_pending(&shared.waiting, shared.settings.waiting)?;
                    let cut = cut?;
                    let header = if let Cut::Frame(range) = &cut { range.start.checked_sub(1) } else { None };
                    let before = header.and_then(|at| buffer.frame(at..at.saturating_add(1)).first());
                    let kind = state.framing.kind(before);
                    let answered = state.framing.take_answered();
                    (cut, kind, state.framing.is_waiting(), answered, state.takes_only_answers_now())
                };
                (0..answered).for_each(|_| core.input(shared, now, Input::Answered { peer }));
                if answers_only {
                    core.input(shared, now, Input::AnswersOnly { peer });
                }
                match cut {
                    Cut::NeedMore(_) if waiting => return Ok((frames, Fed::Waiting)),
                    Cut::NeedMore(needed) => return Ok((frames, Fed::NeedMore(needed.get()))),
                    Cut::Frame(range) => {
                        frames = frames.saturating_add(1);
                        let bytes = buffer.frame(range);
                        match kind {
                            Kind::Frame(lane) => core.input(shared, now, Input::Frame { peer, lane, bytes }),
                            Kind::Control => {
                                core.control(shared, now, peer, bytes);
                                if !core.overflown.is_empty() {
                                    core.settle(shared, now);
                                }
                            }
                        }
                    }
                }
            }
        })
    }

    pub(super) fn call<R>(&self, f: impl FnOnce(&mut S, Instant) -> R) -> R {
        self.locked(|shared, core, now| {
            let result = f(&mut core.session, now);
            core.settle(shared, now);
            result
        })
    }

    /// Says goodbye to everybody. Returns to how many; those who have not finished TLS, or another handshake, just go.
    pub(super) fn begin_drain(&self) -> usize {
        {
            // Under the lock: who begins to enter from now on sees it, and who has begun is sent away below.
            let _seats = self.seats();
            self.draining.store(true, Relaxed);
        }
        self.drain.notify_waiters();
        while self.send_away(|_| true, Duration::ZERO) {}
        let told = self.locked(|shared, core, now| {
            let links = core.links.iter();
            let unready = links.filter(|(_, link)| !link.lock().framing.is_ready());
            let unready: Vec<PeerId> = unready.map(|(peer, _)| peer).collect();
            for peer in unready {
                core.evict(shared, peer);
                core.input(shared, now, Input::Closed { peer });
            }
            let told = core.links.len().saturating_add(core.leaving.len());
            core.session.shutdown(now);
            core.flush(shared);
            core.timeouts(shared, now);
            core::mem::take(&mut core.ports).into_values().for_each(|port| port.abort());
            // Whom the session has not closed itself.
            let rest: Vec<PeerId> = core.links.iter().map(|(peer, _)| peer).collect();
            rest.into_iter().for_each(|peer| core.dismiss(shared, peer));
            core.forget_sources(&shared.kept);
            told
        });
        self.timer.notify_one();
        told
    }

    /// Whether no connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.places() == 0
    }

    /// Ends every connection that is still there. Returns how many.
    pub(super) fn cut_off(&self) -> usize {
        let rest = self.places();
        self.locked(|_, core, _| {
            let links = core.links.iter().map(|(_, link)| link).chain(core.leaving.values());
            core.wakers.extend(links.filter_map(|link| link.cut(false)));
        });
        rest
    }

    /// Runs `f` under the lock, then wakes whom it concerns.
    pub(super) fn locked<R>(&self, f: impl FnOnce(&Self, &mut Core<S>, Instant) -> R) -> R {
        let mut core = self.core();
        let now = self.clock.now();
        let result = f(self, &mut core, now);
        let due = core.session.poll_timeout();
        if due.is_some_and(|due| core.armed.is_none_or(|armed| due < armed)) {
            core.armed = due;
            self.timer.notify_one();
        }
        if !core.errands.is_empty() {
            self.timer.notify_one();
        }
        if core.wakers.is_empty() && core.batch.is_empty() {
            return result;
        }
        let mut wakers = core::mem::replace(&mut core.wakers, self.waker_lists.take());
        let mut batch = core::mem::replace(&mut core.batch, self.batches.take());
        drop(core);
        if !batch.is_empty() {
            let lost = batch.send(&self.sockets);
            self.counters.dropped_frames.fetch_add(lost, Relaxed);
            batch.clear();
        }
        self.batches.give(batch);
        wakers.drain(..).for_each(Waker::wake);
        self.waker_lists.give(wakers);
        result
    }

    fn core(&self) -> MutexGuard<'_, Core<S>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Session> Core<S> {
    pub(super) fn input(&mut self, shared: &Shared<S>, now: Instant, input: Input<'_>) {
        self.making_room = match input {
            Input::Opened { peer, via: Via::Accepted, .. } => Some(Some(peer)),
            Input::Crowded => Some(None),
            _ => None,
        };
        self.handle(now, input);
        self.flush(shared);
        self.making_room = None;
        // Timers fire in a task of their own, when what waits has been read.
        self.deferred(shared, now);
    }

    /// Carries out what the session wants, and hands in what it has put off and whose turn has come.
    pub(super) fn settle(&mut self, shared: &Shared<S>, now: Instant) {
        self.flush(shared);
        self.deferred(shared, now);
    }

    /// Hands an input to the session, and its event to the application.
    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>) {
        let from = match input {
            Input::Frame { peer, .. } | Input::Opened { peer, .. } | Input::Closed { peer } => Some(peer),
            _ => None,
        };
        match self.session.handle_input(now, input) {
            Ok(Some(event)) => self.handler.on_event(&mut self.session, now, event),
            Ok(None) => {}
            Err(violation) => {
                if let Some(from) = from {
                    self.handler.on_violation(now, from, violation);
                }
            }
        }
    }

    /// Fires what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.fire(now);
        }
    }

    /// Fires one timer, or tells one event that waits.
    fn fire(&mut self, now: Instant) {
        if let Some(event) = self.session.handle_timeout(now) {
            self.handler.on_event(&mut self.session, now, event);
        }
    }

    /// Hands on what the session has to tell, without its timers.
    fn tell(&mut self, shared: &Shared<S>, now: Instant) {
        while is_event(self.session.poll_timeout()) {
            self.fire(now);
            self.flush(shared);
        }
    }

    fn timeouts(&mut self, shared: &Shared<S>, now: Instant) {
        loop {
            if self.session.poll_timeout().is_some_and(|at| at <= now) {
                self.expire(now);
                self.flush(shared);
            }
            if !self.deferred(shared, now) {
                return;
            }
        }
    }

    /// Hands in what the session has put off and whose turn has come. False if there was nothing.
    fn deferred(&mut self, shared: &Shared<S>, now: Instant) -> bool {
        let mut some = false;
        while let Some(deferred) = self.session.take_deferred() {
            some = true;
            self.handle(now, Input::from(&deferred));
            self.flush(shared);
        }
        some
    }

    /// Moves the session's outputs to the connections. What a connection cannot take closes it, which can make the
    /// session want more.
    pub(super) fn flush(&mut self, shared: &Shared<S>) {
        let mut closing: Vec<PeerId> = Vec::new();
        loop {
            let mut done: usize = 0;
            // Read only where it matters.
            let mut now = None;
            for output in self.session.outputs() {
                done = done.saturating_add(1);
                match output {
                    Output::Send { to, lane, frame } => {
                        match self.routes.get(to) {
                            Some(Route::Source(source)) => {
                                self.batch.push(source.destination(to), frame);
                                continue;
                            }
                            Some(Route::Udp(route)) if lane == Lane::Droppable => {
                                let now = *now.get_or_insert_with(|| shared.clock.now());
                                if let Some(destination) = route.destination(to, now) {
                                    self.batch.push(destination, frame);
                                    continue;
                                }
                            }
                            #[cfg(feature = "quic")]
                            Some(Route::Quic(datagrams))
                                if lane == Lane::Droppable && datagrams.send(frame) =>
                            {
                                let dropped = datagrams.take_dropped();
                                shared.counters.dropped_frames.fetch_add(dropped, Relaxed);
                                continue;
                            }
                            _ => {}
                        }
                        let Some(link) = self.links.get(to) else { continue };
                        let mut pushed =
                            link.push(lane, frame, false, shared, &mut self.frames, &mut self.wakers);
                        if pushed == Err(NotTaken::Crowded) {
                            let now = *now.get_or_insert_with(|| shared.clock.now());
                            let links = (&self.links, &self.leaving);
                            let (overflown, wakers) = (&mut self.overflown, &mut self.wakers);
                            make_room(shared, now, links, overflown, wakers, &mut self.look_again);
                            pushed = link.push(lane, frame, true, shared, &mut self.frames, &mut self.wakers);
                        }
                        match pushed {
                            Ok(0) => {}
                            Ok(dropped) => {
                                shared.counters.dropped_frames.fetch_add(dropped, Relaxed);
                            }
                            Err(_) => self.overflown.push(to),
                        }
                    }
                    Output::Close { peer } => closing.push(peer),
                    Output::Limit { peer, max_frame } => {
                        let link = self.links.get(peer);
                        self.wakers.extend(link.and_then(|link| link.lock().set_max(max_frame)));
                    }
                    Output::Budget { peer, bytes } => {
                        // 0 restores the default.
                        let bytes = if bytes == 0 { shared.settings.backlog } else { bytes };
                        self.links.get(peer).inspect(|link| link.lock().queue.set_budget(bytes));
                    }
                    Output::Pause { peer, until } => {
                        self.links.get(peer).inspect(|link| link.lock().pause(until));
                    }
                    Output::Probe { peer } => {
                        match self.links.get(peer).map(|link| link.lock().probe(&shared.waiting)) {
                            Some(Ok(waker)) => self.wakers.extend(waker),
                            Some(Err(_)) => self.overflown.push(peer),
                            None => {}
                        }
                    }
                    Output::Resume { peer } => {
                        let link = self.links.get(peer);
                        self.wakers.extend(link.and_then(|link| link.lock().resume()));
                    }
                    Output::Dial { id, host, port } => {
                        self.errands.push(Errand::Dial { id, host: host.into(), port });
                    }
                    Output::Listen { id } => self.errands.push(Errand::Listen(id)),
                    Output::StopListening { id } => self.errands.push(Errand::StopListening(id)),
                    Output::Broadcast { frame } => {
                        super::sources::broadcast(&shared.sockets, &mut self.batch, frame);
                    }
                    Output::Keep { peer } if self.sources.keep(&mut self.routes, peer) => {
                        shared.kept.fetch_add(1, Relaxed);
                    }
                    _ => {}
                }
            }
            self.batch.forget();
            self.frames.forget();
            self.session.advance(done);
            for peer in closing.drain(..) {
                if self.making_room.is_some_and(|newcomer| newcomer != Some(peer)) {
                    self.evict(shared, peer);
                } else {
                    self.dismiss(shared, peer);
                }
            }
            let now = shared.clock.now();
            for peer in core::mem::take(&mut self.overflown) {
                if self.links.get(peer).is_none() {
                    continue;
                }
                count(&shared.counters.too_slow);
                self.evict(shared, peer);
                match self.session.handle_input(now, Input::Closed { peer }) {
                    Ok(Some(event)) => self.handler.on_event(&mut self.session, now, event),
                    Ok(None) => {}
                    Err(violation) => self.handler.on_violation(now, peer, violation),
                }
            }
            if self.session.outputs().next().is_none() && self.overflown.is_empty() {
                return;
            }
        }
    }

    /// Queues what the transport has to say to a client. False if it has not taken what it had to, and is to be closed.
    pub(super) fn say(&mut self, shared: &Shared<S>, peer: PeerId, control: Control) -> bool {
        let Some(link) = self.links.get(peer) else { return true };
        let mut pushed = link.push_control(control, false, shared, &mut self.wakers);
        if pushed == Err(NotTaken::Crowded) {
            let (links, now) = ((&self.links, &self.leaving), shared.clock.now());
            let (overflown, wakers) = (&mut self.overflown, &mut self.wakers);
            make_room(shared, now, links, overflown, wakers, &mut self.look_again);
            pushed = link.push_control(control, true, shared, wakers);
        }
        if pushed.is_err() {
            self.overflown.push(peer);
        }
        pushed.is_ok()
    }

    fn leave_route(&mut self, shared: &Shared<S>, peer: PeerId) {
        self.part(shared, peer);
        self.routes.remove(peer);
    }

    /// Closes a connection once what waits for it is written. It does not count any more.
    fn dismiss(&mut self, shared: &Shared<S>, peer: PeerId) {
        if self.sources.forget(&mut self.routes, peer, &shared.kept) {
            self.ids.retire(peer);
        } else if let Some(link) = self.links.remove(peer) {
            self.leave_route(shared, peer);
            self.ids.retire(peer);
            let until = shared.clock.now().saturating_add(shared.settings.frame);
            self.left = self.left.saturating_add(1);
            self.wakers.extend(link.begin_close(until, self.left));
            shared.unseat(&mut shared.seats(), link.address);
            shared.closing.fetch_add(1, Relaxed);
            self.leaving.insert(self.left, link);
        }
    }

    /// Resets a connection. It does not count any more.
    fn evict(&mut self, shared: &Shared<S>, peer: PeerId) {
        if let Some(link) = self.links.remove(peer) {
            self.leave_route(shared, peer);
            self.ids.retire(peer);
            link.empty(&shared.waiting);
            link.lock().left = Some(0);
            self.wakers.extend(link.cut(true));
            shared.unseat(&mut shared.seats(), link.address);
        } else {
            self.dismiss(shared, peer);
        }
    }

    /// Resets the connection of that kind that has been writing its last words for longest. False if there is none.
    fn cut_a_leaving_one(
        &mut self,
        shared: &Shared<S>,
        is_of_kind: impl Fn(&Link<S::Framing>) -> bool,
    ) -> bool {
        let oldest = self.leaving.iter().find(|(_, link)| is_of_kind(link)).map(|(number, _)| *number);
        let Some(link) = oldest.and_then(|number| self.leaving.remove(&number)) else { return false };
        link.empty(&shared.waiting);
        self.wakers.extend(link.cut(true));
        shared.closing.fetch_sub(1, Relaxed);
        true
    }

    /// Resets the first peer on QUIC that is worth less than somebody new; if one of the first leaves little behind, that one.
    #[cfg(feature = "quic")]
    fn evict_on_quic(&mut self, shared: &Shared<S>, now: Instant) -> bool {
        let links = &self.links;
        let mut evictable = self.session.evictable();
        let on_quic = |peer: PeerId| Some((peer, links.get(peer)?.leaves()?));
        let first = evictable.by_ref().filter_map(on_quic).take(LOOKED_AT);
        let first = first.min_by_key(|(_, leaves)| *leaves > LITTLE);
        drop(evictable);
        let Some((peer, _)) = first else { return false };
        self.evict(shared, peer);
        self.input(shared, now, Input::Closed { peer });
        true
    }
}

type SharedLink<S> = Arc<Link<<S as Session>::Framing>>;

/// All connections together have too much waiting: those go that hoard most, so that the others get what they have to get; those that are
/// being closed first. They are cut at once, and those of the session are entered among the `overflown`.
fn make_room<S: Session>(
    shared: &Shared<S>,
    now: Instant,
    (links, leaving): (&PeerSlab<SharedLink<S>>, &BTreeMap<u64, SharedLink<S>>),
    overflown: &mut Vec<PeerId>,
    wakers: &mut Vec<Waker>,
    look_again: &mut Instant,
) {
    if now < *look_again {
        return;
    }
    // More than would do, or the next frame would look for the next one.
    let most = shared.settings.waiting.saturating_sub(shared.settings.waiting / 8);
    let excess = || shared.waiting.load(Relaxed).saturating_sub(most);
    // What those who go give back only when their tasks run.
    let mut soon: usize = 0;
    for link in overflown.iter().filter_map(|peer| links.get(*peer)) {
        soon = soon.saturating_add(link.empty(&shared.waiting));
        wakers.extend(link.cut(true));
    }
    let hoarders = links.iter().map(|(peer, link)| (Some(peer), link));
    let hoarders = hoarders.chain(leaving.values().map(|link| (None, link)));
    // If all had as little as that, they would have half of what there is.
    let connections = shared.max_connections.load(Relaxed).max(1);
    let little = shared.settings.waiting.checked_div(connections).unwrap_or(0) / 2;
    let hoards = hoarders
        .filter_map(|(peer, link)| Some((peer.is_none(), link.hoard(little.min(HOARD))?, peer, link)));
    let mut hoards: Vec<_> = hoards.collect();
    hoards.sort_unstable_by_key(|(leaving, hoard, peer, _)| (*leaving, *hoard, *peer));
    while excess() > soon {
        let Some((_, _, peer, hoarder)) = hoards.pop() else { break };
        // What it shares is free only when nobody else waits for it.
        soon = soon.saturating_add(hoarder.empty(&shared.waiting));
        wakers.extend(hoarder.cut(true));
        overflown.extend(peer);
    }
    // Looking costs more than a frame, and would find nobody else.
    if excess() > 0 {
        *look_again = now.saturating_add(LOOK_AGAIN);
    }
}

/// Fires the session's timers, does its errands, and looks once a second for connections that take too long over something.
pub(super) async fn timers<S>(shared: Arc<Shared<S>>)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    const SWEEP: Duration = Duration::from_secs(1);
    let mut next_sweep = shared.clock.now().saturating_add(SWEEP);
    let (mut grace, mut held) = (Grace::default(), None);
    while !(shared.draining.load(Relaxed) && shared.is_empty()) {
        let due = shared.locked(|_, core, _| {
            core.armed = core.session.poll_timeout();
            let held = held.filter(|_| !is_event(core.armed));
            let armed = core.armed.map(|armed| held.map_or(armed, |held: Instant| armed.max(held)));
            armed.map_or(next_sweep, |armed| armed.min(next_sweep))
        });
        tokio::select! {
            () = tokio::time::sleep_until(shared.clock.to_std(due).into()) => {}
            () = shared.timer.notified() => {}
        }
        let errands = shared.locked(|_, core, _| core::mem::take(&mut core.errands));
        errands.into_iter().for_each(|errand| errands::run(&shared, errand));
        let unread = shared.sockets.iter().any(Udp::has_waiting);
        shared.locked(|shared, core, now| {
            core.tell(shared, now);
            held = match core.session.poll_timeout() {
                Some(at) if at <= now => grace.hold(at, now, unread),
                _ => {
                    grace.end();
                    None
                }
            };
            if held.is_none() {
                core.timeouts(shared, now);
            }
            if now >= next_sweep {
                next_sweep = now.saturating_add(SWEEP);
                shared.read_buffers.trim();
                shared.small_buffers.trim();
                shared.write_buffers.trim();
                core.frames.tidy();
                let links = core.links.iter().map(|(_, link)| link).chain(core.leaving.values());
                for link in links {
                    let stuck = link.is_stuck(shared.settings.unacknowledged);
                    if stuck || link.is_never_ready() {
                        let Counters { too_slow, broken, .. } = &shared.counters;
                        count(if stuck { too_slow } else { broken });
                        link.empty(&shared.waiting);
                        core.wakers.extend(link.cut(true));
                    } else {
                        core.wakers.extend(link.sweep(now));
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_voicelink::{Server, Settings};

    #[test]
    fn c_06_connections_are_capped_by_address_a_64_is_one_and_loopback_is_exempt() {
        let settings = HubSettings { max_per_address: 2, max_connections: 12, ..HubSettings::DEFAULT };
        let shared = Shared::new(Server::new(Settings::DEFAULT, 1), Box::new(()), settings, Vec::new(), None);
        let admit = |address: &str| shared.admit(address.parse().unwrap());
        assert_eq!(["192.0.2.1"; 3].map(admit), [true, true, false]);
        assert_eq!(["::ffff:192.0.2.1", "192.0.2.2"].map(admit), [false, true]);
        assert_eq!(
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].map(admit),
            [true, true, false, true]
        );
        assert_eq!(
            ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|loopback| [loopback; 2].map(admit)),
            [[true; 2]; 3]
        );
        // All in all there are twelve places.
        assert_eq!((shared.live(), admit("127.0.0.1")), (12, false));
        shared.dismiss("192.0.2.1".parse().unwrap());
        assert!(admit("192.0.2.1"));
        assert_eq!((shared.live(), shared.stats().refused), (12, 4));
    }

    /// F-06: a terminator's clients are not one stranger.
    #[test]
    fn f_06_addresses_that_stand_for_many_are_exempt_from_the_cap_of_one() {
        const EXEMPT: [IpAddr; 1] = [IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 7))];
        let settings = HubSettings { max_per_address: 2, exempt: &EXEMPT, ..HubSettings::DEFAULT };
        let shared = Shared::new(Server::new(Settings::DEFAULT, 1), Box::new(()), settings, Vec::new(), None);
        let admit = |address: &str| shared.admit(address.parse().unwrap());
        assert_eq!(["192.0.2.7"; 4].map(admit), [true; 4]);
        assert!(admit("::ffff:192.0.2.7"));
        assert_eq!(["192.0.2.1"; 3].map(admit), [true, true, false]);
    }

    /// F-06, F-19, F-45: those behind an IPv6 proxy, and on `::1`, are not counted for the proxy's network: its neighbours there have
    /// places of their own, when those come as well as when they go.
    #[test]
    fn f_06_connections_behind_an_ipv6_proxy_are_not_its_neighbours() {
        use core::net::Ipv6Addr;
        const EXEMPT: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))];
        let settings = HubSettings { max_per_address: 2, exempt: &EXEMPT, ..HubSettings::DEFAULT };
        let shared = Shared::new(Server::new(Settings::DEFAULT, 1), Box::new(()), settings, Vec::new(), None);
        let at = |address: &str| address.parse::<IpAddr>().unwrap();
        for (many, neighbour) in [("2001:db8::7", "2001:db8::8"), ("::1", "::2")] {
            let before = shared.live();
            assert_eq!([many; 3].map(|many| shared.admit(at(many))), [true; 3]);
            assert_eq!([neighbour; 3].map(|it| shared.admit(at(it))), [true, true, false], "{neighbour}");
            // Their going gives the neighbours nothing that they did not have.
            shared.dismiss(at(many));
            assert!(!shared.admit(at(neighbour)), "{neighbour}");
            let (_, sent_away) = shared.begin_entering(at(many), false);
            assert!(shared.send_away(|_| true, Duration::ZERO));
            drop(sent_away);
            assert!(!shared.admit(at(neighbour)), "{neighbour}");
            shared.dismiss(at(neighbour));
            assert_eq!([neighbour; 2].map(|it| shared.admit(at(it))), [true, false], "{neighbour}");
            assert_eq!(shared.live(), before + 3);
        }
        assert_eq!(shared.seats().per_address.len(), 2);
    }

    /// F-43: a client that provokes BOUND, PEER and GONE, and never reads, is not queued for without bound.
    #[test]
    fn f_43_what_the_transport_says_to_a_client_that_never_reads_is_bounded() {
        let settings = HubSettings::DEFAULT;
        let shared = Shared::new(Server::new(Settings::DEFAULT, 1), Box::new(()), settings, Vec::new(), None);
        let side = Side::Lanes { udp: None, direct: false };
        let from = SocketAddr::from(([192, 0, 2, 1], 7));
        let (peer, link) = shared.open(from, &side, Via::Accepted).unwrap();
        let push = |control| link.push_control(control, false, &shared, &mut Vec::new());
        for _ in 0..100_000 {
            push(Control::Bound).unwrap();
        }
        assert!(shared.stats().waiting < 1024, "{} bytes wait", shared.stats().waiting);
        let taken = (0..100_000).take_while(|_| push(Control::Gone([7; 16])).is_ok()).count();
        assert!((100..10_000).contains(&taken) && shared.stats().waiting < 256 * 1024, "{taken} taken");
        // It is gone then.
        shared.locked(|shared, core, _| {
            core.overflown.push(peer);
            core.flush(shared);
        });
        assert_eq!((shared.stats().too_slow, shared.stats().waiting), (1, 0));
    }

    /// A hub where `frames` wait for one connection each, and who they are.
    fn crowded(waiting: usize, frames: &[Vec<u8>]) -> (Shared<Server>, Vec<PeerId>) {
        let settings = HubSettings { waiting, backlog: 4 << 20, ..HubSettings::DEFAULT };
        let shared = Shared::new(Server::new(Settings::DEFAULT, 1), Box::new(()), settings, Vec::new(), None);
        let mut peers = Vec::new();
        for frame in frames {
            let side = Side::Lanes { udp: None, direct: false };
            let (peer, link) =
                shared.open(SocketAddr::from(([127, 0, 0, 1], 7)), &side, Via::Accepted).unwrap();
            for (n, part) in frame.chunks(50_000).enumerate() {
                let part = [&[u8::try_from(n).unwrap()], part].concat();
                shared.locked(|shared, core, _| {
                    let Core { frames, wakers, .. } = core;
                    link.push(Lane::Reliable, &part, true, shared, frames, wakers).unwrap();
                    frames.forget();
                });
            }
            peers.push(peer);
        }
        (shared, peers)
    }

    fn make_room(shared: &Shared<Server>) -> Vec<PeerId> {
        shared.locked(|shared, core, now| {
            let links = (&core.links, &core.leaving);
            super::make_room(shared, now, links, &mut core.overflown, &mut core.wakers, &mut core.look_again);
            core.overflown.clone()
        })
    }

    /// F-46: who waits for the same as others frees nothing by going: as many go as it takes, and who holds less than their part stays.
    #[test]
    fn f_46_room_is_made_until_it_is_there() {
        let mut waiting = vec![vec![7; 400_000]; 20];
        waiting.push(vec![8; 10_000]);
        let (shared, peers) = crowded(400_000, &waiting);
        assert!(shared.stats().waiting > 400_000);
        let gone = make_room(&shared);
        assert!(shared.stats().waiting < 350_000, "{} bytes wait", shared.stats().waiting);
        assert_eq!((gone.len(), gone.contains(&peers[20])), (20, false));
        // They are on their way: nobody else goes for them, and nothing is queued for them.
        shared.waiting.fetch_add(400_000, Relaxed);
        shared.locked(|_, core, _| core.look_again = Instant::ZERO);
        shared.locked(|shared, core, _| {
            let link = core.links.get(peers[0]).unwrap().clone();
            let before = shared.waiting.load(Relaxed);
            let Core { frames, wakers, .. } = core;
            assert_eq!(link.push(Lane::Reliable, &[9; 2000], true, shared, frames, wakers), Ok(0));
            assert_eq!(shared.waiting.load(Relaxed), before);
        });
        // Where that is not enough, the next look has to wait, or each frame would look anew.
        let gone = make_room(&shared);
        assert_eq!(gone.iter().filter(|peer| **peer == peers[0]).count(), 1);
        assert!(shared.locked(|_, core, now| core.look_again > now));
    }

    /// F-43, F-46: those whom many small frames wait for hold what these take, and nobody else goes for them.
    #[test]
    fn f_46_those_who_hoard_what_is_small_go_before_one_who_has_something_waiting() {
        let settings = HubSettings { waiting: 400_000, max_connections: 100, ..HubSettings::DEFAULT };
        let shared = Shared::new(Server::new(Settings::DEFAULT, 1), Box::new(()), settings, Vec::new(), None);
        let open = || {
            let from = SocketAddr::from(([127, 0, 0, 1], 7));
            shared.open(from, &Side::Stream, Via::Accepted).unwrap()
        };
        let push = |link: &SharedLink<Server>, len: usize| {
            shared.locked(|shared, core, now| {
                link.block(now);
                let Core { frames, wakers, .. } = core;
                link.push(Lane::Reliable, &[7; 300][..len], true, shared, frames, wakers).unwrap();
                frames.forget();
            });
        };
        let (honest, link) = open();
        (0..30).for_each(|_| push(&link, 200));
        let (little, small) = open();
        push(&small, 200);
        let hoarders: Vec<_> = (0..40).map(|_| open()).collect();
        for (_, link) in &hoarders {
            (0..585).for_each(|_| push(link, 3));
            assert!(link.lock().queue.len() < 4096, "{}", link.lock().queue.len());
        }
        assert!(shared.stats().waiting > 400_000, "{}", shared.stats().waiting);
        let gone = make_room(&shared);
        assert!(!gone.is_empty() && !gone.contains(&honest) && !gone.contains(&little), "{gone:?}");
        assert!(shared.stats().waiting < 350_000, "{} bytes wait", shared.stats().waiting);
    }

    /// F-46: somebody to whom the transport has something to say does not go for what others hold.
    #[test]
    fn f_46_a_client_is_not_closed_for_what_others_hold_when_the_transport_tells_it_something() {
        let (shared, peers) = crowded(400_000, &[vec![7; 100_000], vec![8; 400_000]]);
        shared.locked(|shared, core, _| {
            assert!(core.say(shared, peers[0], Control::Gone([7; 16])));
            assert_eq!(core.overflown, [peers[1]]);
            core.flush(shared);
            assert!(core.links.get(peers[0]).is_some() && core.links.get(peers[1]).is_none());
        });
        assert_eq!(shared.stats().too_slow, 1);
        assert!(shared.stats().waiting < 150_000);
    }
}
