//! The memory of frames that have not come in whole: who may hold how much of it, who waits for it, and who has to go.
//!
//! Nobody holds a part of it while waiting for more of the same kind: a frame gets all it may need at once, and the three kinds
//! (by size) have a part of the budget each, so whoever waits only waits for frames that have everything they need. Where somebody
//! waits, those who hold memory have to keep coming in: a silent one, or one that is much slower than the one that waits, goes.

use core::net::IpAddr;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::Waker;
use core::time::Duration;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use voxwire_core::{Instant, site};

/// What every connection may hold of a partial frame without asking, in bytes.
pub(super) const OWN: usize = 2048;
/// The largest frames of the first two kinds, in bytes; there is a third.
const KINDS: [usize; 2] = [64 * 1024, 1024 * 1024];
/// For so long nobody has to give back what it has been granted, by kind: the larger, the longer.
const GRACE: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
/// How often one that waits asks again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// For so long whoever has been found silent or slow may still turn out to have something to read: after a stall of ours its task runs
/// before the system has told of that.
const LOOKS: Duration = Duration::from_millis(50);
/// Whoever has sent nothing for so long gives way to somebody who waits, by kind.
const STALL: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(1)];
/// Whoever has been told of somebody who waits while we do not read it has to go after that: it does not look itself.
const CALLED: Duration = Duration::from_secs(1);
/// Whoever has been spared because we do not read it is not spared again so soon.
const SPARED_AGAIN: Duration = Duration::from_secs(60);
/// Whoever has been waiting for so long gives back what it holds meanwhile, if others wait for that.
const HOLDING: Duration = Duration::from_secs(5);
/// A waiting frame is behind all that begin to wait while so many are served, for each that its source holds of the same kind.
const PASSES: u64 = 16;
/// No more of them count.
const COUNTED: u64 = 4;
/// For so long a large frame counts as held when its source waits for another one: sources that take turns would hold that memory for
/// good.
const LATELY: Duration = Duration::from_secs(300);
/// One of which less has come in does not count for longer than it is held.
const MUCH: usize = 1024 * 1024;
/// So many large frames are remembered.
const REMEMBERED: usize = 1024;
/// Whoever is faster than this, in bytes per second, and fast enough to end in time, keeps what it has.
const PACE: u64 = 256 * 1024;

/// The budget and its books.
#[derive(Debug)]
pub(super) struct Partials {
    all: usize,
    /// While somebody waits, a frame has to come in so fast that it ends in this time: a little less than others wait for it.
    whole: Duration,
    books: Mutex<Books>,
    /// Little is left for small frames: nobody reads more at a time than it may hold without asking.
    tight: AtomicBool,
}

#[derive(Debug, Default)]
struct Books {
    last_id: u64,
    /// Of those who have begun to wait, the last one.
    last_turn: u64,
    /// How many have waited and been served, by kind.
    served: [u64; 3],
    held: BTreeMap<u64, Held>,
    used: [usize; 3],
    sources: HashMap<IpAddr, Sum>,
    /// Those who wait, by kind, see [`PASSES`].
    queue: [BTreeMap<(u64, NonZeroU64), Waiter>; 3],
    /// Which sources have had a large frame, and since when. Of IPv6, the /48.
    lately: VecDeque<(Instant, IpAddr)>,
}

/// What a source has, by kind.
#[derive(Debug, Default)]
struct Sum {
    bytes: [usize; 3],
    claims: [usize; 3],
}

#[derive(Debug)]
struct Held {
    /// Who pays for it: nobody where the address stands for many people.
    payer: Option<IpAddr>,
    kind: usize,
    bytes: usize,
    granted: Instant,
    received: usize,
    /// `bytes` is what the frame takes, and not only what it may take.
    known: bool,
    /// We do not read it at present.
    unread: bool,
    /// How long there was nothing to read. Time that we took does not count.
    idle: Duration,
    /// Since when there is nothing to read.
    quiet: Option<Instant>,
    /// Until then nothing is made of its silence: we do not read it.
    spared: Instant,
    /// Somebody waits, since then: unless there is something to read after all, this has to go.
    called: Option<Instant>,
    /// Somebody waits, and it has been too slow whenever it was looked at since then.
    slow_since: Option<Instant>,
    waker: Waker,
}

#[derive(Debug)]
struct Waiter {
    payer: Option<IpAddr>,
    /// What it holds already of the kind that it waits for.
    holds: usize,
    bytes: usize,
    waker: Waker,
}

/// What one connection holds and waits for.
#[derive(Debug)]
pub(super) struct Claim {
    payer: Option<IpAddr>,
    /// 0: has not asked yet.
    id: u64,
    granted: usize,
    waits: Option<Waits>,
    /// Until when it is not sent away for our not reading it; whatever frames end meanwhile.
    spared: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    kind: usize,
    /// The place in the queue: how many had been served when it began to wait, and how many it lets be served first.
    place: u64,
    turn: NonZeroU64,
    since: Instant,
}

/// Whoever needs room.
#[derive(Debug, Clone, Copy)]
struct Asks {
    id: u64,
    payer: Option<IpAddr>,
    kind: usize,
    since: Instant,
    course: Course,
}

/// How a frame has come in so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) began: Instant,
    pub(super) received: usize,
    /// Its length is known.
    pub(super) known: bool,
}

impl Claim {
    /// Of a connection whose source is `payer`; `None` where its address stands for many people.
    pub(super) const fn new(payer: Option<IpAddr>) -> Self {
        Self { payer, id: 0, granted: 0, waits: None, spared: None }
    }

    /// What may be held, in bytes.
    pub(super) fn may_hold(&self) -> usize {
        self.granted.max(OWN)
    }

