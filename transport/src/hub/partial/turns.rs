//! Which of the frames that wait for memory is next.
//!
//! This is start-time fair queueing in two levels: sites take turns, and the sources of one site take the turns of that site. A site is an
//! IPv4 address, or a /48 of IPv6; a source of it is a /64.
//!
//! ```text
//! Turns: one size class
//!   FairQueue of sites                      which site is next
//!     Site: FairQueue of its sources        which source of it is next
//!       SourceQueue                         its frames, in the order in which they began to wait
//! ```
//!
//! A member of a queue is a site or a source. It pays for memory by bytes and by time: all amounts are in bytes times microseconds.
//!
//! | term | meaning |
//! | --- | --- |
//! | level | the memory that a member has had so far, by bytes and time. A new member begins at the clock. |
//! | clock | a quarter ([`SLOW`]) of the level that each active member would have if all had had the same. |
//! | active | a member that holds memory or waits for some. |
//! | tag | the place of a member that waits. It is the higher of two: the clock when its first frame began to wait, and its level less an allowance ([`FREE`]). |
//!
//! The lowest tag is next. The clock is slow so that a member that has had a fair share stands behind one that has had nothing lately. Every
//! two minutes ([`HALF`]) what a member has had beyond the clock is halved.

use core::hash::Hash;
use core::net::IpAddr;
use core::task::Waker;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use voxwire_core::{Instant, site};

/// The clock runs so many times more slowly than the level of a member that gets an equal share.
const SLOW: u128 = 4;
/// Memory that is held now counts as if it had been held for so many grace times already.
const DEPOSIT: u32 = 3;
/// The allowance: the memory of the member's next frame, held for so many grace times.
const FREE: u32 = 6;
/// How often the part of each level that is beyond the clock is halved.
const HALF: Duration = Duration::from_secs(120);
/// A member that has had no more than this beyond the clock is forgotten at once: 2 KiB for a second.
const LITTLE: u128 = 2048 * 1_000_000;
/// Inactive sources that are remembered in each class. Beyond it the half that has had least is forgotten.
const REMEMBERED: usize = 4096;

/// Who pays for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// An IPv4 address, or the /64 of an IPv6 one; as a site, its /48.
    Network(IpAddr),
    /// One connection of an exempt address. It is forgotten once it is inactive.
    Connection(u64),
}

impl Source {
    /// The source that pays for a connection; without `payer`, the connection of this number itself.
    pub(super) fn new(payer: Option<IpAddr>, connection: u64) -> Self {
        payer.map_or(Self::Connection(connection), Self::Network)
    }

    fn site(self) -> Self {
        match self {
            Self::Network(address) => Self::Network(site(address)),
            Self::Connection(_) => self,
        }
    }
}

/// A frame that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiter {
    /// Bytes that it holds already, of the class that it waits for.
    pub(super) holds: usize,
    pub(super) bytes: usize,
    pub(super) waker: Waker,
}

impl Waiter {
    const fn needs(&self) -> usize {
        self.bytes.saturating_sub(self.holds)
    }
}

/// The clocks of the two queues when a frame began to wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Began {
    site: u128,
    source: u128,
}

/// Frames of one class: what their sources hold, and those that wait.
#[derive(Debug)]
pub(super) struct Turns {
    /// Bytes that one source may hold; one frame always.
    source_limit: usize,
    /// How long a frame keeps its memory in any case: the grace time of the class.
    grace: Duration,
    sites: FairQueue<Source>,
    of_site: HashMap<Source, Site>,
    waiting: usize,
    halved: Instant,
    /// How often a frame has given back its memory, or has stopped waiting, since sources were forgotten last.
    left: usize,
}

/// The sources of one site.
#[derive(Debug, Default)]
struct Site {
    sources: FairQueue<Source>,
    queues: HashMap<Source, SourceQueue>,
}

