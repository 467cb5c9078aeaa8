use crate::rate::cost;
use crate::{Instant, Rate, SourceRate, source};
use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// The virtual clock of one source. With `n` connections it runs at an n-th of the speed of real time.
///
/// Each connection's [`EqualPart`] of a rate is refilled by it. So all parts together never get more than the rate, however connections come and go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartClock {
    connections: u32,
    since: Instant,
    /// What it showed then.
    time: Instant,
}

impl PartClock {
    /// A connection arrives. Its part of any rate is empty at first, so that nobody gets more by connecting again.
    pub fn open(&mut self, now: Instant) -> EqualPart {
        self.set(now, self.connections.saturating_add(1));
        EqualPart { spent: self.time }
    }

    /// A connection is gone.
    pub fn close(&mut self, now: Instant) {
        self.set(now, self.connections.saturating_sub(1));
    }

    /// How many connections there are.
    pub const fn connections(&self) -> u32 {
        self.connections
    }

    fn set(&mut self, now: Instant, connections: u32) {
        *self = Self { connections, since: self.since.max(now), time: self.at(now) };
    }

    /// What the clock shows.
    fn at(&self, now: Instant) -> Instant {
        let passed = now.since(self.since);
        self.time.after(passed.checked_div(self.parts()).unwrap_or(passed))
    }

    fn parts(&self) -> u64 {
        self.connections.max(1).into()
    }
}

/// One [`Rate`] of a source in equal parts, one for each of its connections.
///
/// With `n` connections each part gets `per_second / n` in the long run, and `burst / n` at once, but at least one token. All parts together get,
/// in any stretch of time, `per_second`, and beside it the greater of `burst` and `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EqualParts {
    /// A part holds at most the tokens that came since then, by the clock of the source.
    floor: Instant,
}

/// The part of one connection in [`EqualParts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EqualPart {
    /// Until when its tokens are used up, by the clock of its source. If that is later than now, it is in debt.
    spent: Instant,
}

impl EqualParts {
    /// Takes `n` tokens of a part. False if there are fewer; nothing is taken then.
    pub fn take(
        &mut self,
        now: Instant,
        clock: &PartClock,
        rate: Rate,
        part: &mut EqualPart,
        n: u32,
    ) -> bool {
        let (time, floor) = (clock.at(now), self.floor_at(now, clock, rate));
        let spent = part.spent.max(floor).after(cost(rate, n));
        let fits = spent <= time;
        if fits {
            // For all parts: when connections go, a part may hold more, but not for the time before that.
            (part.spent, self.floor) = (spent, floor);
        }
        fits
    }

    /// Takes `n` tokens of a part, even if there are fewer. Returns until when the connection should rest, if it is in debt.
    pub fn charge(
        &mut self,
        now: Instant,
        clock: &PartClock,
        rate: Rate,
        part: &mut EqualPart,
        n: u32,
    ) -> Option<Instant> {
        self.floor = self.floor_at(now, clock, rate);
        part.spent = part.spent.max(self.floor).after(cost(rate, n));
        let owed = part.spent.since(clock.at(now));
        (owed != 0).then(|| now.after(owed.saturating_mul(clock.parts())))
    }

    /// Whether a part is full. It can be [forgotten](Self::forget) then.
    pub fn is_full(&self, now: Instant, clock: &PartClock, rate: Rate, part: &EqualPart) -> bool {
        part.spent <= self.floor_at(now, clock, rate)
    }

    /// Forgets a part that is full. From now on a default part is full, too.
    pub fn forget(&mut self, part: &EqualPart) {
        self.floor = self.floor.max(part.spent);
    }

    fn floor_at(&self, now: Instant, clock: &PartClock, rate: Rate) -> Instant {
        let most = cost(rate, rate.burst).checked_div(clock.parts()).unwrap_or_default().max(cost(rate, 1));
        let since = clock.at(now).since(Instant::ZERO).saturating_sub(most);
        self.floor.max(Instant::ZERO.after(since))
    }
}

/// The [`Rate`] of each source address in equal parts, one for each of its connections. Whatever some connections do, and however often they
/// connect, each other one gets its part.
///
/// The same rate again is shared by all connections of a source (a [`SourceRate`]), for those that need more than their part. A quarter of its
/// burst is kept for connections that have had nothing yet, because their part is still empty. So a source gets at most, in any stretch of
/// time, twice `per_second`, and beside it `burst` and the greater of `burst` and its number of connections.
#[derive(Debug, Clone)]
pub struct Parts {
    rate: Rate,
    sources: BTreeMap<IpAddr, (PartClock, EqualParts)>,
}

