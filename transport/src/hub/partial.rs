//! The memory of frames that have not come in whole.
//!
//! A connection may hold 2 KiB ([`OWN`]) of such a frame. For more it asks ([`Partials::ask`]). A frame of known length gets all of its memory
//! at once, or none. A frame of unknown length gets all that its class allows; if it outgrows that, it keeps it while it waits for the next
//! class. So two frames that wait in one class cannot block each other.
//!
//! There are three size classes. Each has a share of [`HubSettings::partial_frames`](super::HubSettings::partial_frames):
//!
//! | class | frames of | share | of one source | grace | silence |
//! | --- | --- | --- | --- | --- | --- |
//! | 0 | up to 64 KiB | a quarter | a sixteenth | 0.25 s | 0.5 s |
//! | 1 | up to 1 MiB | a quarter | a sixteenth | 0.5 s | 1 s |
//! | 2 | more | half | a quarter | 1 s | 1 s |
//!
//! Where a share is used up, frames wait for it. [`turns`] says which is next. While a frame waits, another frame of its class loses its memory,
//! and its connection is closed,
//!
//! - if nothing of it has come in for the time in the last column;
//! - if it comes in at less than 256 KiB/s ([`PACE`]), and at less than half the rate of the frame that waits;
//! - if it comes in so slowly that it would not end in nine tenths of [`HubSettings::partial_wait`](super::HubSettings::partial_wait).
//!
//! A frame loses nothing within its grace time, unless its source holds more than one source may. For some seconds, time in which the hub does
//! not read a connection does not count as silence.

mod turns;

use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::Waker;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use turns::{Began, Source, Turns, Waiter};
use voxwire_core::Instant;

/// What every connection may hold of a partial frame without asking, in bytes.
pub(super) const OWN: usize = 2048;
/// The largest frames of classes 0 and 1, in bytes.
const CLASSES: [usize; 2] = [64 * 1024, 1024 * 1024];
/// How long a frame keeps what it has been granted, by class.
const GRACE: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
/// How soon a frame that waits asks again, even if it is not woken.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// How long a frame that was found silent or slow keeps its memory: after a pause of this process, its task may run before the system has told
/// of the data that has come in.
const SECOND_LOOK: Duration = Duration::from_millis(50);
/// The silence after which a frame gives way to one that waits, by class.
const SILENCE: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(1)];
/// A frame that the hub does not read loses its memory so long after it was asked to give way. (Its task does not run, so it cannot give way
/// itself.)
const CALLED: Duration = Duration::from_secs(1);
/// A frame that was spared because the hub did not read it is spared again after this time at the earliest.
const SPARED_AGAIN: Duration = Duration::from_secs(60);
/// How long a frame that waits for more, or that the hub does not read, does not count as silent.
const HOLDING: Duration = Duration::from_secs(5);
/// A frame that comes in faster than this, in bytes per second, is never too slow beside another one.
const PACE: u64 = 256 * 1024;

/// The budget, and what is held of it.
#[derive(Debug)]
pub(super) struct Partials {
    all: usize,
    /// While another frame waits, a frame has to come in so fast that it would be whole in this time.
    whole: Duration,
    books: Mutex<Books>,
    /// More than half of the share of small frames is used: each connection reads no more at a time than it may hold without asking.
    scarce: AtomicBool,
}

#[derive(Debug)]
struct Books {
    last_id: u64,
    /// The number of the frame that began to wait last.
    last_turn: u64,
    held: BTreeMap<u64, Held>,
    /// What sources hold, and the frames that wait, by class.
    turns: [Turns; 3],
}

#[derive(Debug)]
struct Held {
    /// The source that pays for it; `None` for an exempt address (`HubSettings::payer`).
    payer: Option<IpAddr>,
    class: usize,
    bytes: usize,
    granted: Instant,
    received: usize,
    /// The frame's length is known: it is `bytes`. Otherwise the frame may grow to `bytes`.
    known: bool,
    /// The hub does not read the connection at present.
    unread: bool,
    /// How long there was nothing to read, in all.
    idle: Duration,
    /// Since when there is nothing to read.
    quiet: Option<Instant>,
    /// Until then its silence does not count, because the hub does not read it.
    spared: Instant,
    /// Since when it is asked to give way. It does, unless there is data to read after all.
    called: Option<Instant>,
    /// Since when it has been found too slow, at each look.
    slow_since: Option<Instant>,
    waker: Waker,
}

