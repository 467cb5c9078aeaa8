//! One connection of a hub: its queue, and the task that reads and writes.

use super::partial::{AGAIN, Claim, Course, OWN};
use super::shared::{Fed, Shared, Side, count};
use crate::grace::EXCUSE;
use crate::{
    held::Frames,
    lanes::{Control, Cutter, put_control},
    net::Stream,
    queue::{Batch, Overflow, Queue, SLICES},
};
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Sleep;
use voxwire_core::{Bucket, FrameBuf, FrameError, Framing, Instant, Lane, PeerId, Session, Via};

/// What a buffer is asked for at a time.
const READ: usize = 16 * 1024;
/// What of a buffer to write from is kept for others.
const KEPT: usize = 8 * 1024;
/// Reads in a row before other tasks get their turn.
const READS: usize = 8;

/// What a connection may have waiting when all together have too much; and what is being written at a time, but for a larger frame.
const OWN_WAITING: usize = 64 * 1024;
/// Whoever has more than this waiting may have to go for others when all together have too much.
pub(super) const HOARD: usize = 4 * 1024;
/// A reliable frame of so many bytes is held once for all who wait for the same; one of so many for those who take nothing now.
const HELD: usize = 1024;
const HELD_IF_BLOCKED: usize = 256;

/// How long a connection that is not read may have been gone before that is noticed by the next sweep.
const WATCH: Duration = Duration::from_secs(1);

/// How often a peer may ask that does not take what it has been given, before it is closed.
const MAX_UNANSWERED: u32 = 64;

/// Keeps a sum up to date of which one part has changed.
fn note(sum: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        sum.fetch_add(after.saturating_sub(before), Relaxed);
    } else {
        sum.fetch_sub(before.saturating_sub(after), Relaxed);
    }
}

/// The part of a connection that others reach: the session's outputs come in here.
pub(super) struct Link<F> {
    state: Mutex<State<F>>,
    pub(super) address: IpAddr,
    /// On QUIC.
    #[cfg(feature = "quic")]
    quic: Option<crate::quic::Datagrams>,
}

pub(super) struct State<F> {
    pub(super) framing: Cutter<F>,
    pub(super) queue: Queue,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// Since when the peer has not taken all that it was given.
    blocked_since: Option<Instant>,
    /// Bytes that the task has taken and not written yet.
    writing: usize,
    /// What is held for them alone.
    out: usize,
    /// They themselves, while the task waits for the peer to take them. On the heap, because most connections wait for nothing.
    parked: Option<Box<Batch>>,
    /// The task waits for something to write, and not for the peer to take what is being written.
    hungry: bool,
    /// Write what waits, at most until then, and close: nothing more is read.
    pub(super) closing: Option<Instant>,
    /// How often the peer has asked since it last took something.
    unanswered: u32,
    /// Which of those that are being closed it is; it does not count against the caps then.
    pub(super) left: Option<u64>,
    /// Close at once; and whether to reset the connection.
    cut: Option<bool>,
    /// Something was said to a task that was running, and may have looked before.
    unheard: bool,
    /// Nothing is read until then: the session's will.
    paused_until: Option<Instant>,
    /// Nothing is read until then: it has sent more than it may.
    throttled_until: Option<Instant>,
    /// When the task is to be woken because something takes too long.
    deadline: Option<Instant>,
    /// The largest frame that the session takes from this peer, where it has said so.
    pub(super) max_frame: usize,
    /// Probes that the peer cannot answer, behind what waits to be written.
    unwritten: u32,
    /// The session has been told that the peer takes nothing but answers.
    answers_only: bool,
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Its connection has too much waiting.
    Overflow,
    /// All connections together have.
    Crowded,
}

impl From<Overflow> for NotTaken {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

impl<F: Framing> Link<F> {
    pub(super) fn new(framing: Cutter<F>, backlog: usize, address: IpAddr, side: &Side) -> Self {
        let state = State {
            framing,
            queue: Queue::new(backlog),
            waker: None,
            blocked_since: None,
            writing: 0,
            out: 0,
            parked: None,
            hungry: false,
            closing: None,
            unanswered: 0,
            left: None,
            cut: None,
            unheard: false,
            paused_until: None,
            throttled_until: None,
            deadline: None,
            max_frame: usize::MAX,
            unwritten: 0,
            answers_only: false,
        };
        #[cfg(feature = "quic")]
        let quic = if let Side::Quic(datagrams) = side { Some(datagrams.clone()) } else { None };
        #[cfg(not(feature = "quic"))]
        let _ = side;
        Self {
            state: Mutex::new(state),
            address,
            #[cfg(feature = "quic")]
            quic,
        }
    }

    #[cfg(feature = "quic")]
    pub(super) const fn is_on_quic(&self) -> bool {
        self.quic.is_some()
    }

    /// What QUIC may keep of it if it ends now, in bytes; `None` where it is not on QUIC.
    #[cfg(feature = "quic")]
    pub(super) fn leaves(&self) -> Option<usize> {
        Some(self.quic.as_ref()?.leaves())
    }

    /// What QUIC holds that has not arrived.
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