/// The frames of one source that wait.
#[derive(Debug, Default)]
struct SourceQueue {
    waiters: BTreeMap<u64, (Began, Waiter)>,
    /// How much more each needs than it holds.
    needs: BTreeSet<(usize, u64)>,
    /// How much each holds.
    holds: BTreeSet<(usize, u64)>,
}

impl SourceQueue {
    /// Adds a frame that waits, or updates it. True if it is new.
    fn put(&mut self, number: u64, began: Began, waiter: Waiter) -> bool {
        let before = self.take(number);
        self.needs.insert((waiter.needs(), number));
        self.holds.insert((waiter.holds, number));
        self.waiters.insert(number, (before.unwrap_or(began), waiter));
        before.is_none()
    }

    fn take(&mut self, number: u64) -> Option<Began> {
        let (began, waiter) = self.waiters.remove(&number)?;
        self.needs.remove(&(waiter.needs(), number));
        self.holds.remove(&(waiter.holds, number));
        Some(began)
    }

    fn first(&self, began: impl Fn(&Began) -> u128) -> Option<First> {
        let (number, (when, waiter)) = self.waiters.first_key_value()?;
        Some(First { number: *number, bytes: waiter.bytes, began: began(when) })
    }
}

/// In which order members that wait are served, and what each has had.
#[derive(Debug)]
struct FairQueue<K> {
    shares: HashMap<K, Share>,
    by_tag: BTreeSet<(u128, u64, K)>,
    /// Correct at `at`.
    clock: u128,
    at: Instant,
    held: usize,
    /// Members that are active.
    active: usize,
}

#[derive(Debug, Default)]
struct Share {
    /// Correct at `at`.
    level: u128,
    at: Instant,
    held: usize,
    /// How many of its frames hold something or wait.
    frames: usize,
    /// Its tag, and the number of its frame that is next.
    place: Option<(u128, u64)>,
}

/// The first frame of a source that waits.
#[derive(Debug, Clone, Copy)]
struct First {
    number: u64,
    bytes: usize,
    began: u128,
}

/// The amount of `bytes` that are held for `time`.
fn cost(bytes: usize, time: Duration) -> u128 {
    (bytes as u128).saturating_mul(time.as_micros())
}

impl<K> Default for FairQueue<K> {
    fn default() -> Self {
        let (shares, by_tag) = (HashMap::new(), BTreeSet::new());
        Self { shares, by_tag, clock: 0, at: Instant::ZERO, held: 0, active: 0 }
    }
}

impl<K: Copy + Ord + Hash> FairQueue<K> {
    /// Moves the clock on to `now`, and returns it.
    fn clock(&mut self, now: Instant) -> u128 {
        let parts = SLOW.saturating_mul(self.active.max(1) as u128);
        let had = cost(self.held, now.saturating_duration_since(self.at));
        self.clock = self.clock.saturating_add(had.checked_div(parts).unwrap_or(0));
        self.at = self.at.max(now);
        self.clock
    }

    /// The share of `key`, with its level at `now`.
    fn share(&mut self, key: K, now: Instant) -> &mut Share {
        let clock = self.clock(now);
        let share =
            self.shares.entry(key).or_insert_with(|| Share { level: clock, at: now, ..Share::default() });
        let had = cost(share.held, now.saturating_duration_since(share.at));
        share.level = share.level.saturating_add(had);
        share.at = share.at.max(now);
        share
    }

    /// One more frame of `key` holds memory or waits.
    fn join(&mut self, key: K, now: Instant) {
        let share = self.share(key, now);
        share.frames = share.frames.saturating_add(1);
        if share.frames == 1 {
            self.active = self.active.saturating_add(1);
        }
    }

    /// One frame less. With the last one `key` is forgotten, unless it `stays` and has had much.
    fn leave(&mut self, key: K, stays: bool, now: Instant) {
        let clock = self.clock(now);
        let share = self.share(key, now);
        share.frames = share.frames.saturating_sub(1);
        if share.frames > 0 {
            return;
        }
        let much = share.level > clock.saturating_add(LITTLE);
        self.active = self.active.saturating_sub(1);
        if !(stays && much) {
            self.shares.remove(&key);
        }
    }