    /// We do not read it. Until when nothing is made of that: for a while, once in some time.
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

const fn kind(bytes: usize) -> usize {
    let [small, medium] = KINDS;
    if bytes <= small {
        0
    } else if bytes <= medium {
        1
    } else {
        2
    }
}

/// Bytes per second.
fn pace(received: usize, time: Duration) -> u64 {
    let micros = time.as_micros().max(1000);
    let pace = (received as u128).saturating_mul(1_000_000).checked_div(micros).unwrap_or(0);
    u64::try_from(pace).unwrap_or(u64::MAX)
}

impl Partials {
    /// `wait`: how long somebody waits for a place before it is closed.
    pub(super) fn new(all: usize, wait: Duration) -> Self {
        let whole = wait.saturating_mul(9).checked_div(10).unwrap_or(wait);
        Self { all, whole, books: Mutex::default(), tight: AtomicBool::new(false) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all frames of a kind may hold together: half of it the largest, a quarter each of the others.
    const fn share(&self, kind: usize) -> usize {
        if kind == 2 { self.all / 2 } else { self.all / 4 }
    }

    /// How much to ask for, for a frame of at least `total` bytes: all of it where its length is known, and otherwise as much as it may
    /// grow to within its kind, or two that grow would each hold what the other one waits for. A framing may take some frames that are
    /// longer than the session's `max_frame`.
    pub(super) fn demand(&self, total: usize, known: bool, max_frame: usize) -> usize {
        if known {
            return total;
        }
        let [small, medium] = KINDS;
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

    /// Whether to read no more at a time than may be held without asking.
    pub(super) fn is_tight(&self) -> bool {
        self.tight.load(Relaxed)
    }

    /// What is held in all.
    pub(super) fn used(&self) -> usize {
        self.books().used.iter().sum()
    }

    /// Asks for `bytes` for one frame. False: not now. The waker is told when it is worth asking again, which is also to be done now
    /// and then without that.
    pub(super) fn ask(
        &self,
        claim: &mut Claim,
        now: Instant,
        bytes: usize,
        course: Course,
        waker: &Waker,
    ) -> bool {
        if bytes <= claim.granted {
            return true;
        }
        let mut books = self.books();
        books.number(claim);
        let kind = kind(bytes);
        if claim.waits.is_some_and(|waits| waits.kind != kind) {
            books.stop_waiting(claim);
        }
        let waits = claim.waits.unwrap_or_else(|| books.begin_waiting(kind, claim.payer, now));
        let key = (waits.place, waits.turn);
        let Some(queue) = books.queue.get(kind) else { return false };
        let ahead =
            queue.range(..key).any(|(_, other)| self.may(&books, other.payer, other.holds, other.bytes));
        let own = books.held.get(&claim.id).filter(|held| held.kind == kind).map_or(0, |held| held.bytes);
        let mut granted = !ahead && self.may(&books, claim.payer, own, bytes);
        if granted {
            let others = books.used.get(kind).map_or(0, |used| used.saturating_sub(own));
            // The first may be as large as all there is.
            let least = others.saturating_sub(self.share(kind).saturating_sub(bytes));
            let asks = Asks { id: claim.id, payer: claim.payer, kind, since: waits.since, course };
            if least > 0 {
                books.forget_marks(kind);
            }
            granted = least == 0 || books.make_room(&asks, least, (self.part(kind), self.whole), now);
        }
        if granted {
            if let Some(served) = books.served.get_mut(kind).filter(|_| claim.waits.is_some()) {
                *served = served.saturating_add(1);
            }
            books.stop_waiting(claim);
            self.put(&mut books, claim, now, bytes, course, false, waker);
        } else {
            // There is something to read. One that waits for more does not fall silent by that, whenever it had sent the last of what it has.
            let begins = claim.waits.is_none();
            if let Some(held) = books.held.get_mut(&claim.id).filter(|held| begins || held.quiet.is_none()) {
                if let Some(quiet) = held.quiet {
                    held.idle = held.idle.saturating_add(now.saturating_duration_since(quiet));
                }
                (held.quiet, held.called) = (Some(now.saturating_add(HOLDING)), None);
            }
            let waiter = Waiter { payer: claim.payer, holds: own, bytes, waker: waker.clone() };
            if let Some(queue) = books.queue.get_mut(kind) {
                queue.insert(key, waiter);
            }
            claim.waits = Some(waits);
        }
        granted
    }

    /// Enters what is held already, whether there is room for it or not: a little that has come in with other things. `unread` where it
    /// is we who do not go on: for some time nobody is sent away for that.
    pub(super) fn insist(
        &self,
        claim: &mut Claim,
        now: Instant,
        bytes: usize,
        course: Course,
        unread: bool,
        waker: &Waker,
    ) {
        if bytes > claim.may_hold() {
            let mut books = self.books();
            books.number(claim);
            self.put(&mut books, claim, now, bytes, course, unread, waker);
        } else if unread {
            self.pauses(claim, now);
        }
    }

    /// We do not read it for some time.
    pub(super) fn pauses(&self, claim: &mut Claim, now: Instant) {
        if claim.granted == 0 {
            return;
        }
        let spared = claim.spare(now);
        if let Some(held) = self.books().held.get_mut(&claim.id).filter(|held| !held.unread) {
            (held.unread, held.spared) = (true, spared);
            held.quiet = held.quiet.or_else(|| Some(spared.max(now)));
        }
    }

    /// More has come in. False if the memory is somebody else's by now.
    pub(super) fn came(&self, claim: &Claim, now: Instant, received: usize) -> bool {
        if claim.granted == 0 {
            return true;
        }
        let mut books = self.books();
        let held = books.held.get_mut(&claim.id);
        let Some(held) = held else { return false };
        let ours = core::mem::take(&mut held.unread);
        if let Some(quiet) = held.quiet.take().filter(|_| !ours) {
            held.idle = held.idle.saturating_add(now.saturating_duration_since(quiet));
        }
        (held.received, held.called, held.spared) = (received, None, Instant::ZERO);
        true
    }

    /// There is nothing to read, or nowhere to put it. False if somebody else waits for what is held.
    pub(super) fn rests(&self, claim: &Claim, now: Instant) -> bool {
        if claim.granted == 0 {
            return true;
        }
        let mut books = self.books();
        let Books { held, queue, .. } = &mut *books;
        let Some(held) = held.get_mut(&claim.id) else { return false };
        if core::mem::take(&mut held.unread) {
            (held.quiet, held.called, held.spared) = (None, None, Instant::ZERO);
        }
        held.quiet.get_or_insert(now);
        // Those who waited may have got it elsewhere.
        if queue.get(held.kind).is_none_or(BTreeMap::is_empty) {
            (held.called, held.slow_since) = (None, None);
        }
        held.called.is_none_or(|since| since.saturating_add(LOOKS) > now)
    }

    /// Whether the memory is the claim's still.
    pub(super) fn stands(&self, claim: &Claim) -> bool {
        claim.granted == 0 || self.books().held.contains_key(&claim.id)
    }

    /// Gives everything back, and waits no more.
    pub(super) fn release(&self, claim: &mut Claim) {
        if claim.granted == 0 && claim.waits.is_none() {
            return;
        }
        let mut books = self.books();
        books.stop_waiting(claim);
        claim.granted = 0;
        if let Some(held) = books.end(claim.id) {
            self.wake_next(&books, held.kind);
        }
        self.look(&books);
    }

    #[allow(clippy::too_many_arguments)]
    fn put(
        &self,
        books: &mut Books,
        claim: &mut Claim,
        now: Instant,
        bytes: usize,
        course: Course,
        unread: bool,
        waker: &Waker,
    ) {
        let before = books.remove(claim.id);
        let kind = kind(bytes);
        let received = course.received;
        let idle = before.as_ref().map_or(Duration::ZERO, |held| held.idle);
        let spared = if unread { claim.spare(now) } else { Instant::ZERO };
        // One that waits for more does not fall silent by that; nor, for a while, one that we do not read.
        let quiet = if claim.waits.is_some() { Some(now.saturating_add(HOLDING)) } else { None };
        let quiet = if unread { quiet.max(Some(spared.max(now))) } else { quiet };
        let (payer, waker) = (claim.payer, waker.clone());
        let held = Held {
            payer,
            kind,
            bytes,
            granted: now,
            received,
            known: course.known,
            unread,
            idle,
            quiet,
            spared,
            called: None,
            slow_since: None,
            waker,
        };
        if let Some(used) = books.used.get_mut(kind) {
            *used = used.saturating_add(bytes);
        }
        if let Some(payer) = claim.payer {
            let here = books.sources.entry(payer).or_default();
            if let Some(sum) = here.bytes.get_mut(kind) {
                *sum = sum.saturating_add(bytes);
            }
            if let Some(claims) = here.claims.get_mut(kind) {
                *claims = claims.saturating_add(1);
            }
        }
        books.held.insert(claim.id, held);
        claim.granted = bytes;
        if let Some(before) = before.filter(|before| before.kind != kind) {
            self.wake_next(books, before.kind);
        }
        self.wake_next(books, kind);
        self.look(books);
    }

    /// What frames of a kind may hold that come from one source: a quarter of all for large ones, so that a few fit, and a quarter of
    /// its share for each of the others.
    const fn part(&self, kind: usize) -> usize {
        if kind == 2 { self.all / 4 } else { self.share(kind) / 4 }
    }

    /// Whether a source may have so many bytes, instead of those it `holds` for this: its part, or one frame.
    fn may(&self, books: &Books, payer: Option<IpAddr>, holds: usize, bytes: usize) -> bool {
        let kind = kind(bytes);
        let rest = payer
            .and_then(|payer| books.sources.get(&payer))
            .and_then(|here| here.bytes.get(kind))
            .map_or(0, |sum| sum.saturating_sub(holds));
        bytes <= self.all && (rest == 0 || rest.saturating_add(bytes) <= self.part(kind))
    }

    fn wake_next(&self, books: &Books, kind: usize) {
        let mut queue = books.queue.get(kind).into_iter().flatten();
        let next = queue.find(|(_, waiter)| self.may(books, waiter.payer, waiter.holds, waiter.bytes));
        if let Some((_, waiter)) = next {
            waiter.waker.wake_by_ref();
        }
    }

    fn look(&self, books: &Books) {
        let [small, ..] = books.used;
        self.tight.store(small > self.share(0) / 2, Relaxed);
    }
}

impl Books {
    fn number(&mut self, claim: &mut Claim) {
        if claim.id == 0 {
            self.last_id = self.last_id.saturating_add(1);
            claim.id = self.last_id;
        }
    }

    /// A connection's place in the queue is its own for one wait: the next one is behind all that wait by then.
    fn begin_waiting(&mut self, kind: usize, payer: Option<IpAddr>, since: Instant) -> Waits {
        self.last_turn = self.last_turn.saturating_add(1);
        let turn = NonZeroU64::MIN.saturating_add(self.last_turn);
        let passes = payer.map_or(0, |payer| PASSES.saturating_mul(self.had(kind, payer, since)));
        let served = self.served.get(kind).copied().unwrap_or_default();
        Waits { kind, place: served.saturating_add(passes), turn, since }
    }

    /// How many frames of a kind a source has, or has had lately.
    fn had(&self, kind: usize, payer: IpAddr, now: Instant) -> u64 {
        let claims = self.sources.get(&payer).and_then(|here| here.claims.get(kind)).copied();
        let site = site(payer);
        let lately = self
            .lately
            .iter()
            .filter(|(at, source)| kind == 2 && *source == site && at.saturating_add(LATELY) > now);
        let had = claims.unwrap_or_default().max(lately.count());
        u64::try_from(had).unwrap_or(u64::MAX).min(COUNTED)
    }

    /// A frame has come in whole, or lost its memory.
    fn end(&mut self, id: u64) -> Option<Held> {
        let held = self.remove(id)?;
        self.remember(&held);
        Some(held)
    }

    /// A source has had a large frame, of which much has come in.
    fn remember(&mut self, held: &Held) {
        let Some(payer) = held.payer.filter(|_| held.kind == 2 && held.received >= MUCH) else { return };
        if self.lately.len() >= REMEMBERED {
            self.lately.pop_front();
        }
        self.lately.push_back((held.granted, site(payer)));
    }

    fn stop_waiting(&mut self, claim: &mut Claim) {
        if let Some(Waits { kind, place, turn, .. }) = claim.waits.take() {
            self.queue.get_mut(kind).and_then(|queue| queue.remove(&(place, turn)));
        }
    }

    /// Where nobody waits any more, what was held against those who hold memory is void.
    fn forget_marks(&mut self, kind: usize) {
        if self.queue.get(kind).is_none_or(BTreeMap::is_empty) {
            let marked = self.held.values_mut().filter(|held| held.kind == kind);
            marked.for_each(|held| (held.called, held.slow_since) = (None, None));
        }
    }

    fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.held.remove(&id)?;
        if let Some(used) = self.used.get_mut(held.kind) {
            *used = used.saturating_sub(held.bytes);
        }
        if let Some((payer, here)) = held.payer.and_then(|payer| Some((payer, self.sources.get_mut(&payer)?)))
        {
            if let Some(sum) = here.bytes.get_mut(held.kind) {
                *sum = sum.saturating_sub(held.bytes);
            }
            if let Some(claims) = here.claims.get_mut(held.kind) {
                *claims = claims.saturating_sub(1);
            }
            if here.claims == [0; 3] {
                self.sources.remove(&payer);
            }
        }
        Some(held)
    }

    /// Takes at least `bytes` from those who do not come in as the one that asks does, or not so fast that they end within `whole`; from
    /// nobody if that is not enough. Those who seem to be silent are asked first whether they are, and those who seem to be slow are
    /// looked at once more, as it may be we who have not read: false until then.
    fn make_room(
        &mut self,
        asks: &Asks,
        bytes: usize,
        (part, whole): (usize, Duration),
        now: Instant,
    ) -> bool {
        let Asks { id: own, payer, kind, since, course } = *asks;
        let slow = PACE.min(pace(course.received, since.saturating_duration_since(course.began)) / 2);
        let grace = GRACE.get(kind).copied().unwrap_or_default();
        let stall = STALL.get(kind).copied().unwrap_or_default();
        let mut behind: Vec<(bool, u64, u64, usize)> = Vec::new();
        let Self { held, sources, .. } = self;
        for (id, held) in held.iter_mut().filter(|(id, held)| held.kind == kind && **id != own) {
            let quiet = held.quiet.map(|quiet| now.saturating_duration_since(quiet));
            let pace = pace(held.received, held.idle.saturating_add(quiet.unwrap_or_default()));
            // Whoever has more than its part has no grace.
            let sum = held.payer.and_then(|payer| sources.get(&payer)).and_then(|here| here.bytes.get(kind));
            let heavy = held.payer != payer && sum.is_some_and(|sum| *sum > part);
            let young = held.granted.saturating_add(grace) > now || held.spared > now;
            let silent = quiet.is_some_and(|quiet| heavy || quiet >= stall);
            // Where nobody knows how long a frame is, all of it has to come in that time, and no more.
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
                slow_since.saturating_add(LOOKS) <= now
            };
            if goes {
                self.end(id);
                freed = freed.saturating_add(bytes_held);
            } else {
                asked = asked.saturating_add(bytes_held);
            }
        }
        freed >= bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::HubSettings;
    use super::*;
    use core::net::Ipv6Addr;

    const MIB: usize = 1024 * 1024;
    const WAIT: Duration = Duration::from_secs(30);
    /// 2001:db8::7.
    const PROXY: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | 7))];