    /// Queues a frame. Returns how many were dropped, of the older ones or it itself. Where all connections together have too
    /// much waiting, a reliable frame that is not small is taken only if `room` has been made.
    pub(super) fn push<S: Session>(
        &self,
        lane: Lane,
        frame: &[u8],
        room: bool,
        shared: &Shared<S>,
        frames: &mut Frames,
        wakers: &mut Vec<Waker>,
    ) -> Result<u64, NotTaken> {
        let mut state = self.lock();
        if state.cut.is_some() {
            return Ok(0);
        }
        let State { framing, queue, waker, hungry, writing, blocked_since, .. } = &mut *state;
        // The clock is read only where it matters.
        let patience = shared.settings.patience;
        let slow = blocked_since.is_some_and(|since| shared.clock.now() > since.saturating_add(patience));
        let blocked = blocked_since.is_some();
        let (before, held, memory) = (queue.dropped, queue.len(), queue.memory());
        // Over the hub's ceiling those who hold much pay, and those who do not take what they have; those who keep up do not notice.
        let over = shared.waiting.load(Relaxed) > shared.settings.waiting;
        let much = blocked || held.saturating_add(*writing).saturating_add(frame.len()) > OWN_WAITING;
        if over && much && !room && lane == Lane::Reliable && framing.fits(frame) {
            return Err(NotTaken::Crowded);
        }
        // One large frame is enough for a slow listener.
        let large = slow && *writing > OWN_WAITING;
        if large && queue.droppable() > OWN_WAITING {
            queue.drop_droppable();
        }
        // A buffer of the pool is for those who give it back soon.
        let buffer = || if blocked { Vec::new() } else { shared.write_buffers.take() };
        let mut pushed = Ok(());
        if !framing.fits(frame) {
            // More than a unit can hold, which no session on such a transport has a use for, or nothing that the peer can take.
            queue.dropped = queue.dropped.saturating_add(1);
        } else if lane == Lane::Droppable && (over && much || large && frame.len() > OWN_WAITING) {
            queue.drop_droppable();
            queue.dropped = queue.dropped.saturating_add(1);
        } else if lane == Lane::Reliable && frame.len() >= if blocked { HELD_IF_BLOCKED } else { HELD } {
            pushed = queue.push_held(framing, frames.hold(frame, &shared.waiting));
        } else {
            pushed = queue.push(framing, lane, frame, slow, buffer);
        }
        // What overflows waits, too, until the connection is gone.
        note(&shared.waiting, memory, queue.memory());
        pushed?;
        if *hungry {
            wakers.extend(waker.take());
        }
        Ok(queue.dropped.saturating_sub(before))
    }

    /// Queues something of the transport's own; nothing where too much waits, for this connection or, if some of it waits for this one
    /// and no `room` has been made, for all together. One BOUND is enough until it has been taken.
    pub(super) fn push_control<S: Session>(
        &self,
        control: Control,
        room: bool,
        shared: &Shared<S>,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), NotTaken> {
        let mut bytes = Vec::new();
        put_control(control, &mut bytes);
        let mut state = self.lock();
        if state.cut.is_some() {
            return Ok(());
        }
        let waiting = state.queue.len().saturating_add(state.writing);
        let slow = waiting > OWN_WAITING || state.blocked_since.is_some() && waiting > HOARD;
        if slow && !room && shared.waiting.load(Relaxed) > shared.settings.waiting {
            return Err(NotTaken::Crowded);
        }
        let memory = state.queue.memory();
        let pushed = match control {
            Control::Bound => state.queue.push_once(&bytes),
            _ => state.queue.push_raw(&bytes),
        };
        note(&shared.waiting, memory, state.queue.memory());
        if state.hungry {
            wakers.extend(state.waker.take());
        }
        Ok(pushed?)
    }

    /// Queues what a connection begins with, as it is.
    pub(super) fn push_hello<S: Session>(&self, bytes: &[u8], shared: &Shared<S>) {
        let mut state = self.lock();
        let memory = state.queue.memory();
        // One is admitted, however long.
        let _ = state.queue.push_raw(bytes);
        note(&shared.waiting, memory, state.queue.memory());
    }

    pub(super) fn begin_close(&self, until: Instant, number: u64) -> Option<Waker> {
        let mut state = self.lock();
        state.left = Some(number);
        state.closing = Some(until);
        state.deadline = Some(until);
        state.rouse()
    }

    /// What is held for the connection, if that is more than it takes to say little, and it is not being cut already. Where the peer does
    /// not take what it has been given, that is more than `little` memory: many small frames take far more than their bytes.
    pub(super) fn hoard(&self, little: usize) -> Option<usize> {
        let (state, lent) = (self.lock(), self.lent());
        let waiting = state.queue.len().saturating_add(state.writing).saturating_add(lent);
        let own = state.queue.memory().saturating_add(state.out);
        let parked = state.parked.as_ref().map_or(0, |batch| batch.share());
        let all = own.saturating_add(state.queue.share()).saturating_add(parked).saturating_add(lent);
        let hoards = waiting > HOARD || state.blocked_since.is_some() && all > little;
        (hoards && state.cut.is_none()).then_some(all)
    }

    /// The peer takes nothing since `now`.
    #[cfg(test)]
    pub(super) fn block(&self, now: Instant) {
        self.lock().blocked_since = Some(now);
    }