    /// `key` holds `bytes` more, for a frame that began to wait when the clock showed `began`. A member whose level was below that is lifted to
    /// it: turns that a member did not use are not saved.
    fn hold(&mut self, key: K, bytes: usize, began: u128, now: Instant) {
        let clock = self.clock(now);
        let share = self.share(key, now);
        // `began` may be later than the clock: the clock begins anew after all members have been forgotten.
        share.level = share.level.max(began.min(clock));
        share.held = share.held.saturating_add(bytes);
        self.held = self.held.saturating_add(bytes);
    }

    fn give_back(&mut self, key: K, bytes: usize, now: Instant) {
        let share = self.share(key, now);
        share.held = share.held.saturating_sub(bytes);
        self.held = self.held.saturating_sub(bytes);
    }

    /// Updates the place of `key`, whose `first` frame waits; `None` if none does.
    fn place(&mut self, key: K, first: Option<First>, grace: Duration, now: Instant) {
        let share = self.share(key, now);
        let place = first.map(|First { number, bytes, began }| {
            let had = share.level.saturating_add(cost(share.held, grace.saturating_mul(DEPOSIT)));
            (began.max(had.saturating_sub(cost(bytes, grace.saturating_mul(FREE)))), number)
        });
        let before = core::mem::replace(&mut share.place, place);
        if before == place {
            return;
        }
        if let Some((tag, number)) = before {
            self.by_tag.remove(&(tag, number, key));
        }
        if let Some((tag, number)) = place {
            self.by_tag.insert((tag, number, key));
        }
    }

    /// The members that wait, the next one first.
    fn next(&self) -> impl Iterator<Item = K> + '_ {
        self.by_tag.iter().map(|(.., key)| *key)
    }

    /// Halves the part of each level that is beyond the clock, so many times.
    fn halve(&mut self, times: u32, now: Instant) {
        let clock = self.clock(now);
        for share in self.shares.values_mut() {
            let had = cost(share.held, now.saturating_duration_since(share.at));
            share.level = share.level.saturating_add(had);
            share.at = share.at.max(now);
            let excess = share.level.saturating_sub(clock);
            let rest = excess.checked_shr(times).unwrap_or(0);
            share.level = share.level.saturating_sub(excess).saturating_add(rest);
        }
        self.forget(LITTLE);
    }

    /// How far beyond the clock the levels of inactive members are.
    fn idle(&self) -> impl Iterator<Item = u128> + '_ {
        let idle = self.shares.values().filter(|share| share.frames == 0);
        idle.map(|share| share.level.saturating_sub(self.clock))
    }

    /// Forgets inactive members whose level is at most `least` beyond the clock.
    fn forget(&mut self, least: u128) {
        let clock = self.clock;
        self.shares.retain(|_, share| share.frames > 0 || share.level.saturating_sub(clock) > least);
    }
}

impl Turns {
    pub(super) fn new(source_limit: usize, grace: Duration) -> Self {
        let (sites, of_site) = (FairQueue::default(), HashMap::new());
        Self { source_limit, grace, sites, of_site, waiting: 0, halved: Instant::ZERO, left: 0 }
    }

    /// Whether no frame waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes held.
    pub(super) const fn used(&self) -> usize {
        self.sites.held
    }

    /// Bytes that a source holds.
    pub(super) fn held(&self, source: Source) -> usize {
        let site = self.of_site.get(&source.site());
        site.and_then(|site| site.sources.shares.get(&source)).map_or(0, |share| share.held)
    }

    /// Both clocks at `now`.
    fn clocks(&mut self, source: Source, now: Instant) -> Began {
        let of_site = self.of_site.entry(source.site()).or_default();
        Began { site: self.sites.clock(now), source: of_site.sources.clock(now) }
    }

