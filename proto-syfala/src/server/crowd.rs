//! Which sources are answered when more ask than may be: those that keep asking, in turns.
//!
//! A source of datagrams can be forged, so a flood can show as many sources as it likes, each of them once; memory for all of
//! them would be a weapon. A client that looks for servers asks again and again from one address and port. So while too many
//! ask, a source is answered only if it asked in the period before this one, too, and has not been answered lately. Two sets of
//! bits, of fixed size, remember who asked.
//!
//! Where more keep asking than may be answered, addresses take turns. A hash that outsiders cannot compute places each address on a
//! ring, and the turn is that of an arc of it: as long as answers are there for those on it who wait, and beginning where the one before
//! ended. Each address on it is answered once, and the next arc has its turn when all are; so neither asking more often nor asking
//! from more ports gains anything. What they leave is for every other host that keeps asking.

use alloc::{boxed::Box, vec};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use voxwire_core::{Instant, Rate};

/// How long one set is filled. Clients ask at least once in it. A turn lasts for two of it.
const PERIOD: Duration = Duration::from_millis(600);
/// How long a source that has been answered waits while others do.
const ANSWERED: Duration = Duration::from_secs(15);
/// The whole ring.
const RING: u64 = 1 << 32;
/// The shortest arc. Where more wait on it than are answered in a turn, chance decides: each has its turn within a quarter of an hour.
const SHORTEST: u64 = RING / 256;
/// An arc grows from turn to turn by this factor at most: how many wait on the rest of the ring is not known.
const GROWTH: u64 = 4;
/// Bits set for one source.
const BITS: u32 = 4;
/// Bits that there should be for one source: then hardly one in four thousand is taken for another.
const ROOM: usize = 28;

#[derive(Debug)]
pub(super) struct Crowd {
    seed: u64,
    /// Bytes that may be taken.
    size: usize,
    /// Present while too many ask.
    memory: Option<Memory>,
    period: Instant,
    /// Whether this is the second period of a turn.
    second: bool,
    /// Numbers the arcs.
    turn: u32,
    /// Questions in this period.
    asked: usize,
    /// Where the arc begins that has its turn.
    start: u32,
    /// How long it is.
    arc: u64,
    /// How long the arc is, from the same beginning, whose sources are remembered: no more than there is memory for.
    known: u64,
    /// Addresses on the arc that could be answered if there was room: in this period, and in the greater of this turn's.
    waiting: (usize, usize),
    /// Of those of this period, how many have not been answered.
    left: usize,
    /// Sources that are remembered: in this period, and in the greater of this turn's.
    seen: (usize, usize),
}

#[derive(Debug)]
struct Memory {
    now: Box<[u64]>,
    before: Box<[u64]>,
    /// Who was answered last, of those that share a place: half of the hash, and when.
    answered: Box<[u64]>,
}

/// Whether a host that asks may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is its turn.
    Turn,
    /// It is the turn of others, who leave something.
    Rest,
    No,
}

impl Crowd {
    pub(super) const fn new(size: usize, seed: u64) -> Self {
        Self {
            seed,
            size,
            memory: None,
            period: Instant::ZERO,
            second: false,
            turn: 0,
            asked: 0,
            start: 0,
            arc: RING,
            known: RING,
            waiting: (0, 0),
            left: 0,
            seen: (0, 0),
        }
    }

    /// Whether a host that asks is among those that are answered now. Every host is, until more ask than `rate` allows. `may` says
    /// whether its own budget allows an answer.
    pub(super) fn admits(
        &mut self,
        now: Instant,
        rate: Rate,
        from: SocketAddr,
        may: impl FnOnce() -> bool,
    ) -> Admission {
        self.roll(now, rate);
        self.asked = self.asked.saturating_add(1);
        let Some(memory) = &mut self.memory else { return Admission::Turn };
        let (host, key) = keys(from, self.seed);
        let offset = u64::from(on_ring(host).wrapping_sub(self.start));
        if offset >= self.known {
            return Admission::No;
        }
        let before = bits(key).all(|bit| get(&memory.before, bit));
        self.seen.0 = self.seen.0.saturating_add(set_all(&mut memory.now, key).into());
        let lately = memory
            .answered(key)
            .is_some_and(|at| second(now).wrapping_sub(at) & u64::from(u32::MAX) < ANSWERED.as_secs());
        if !before || lately {
            return Admission::No;
        }
        if offset >= self.arc || memory.answered(host) == Some(self.turn.into()) {
            return Admission::Rest;
        }
        if !bits(host).all(|bit| get(&memory.now, bit)) && may() {
            set_all(&mut memory.now, host);
            self.waiting.0 = self.waiting.0.saturating_add(1);
            self.left = self.left.saturating_add(1);
        }
        Admission::Turn
    }

    /// A host has been answered.
    pub(super) fn answered(&mut self, now: Instant, from: SocketAddr) {
        let Some(memory) = &mut self.memory else { return };
        let ((host, key), turn) = (keys(from, self.seed), self.turn.into());
        let waited = memory.answered(host) != Some(turn) && bits(host).all(|bit| get(&memory.now, bit));
        self.left = self.left.saturating_sub(waited.into());
        memory.note(key, second(now));
        memory.note(host, turn);
    }

    /// How many answers those whose turn it is not leave to the others.
    pub(super) const fn kept_for_turns(rate: Rate) -> u32 {
        rate.burst.saturating_sub(rate.burst / 4)
    }

