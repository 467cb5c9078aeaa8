//! Who is answered when more ask than may be: whoever keeps asking, in turns.
//!
//! A source of datagrams can be forged, so a flood can show as many sources as it likes, each of them once; memory for all of
//! them would be a weapon. A client that looks for servers asks again and again from one address and port. So while too many
//! ask, a source is answered only if it asked in the period before this one, too, and has not been answered lately. Two sets of
//! bits, of fixed size, remember who asked; where more ask than they can tell apart, or more keep asking than may be answered in
//! a turn, sources take turns, a part of them at a time, told by a hash that outsiders cannot compute: asking more often than others
//! gains nothing.

use alloc::{boxed::Box, vec};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use voxwire_core::{Instant, Rate};

/// How long one set is filled. Clients ask at least once in it.
const PERIOD: Duration = Duration::from_millis(600);
/// How long whoever has been answered waits while others do.
const ANSWERED: Duration = Duration::from_secs(15);
/// Parts at most: the turn of each comes within six hours.
const MAX_PARTS: u64 = 1 << 14;
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
    /// Numbers the periods.
    turn: u64,
    /// Questions in this period.
    asked: usize,
    /// Sources, each counted once, that could be answered in this period if there was room.
    waiting: usize,
    /// Sources are divided into this many parts, which take turns of two periods.
    parts: u64,
}

#[derive(Debug)]
struct Memory {
    now: Box<[u64]>,
    before: Box<[u64]>,
    /// Who was answered last, of those that share a place: half of the hash, and the second.
    answered: Box<[u64]>,
}

impl Crowd {
    pub(super) const fn new(size: usize, seed: u64) -> Self {
        Self { seed, size, memory: None, period: Instant::ZERO, turn: 0, asked: 0, waiting: 0, parts: 1 }
    }

    /// Whether somebody who asks is among those that are answered now. Everybody is, until more ask than `rate` allows.
    pub(super) fn admits(&mut self, now: Instant, rate: Rate, from: SocketAddr) -> bool {
        self.roll(now, rate);
        self.asked = self.asked.saturating_add(1);
        let key = key(from, self.seed);
        let part = (key >> 32).checked_rem(self.parts);
        let Some(memory) = &mut self.memory else { return true };
        if part != (self.turn / 2).checked_rem(self.parts) {
            return false;
        }
        let before = bits(key).all(|bit| get(&memory.before, bit));
        let first = !bits(key).all(|bit| get(&memory.now, bit));
        bits(key).for_each(|bit| set(&mut memory.now, bit));
        let last = index(memory.answered.len(), key).and_then(|index| memory.answered.get(index));
        let lately = last.is_some_and(|last| {
            let ago = second(now).saturating_sub(last & u64::from(u32::MAX));
            last >> 32 == key >> 32 && ago < ANSWERED.as_secs()
        });
        let admitted = before && !lately;
        self.waiting = self.waiting.saturating_add((admitted && first).into());
        admitted
    }

    /// Somebody has been answered.
    pub(super) fn answered(&mut self, now: Instant, from: SocketAddr) {
        let key = key(from, self.seed);
        let Some(memory) = &mut self.memory else { return };
        let index = index(memory.answered.len(), key);
        if let Some(at) = index.and_then(|index| memory.answered.get_mut(index)) {
            *at = (key >> 32 << 32) | second(now);
        }
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
            (self.period, self.turn) = (now, 0);
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
        let (asked, waiting) = (core::mem::take(&mut self.asked), core::mem::take(&mut self.waiting));
        self.period = now;
        let few = PERIOD.as_millis().saturating_mul(rate.per_second.into()) / 1000;
        if passed >= PERIOD.saturating_mul(4) || (asked as u128) <= few {
            // As few as may be answered: whoever they are.
            self.memory = None;
            self.parts = 1;
            return;
        }
        self.turn = self.turn.saturating_add(1);
        let Some(memory) = &mut self.memory else { return };
        core::mem::swap(&mut memory.now, &mut memory.before);
        memory.now.fill(0);
        if self.turn % 2 == 0 {
            let room = (memory.now.len().saturating_mul(64) / ROOM).max(1);
            let by_memory = u64::try_from(asked.div_ceil(room)).unwrap_or(u64::MAX);
            // Those who wait are counted in the part whose turn it was.
            let waiting = u64::try_from(waiting).unwrap_or(u64::MAX).saturating_mul(self.parts);
            let answers = u64::from(rate.burst).saturating_add(u64::try_from(few).unwrap_or(0)).max(1);
            let by_answers = waiting.div_ceil(answers);
            self.parts = by_memory.max(by_answers).clamp(1, MAX_PARTS).next_power_of_two();
        }
    }
}

/// 64 bits that stand for an address and a port.
fn key(from: SocketAddr, seed: u64) -> u64 {
    let port = u64::from(from.port());
    match from.ip().to_canonical() {
        IpAddr::V4(v4) => mix(mix(u64::from(u32::from(v4)) << 16 | port) ^ seed),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
            mix(mix(mix(half(bits >> 64) ^ seed) ^ half(bits)) ^ port)
        }
    }
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

fn set(set: &mut [u64], hash: u64) {
    if let Some(word) = index(set.len(), hash >> 6).and_then(|index| set.get_mut(index)) {
        *word |= 1 << (hash & 63);
    }
}