    /// Throws away what waits: the connection is being cut. Returns what is still held for it until its task has seen that.
    pub(super) fn empty(&self, waiting: &AtomicUsize) -> usize {
        let mut state = self.lock();
        let memory = state.queue.memory();
        state.queue.take();
        note(waiting, memory, state.queue.memory());
        if state.parked.take().is_some_and(|batch| !batch.is_empty()) {
            note(waiting, state.out, 0);
            (state.out, state.writing) = (0, 0);
        }
        let out = state.out;
        drop(state);
        #[cfg(feature = "quic")]
        self.quic.as_ref().inspect(|quic| quic.abandon());
        out
    }

    /// Whether the connection has ended under a session that lets it wait. What was sent before still counts where it only sent too fast.
    fn is_over(&self) -> bool {
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            let state = self.lock();
            let throttled = state.throttled_until.is_some() && state.paused_until.is_none();
            drop(state);
            return !throttled && quic.is_closed();
        }
        false
    }

    /// Whether the peer has acknowledged nothing of what was sent to it for `limit`. On TCP the system sees to that.
    pub(super) fn is_stuck(&self, limit: Option<Duration>) -> bool {
        #[cfg(feature = "quic")]
        if let (Some(quic), Some(limit)) = (&self.quic, limit) {
            return quic.is_stuck(limit);
        }
        let _ = limit;
        false
    }

    /// Whether the peer goes on with a handshake that it has been through.
    pub(super) fn is_never_ready(&self) -> bool {
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            return quic.is_never_ready();
        }
        false
    }

    /// Closes the connection at once, by a reset if that is wanted: nothing of it lingers in the system then.
    pub(super) fn cut(&self, reset: bool) -> Option<Waker> {
        let mut state = self.lock();
        state.cut = Some(reset);
        state.rouse()
    }

    /// The task's waker, if it has been waiting for too long.
    pub(super) fn sweep(&self, now: Instant) -> Option<Waker> {
        let mut state = self.lock();
        if state.deadline.is_some_and(|deadline| deadline <= now) { state.waker.take() } else { None }
    }
}

impl<F: Framing> State<F> {
    /// The session wants to hear more, whatever it said before; what we have against that stands. Returns whom to wake.
    pub(super) fn resume(&mut self) -> Option<Waker> {
        self.paused_until = None;
        self.rouse()
    }

    /// Sets the largest frame. Returns whom to wake, if that is awaited.
    pub(super) fn set_max(&mut self, max: usize) -> Option<Waker> {
        let waiting = self.framing.is_waiting();
        self.framing.set_max(max);
        self.max_frame = max;
        if waiting { self.rouse() } else { None }
    }

    /// The task has to look again. Returns it if it sleeps.
    fn rouse(&mut self) -> Option<Waker> {
        self.unheard = true;
        self.waker.take()
    }

    /// The task goes to sleep, unless something has been said since it looked.
    fn sleep(&mut self, cx: &Context<'_>) {
        if core::mem::take(&mut self.unheard) {
            cx.waker().wake_by_ref();
        } else {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Until when nothing is read.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.paused_until.max(self.throttled_until)
    }

    /// Whether it has just shown that the peer takes nothing but answers.
    pub(super) fn takes_only_answers_now(&mut self) -> bool {
        self.framing.answers_only() && !core::mem::replace(&mut self.answers_only, true)
    }

    /// Queues the question whether the peer has read all that waits before it; or, where it cannot be asked, has it told when all of that
    /// is written. Returns whom to wake.
    pub(super) fn probe(&mut self, waiting: &AtomicUsize) -> Result<Option<Waker>, NotTaken> {
        let mut question = Vec::new();
        if !self.framing.probe() || self.framing.take_pending(&mut question) == 0 {
            self.unwritten = self.unwritten.saturating_add(1);
            return Ok(if self.hungry { self.waker.take() } else { None });
        }
        let memory = self.queue.memory();
        let pushed = self.queue.push_raw(&question);
        note(waiting, memory, self.queue.memory());
        pushed?;
        Ok(if self.hungry { self.waker.take() } else { None })
    }

    /// Queues what the framing has to say; nothing to a peer that does not take what it is given, which may ask for more only so often.
    /// That is one that has much waiting, or, where all together have more than `ceiling`, anything.
    pub(super) fn push_pending(&mut self, waiting: &AtomicUsize, ceiling: usize) -> Result<(), FrameError> {
        const REFUSED: FrameError = FrameError::Handshake("a peer that takes the answers to its commands");
        let before = self.queue.len();
        let crowded = self.blocked_since.is_some() && waiting.load(Relaxed) > ceiling;
        if crowded || before.saturating_add(self.writing) > OWN_WAITING {
            let asked = self.framing.take_pending(&mut Vec::new()) > 0;
            self.unanswered = self.unanswered.saturating_add(asked.into());
            return if self.unanswered > MAX_UNANSWERED { Err(REFUSED) } else { Ok(()) };
        }
        let memory = self.queue.memory();
        let pushed = self.queue.push_pending(&mut self.framing);
        note(waiting, memory, self.queue.memory());
        pushed.map_err(|Overflow| REFUSED)
    }
}

/// Serves an admitted connection until it ends; whoever the session has no room for is dismissed.
pub(super) fn serve<S>(shared: Arc<Shared<S>>, stream: Stream, from: SocketAddr, side: Side, via: Via)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let Some((peer, link)) = shared.open(from, &side, via) else {
        shared.dismiss(from.ip());
        return;
    };
    #[cfg(feature = "quic")]
    let datagrams = match side {
        Side::Quic(datagrams) => {
            let shared = shared.clone();
            let receiving = async move { super::datagrams::receive_quic(&shared, peer, datagrams).await };
            Some(Box::pin(receiving) as Pin<Box<dyn Future<Output = ()> + Send>>)
        }
        _ => None,
    };
    let claim = Claim::new(shared.settings.payer(from.ip()));
    tokio::spawn(Driver {
        shared,
        peer,
        link,
        stream,
        from,
        #[cfg(feature = "quic")]
        datagrams,
        buffer: None,
        claim,
        partial: None,
        shaking: None,
        silent_at: None,
        ingress: Bucket::default(),
        phase: Phase::Open,
        nap: None,
        halted: false,
        late_since: None,
    });
}