    /// More have asked than may be answered: from now on it matters who.
    pub(super) fn press(&mut self, now: Instant) {
        // An eighth remembers who was answered, the rest is the two sets.
        let words = self.size / 8;
        let (answered, set) = (words / 8, (words / 8).saturating_mul(7) / 2);
        if self.memory.is_none() && answered > 0 && set > 0 {
            let set = || vec![0; set].into_boxed_slice();
            let answered = vec![0; answered].into_boxed_slice();
            self.memory = Some(Memory { now: set(), before: set(), answered });
            *self = Self { memory: self.memory.take(), period: now, ..Self::new(self.size, self.seed) };
        }
    }

    /// Whether it matters at present who asks.
    pub(super) const fn is_pressed(&self) -> bool {
        self.memory.is_some()
    }

    fn roll(&mut self, now: Instant, rate: Rate) {
        let passed = now.saturating_duration_since(self.period);
        if passed < PERIOD {
            return;
        }
        self.period = now;
        let asked = core::mem::take(&mut self.asked);
        let few = PERIOD.as_millis().saturating_mul(rate.per_second.into()) / 1000;
        if passed >= PERIOD.saturating_mul(4) || (asked as u128) <= few {
            // As few as may be answered: all of them.
            self.memory = None;
            return;
        }
        // What comes in during a turn.
        let answers = u64::try_from(few.saturating_mul(2)).unwrap_or(u64::MAX);
        let Some(memory) = &mut self.memory else { return };
        core::mem::swap(&mut memory.now, &mut memory.before);
        memory.now.fill(0);
        for (period, turn) in [&mut self.waiting, &mut self.seen] {
            *turn = core::mem::take(period).max(*turn);
        }
        let left = core::mem::take(&mut self.left) as u64;
        self.second = !self.second;
        if !self.second {
            self.next_turn(answers, left);
        }
    }

    /// A turn is over, in which there were as many `answers`, and so many are `left` that wait.
    fn next_turn(&mut self, answers: u64, left: u64) {
        let room = self.memory.as_ref().map_or(0, |memory| memory.now.len().saturating_mul(64) / ROOM) as u64;
        let waiting = core::mem::take(&mut self.waiting.1) as u64;
        let seen = core::mem::take(&mut self.seen.1) as u64;
        self.known = next(self.known, room, seen);
        if left > 0 && self.arc > SHORTEST {
            // They have another, with those before them at most: so none of them can wait for ever.
            self.arc = next(self.arc, answers, left).min(self.arc / 2).max(SHORTEST);
        } else {
            self.start = on_ring(u64::from(self.start).wrapping_add(self.arc) << 32);
            self.turn = self.turn.wrapping_add(1);
            self.arc = next(self.arc, answers, waiting);
        }
        self.arc = self.arc.min(self.known);
    }
}

impl Memory {
    /// What is noted about an answer to a source.
    fn answered(&self, key: u64) -> Option<u64> {
        let note = index(self.answered.len(), key).and_then(|index| self.answered.get(index))?;
        (note >> 32 == key >> 32).then_some(note & u64::from(u32::MAX))
    }

    fn note(&mut self, key: u64, what: u64) {
        if let Some(at) = index(self.answered.len(), key).and_then(|index| self.answered.get_mut(index)) {
            *at = (key >> 32 << 32) | what;
        }
    }
}

/// How long an arc should be with room for `most`, if one of this length had `found`.
fn next(arc: u64, most: u64, found: u64) -> u64 {
    let longest = arc.saturating_mul(GROWTH);
    let fits = arc.saturating_mul(most.max(1)).checked_div(found).unwrap_or(longest);
    fits.min(longest).clamp(SHORTEST, RING)
}

/// 64 bits each that stand for an address, and for an address and a port.
fn keys(from: SocketAddr, seed: u64) -> (u64, u64) {
    let host = match from.ip().to_canonical() {
        IpAddr::V4(v4) => mix(mix(u64::from(u32::from(v4))) ^ seed),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
            mix(mix(half(bits >> 64) ^ seed) ^ half(bits))
        }
    };
    (host, mix(host ^ seed.rotate_left(32) ^ u64::from(from.port())))
}

/// Where a hash is on the ring.
fn on_ring(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

/// The finaliser of SplitMix64: spreads every input bit over the output.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn bits(key: u64) -> impl Iterator<Item = u64> {
    (1..=u64::from(BITS)).map(move |n| mix(key.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

fn index(len: usize, hash: u64) -> Option<usize> {
    hash.checked_rem(len as u64).and_then(|index| usize::try_from(index).ok())
}

/// In 32 bits, of which outsiders see none.
fn second(now: Instant) -> u64 {
    (now.as_nanos() / 1_000_000_000) & u64::from(u32::MAX)
}

fn get(set: &[u64], hash: u64) -> bool {
    let word = index(set.len(), hash >> 6).and_then(|index| set.get(index));
    word.is_some_and(|word| word & (1 << (hash & 63)) != 0)
}

/// Sets the bits of a source; false if they were set.
fn set_all(set: &mut [u64], key: u64) -> bool {
    let mut new = false;
    for hash in bits(key) {
        if let Some(word) = index(set.len(), hash >> 6).and_then(|index| set.get_mut(index)) {
            new |= *word & (1 << (hash & 63)) == 0;
            *word |= 1 << (hash & 63);
        }
    }
    new
}