    /// A frame holds `bytes` from now on. `began`: when it began to wait; `None` if it did not.
    pub(super) fn hold(&mut self, source: Source, bytes: usize, began: Option<Began>, now: Instant) {
        self.halve(now);
        let began = began.unwrap_or_else(|| self.clocks(source, now));
        let site = source.site();
        self.sites.join(site, now);
        self.sites.hold(site, bytes, began.site, now);
        let sources = &mut self.of_site.entry(site).or_default().sources;
        sources.join(source, now);
        sources.hold(source, bytes, began.source, now);
        self.place(source, now);
    }

    /// A frame gives `bytes` back.
    pub(super) fn give_back(&mut self, source: Source, bytes: usize, now: Instant) {
        let site = source.site();
        self.sites.give_back(site, bytes, now);
        if let Some(of_site) = self.of_site.get_mut(&site) {
            of_site.sources.give_back(source, bytes, now);
        }
        self.place(source, now);
        self.leave(source, now);
    }

    /// A frame begins to wait, or goes on waiting.
    pub(super) fn wait(&mut self, source: Source, number: u64, waiter: &Waiter, now: Instant) {
        self.halve(now);
        if self.waits_still(source, number, waiter) {
            return;
        }
        let (began, site) = (self.clocks(source, now), source.site());
        let of_site = self.of_site.entry(site).or_default();
        if of_site.queues.entry(source).or_default().put(number, began, waiter.clone()) {
            of_site.sources.join(source, now);
            self.sites.join(site, now);
            self.waiting = self.waiting.saturating_add(1);
        }
        self.place(source, now);
    }

    /// Whether a frame goes on waiting for the same, and its place stays the same because its site holds nothing.
    fn waits_still(&mut self, source: Source, number: u64, waiter: &Waiter) -> bool {
        let site = self.of_site.get_mut(&source.site()).filter(|site| site.sources.held == 0);
        let queue = site.and_then(|site| site.queues.get_mut(&source));
        let Some((_, before)) = queue.and_then(|queue| queue.waiters.get_mut(&number)) else { return false };
        before.waker.clone_from(&waiter.waker);
        before.bytes == waiter.bytes && before.holds == waiter.holds
    }

    /// A frame stops waiting. Returns when it began.
    pub(super) fn stop(&mut self, source: Source, number: u64, now: Instant) -> Option<Began> {
        let of_site = self.of_site.get_mut(&source.site())?;
        let queue = of_site.queues.get_mut(&source)?;
        let began = queue.take(number)?;
        if queue.waiters.is_empty() {
            of_site.queues.remove(&source);
        }
        self.waiting = self.waiting.saturating_sub(1);
        self.place(source, now);
        self.leave(source, now);
        Some(began)
    }

    /// Whether a source may have the memory for which `waiter` waits: it is within `source_limit`, or for the only frame of the source that holds
    /// any.
    pub(super) fn may(&self, source: Source, waiter: &Waiter) -> bool {
        let held = self.held(source).max(waiter.holds);
        let Source::Network(_) = source else { return true };
        held == waiter.holds || held.saturating_add(waiter.needs()) <= self.source_limit
    }

    /// Whether that holds for any waiting frame of a source.
    fn may_one(&self, source: Source, queue: &SourceQueue) -> bool {
        let held = self.held(source);
        let Source::Network(_) = source else { return true };
        let holds = queue.holds.last().is_some_and(|(holds, _)| *holds >= held);
        holds
            || queue.needs.first().is_some_and(|(needs, _)| held.saturating_add(*needs) <= self.source_limit)
    }

    /// The frame whose turn it is, of those whose source may have the memory.
    pub(super) fn next(&self) -> Option<(u64, &Waiter)> {
        let sites = self.sites.next().filter_map(|site| self.of_site.get(&site));
        let mut sources = sites.flat_map(|site| {
            let queues = site.sources.next();
            queues.filter_map(|source| Some((source, site.queues.get(&source)?)))
        });
        let (source, queue) = sources.find(|(source, queue)| self.may_one(*source, queue))?;
        let mut waiters = queue.waiters.iter().map(|(number, (_, waiter))| (*number, waiter));
        waiters.find(|(_, waiter)| self.may(source, waiter))
    }