/// The part of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    part: EqualPart,
    source: Option<IpAddr>,
    /// Whether it has had a token.
    used: bool,
}

impl Parts {
    /// No connections.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, sources: BTreeMap::new() }
    }

    /// A connection arrives from `address`. `None` if that address stands for many people: its connections are not limited.
    pub fn open(&mut self, now: Instant, address: Option<IpAddr>) -> Part {
        let source = address.map(source);
        let part = source.map(|source| self.sources.entry(source).or_default().0.open(now));
        Part { part: part.unwrap_or_default(), source, used: false }
    }

    /// A connection has gone.
    pub fn close(&mut self, now: Instant, part: Part) {
        let Some(source) = part.source else { return };
        if let Some((clock, _)) = self.sources.get_mut(&source) {
            clock.close(now);
            if clock.connections() == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Takes one token of a connection's part, or of what its source shares. False if there is none.
    pub fn take(&mut self, now: Instant, part: &mut Part, shared: &mut SourceRate) -> bool {
        let Some(source) = part.source else { return true };
        let Some((clock, parts)) = self.sources.get_mut(&source) else { return false };
        let kept = if part.used { self.rate.burst / 4 } else { 0 };
        let taken =
            parts.take(now, clock, self.rate, &mut part.part, 1) || shared.allow_above(now, source, 1, kept);
        part.used |= taken;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::time::Duration;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_second: 2, burst: 40 };
    const HERE: Option<IpAddr> = Some(IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn at(ms: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_millis(ms))
    }

    /// What one source may have within a time, of its parts and of what it shares.
    fn most(connections: usize, ms: u64) -> u64 {
        u64::from(RATE.burst) + u64::from(RATE.burst).max(connections as u64) + 2 * 2 * ms / 1000
    }

    struct Desk {
        parts: Parts,
        shared: SourceRate,
    }

    impl Desk {
        fn new() -> Self {
            Self { parts: Parts::new(RATE), shared: SourceRate::new(RATE, 64, 7) }
        }

        fn take(&mut self, ms: u64, part: &mut Part) -> bool {
            self.parts.take(at(ms), part, &mut self.shared)
        }

        /// Uses up what is shared, as one who connects anew each time can.
        fn drain(&mut self, ms: u64) {
            while self.shared.allow(at(ms), HERE.unwrap()) {}
        }
    }

    /// F-06: ten neighbours who try without end leave the eleventh its part, and all have no more than the rate.
    #[test]
    fn f_06_each_connection_of_a_source_has_its_part() {
        let mut desk = Desk::new();
        let here = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, n]));
        let mut neighbours: [Part; 10] =
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|n| desk.parts.open(at(0), here(n)));
        let mut honest = desk.parts.open(at(0), here(99));
        let mut taken = 0;
        for ms in 0..=60_000 {
            desk.drain_v6(ms);
            taken += neighbours.iter_mut().filter_map(|part| desk.take(ms, part).then_some(())).count();
        }
        assert!((100..=110).contains(&taken), "{taken}");
        assert!(desk.take(60_000, &mut honest));
        neighbours.into_iter().chain([honest]).for_each(|part| desk.parts.close(at(60_000), part));
        assert!(desk.parts.sources.is_empty());
        let mut proxied = desk.parts.open(at(60_000), None);
        assert!((0..100).all(|_| desk.take(60_000, &mut proxied)));
    }

    impl Desk {
        fn drain_v6(&mut self, ms: u64) {
            while self.shared.allow(at(ms), [0x2001, 0xdb8, 0, 7, 0, 0, 0, 1].into()) {}
        }
    }

    /// F-06: a source that opens 256 connections, uses what they have after 20 s, closes them, all at once or one by one, and begins anew, has
    /// no more than who stays.
    #[test]
    fn f_06_reconnecting_pays_nothing() {
        for one_by_one in [false, true] {
            let mut desk = Desk::new();
            let mut taken = 0;
            for round in 0..30 {
                let (then, now) = (round * 20_000, (round + 1) * 20_000);
                let mut all: Vec<Part> = (0..256).map(|_| desk.parts.open(at(then), HERE)).collect();
                while let Some(mut part) = all.pop() {
                    while desk.take(now, &mut part) {
                        taken += 1;
                    }
                    if one_by_one {
                        desk.parts.close(at(now), part);
                    } else {
                        all.iter_mut().for_each(|part| taken += u64::from(desk.take(now, part)));
                        all.drain(..).chain([part]).for_each(|part| desk.parts.close(at(now), part));
                    }
                }
            }
            assert!(taken <= most(256, 600_000), "one by one: {one_by_one}: {taken}");
            assert!(taken >= 1200, "{taken}");
        }
    }

    /// F-06: connections that stay leave something of what is shared to one that comes anew, as often as it does.
    #[test]
    fn f_06_one_who_reconnects_when_refused_gets_in() {
        let mut desk = Desk::new();
        let mut all: Vec<Part> = (0..255).map(|_| desk.parts.open(at(0), HERE)).collect();
        // Until each of them has had something.
        for ms in (0..130_000).step_by(100) {
            all.iter_mut().for_each(|part| _ = desk.take(ms, part));
        }
        for ms in (130_000..140_000).step_by(1000) {
            all.iter_mut().for_each(|part| _ = desk.take(ms, part));
            let mut honest = desk.parts.open(at(ms), HERE);
            assert!(desk.take(ms, &mut honest), "{ms}");
            desk.parts.close(at(ms), honest);
        }
    }

    /// F-06: what is forgotten of one connection takes nothing from another one.
    #[test]
    fn f_06_a_part_that_is_forgotten_costs_the_neighbours_nothing() {
        let (mut clock, mut parts) = (PartClock::default(), EqualParts::default());
        let [mut one, mut other] = [0, 0].map(|ms| clock.open(at(ms)));
        assert!(parts.take(at(20_000), &clock, RATE, &mut one, 20));
        assert!(!parts.is_full(at(21_000), &clock, RATE, &one));
        assert!(parts.is_full(at(100_000), &clock, RATE, &one));
        parts.forget(&one);
        clock.close(at(100_000));
        // The burst of the whole rate is the other one's now.
        assert!(parts.take(at(100_000), &clock, RATE, &mut other, RATE.burst));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Open(u8),
        Close(u8),
        /// All of them, this often each.
        Try(u8),
        /// Each tries and is closed at once.
        OneByOne(u8),
        Wait(u16),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            any::<u8>().prop_map(Act::Open),
            any::<u8>().prop_map(Act::Close),
            (1..50_u8).prop_map(Act::Try),
            any::<u8>().prop_map(Act::OneByOne),
            (0..30_000_u16).prop_map(Act::Wait),
        ]
    }

    proptest! {
        /// F-06: with up to 255 connections, one source has no more than its bound, in any stretch of time, and a
        /// neighbour that stays has one for each time in which the rate gives one to each.
        #[test]
        fn f_06_no_sequence_of_connections_has_more_than_the_rate_and_a_neighbour_has_its_part(
            acts in prop::collection::vec(act(), 1..60),
            drained in any::<bool>(),
        ) {
            let mut desk = Desk::new();
            let mut honest = desk.parts.open(at(0), HERE);
            let (mut ms, mut open) = (0_u64, Vec::<Part>::new());
            // When how many were taken, with how many connections.
            let mut times: Vec<(u64, usize)> = Vec::new();
            let mut served = 0;
            for act in acts {
                match act {
                    Act::Open(n) => {
                        let n = usize::from(n).min(255 - open.len());
                        open.extend((0..n).map(|_| desk.parts.open(at(ms), HERE)));
                    }
                    Act::Close(n) => {
                        let n = usize::from(n).min(open.len());
                        open.drain(..n).for_each(|part| desk.parts.close(at(ms), part));
                    }
                    Act::Try(n) => for _ in 0..n {
                        let connections = open.len() + 1;
                        let taken = open.iter_mut().filter_map(|part| desk.take(ms, part).then_some(()));
                        times.extend(taken.map(|()| (ms, connections)));
                    },
                    Act::OneByOne(n) => for _ in 0..n {
                        let Some(mut part) = open.pop() else { break };
                        while desk.take(ms, &mut part) {
                            times.push((ms, open.len() + 2));
                        }
                        desk.parts.close(at(ms), part);
                    },
                    Act::Wait(n) => {
                        let until = ms + u64::from(n);
                        while ms < until {
                            ms = (ms + 500).min(until);
                            if drained {
                                desk.drain(ms);
                            }
                            // With 256 connections at most the rate gives each one in 128 s.
                            if desk.parts.take(at(ms), &mut honest, &mut desk.shared) {
                                served = ms;
                            }
                            prop_assert!(ms - served <= 128_500, "a neighbour has waited since {served}");
                        }
                    }
                }
            }
            for (from, (first, connections)) in times.iter().enumerate() {
                for (to, (last, _)) in times.iter().enumerate().skip(from) {
                    let (taken, most) = ((to - from + 1) as u64, most(*connections, last - first));
                    prop_assert!(taken <= most, "{taken} of {most} from {first} to {last} ms");
                }
            }
        }
    }
}