const CLOSING: &str = "closing";
const DISPLACED: &str = "a frame that others had to wait for";

/// Moves what is unread into memory for `capacity` bytes.
fn move_unread(from: &mut FrameBuf, to: &mut FrameBuf, capacity: usize) {
    let len = from.unread().len();
    if let Some(spare) = to.spare(capacity.max(len)).get_mut(..len) {
        spare.copy_from_slice(from.unread());
    }
    to.filled(len);
    from.consume(len);
}

/// Whether there is room for more of a frame.
enum Room {
    There,
    /// Not now, or there is nothing to be put there.
    Wait,
    /// The peer has gone while it waited.
    Gone,
}

enum End {
    Closed,
    /// To be reset.
    Cut,
    Broken(FrameError),
    Late(&'static str),
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last bytes are written; our side is being shut.
    Shutting,
    /// Our side is shut; what still comes in is thrown away, so that the system does not reset the connection and with
    /// it our last words.
    Lingering(Instant),
}

/// Reads and writes until a connection ends. A future by hand: that of an `async fn` would hold what it takes to begin for good.
struct Driver<S: Session> {
    shared: Arc<Shared<S>>,
    peer: PeerId,
    link: Arc<Link<S::Framing>>,
    stream: Stream,
    from: SocketAddr,
    /// Receives datagrams. On the heap, because most connections are of another kind.
    #[cfg(feature = "quic")]
    datagrams: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Holds a partial frame; otherwise lent out while there is something to read.
    buffer: Option<FrameBuf>,
    /// What the hub has set aside for a partial frame.
    claim: Claim,
    /// Since when a frame is incomplete, and how many of its bytes are here.
    partial: Option<(Instant, usize)>,
    /// Since when the framing shakes hands.
    shaking: Option<Instant>,
    /// When the peer will have been silent for longer than it said it would be.
    silent_at: Option<Instant>,
    ingress: Bucket,
    phase: Phase,
    nap: Option<Pin<Box<Sleep>>>,
    /// It is we who do not read: it is looked from time to time whether the peer is there still.
    halted: bool,
    /// Since when something has been going on for too long, though all that could be read has been read.
    late_since: Option<Instant>,
}

impl<S: Session> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let end = ready!(this.poll_to_the_end(cx));
        if let End::Late(what) = end {
            tracing::debug!(from = %this.from, "{what} took too long");
            count(&this.shared.counters.broken);
        }
        let too_late = matches!(end, End::Late(CLOSING));
        if too_late || matches!(end, End::Cut) {
            this.stream.reset();
        }
        this.shared.partials.release(&mut this.claim, this.shared.clock.now());
        this.shared.close(this.peer, &this.link);
        Poll::Ready(())
    }
}