    /// Updates the places of a source and of its site.
    fn place(&mut self, source: Source, now: Instant) {
        if self.sites.by_tag.is_empty() && self.waiting == 0 {
            return;
        }
        let site = source.site();
        let Some(Site { sources, queues }) = self.of_site.get_mut(&site) else { return };
        let first = queues.get(&source).and_then(|queue| queue.first(|began| began.source));
        sources.place(source, first, self.grace, now);
        let next = sources.next().next().and_then(|source| queues.get(&source));
        self.sites.place(site, next.and_then(|queue| queue.first(|began| began.site)), self.grace, now);
    }

    fn leave(&mut self, source: Source, now: Instant) {
        let (site, stays) = (source.site(), matches!(source, Source::Network(_)));
        self.sites.leave(site, stays, now);
        if let Some(of_site) = self.of_site.get_mut(&site) {
            of_site.sources.leave(source, stays, now);
            if of_site.sources.shares.is_empty() {
                self.of_site.remove(&site);
            }
        }
        self.left = self.left.saturating_add(1);
        if self.left >= REMEMBERED {
            self.left = 0;
            self.forget_least();
        }
    }

    /// Halves levels, once for each [`HALF`] that has passed.
    fn halve(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.halved);
        let times = passed.as_secs().checked_div(HALF.as_secs()).unwrap_or(0);
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        if times == 0 {
            return;
        }
        self.halved = self.halved.saturating_add(HALF.saturating_mul(times));
        self.sites.halve(times, now);
        self.of_site.values_mut().for_each(|site| site.sources.halve(times, now));
        let waiting: Vec<Source> =
            self.of_site.values().flat_map(|site| site.queues.keys()).copied().collect();
        waiting.into_iter().for_each(|source| self.place(source, now));
        self.of_site.retain(|_, site| !site.sources.shares.is_empty());
    }

    /// Forgets the half of the inactive members that has had least, if there are many.
    fn forget_least(&mut self) {
        let sources = self.of_site.values().flat_map(|site| site.sources.idle());
        if let Some(least) = median(sources.collect()) {
            self.of_site.values_mut().for_each(|site| site.sources.forget(least));
            self.of_site.retain(|_, site| !site.sources.shares.is_empty());
        }
        if let Some(least) = median(self.sites.idle().collect()) {
            self.sites.forget(least);
        }
    }
}

/// The median of `of`; `None` if there are few.
fn median(mut of: Vec<u128>) -> Option<u128> {
    let half = of.len() / 2;
    (half >= REMEMBERED / 2).then(|| *of.select_nth_unstable(half).1)
}

#[cfg(test)]
impl Turns {
    /// The latest time of which it knows.
    pub(super) fn seen(&self) -> Instant {
        self.sites.at
    }

    /// How many sources it remembers.
    pub(super) fn remembers(&self) -> usize {
        self.of_site.values().map(|site| site.sources.shares.len()).sum()
    }

    /// How much more than the clock shows a source has had, in bytes times seconds.
    pub(super) fn had(&self, source: IpAddr) -> u128 {
        let source = Source::Network(source);
        let Some(of_site) = self.of_site.get(&source.site()) else { return 0 };
        let had = of_site.sources.shares.get(&source).map_or(0, |share| share.level);
        had.saturating_sub(of_site.sources.clock) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use voxwire_core::testing::Rng;

    fn at(millis: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_millis(millis))
    }

    fn below(rng: &mut Rng, bound: usize) -> usize {
        usize::try_from(rng.below(bound as u64)).unwrap()
    }

    fn source(n: u32) -> Source {
        Source::Network(Ipv4Addr::from_bits(n).into())
    }