/// What one connection holds and waits for.
#[derive(Debug)]
pub(super) struct Reservation {
    payer: Option<IpAddr>,
    /// 0 until it asks for the first time.
    id: u64,
    granted: usize,
    waits: Option<Waits>,
    /// Until when the connection's silence does not count because the hub does not read it. It outlasts single frames.
    spared: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    class: usize,
    /// Its number among all that have begun to wait.
    turn: u64,
    since: Instant,
}

/// Memory that is granted to a frame.
struct Grant {
    bytes: usize,
    progress: FrameProgress,
    unread: bool,
    /// The clocks of the moment when it began to wait; `None` if it did not wait.
    began: Option<Began>,
}

/// A frame that asks for memory.
#[derive(Debug, Clone, Copy)]
struct Asks {
    id: u64,
    payer: Option<IpAddr>,
    class: usize,
    since: Instant,
    progress: FrameProgress,
}

/// How a frame has come in so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameProgress {
    pub(super) began: Instant,
    pub(super) received: usize,
    /// Its length is known.
    pub(super) known: bool,
}

impl Reservation {
    /// For a connection whose source is `payer`; `None` for an exempt address.
    pub(super) const fn new(payer: Option<IpAddr>) -> Self {
        Self { payer, id: 0, granted: 0, waits: None, spared: None }
    }

    fn source(&self) -> Source {
        Source::new(self.payer, self.id)
    }

    /// What may be held, in bytes.
    pub(super) fn may_hold(&self) -> usize {
        self.granted.max(OWN)
    }

    /// The hub stops reading the connection. Returns until when its silence does not count: for [`HOLDING`], once in [`SPARED_AGAIN`].
    fn spare(&mut self, now: Instant) -> Instant {
        match self.spared {
            Some(until) if until.saturating_add(SPARED_AGAIN) > now => until,
            _ => *self.spared.insert(now.saturating_add(HOLDING)),
        }
    }

    /// Since when it waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        Some(self.waits?.since)
    }
}

const fn class(bytes: usize) -> usize {
    let [small, medium] = CLASSES;
    if bytes <= small {
        0
    } else if bytes <= medium {
        1
    } else {
        2
    }
}

/// How much of `all` the frames of a class may hold together: half for the largest class, a quarter for each of the others.
const fn share(all: usize, class: usize) -> usize {
    if class == 2 { all / 2 } else { all / 4 }
}

/// How much of `all` the frames of a class may hold together that come from one source: for the largest class a quarter of `all`, so that a few
/// frames fit; for each of the others a quarter of its share.
const fn source_limit(all: usize, class: usize) -> usize {
    if class == 2 { all / 4 } else { share(all, class) / 4 }
}

/// Bytes per second.
fn pace(received: usize, time: Duration) -> u64 {
    let micros = time.as_micros().max(1000);
    let pace = (received as u128).saturating_mul(1_000_000).checked_div(micros).unwrap_or(0);
    u64::try_from(pace).unwrap_or(u64::MAX)
}