impl<S: Session> Driver<S> {
    /// A stream that cannot be followed any further is not read any more; what waits for it, the reason perhaps, is written.
    fn poll_to_the_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // The stream says when it is over.
        #[cfg(feature = "quic")]
        self.datagrams.take_if(|receiving| receiving.as_mut().poll(cx).is_ready());
        match self.step(cx) {
            Poll::Ready(End::Broken(error)) => {
                // One a second says why, whoever comes.
                if matches!(error, FrameError::Handshake(_)) && self.shared.may_say_refused() {
                    tracing::info!(from = %self.from, %error, "a connection is refused");
                } else {
                    tracing::debug!(from = %self.from, %error, "stream broken");
                }
                count(&self.shared.counters.broken);
                self.shared.part_with(self.peer);
                self.step(cx)
            }
            poll => poll,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = self.shared.clock.now();
        let (closing, cut, paused) = {
            let mut state = self.link.lock();
            // Nobody has to wake this task while it runs.
            state.waker = None;
            state.hungry = false;
            state.unheard = false;
            (state.closing, state.cut, state.rests_until())
        };
        if let Some(reset) = cut {
            return Poll::Ready(if reset { End::Cut } else { End::Closed });
        }
        if closing.is_some_and(|until| until <= now) {
            return Poll::Ready(End::Late(CLOSING));
        }
        if closing.is_none() && !self.shared.partials.stands(&self.claim) {
            return Poll::Ready(End::Late(DISPLACED));
        }
        if closing.is_some() && self.buffer.take().is_some() {
            self.shared.partials.release(&mut self.claim, now);
        }
        if self.phase == Phase::Open && closing.is_none() {
            let resting = paused.is_some_and(|until| self.rest(cx, now, until));
            if resting {
                self.shared.partials.pauses(&mut self.claim, now);
            }
            if core::mem::replace(&mut self.halted, resting) && !resting {
                // The peer is not to blame for the time in which we did not read.
                self.delay(|_| now);
                self.link.lock().deadline = self.next_deadline();
            }
            if !resting {
                if let Poll::Ready(end) = self.read(cx) {
                    return Poll::Ready(end);
                }
            }
            if self.halted && self.has_vanished(cx, now) {
                return Poll::Ready(End::Closed);
            }
            // Only now: whatever is here has been read.
            if let Some(late) = self.late() {
                return Poll::Ready(End::Late(late));
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

    /// What has been going on for too long, as seen twice: the first time the system may not have told yet of what has come in, or the
    /// peer may not have had the time to go on, if it is we who did not run.
    fn late(&mut self) -> Option<&'static str> {
        let now = self.shared.clock.now();
        let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let waits = self.claim.waiting_since();
        let patience = self.shared.settings.partial_wait;
        let late = if waits.is_some_and(|since| since.saturating_add(patience) <= now) {
            "waiting for memory"
        } else if !self.halted && is_over(self.hello_deadline()) {
            "the handshake"
        } else if !self.halted && waits.is_none() && is_over(self.frame_deadline()) {
            // A peer is not to blame for the time that it has to wait.
            "a frame"
        } else if !self.halted && is_over(self.silent_at) {
            "the next sign of life, which the peer had promised,"
        } else {
            self.late_since = None;
            return None;
        };
        if self.link.lock().closing.is_some() {
            return None;
        }
        let since = *self.late_since.get_or_insert(now);
        (since.saturating_add(EXCUSE) <= now).then_some(late)
    }

    /// Whether the peer has gone while we do not read. Asked again within two seconds.
    fn has_vanished(&self, cx: &mut Context<'_>, now: Instant) -> bool {
        let taken = self.buffer.as_ref().is_none_or(FrameBuf::is_empty);
        if self.link.is_over() || self.stream.has_vanished(cx, taken) {
            return true;
        }
        let again = now.saturating_add(WATCH);
        let mut state = self.link.lock();
        state.deadline = Some(state.deadline.map_or(again, |deadline| deadline.min(again)));
        false
    }

    fn hello_deadline(&self) -> Option<Instant> {
        Some(self.shaking?.saturating_add(self.shared.settings.hello))
    }

    /// When it is too late for more of a frame, or of a record of TLS: from what has come in so far follows how long that may have taken.
    fn frame_deadline(&self) -> Option<Instant> {
        let settings = &self.shared.settings;
        let deadline = |(since, bytes): (Instant, usize)| {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let transfer = bytes.checked_div(settings.slowest.into()).unwrap_or(u64::MAX);
            since.saturating_add(settings.frame).saturating_add(Duration::from_secs(transfer))
        };
        self.partial.into_iter().chain(self.stream.seen()).map(deadline).min()
    }

    /// Moves the beginning of what has not come in whole.
    fn delay(&mut self, until: impl Fn(Instant) -> Instant) {
        let delayed = |(since, bytes)| (until(since), bytes);
        self.partial = self.partial.map(delayed);
        self.stream.see(self.stream.seen().map(delayed));
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.frame_deadline(), self.hello_deadline(), self.silent_at];
        deadlines.into_iter().flatten().min()
    }

    /// There is nothing to read: what has come in and cannot be read is part of something, and has to go on like a frame.
    fn look_beneath(&mut self) {
        let (sealed, before) = (self.stream.sealed(), self.stream.seen());
        if sealed == before.map_or(0, |(_, bytes)| bytes) {
            return;
        }
        let now = self.shared.clock.now();
        self.stream.see((sealed > 0).then(|| (before.map_or(now, |(since, _)| since), sealed)));
        if sealed > 0 {
            let unread = self.buffer.as_ref().map_or(0, |buffer| buffer.unread().len());
            self.shared.partials.came(&self.claim, now, unread.saturating_add(sealed));
        } else if self.buffer.as_ref().is_none_or(FrameBuf::is_empty) {
            self.shared.partials.release(&mut self.claim, now);
        }
        let deadline = self.next_deadline();
        let mut state = self.link.lock();
        if state.closing.is_none() {
            state.deadline = deadline;
        }
    }

    /// Waits until `until`; false once that has passed.
    fn rest(&mut self, cx: &mut Context<'_>, now: Instant, until: Instant) -> bool {
        if until <= now {
            let mut state = self.link.lock();
            state.paused_until = state.paused_until.filter(|until| *until > now);
            state.throttled_until = state.throttled_until.filter(|until| *until > now);
            drop(state);
            self.nap = None;
            return false;
        }
        let wake_at = self.shared.clock.to_std(until).into();
        let nap = self.nap.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wake_at)));
        if nap.deadline() != wake_at {
            nap.as_mut().reset(wake_at);
        }
        match nap.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(()) => {
                cx.waker().wake_by_ref();
                true
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut needed = READ;
        // What a pause left behind comes first.
        if self.buffer.as_ref().is_some_and(|buffer| !buffer.is_empty()) {
            match self.digest(cx) {
                Ok(Some(need)) => needed = need,
                Ok(None) => return Poll::Pending,
                Err(error) => return Poll::Ready(End::Broken(error)),
            }
        }
        for _ in 0..READS {
            match self.make_room(cx, needed) {
                Room::There => {}
                Room::Wait => return self.lie_idle(cx),
                Room::Gone => return Poll::Ready(End::Closed),
            }
            let mut buffer = self.buffer_to_read(needed);
            let unread = buffer.unread().len();
            // Memory grows with what has come in, not with what was announced, and no further than may be held.
            let most = self.may_hold().saturating_sub(unread).max(1);
            let spare = buffer.spare(needed.clamp(1, READ.max(unread)).min(most));
            let len = spare.len().min(most);
            let poll = self.stream.poll_read(cx, spare.get_mut(..len).unwrap_or(&mut []));
            if let Poll::Ready(Ok(n)) = &poll {
                buffer.filled(*n);
            }
            let unread = buffer.unread().len();
            self.buffer = Some(buffer);
            match poll {
                Poll::Pending => {
                    self.look_beneath();
                    return self.lie_idle(cx);
                }
                Poll::Ready(Err(error)) => {
                    tracing::trace!(%error, "read failed");
                    return Poll::Ready(End::Closed);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Closed),
                Poll::Ready(Ok(_)) => {
                    self.stream.see(None);
                    // Should the memory be somebody else's by now, the next look tells.
                    self.shared.partials.came(&self.claim, self.shared.clock.now(), unread);
                    match self.digest(cx) {
                        Ok(Some(need)) => needed = need,
                        Ok(None) => return Poll::Pending,
                        Err(error) => return Poll::Ready(End::Broken(error)),
                    }
                }
            }
        }
        self.settle(cx, false);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// There is nothing to read, or no room for it.
    fn lie_idle(&mut self, cx: &Context<'_>) -> Poll<End> {
        self.settle(cx, false);
        if self.shared.partials.rests(&self.claim, self.shared.clock.now()) {
            Poll::Pending
        } else {
            Poll::Ready(End::Late(DISPLACED))
        }
    }

    /// Sees to it that a frame of which `needed` bytes are missing may be held. Nothing is set aside for a peer that has sent nothing
    /// to be put there.
    fn make_room(&mut self, cx: &mut Context<'_>, needed: usize) -> Room {
        let unread = self.buffer.as_ref().map_or(0, |buffer| buffer.unread().len());
        let total = unread.saturating_add(needed);
        if unread < OWN || total <= self.may_hold() {
            return Room::There;
        }
        if self.claim.waiting_since().is_some() && self.stream.is_closed_by_peer(cx) {
            return Room::Gone;
        }
        if self.stream.poll_peek(cx).is_pending() {
            return Room::Wait;
        }
        let now = self.shared.clock.now();
        let (known, max_frame) = {
            let state = self.link.lock();
            (state.framing.announces(), state.max_frame)
        };
        let demand = self.shared.partials.demand(total, known, max_frame);
        let (waited, course) = (self.claim.waiting_since(), self.course(now, known));
        if self.shared.partials.ask(&mut self.claim, now, demand, course, cx.waker()) {
            // The peer is not to blame for the time that it had to wait.
            if let Some(waited) = waited {
                self.delay(|since| since.saturating_add(now.saturating_duration_since(waited)));
            }
            return Room::There;
        }
        self.rest(cx, now, now.saturating_add(AGAIN));
        Room::Wait
    }

    /// How much of a frame may be held while it is read. What is left of it when nothing more comes is entered.
    fn may_hold(&self) -> usize {
        let free = if self.shared.partials.is_tight() { OWN } else { READ };
        self.claim.may_hold().max(free)
    }

    fn course(&self, now: Instant, known: bool) -> Course {
        let (began, received) = self.partial.or_else(|| self.stream.seen()).unwrap_or((now, 0));
        Course { began, received, known }
    }

    /// Memory to read into: a partial frame that has outgrown the little that was kept for it moves.
    fn buffer_to_read(&mut self, needed: usize) -> FrameBuf {
        let Some(mut kept) = self.buffer.take() else { return self.shared.read_buffers.take() };
        let outgrown = kept.unread().len().saturating_add(needed.min(READ)) > kept.capacity();
        if kept.capacity() > OWN || !outgrown || self.shared.partials.is_tight() {
            return kept;
        }
        let mut buffer = self.shared.read_buffers.take();
        move_unread(&mut kept, &mut buffer, READ);
        self.give_back(kept);
        buffer
    }

    /// Holds no more memory than it takes until the peer goes on, or we read on, and has that entered.
    fn settle(&mut self, cx: &Context<'_>, spared: bool) {
        self.lend_back();
        // What TLS holds counts like what is here, whether it waits for the rest of a record, or for us to take it.
        let sealed = self.stream.seen().map_or(0, |(_, bytes)| bytes).max(self.stream.beneath());
        let sealed = sealed.next_multiple_of(2 * OWN);
        let Some(mut buffer) = self.buffer.take() else {
            self.enter(cx, sealed, spared);
            return;
        };
        let unread = buffer.unread().len();
        // Where more has been granted, more is to come.
        let fits = if unread <= OWN { OWN } else { unread.next_multiple_of(2 * OWN) };
        if buffer.capacity() > fits && buffer.capacity() > self.claim.may_hold() {
            let mut smaller = if unread <= OWN { self.shared.small_buffers.take() } else { FrameBuf::new() };
            move_unread(&mut buffer, &mut smaller, fits);
            self.give_back(buffer);
            buffer = smaller;
        }
        self.enter(cx, buffer.capacity().saturating_add(sealed), spared);
        self.buffer = Some(buffer);
    }

    /// Has entered what is held until the peer goes on, if that is more than everybody may hold.
    fn enter(&mut self, cx: &Context<'_>, bytes: usize, spared: bool) {
        if bytes > OWN {
            let now = self.shared.clock.now();
            // No more than has come in.
            let course = self.course(now, true);
            self.shared.partials.insist(&mut self.claim, now, bytes, course, spared, cx.waker());
        }
    }

    /// Hands what has come in to the session. Returns what the next frame needs, or nothing if reading has to pause.
    fn digest(&mut self, cx: &mut Context<'_>) -> Result<Option<usize>, FrameError> {
        loop {
            let Some(buffer) = self.buffer.as_mut() else { return Ok(Some(READ)) };
            let (frames, fed) = self.shared.feed(self.peer, &self.link, buffer)?;
            let handled = frames.saturating_add(buffer.take_skipped());
            let now = self.shared.clock.now();
            if frames > 0 || buffer.is_empty() {
                self.shared.partials.release(&mut self.claim, now);
            }
            self.partial = match fed {
                Fed::NeedMore(_) if !buffer.is_empty() => {
                    let since = self.partial.filter(|_| frames == 0).map_or(now, |(since, _)| since);
                    Some((since, buffer.unread().len()))
                }
                // The peer is not to blame for the time that it has to wait.
                _ => None,
            };
            let frame = self.frame_deadline();
            let mut state = self.link.lock();
            if state.closing.is_some() {
                return Ok(None);
            }
            self.shaking = self.shaking.or(Some(now)).filter(|_| !state.framing.is_ready());
            let hello = self.shaking.map(|since| since.saturating_add(self.shared.settings.hello));
            let silence = state.framing.silence();
            self.silent_at =
                silence.filter(|_| !matches!(fed, Fed::Waiting)).map(|silence| now.saturating_add(silence));
            state.deadline = [frame, hello, self.silent_at].into_iter().flatten().min();
            if let Some(until) = self.ingress.charge(now, self.shared.settings.frames, handled) {
                state.throttled_until = state.throttled_until.max(Some(until));
            }
            let paused = state.rests_until();
            drop(state);
            if paused.is_some_and(|until| self.rest(cx, now, until)) {
                self.partial = None;
                self.halted = true;
                // Nobody listens to it meanwhile.
                if let (Some(at), Some(until)) = (&mut self.silent_at, paused) {
                    *at = at.saturating_add(until.saturating_duration_since(now));
                }
                self.link.lock().deadline = self.silent_at;
                self.settle(cx, true);
                return Ok(None);
            }
            match fed {
                Fed::NeedMore(needed) => {
                    return Ok(Some(needed.max(if self.partial.is_some() { 1 } else { READ })));
                }
                // Whoever says how large it may be wakes this task.
                Fed::Waiting => {
                    self.halted = true;
                    self.settle(cx, true);
                    return Ok(None);
                }
                // The pause is over already: whole frames may be left, and must not be forgotten.
                Fed::Stopped => {}
            }
        }
    }

    /// Gives an empty read buffer to whoever needs one.
    fn lend_back(&mut self) {
        if let Some(buffer) = self.buffer.take_if(|buffer| buffer.is_empty()) {
            self.give_back(buffer);
        }
    }

    fn give_back(&self, mut buffer: FrameBuf) {
        buffer.shrink_to(READ);
        match buffer.capacity() {
            READ => self.shared.read_buffers.give(buffer),
            OWN => self.shared.small_buffers.give(buffer),
            // Of a size that nobody else needs.
            _ => {}
        }
    }

    /// Writes what waits, with one call if the system takes it all; then closes, if that is due.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut batch = self.link.lock().parked.take().map(|batch| *batch).unwrap_or_default();
        let mut taken = false;
        loop {
            if batch.is_empty() {
                self.lend_written(core::mem::take(&mut batch).into_memory());
                let flushed = self.stream.poll_flush(cx);
                let mut state = self.link.lock();
                note(&self.shared.waiting, state.out, 0);
                (state.writing, state.out) = (0, 0);
                // What TLS holds the peer has not taken.
                if flushed.is_ready() {
                    state.unanswered = 0;
                    state.blocked_since = None;
                }
                if state.queue.is_empty() {
                    // Under the same lock: whatever is queued from now on wakes this task.
                    state.sleep(cx);
                    state.hungry = true;
                    let closing = state.closing.is_some();
                    let probes = if flushed.is_ready() { core::mem::take(&mut state.unwritten) } else { 0 };
                    drop(state);
                    if flushed.is_pending() {
                        self.enter_unsent();
                    }
                    if probes > 0 && !closing {
                        // Should that bring more to write, this task is woken for it.
                        self.shared.written(self.peer, probes);
                    }
                    return match (closing, self.phase, flushed) {
                        (_, _, Poll::Ready(Err(_))) => Poll::Ready(End::Closed),
                        (true, Phase::Open | Phase::Shutting, Poll::Ready(Ok(()))) => self.shut(cx),
                        _ => Poll::Pending,
                    };
                }
                let memory = state.queue.memory();
                batch = state.queue.take_next(OWN_WAITING, || self.shared.write_buffers.take());
                (state.writing, state.out) = (batch.len(), batch.memory());
                note(&self.shared.waiting, memory, state.queue.memory().saturating_add(state.out));
            }
            let written = if let Some(piece) = batch.one_piece() {
                self.stream.poll_write(cx, piece)
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                self.stream.poll_write_vectored(cx, batch.pieces(&mut slices))
            };
            match written {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.link.lock().parked = Some(batch.into());
                    return Poll::Ready(End::Closed);
                }
                Poll::Ready(Ok(n)) => {
                    batch.advance(n);
                    taken = true;
                }
                Poll::Pending => {
                    // What is left may take long: it gets no more memory than it needs.
                    let spent = batch.shrink(HOARD, OWN_WAITING);
                    // A cut and the sweep have to reach a task that waits for the peer to take its bytes.
                    let mut state = self.link.lock();
                    state.sleep(cx);
                    note(&self.shared.waiting, state.out, batch.memory());
                    (state.writing, state.out) = (batch.len(), batch.memory());
                    // Where others can throw it away.
                    state.parked = Some(batch.into());
                    if taken {
                        state.unanswered = 0;
                    }
                    state.blocked_since.get_or_insert_with(|| self.shared.clock.now());
                    drop(state);
                    if let Some(spent) = spent {
                        self.lend_written(spent);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// The peer does not take what TLS holds for it.
    fn enter_unsent(&self) {
        let unsent = self.stream.unsent();
        if unsent > 0 {
            let mut state = self.link.lock();
            note(&self.shared.waiting, state.out, unsent);
            state.out = unsent;
            state.blocked_since.get_or_insert_with(|| self.shared.clock.now());
        }
    }

    /// Memory that was written from is there for others, but no more than they need.
    fn lend_written(&self, mut out: Vec<u8>) {
        if out.capacity() > 0 {
            out.clear();
            out.shrink_to(KEPT);
            self.shared.write_buffers.give(out);
        }
    }

    fn shut(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.phase = Phase::Shutting;
        match self.stream.poll_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(End::Closed),
            Poll::Ready(Ok(())) => {
                self.phase =
                    Phase::Lingering(self.shared.clock.now().saturating_add(self.shared.settings.linger));
                self.partial = None;
                Poll::Pending
            }
        }
    }

    /// Reads and forgets until the peer closes its side, too.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Phase::Lingering(until) = self.phase else { return Poll::Pending };
        let now = self.shared.clock.now();
        if !self.rest(cx, now, until) {
            return Poll::Ready(End::Closed);
        }
        let mut buffer = self.buffer.take().unwrap_or_else(|| self.shared.read_buffers.take());
        let mut end = Poll::Pending;
        for _ in 0..READS {
            buffer.consume(usize::MAX);
            match self.stream.poll_read(cx, buffer.spare(READ)) {
                Poll::Ready(Ok(n)) if n > 0 => continue,
                Poll::Ready(_) => end = Poll::Ready(End::Closed),
                Poll::Pending => {}
            }
            break;
        }
        self.give_back(buffer);
        end
    }
}

impl<S: Session> Drop for Driver<S> {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        // Whatever was not written waits no more; and nothing is queued from now on.
        note(&self.shared.waiting, state.out.saturating_add(state.queue.memory()), 0);
        state.queue.take();
        state.parked = None;
        state.out = 0;
        let dropped = state.queue.dropped;
        drop(state);
        if dropped > 0 {
            tracing::debug!(peer = %self.peer, dropped, "frames dropped for a slow connection");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// F-43, F-46: whoever does not take its answers gets no more of them while all together have too much waiting, however little it has
    /// itself; and others do.
    #[test]
    fn f_46_over_the_ceiling_those_who_take_nothing_are_not_answered() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let link = Link::new(Cutter::Plain(Answers), 1 << 20, address, &Side::Stream);
        let waiting = AtomicUsize::new(1001);
        let ask =
            |times: u32| (0..times).take_while(|_| link.lock().push_pending(&waiting, 1000).is_ok()).count();
        assert_eq!((ask(100), link.lock().queue.len()), (100, 700));
        link.block(Instant::ZERO);
        assert_eq!((ask(100), link.lock().queue.len()), (64, 700), "and is closed for asking on");
        link.lock().unanswered = 0;
        waiting.store(999, Relaxed);
        assert_eq!((ask(1), link.lock().queue.len()), (1, 707));
    }
}