    /// F-15: however many sources there are, no more than some are remembered: those that have had most.
    #[test]
    fn f_15_no_more_than_some_sources_are_remembered() {
        let mut turns = Turns::new(1 << 24, Duration::from_secs(1));
        let have = |turns: &mut Turns, source, millis| {
            turns.hold(source, 1 << 20, None, at(0));
            turns.give_back(source, 1 << 20, at(millis));
        };
        have(&mut turns, source(7), 1_000_000);
        for n in 0..30_000 {
            have(&mut turns, source(1000 + n), 100_000);
            assert!(
                n % 500 > 0
                    || turns.remembers() <= 2 * REMEMBERED && turns.sites.shares.len() <= 2 * REMEMBERED
            );
        }
        assert!(turns.had(Ipv4Addr::from_bits(7).into()) > 0);
        // Nothing is left of one of many people who share an address, nor of any source in the end.
        have(&mut turns, Source::Connection(1), 2_000_000);
        assert!(!turns.sites.shares.contains_key(&Source::Connection(1)));
        turns.halve(at(100_000_000));
        assert!(turns.sites.shares.is_empty() && turns.of_site.is_empty());
    }

    /// F-15: after any holding, waiting and giving back: what is next is the first that may be, and the sums are right.
    #[test]
    fn f_15_what_is_next_is_the_first_that_may_be() {
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let mut turns = Turns::new(100, Duration::from_secs(1));
            let mut held: Vec<(Source, usize)> = Vec::new();
            let mut waiting: Vec<(Source, u64)> = Vec::new();
            for step in 0..1000_u64 {
                let now = at(step * 500);
                let who = match u16::try_from(below(&mut rng, 5)).unwrap() {
                    0 => Source::Connection(step),
                    n => Source::Network(IpAddr::from([0x2001, 0xdb8, n / 3, n, 0, 0, 0, 0])),
                };
                match rng.below(4) {
                    0 => {
                        let bytes = 1 + below(&mut rng, 60);
                        turns.hold(who, bytes, None, now);
                        held.push((who, bytes));
                    }
                    1 if !held.is_empty() => {
                        let (who, bytes) = held.swap_remove(below(&mut rng, held.len()));
                        turns.give_back(who, bytes, now);
                    }
                    2 if !waiting.is_empty() => {
                        let (who, number) = waiting.swap_remove(below(&mut rng, waiting.len()));
                        assert!(turns.stop(who, number, now).is_some());
                    }
                    _ => {
                        let holds =
                            held.iter().find(|(other, _)| *other == who).map_or(0, |(_, bytes)| *bytes);
                        let bytes = holds + 1 + below(&mut rng, 90);
                        turns.wait(who, step, &Waiter { holds, bytes, waker: Waker::noop().clone() }, now);
                        waiting.push((who, step));
                    }
                }
                let expected = turns.sites.next().find_map(|site| {
                    let site = &turns.of_site[&site];
                    site.sources.next().find_map(|source| {
                        let queue = &site.queues[&source].waiters;
                        let first = queue.iter().find(|(_, (_, waiter))| turns.may(source, waiter));
                        first.map(|(number, _)| *number)
                    })
                });
                assert_eq!(turns.next().map(|(number, _)| number), expected, "{seed}, {step}");
                assert_eq!(turns.used(), held.iter().map(|(_, bytes)| bytes).sum());
                assert_eq!(turns.is_empty(), waiting.is_empty());
            }
            let now = at(600_000);
            held.drain(..).for_each(|(who, bytes)| turns.give_back(who, bytes, now));
            waiting.drain(..).for_each(|(who, number)| assert!(turns.stop(who, number, now).is_some()));
            assert_eq!((turns.used(), turns.sites.active, turns.sites.by_tag.len()), (0, 0, 0));
            assert!(turns.is_empty() && turns.of_site.values().all(|site| site.queues.is_empty()));
        }
    }
}