impl Partials {
    /// `wait`: how long a connection waits for memory before it is closed.
    pub(super) fn new(all: usize, wait: Duration) -> Self {
        let whole = wait.saturating_mul(9).checked_div(10).unwrap_or(wait);
        let [small, medium, large] = GRACE;
        let turns = [(0, small), (1, medium), (2, large)];
        let turns = turns.map(|(class, grace)| Turns::new(source_limit(all, class), grace));
        let books = Books { last_id: 0, last_turn: 0, held: BTreeMap::new(), turns };
        Self { all, whole, books: Mutex::new(books), scarce: AtomicBool::new(false) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much memory to ask for, for a frame of at least `total` bytes. Where its length is `known`, that is `total`. Otherwise it is as much as
    /// the frame may grow to within its class: of two frames that grow step by step, each would hold memory for which the other waits. The result
    /// is at least `total`, even beyond `max_frame`: a framing may take some frames that are longer.
    pub(super) fn demand(&self, total: usize, known: bool, max_frame: usize) -> usize {
        if known {
            return total;
        }
        let [small, medium] = CLASSES;
        let most = if total <= small {
            small.min(max_frame)
        } else if total <= medium {
            medium
        } else if max_frame < usize::MAX && total <= max_frame {
            max_frame.min(self.all)
        } else if total <= self.all / 4 {
            self.all / 4
        } else {
            self.all
        };
        most.max(total)
    }

    /// Whether connections read no more at a time than they may hold without asking.
    pub(super) fn is_scarce(&self) -> bool {
        self.scarce.load(Relaxed)
    }

    /// Bytes held, of all classes.
    pub(super) fn used(&self) -> usize {
        self.books().turns.iter().map(Turns::used).sum()
    }

    /// Asks for `bytes` for one frame. False if it has to wait. The caller asks again when the waker is woken, and every [`AGAIN`].
    pub(super) fn ask(
        &self,
        reservation: &mut Reservation,
        now: Instant,
        bytes: usize,
        progress: FrameProgress,
        waker: &Waker,
    ) -> bool {
        if bytes <= reservation.granted {
            return true;
        }
        let mut books = self.books();
        books.assign_id(reservation);
        let class = class(bytes);
        if reservation.waits.is_some_and(|waits| waits.class != class) {
            books.stop_waiting(reservation, now);
        }
        let begins = reservation.waits.is_none();
        let waits = *reservation.waits.get_or_insert_with(|| books.begin_waiting(class, now));
        let holds = books.holds(reservation.id, class);
        let (source, waiter) = (reservation.source(), Waiter { holds, bytes, waker: waker.clone() });
        let Some(turns) = books.turns.get_mut(class) else { return false };
        // A frame larger than the budget never fits.
        let fits = bytes <= self.all;
        let alone = turns.is_empty();
        let is_next = if !fits {
            let _ = turns.stop(source, waits.turn, now);
            false
        } else if alone {
            turns.may(source, &waiter)
        } else {
            turns.wait(source, waits.turn, &waiter, now);
            turns.next().is_some_and(|(turn, _)| turn == waits.turn)
        };
        let asks = Asks { id: reservation.id, payer: reservation.payer, class, since: waits.since, progress };
        if is_next && self.make_room(&mut books, &asks, &waiter, alone, now) {
            let began = books.stop_waiting(reservation, now);
            self.put(&mut books, reservation, now, Grant { bytes, progress, unread: false, began }, waker);
            return true;
        }
        books.note_heard(reservation.id, begins, now);
        if let Some(turns) = books.turns.get_mut(class).filter(|_| alone && fits) {
            turns.wait(source, waits.turn, &waiter, now);
        }
        false
    }

    /// Whether there is room for the frame of `waiter`. If not, takes memory from frames that may lose it. `alone`: no other frame waits.
    fn make_room(&self, books: &mut Books, asks: &Asks, waiter: &Waiter, alone: bool, now: Instant) -> bool {
        let class = asks.class;
        let others = books.turns.get(class).map_or(0, Turns::used).saturating_sub(waiter.holds);
        // A frame may be larger than its share, up to the whole budget, if no other of its class holds memory.
        let lacking = others.saturating_sub(share(self.all, class).saturating_sub(waiter.bytes));
        if lacking == 0 {
            return true;
        }
        if alone {
            books.forget_marks(class);
        }
        books.reclaim(asks, lacking, (source_limit(self.all, class), self.whole), now)
    }

    /// Counts memory that is held already, whether there is room or not: the rest of a read, after whole frames were taken out of it. `unread`: it
    /// is the hub that does not read on.
    pub(super) fn record(
        &self,
        reservation: &mut Reservation,
        now: Instant,
        bytes: usize,
        progress: FrameProgress,
        unread: bool,
        waker: &Waker,
    ) {
        if bytes > reservation.may_hold() {
            let mut books = self.books();
            books.assign_id(reservation);
            self.put(&mut books, reservation, now, Grant { bytes, progress, unread, began: None }, waker);
        } else if unread {
            self.on_pause(reservation, now);
        }
    }

    /// The hub does not read the connection for some time.
    pub(super) fn on_pause(&self, reservation: &mut Reservation, now: Instant) {
        if reservation.granted == 0 {
            return;
        }
        let spared = reservation.spare(now);
        if let Some(held) = self.books().held.get_mut(&reservation.id).filter(|held| !held.unread) {
            (held.unread, held.spared) = (true, spared);
            held.quiet = held.quiet.or_else(|| Some(spared.max(now)));
        }
    }

    /// More bytes have come in. False if the frame has lost its memory.
    pub(super) fn on_received(&self, reservation: &Reservation, now: Instant, received: usize) -> bool {
        if reservation.granted == 0 {
            return true;
        }
        let mut books = self.books();
        let held = books.held.get_mut(&reservation.id);
        let Some(held) = held else { return false };
        let ours = core::mem::take(&mut held.unread);
        if let Some(quiet) = held.quiet.take().filter(|_| !ours) {
            held.idle = held.idle.saturating_add(now.saturating_duration_since(quiet));
        }
        (held.received, held.called, held.spared) = (received, None, Instant::ZERO);
        true
    }

    /// The connection is idle: there is nothing to read, or no memory to read into. False if it has to give way: it was asked to do so, because
    /// another frame waits for its memory, and [`SECOND_LOOK`] has passed since.
    pub(super) fn on_idle(&self, reservation: &Reservation, now: Instant) -> bool {
        if reservation.granted == 0 {
            return true;
        }
        let mut books = self.books();
        let Books { held, turns, .. } = &mut *books;
        let Some(held) = held.get_mut(&reservation.id) else { return false };
        if core::mem::take(&mut held.unread) {
            (held.quiet, held.called, held.spared) = (None, None, Instant::ZERO);
        }
        held.quiet.get_or_insert(now);
        // No frame waits any more: the request is void.
        if turns.get(held.class).is_none_or(Turns::is_empty) {
            (held.called, held.slow_since) = (None, None);
        }
        held.called.is_none_or(|since| since.saturating_add(SECOND_LOOK) > now)
    }

    /// Whether the reservation still has its memory.
    pub(super) fn is_held(&self, reservation: &Reservation) -> bool {
        reservation.granted == 0 || self.books().held.contains_key(&reservation.id)
    }

    /// Gives everything back, and waits no more.
    pub(super) fn release(&self, reservation: &mut Reservation, now: Instant) {
        if reservation.granted == 0 && reservation.waits.is_none() {
            return;
        }
        let mut books = self.books();
        books.stop_waiting(reservation, now);
        reservation.granted = 0;
        if let Some(held) = books.remove(reservation.id, now) {
            books.wake_next(held.class);
        }
        self.update_scarce(&books);
    }

    fn put(
        &self,
        books: &mut Books,
        reservation: &mut Reservation,
        now: Instant,
        grant: Grant,
        waker: &Waker,
    ) {
        let Grant { bytes, progress, unread, began } = grant;
        let before = books.remove(reservation.id, now);
        let class = class(bytes);
        let received = progress.received;
        let idle = before.as_ref().map_or(Duration::ZERO, |held| held.idle);
        let spared = if unread { reservation.spare(now) } else { Instant::ZERO };
        // A frame that waits for more, or that the hub does not read, does not count as silent for a while.
        let quiet = if reservation.waits.is_some() { Some(now.saturating_add(HOLDING)) } else { None };
        let quiet = if unread { quiet.max(Some(spared.max(now))) } else { quiet };
        let (payer, waker) = (reservation.payer, waker.clone());
        let held = Held {
            payer,
            class,
            bytes,
            granted: now,
            received,
            known: progress.known,
            unread,
            idle,
            quiet,
            spared,
            called: None,
            slow_since: None,
            waker,
        };
        if let Some(turns) = books.turns.get_mut(class) {
            turns.hold(reservation.source(), bytes, began, now);
        }
        books.held.insert(reservation.id, held);
        reservation.granted = bytes;
        if let Some(before) = before.filter(|before| before.class != class) {
            books.wake_next(before.class);
        }
        books.wake_next(class);
        self.update_scarce(books);
    }

    fn update_scarce(&self, books: &Books) {
        let [small, ..] = &books.turns;
        self.scarce.store(small.used() > share(self.all, 0) / 2, Relaxed);
    }
}

impl Books {
    /// Wakes the frame whose turn it is.
    fn wake_next(&self, class: usize) {
        if let Some((_, waiter)) = self.turns.get(class).and_then(Turns::next) {
            waiter.waker.wake_by_ref();
        }
    }

    fn assign_id(&mut self, reservation: &mut Reservation) {
        if reservation.id == 0 {
            self.last_id = self.last_id.saturating_add(1);
            reservation.id = self.last_id;
        }
    }

    /// Bytes that a connection holds of this class.
    fn holds(&self, id: u64, class: usize) -> usize {
        self.held.get(&id).filter(|held| held.class == class).map_or(0, |held| held.bytes)
    }

    /// There is data to read for a frame that waits for memory. So it does not count as silent, however long ago its last bytes were read.
    /// `begins`: the frame did not wait before.
    fn note_heard(&mut self, id: u64, begins: bool, now: Instant) {
        let Some(held) = self.held.get_mut(&id).filter(|held| begins || held.quiet.is_none()) else { return };
        if let Some(quiet) = held.quiet {
            held.idle = held.idle.saturating_add(now.saturating_duration_since(quiet));
        }
        (held.quiet, held.called) = (Some(now.saturating_add(HOLDING)), None);
    }

    fn begin_waiting(&mut self, class: usize, since: Instant) -> Waits {
        self.last_turn = self.last_turn.saturating_add(1);
        Waits { class, turn: self.last_turn, since }
    }

    fn stop_waiting(&mut self, reservation: &mut Reservation, now: Instant) -> Option<Began> {
        let Waits { class, turn, .. } = reservation.waits.take()?;
        self.turns.get_mut(class)?.stop(reservation.source(), turn, now)
    }

    /// Where no frame waits any more, no frame is asked to give way any more, nor noted as slow.
    fn forget_marks(&mut self, class: usize) {
        if self.turns.get(class).is_none_or(Turns::is_empty) {
            let marked = self.held.values_mut().filter(|held| held.class == class);
            marked.for_each(|held| (held.called, held.slow_since) = (None, None));
        }
    }

    /// A frame has come in whole, or loses its memory.
    fn remove(&mut self, id: u64, now: Instant) -> Option<Held> {
        let held = self.held.remove(&id)?;
        if let Some(turns) = self.turns.get_mut(held.class) {
            turns.give_back(Source::new(held.payer, id), held.bytes, now);
        }
        Some(held)
    }

    /// Takes at least `bytes` from frames that are silent or too slow, or nothing if they do not hold so much. At the first look a silent frame is
    /// asked to give way, and a slow one is noted: it may be the hub that has not read. False until enough is free.
    fn reclaim(
        &mut self,
        asks: &Asks,
        bytes: usize,
        (source_limit, whole): (usize, Duration),
        now: Instant,
    ) -> bool {
        let Asks { id: own, payer, class, since, progress } = *asks;
        let slow = PACE.min(pace(progress.received, since.saturating_duration_since(progress.began)) / 2);
        let grace = GRACE.get(class).copied().unwrap_or_default();
        let stall = SILENCE.get(class).copied().unwrap_or_default();
        let mut behind: Vec<(bool, u64, u64, usize)> = Vec::new();
        let Self { held, turns, .. } = self;
        let Some(turns) = turns.get(class) else { return false };
        for (id, held) in held.iter_mut().filter(|(id, held)| held.class == class && **id != own) {
            let quiet = held.quiet.map(|quiet| now.saturating_duration_since(quiet));
            let pace = pace(held.received, held.idle.saturating_add(quiet.unwrap_or_default()));
            // No grace for a frame whose source holds more than one source may.
            let sum = held.payer.map_or(0, |_| turns.held(Source::new(held.payer, *id)));
            let heavy = held.payer != payer && sum > source_limit;
            let young = held.granted.saturating_add(grace) > now || held.spared > now;
            let silent = quiet.is_some_and(|quiet| heavy || quiet >= stall);
            // Of a frame whose length is not known, what has come in so far counts as all of it.
            let all = if held.known { held.bytes } else { held.received };
            let too_slow = pace < slow || !young && pace < self::pace(all, whole);
            held.slow_since = held.slow_since.filter(|_| too_slow);
            if (heavy || !young) && (silent || too_slow) {
                behind.push((silent, pace, *id, held.bytes));
            }
        }
        if behind.iter().fold(0, |sum: usize, (.., held)| sum.saturating_add(*held)) < bytes {
            return false;
        }
        behind.sort_unstable();
        let (mut freed, mut asked): (usize, usize) = (0, 0);
        for (silent, _, id, bytes_held) in behind {
            if freed.saturating_add(asked) >= bytes {
                break;
            }
            let Some(held) = self.held.get_mut(&id) else { continue };
            held.waker.wake_by_ref();
            let slow_since = *held.slow_since.get_or_insert(now);
            let goes = if silent {
                let called = *held.called.get_or_insert(now);
                held.unread && called.saturating_add(CALLED) <= now
            } else {
                slow_since.saturating_add(SECOND_LOOK) <= now
            };
            if goes {
                self.remove(id, now);
                freed = freed.saturating_add(bytes_held);
            } else {
                asked = asked.saturating_add(bytes_held);
            }
        }
        freed >= bytes
    }
}

#[cfg(test)]
mod tests;