    fn at(millis: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_millis(millis))
    }

    /// Comes in at `per_second` since `began`.
    fn course(began: u64, received: usize) -> Course {
        Course { began: at(began), received, known: true }
    }

    fn claim(address: &str) -> Claim {
        let settings = HubSettings { exempt: &PROXY, ..HubSettings::DEFAULT };
        Claim::new(settings.payer(address.parse().unwrap()))
    }

    fn ask(partials: &Partials, claim: &mut Claim, now: u64, bytes: usize, received: usize) -> bool {
        partials.ask(claim, at(now), bytes, course(now, received), Waker::noop())
    }

    #[test]
    fn f_15_c_06_m_11_each_kind_has_its_part_and_one_address_a_quarter() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut large = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(claim);
        assert!(ask(&partials, &mut large[0], 0, 16 * MIB, 0));
        assert!(ask(&partials, &mut large[1], 0, 16 * MIB, 0));
        assert!(!ask(&partials, &mut large[2], 0, 16 * MIB, 0), "the large ones have half");
        // One address has its quarter of each kind; loopback is exempt.
        let mut more = claim("192.0.2.1");
        assert!(!ask(&partials, &mut more, 0, 2 * MIB, 0));
        assert!(ask(&partials, &mut more, 0, 4096, 0));
        partials.release(&mut more);
        let mut medium: Vec<Claim> = (0..17).map(|_| claim("127.0.0.1")).collect();
        let mut granted = 0;
        for claim in &mut medium {
            granted += usize::from(partials.ask(claim, at(0), MIB, course(0, 0), Waker::noop()));
        }
        assert_eq!(granted, 16);
        let mut small = claim("::1");
        assert!(ask(&partials, &mut small, 0, 4096, 0));
        // What is given back is there again: first for the one that waits.
        partials.release(&mut large[0]);
        let mut late = claim("192.0.2.9");
        assert!(!ask(&partials, &mut late, 1, 16 * MIB, 0), "somebody was there before");
        assert!(ask(&partials, &mut large[2], 1, 16 * MIB, 0));
        large
            .iter_mut()
            .chain(&mut medium)
            .chain([&mut small, &mut more, &mut late])
            .for_each(|claim| partials.release(claim));
        assert_eq!(partials.used(), 0);
        let books = partials.books();
        assert!(
            books.sources.is_empty() && books.held.is_empty() && books.queue.iter().all(BTreeMap::is_empty)
        );
    }

    /// F-15: who has had its turn waits behind all that wait already, however long it has been connected.
    #[test]
    fn f_15_those_who_have_waited_longest_come_first_and_not_those_who_have_been_there_longest() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut early = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(claim);
        let large = |claim: &mut Claim, now| ask(&partials, claim, now, 16 * MIB, 0);
        assert_eq!(early.each_mut().map(|claim| large(claim, 0)), [true, true, false, false]);
        let mut late = ["198.51.100.1", "198.51.100.2", "198.51.100.3"].map(claim);
        // Each of the early ones begins its next frame as soon as it has sent one, and all of them ask more often than the late ones.
        let mut turns = Vec::new();
        for step in 1..9 {
            assert!(late.iter_mut().all(|claim| claim.granted > 0 || !large(claim, step)));
            if let Some(holder) = early.iter_mut().find(|claim| claim.granted > 0) {
                partials.release(holder);
            }
            for claim in &mut early {
                let _ = claim.granted > 0 || large(claim, step);
            }
            let next = late.iter_mut().position(|claim| claim.granted == 0 && large(claim, step));
            turns.extend(next);
        }
        assert_eq!(turns, [0, 1], "they hold the large ones by now");
        partials.release(&mut late[1]);
        assert!(early.iter_mut().all(|claim| !large(claim, 10)));
        assert!(large(&mut late[2], 10), "before those who have had theirs");
    }

    /// F-06, F-15: what those behind an IPv6 proxy hold is not its neighbours' in the /64, and puts none of them behind others.
    #[test]
    fn f_06_what_is_held_behind_an_ipv6_proxy_is_not_its_neighbours() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut behind: Vec<Claim> = (0..8).map(|_| claim("2001:db8::7")).collect();
        for claim in &mut behind {
            assert!(ask(&partials, claim, 0, MIB, 0));
        }
        // The neighbours have their quarter of the medium ones, and no more, whatever becomes of the others.
        let mut near: Vec<Claim> = (0..5).map(|_| claim("2001:db8::8")).collect();
        let granted: Vec<bool> = near.iter_mut().map(|claim| ask(&partials, claim, 0, MIB, 0)).collect();
        assert_eq!(granted, [true, true, true, true, false]);
        behind.iter_mut().for_each(|claim| partials.release(claim));
        assert!(!ask(&partials, &mut near[4], 0, MIB, 0));
        near.iter_mut().for_each(|claim| partials.release(claim));
        assert!(partials.used() == 0 && partials.books().sources.is_empty());
    }

    #[test]
    fn f_15_the_first_may_be_as_large_as_all_there_is() {
        let partials = Partials::new(16 * MIB, WAIT);
        let (mut first, mut second) = (claim("192.0.2.1"), claim("192.0.2.2"));
        assert!(ask(&partials, &mut first, 0, 16 * MIB, 0));
        assert!(!ask(&partials, &mut second, 0, 15 * MIB, 0));
        partials.release(&mut first);
        assert!(!ask(&partials, &mut first, 0, 16 * MIB + 1, 0));
        assert!(ask(&partials, &mut second, 0, 15 * MIB, 0));
    }

    #[test]
    fn f_15_whoever_is_silent_or_slow_gives_way_to_one_that_comes_in() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut holders = [claim("127.0.0.1"), claim("127.0.0.1")];
        for holder in &mut holders {
            assert!(ask(&partials, holder, 0, 16 * MIB, 100_000));
            assert!(partials.rests(holder, at(1)));
        }
        let [mut slow, mut fast] = holders;
        let mut honest = claim("127.0.0.1");
        let again = |honest: &mut Claim, now| {
            partials.ask(honest, at(now), 16 * MIB, course(390, 100_000), Waker::noop())
        };
        assert!(!again(&mut honest, 900), "nobody has been silent for long");
        // We have not looked for long: there was something to read, and nobody is to blame.
        assert!(!again(&mut honest, 2000));
        for holder in [&slow, &fast] {
            assert!(partials.came(holder, at(2000), 3 * MIB) && partials.rests(holder, at(2001)));
        }
        assert!(!again(&mut honest, 2900));
        // The first falls silent.
        assert!(partials.came(&fast, at(2900), 4 * MIB));
        assert!(!again(&mut honest, 3100));
        // Its task may run before the system has told of what there is to read.
        assert!(partials.rests(&slow, at(3101)) && partials.rests(&fast, at(3101)));
        assert!(!again(&mut honest, 3200));
        assert!(!partials.rests(&slow, at(3201)) && partials.rests(&fast, at(3201)));
        partials.release(&mut slow);
        assert!(again(&mut honest, 3202));
        assert_eq!(partials.used(), 32 * MIB);
        // The second trickles, and the third comes in.
        let mut third = claim("127.0.0.1");
        for step in 33..100 {
            assert!(
                partials.came(&fast, at(step * 100), 4 * MIB + 100)
                    && partials.rests(&fast, at(step * 100 + 1))
            );
        }
        let mut again =
            |now| partials.ask(&mut third, at(now), 16 * MIB, course(9900, 4_000_000), Waker::noop());
        // There may be something to read of which we do not know yet.
        assert!(!again(9950) && partials.stands(&fast));
        assert!(partials.came(&fast, at(9990), 4 * MIB + 200) && partials.rests(&fast, at(9991)));
        assert!(again(10_050));
        assert!(!partials.stands(&fast) && partials.stands(&honest));
        assert!(!partials.came(&fast, at(10_051), 4 * MIB + 300));
        // What was taken from it is not given back twice.
        partials.release(&mut fast);
        assert_eq!(partials.used(), 32 * MIB);
    }

    /// F-15: two that come in at 300 KiB a second would hold all of the large half for 55 s, and whoever waits is closed after 30.
    #[test]
    fn f_15_a_holder_that_would_not_end_in_the_time_that_others_wait_loses_its_place() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut holders = [claim("192.0.2.1"), claim("192.0.2.2")];
        for holder in &mut holders {
            assert!(ask(&partials, holder, 0, 16 * MIB, 100_000) && partials.rests(holder, at(1)));
        }
        let mut honest = claim("198.51.100.7");
        let (mut received, mut served) = (100_000, None);
        for step in 1..300 {
            received += 30 * 1024;
            for holder in &mut holders {
                if !partials.came(holder, at(step * 100), received)
                    || !partials.rests(holder, at(step * 100 + 1))
                {
                    partials.release(holder);
                }
            }
            let course = course(0, 50_000);
            if partials.ask(&mut honest, at(step * 100 + 50), 16 * MIB, course, Waker::noop()) {
                served = Some(step * 100);
                break;
            }
        }
        assert!(served.is_some_and(|ms| ms < 5000), "served after {served:?} ms");
        // One who has sent nearly all of it at once, and then very little, has 27 s.
        let mut burst = claim("203.0.113.1");
        partials.release(&mut honest);
        holders.iter_mut().for_each(|holder| partials.release(holder));
        let mut other = claim("203.0.113.2");
        for holder in [&mut burst, &mut other] {
            assert!(ask(&partials, holder, 40_000, 16 * MIB, 15 * MIB) && partials.rests(holder, at(40_000)));
        }
        let mut waits = claim("198.51.100.8");
        let mut served = None;
        for step in 1..300 {
            let now = 40_000 + step * 100;
            for holder in [&mut burst, &mut other] {
                if partials.stands(holder)
                    && (!partials.came(holder, at(now), 15 * MIB) || !partials.rests(holder, at(now + 1)))
                {
                    partials.release(holder);
                }
            }
            if partials.ask(&mut waits, at(now + 50), 16 * MIB, course(40_000, 5 * MIB), Waker::noop()) {
                served = Some(step * 100);
                break;
            }
        }
        assert!(served.is_some_and(|ms| ms < 28_000), "served after {served:?} ms");
    }

    #[test]
    fn f_15_two_that_come_in_equally_well_do_not_displace_each_other() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut holders = [claim("127.0.0.1"), claim("127.0.0.1")];
        for holder in &mut holders {
            assert!(ask(&partials, holder, 0, 16 * MIB, 100_000) && partials.rests(holder, at(1)));
        }
        let mut third = claim("127.0.0.1");
        let mut received = 100_000;
        for step in 1..100 {
            received += 80_000;
            for holder in &holders {
                assert!(
                    partials.came(holder, at(step * 100), received)
                        && partials.rests(holder, at(step * 100 + 1))
                );
            }
            let course = course(0, 2_000_000);
            assert!(!partials.ask(&mut third, at(step * 100 + 50), 16 * MIB, course, Waker::noop()));
        }
        partials.release(&mut holders[0]);
        assert!(partials.ask(&mut third, at(10_000), 16 * MIB, course(0, 2_000_000), Waker::noop()));
    }

    #[test]
    fn f_15_of_those_who_wait_the_sources_that_have_least_come_first() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut held: Vec<Claim> = (0..8).map(|n| claim(&format!("192.0.2.{}", n % 2))).collect();
        for claim in &mut held {
            assert!(partials.ask(claim, at(0), 4 * MIB, course(0, MIB), Waker::noop()));
        }
        let mut crowd: Vec<Claim> = (2..50).map(|n| claim(&format!("192.0.2.{}", n % 2))).collect();
        for claim in &mut crowd {
            assert!(!partials.ask(claim, at(1), 4 * MIB, course(0, MIB), Waker::noop()));
        }
        let mut honest = claim("198.51.100.7");
        assert!(!ask(&partials, &mut honest, 2, 4 * MIB, 0));
        partials.release(&mut held[0]);
        assert!(!partials.ask(&mut crowd[0], at(3), 4 * MIB, course(0, MIB), Waker::noop()));
        assert!(ask(&partials, &mut honest, 3, 4 * MIB, 0));
    }

    /// F-15: one whose source holds small frames, a neighbour's, is not behind all that come later, without end.
    #[test]
    fn f_15_those_who_come_later_do_not_all_come_first() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut neighbour = [claim("192.0.2.1"), claim("192.0.2.1")];
        assert!(ask(&partials, &mut neighbour[0], 0, 3000, 2048));
        assert!(ask(&partials, &mut neighbour[1], 0, 2 * MIB, 0));
        let (mut others, mut honest) = (["192.0.2.2", "192.0.2.3"].map(claim), claim("192.0.2.1"));
        assert!(ask(&partials, &mut others[0], 0, 16 * MIB, 0));
        assert!(ask(&partials, &mut others[1], 0, 14 * MIB, 0));
        assert!(!ask(&partials, &mut honest, 1, 2 * MIB, 0));
        // Others come without end: each time that one has been served another one waits.
        let mut later: VecDeque<Claim> = VecDeque::new();
        let mut served = 0;
        partials.release(&mut others[1]);
        for n in 0..400_u64 {
            let mut next = claim(&format!("198.51.{}.{}", 100 + n / 100, n % 100));
            let _ = ask(&partials, &mut next, 3, 2 * MIB, 0);
            later.push_back(next);
            if later.len() > 20 {
                let mut done = later.pop_front().unwrap();
                assert!(done.granted > 0);
                partials.release(&mut done);
                served += 1;
                if ask(&partials, &mut honest, 4, 2 * MIB, 0) {
                    break;
                }
                for later in &mut later {
                    let _ = ask(&partials, later, 5, 2 * MIB, 0);
                }
            }
        }
        assert!(served < 100, "{served}");
    }

    /// F-15: sources that take turns with large frames, each fast enough to keep what it has, let others pass.
    #[test]
    fn f_15_sources_that_take_turns_with_large_frames_let_others_pass() {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut ring: Vec<(Claim, usize)> = (1..7).map(|n| (claim(&format!("192.0.2.{n}")), 0)).collect();
        let large = |claim: &mut Claim, second: u64| ask(&partials, claim, second * 1000, 16 * MIB, 0);
        let (mut waited, mut honest) = (Vec::new(), None);
        for second in 0..600_u64 {
            // Others who come and go, without waiting, and those whose frame has only begun.
            for n in 0..100 {
                let mut passing = claim(&format!("203.0.113.{n}"));
                assert!(ask(&partials, &mut passing, second * 1000, 3000, 2048));
                partials.release(&mut passing);
            }
            // 26 s is what a frame may take while others wait.
            for (claim, received) in &mut ring {
                if claim.granted == 0 {
                    continue;
                }
                *received += 16 * MIB / 26;
                if *received < 16 * MIB {
                    assert!(partials.came(claim, at(second * 1000), *received));
                    assert!(partials.rests(claim, at(second * 1000 + 1)));
                } else {
                    partials.release(claim);
                    *received = 0;
                }
            }
            for (claim, _) in &mut ring {
                let _ = claim.granted > 0 || large(claim, second);
            }
            if second % 60 == 30 {
                honest = Some((claim(&format!("198.51.100.{}", second / 60)), second));
            }
            if let Some((mut claim, since)) = honest.take() {
                if large(&mut claim, second) {
                    partials.release(&mut claim);
                    waited.push(second - since);
                } else {
                    honest = Some((claim, since));
                }
            }
        }
        assert!(waited.len() == 10 && waited[1..].iter().all(|waited| *waited <= 27), "{waited:?}");
    }

    /// F-15, F-06: large frames that have only begun do not count against those behind the same address, and of others only a few do.
    #[test]
    fn f_06_frames_that_end_at_once_do_not_put_their_neighbours_back() {
        let partials = Partials::new(64 * MIB, WAIT);
        let had = |address: &str| partials.books().had(2, address.parse().unwrap(), at(1));
        let have = |address: &str, received| {
            let mut claim = claim(address);
            assert!(ask(&partials, &mut claim, 0, 2 * MIB, 2048) && partials.came(&claim, at(1), received));
            partials.release(&mut claim);
        };
        (0..2000).for_each(|_| have("192.0.2.1", 4096));
        assert_eq!(had("192.0.2.1"), 0);
        (0..20).for_each(|_| have("192.0.2.1", 2 * MIB));
        assert_eq!((had("192.0.2.1"), had("192.0.2.2")), (4, 0));
        // Of IPv6 a /48 counts.
        (1..3).for_each(|n| have(&format!("2001:db8:1:{n}::1"), 2 * MIB));
        assert_eq!((had("2001:db8:1:9::"), had("2001:db8:2:1::")), (2, 0));
    }

    #[test]
    fn f_15_many_small_ones_of_one_source_keep_nobody_else_waiting() {
        let partials = Partials::new(MIB, WAIT);
        let mut crowd: Vec<Claim> = (0..64).map(|_| claim("192.0.2.1")).collect();
        for claim in &mut crowd {
            // They have come in with other things.
            partials.insist(claim, at(0), 4096, course(0, 3000), false, Waker::noop());
            assert!(partials.rests(claim, at(0)));
        }
        let mut honest = claim("198.51.100.7");
        assert!(!ask(&partials, &mut honest, 1, 4096, 2048));
        assert!(!ask(&partials, &mut honest, 101, 4096, 2048));
        let gone = crowd.iter_mut().filter(|claim| !partials.rests(claim, at(101)));
        let gone: Vec<_> = gone.map(|claim| partials.release(claim)).collect();
        assert_eq!(gone.len(), 1, "no more than it takes");
        assert!(ask(&partials, &mut honest, 102, 4096, 2048));
    }

    #[test]
    fn f_15_a_frame_of_unknown_length_asks_for_all_of_its_kind() {
        let partials = Partials::new(64 * MIB, WAIT);
        let demand = |total, known| partials.demand(total, known, 20 * MIB);
        assert_eq!([3000, 70_000, 2 * MIB].map(|total| demand(total, true)), [3000, 70_000, 2 * MIB]);
        assert_eq!([3000, 70_000, 2 * MIB].map(|total| demand(total, false)), [64 * 1024, MIB, 20 * MIB]);
        assert_eq!(partials.demand(2 * MIB, false, usize::MAX), 16 * MIB);
        assert_eq!(partials.demand(17 * MIB, false, usize::MAX), 64 * MIB);
        assert_eq!(partials.demand(65 * MIB, false, usize::MAX), 65 * MIB);
        // A recording may be longer than other messages, and nobody knows yet that it is one.
        let demand = |total| partials.demand(total, false, 512 * 1024);
        assert_eq!([300 * 1024, 600 * 1024, 2 * MIB].map(demand), [MIB, MIB, 16 * MIB]);
        assert_eq!(partials.demand(3000, false, 8192), 8192);
    }

    #[test]
    fn f_15_what_is_held_already_is_entered_and_makes_others_careful() {
        let partials = Partials::new(MIB, WAIT);
        let mut claims: Vec<Claim> = (0..20).map(|_| claim("127.0.0.1")).collect();
        for claim in &mut claims {
            partials.insist(claim, at(0), 16 * 1024, course(0, 16 * 1024), false, Waker::noop());
        }
        assert_eq!((partials.used(), partials.is_tight()), (320 * 1024, true));
        claims.iter_mut().for_each(|claim| partials.release(claim));
        assert_eq!((partials.used(), partials.is_tight()), (0, false));
    }

    /// F-15: a connection that we do not read (its rate is used up, or it waits for its log-in) is not sent away for that at once.
    #[test]
    fn f_15_whom_we_do_not_read_is_not_to_blame() {
        let partials = Partials::new(64 * 1024, WAIT);
        let mut paused = claim("192.0.2.1");
        partials.insist(&mut paused, at(0), 4096, course(0, 0), true, Waker::noop());
        let mut attackers: Vec<Claim> = (2..5).map(|n| claim(&format!("192.0.2.{n}"))).collect();
        for attacker in &mut attackers {
            assert!(ask(&partials, attacker, 0, 4096, 4096));
            partials.rests(attacker, at(0));
        }
        let mut honest = claim("192.0.2.9");
        for now in [2000, 2100] {
            assert!(!ask(&partials, &mut honest, now, 4096, 1 << 20), "the silent are asked first");
        }
        assert!(partials.rests(&paused, at(2100)) && partials.stands(&paused));
        assert!(attackers.iter().any(|attacker| !partials.rests(attacker, at(2100))), "one of them is asked");
        // It is not spared for ever, nor again and again, whatever frames end meanwhile.
        partials.insist(&mut paused, at(4000), 8192, course(0, 0), true, Waker::noop());
        assert!(partials.books().held[&paused.id].spared == at(5000));
        partials.release(&mut paused);
        partials.insist(&mut paused, at(4500), 8192, course(4500, 0), true, Waker::noop());
        assert!(partials.books().held[&paused.id].spared == at(5000));
        partials.release(&mut paused);
        partials.insist(&mut paused, at(65_000), 8192, course(65_000, 0), true, Waker::noop());
        assert!(partials.books().held[&paused.id].spared == at(70_000), "it was long ago");
    }

    /// Asks every 100 ms from `from` on. Returns when it is granted.
    fn served(partials: &Partials, claim: &mut Claim, from: u64, bytes: usize) -> Option<u64> {
        (from..from + 30_000).step_by(100).find(|now| ask(partials, claim, *now, bytes, bytes / 2))
    }

    /// F-15: those that we do not read hold what others need no longer than some seconds, though they cannot look themselves whether
    /// there is something to read; be it that they were paused with a frame, or while one was coming in.
    #[test]
    fn f_15_whom_we_do_not_read_holds_memory_that_others_need_for_some_seconds_only() {
        let partials = Partials::new(64 * 1024, WAIT);
        let mut paused: Vec<Claim> = (2..6).map(|n| claim(&format!("192.0.2.{n}"))).collect();
        for claim in &mut paused {
            partials.insist(claim, at(0), 4096, course(0, 4000), true, Waker::noop());
        }
        let mut honest = claim("198.51.100.7");
        let when = served(&partials, &mut honest, 1000, 4096);
        assert!(when.is_some_and(|ms| (5000..8000).contains(&ms)), "{when:?}");
        assert_eq!(paused.iter().filter(|claim| !partials.stands(claim)).count(), 1);
        partials.release(&mut honest);
        paused.iter_mut().for_each(|claim| partials.release(claim));

        for claim in &mut paused {
            assert!(ask(&partials, claim, 100_000, 4096, 3000) && partials.rests(claim, at(100_001)));
            partials.pauses(claim, at(100_002));
        }
        let when = served(&partials, &mut honest, 100_100, 4096);
        assert!(when.is_some_and(|ms| (105_000..108_000).contains(&ms)), "{when:?}");
        assert_eq!(paused.iter().filter(|claim| !partials.stands(claim)).count(), 1);
    }

    /// F-15: the time in which we did not read counts against nobody once we read again.
    #[test]
    fn f_15_whom_we_read_again_has_not_been_slow_meanwhile() {
        let partials = Partials::new(64 * 1024, WAIT);
        let mut paused: Vec<Claim> = (2..6).map(|n| claim(&format!("192.0.2.{n}"))).collect();
        for claim in &mut paused {
            assert!(ask(&partials, claim, 0, 4096, 3000) && partials.rests(claim, at(1)));
            partials.pauses(claim, at(2));
            partials.pauses(claim, at(30_000));
        }
        for claim in &paused {
            assert!(partials.rests(claim, at(36_000)));
            assert!(partials.came(claim, at(36_010), 3500) && partials.rests(claim, at(36_020)));
        }
        let mut honest = claim("198.51.100.7");
        for now in [36_100, 36_200, 36_300] {
            let course = course(35_000, 3000);
            assert!(!partials.ask(&mut honest, at(now), 4096, course, Waker::noop()));
        }
        assert!(paused.iter().all(|claim| partials.rests(claim, at(36_400))));
    }

    /// F-15: one that had paused, goes on, and has to wait then, is not silent because of that.
    #[test]
    fn f_15_whoever_waits_for_more_with_something_to_read_is_not_silent() {
        let partials = Partials::new(4 * MIB, WAIT);
        let [mut ann, mut bob, mut cat] = ["127.0.0.1"; 3].map(claim);
        assert!(ask(&partials, &mut ann, 0, 4 * MIB, MIB));
        assert!(ask(&partials, &mut bob, 0, MIB, MIB) && partials.rests(&bob, at(1)));
        assert!(!ask(&partials, &mut cat, 200, MIB, MIB / 2));
        // More of it comes in, for which there is no room.
        assert!(!ask(&partials, &mut bob, 500, 4 * MIB, MIB));
        for now in (600..5000).step_by(100) {
            assert!(partials.came(&ann, at(now), MIB + 1000) && partials.rests(&ann, at(now)));
            assert!(!ask(&partials, &mut bob, now, 4 * MIB, 0) && partials.rests(&bob, at(now)), "{now}");
            assert!(!ask(&partials, &mut cat, now, MIB, MIB / 2), "{now}");
        }
    }

    /// F-15: of a frame of unknown length 16 MiB are set aside, and nobody expects so much of it.
    #[test]
    fn f_15_a_frame_of_unknown_length_need_not_come_in_as_fast_as_the_longest() {
        let partials = Partials::new(64 * MIB, WAIT);
        let unknown = |began, received| Course { known: false, ..course(began, received) };
        let mut holders = [claim("192.0.2.1"), claim("192.0.2.2")];
        let mut received = MIB + MIB / 8;
        for holder in &mut holders {
            assert!(partials.ask(holder, at(0), 16 * MIB, unknown(0, received), Waker::noop()));
            assert!(partials.rests(holder, at(1)));
        }
        let mut waits = claim("198.51.100.7");
        let mut at_the_end = None;
        for step in 1..300 {
            received += 30 * 1024;
            for holder in &mut holders {
                if !partials.came(holder, at(step * 100), received)
                    || !partials.rests(holder, at(step * 100 + 1))
                {
                    partials.release(holder);
                }
            }
            let course = unknown(0, 2 * MIB);
            if partials.ask(&mut waits, at(step * 100 + 50), 16 * MIB, course, Waker::noop()) {
                at_the_end = Some(step * 100);
                break;
            }
        }
        // Whoever waits is served in time all the same.
        assert!(at_the_end.is_some_and(|ms| (25_000..29_000).contains(&ms)), "{at_the_end:?}");
    }

    /// F-15: what is held against somebody ends with those who wait.
    #[test]
    fn f_15_nobody_gives_way_to_one_that_does_not_wait_any_more() {
        let partials = Partials::new(64 * 1024, WAIT);
        let mut holders: Vec<Claim> = (2..6).map(|n| claim(&format!("192.0.2.{n}"))).collect();
        for holder in &mut holders {
            assert!(ask(&partials, holder, 0, 4096, 3000) && partials.rests(holder, at(1)));
        }
        let mut waits = claim("198.51.100.7");
        assert!(!ask(&partials, &mut waits, 1000, 4096, 1 << 20));
        assert!(partials.books().held.values().any(|held| held.called.is_some()));
        partials.release(&mut waits);
        assert!(holders.iter().all(|holder| partials.rests(holder, at(2000))));
        // Slow, as it was seen to be long ago, and now for the first time.
        let received = |step| 3000 + 10 * usize::try_from(step).unwrap();
        let mut go_on = |step: u64| {
            holders.iter().all(|holder| {
                partials.came(holder, at(step * 100), received(step))
                    && partials.rests(holder, at(step * 100 + 1))
            })
        };
        assert!((20..50).all(&mut go_on));
        assert!(!ask(&partials, &mut waits, 4950, 4096, 1 << 20));
        assert!(partials.books().held.values().any(|held| held.slow_since.is_some()));
        partials.release(&mut waits);
        assert!((50..90).all(&mut go_on));
        assert!(!ask(&partials, &mut waits, 8950, 4096, 1 << 20), "they are looked at once more");
        assert!((90..91).all(&mut go_on));
    }
}
