//! Rate limits: of each connection, and of all connections of one source address together, those included that are gone.

use super::ServerSettings;
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::{net::IpAddr, num::NonZeroU32, time::Duration};
use voxwire_core::{Bucket, EqualPart, EqualParts, Exempt, Instant, PartClock, Rate, source};

/// How long a source is remembered that has no connection any more. Its buckets are full again by then.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What has a rate, beside voice frames; what is over theirs is dropped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Texts; over the rate reading pauses.
    Text,
    /// Handshakes, states and deltas; over the rate reading pauses.
    State,
    /// Bytes that others must take; over the rate reading pauses.
    Bytes,
}

/// The rates of one kind.
#[derive(Debug, Clone, Copy)]
struct Rates {
    /// Of one connection.
    own: Rate,
    /// Of one source.
    source: Rate,
}

impl Rates {
    const fn voice(settings: &ServerSettings) -> Self {
        Self { own: settings.voice, source: settings.source_voice }
    }

    const fn of(settings: &ServerSettings, kind: Kind) -> Self {
        let (own, source) = match kind {
            Kind::Text => (settings.text, settings.source_text),
            Kind::State => (settings.state, settings.source_state),
            Kind::Bytes => (settings.reliable_bytes, settings.source_bytes),
        };
        Self { own, source }
    }
}

/// The place of a connection's source. `None` where sources are not limited: on loopback, and where it is exempt, one address is many
/// people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SourceAt(Option<NonZeroU32>);

/// What a connection has left of the rates of control packets, kind by kind. The default is full.
#[derive(Debug, Default)]
pub(super) struct ControlQuotas {
    text: Quota,
    state: Quota,
    bytes: Quota,
    /// Its part of the source's handshakes.
    attempts: EqualPart,
}

/// What a connection has left of one rate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quota {
    own: Bucket,
    share: EqualPart,
}

impl Quota {
    /// That of a new connection.
    pub(super) const fn new(share: EqualPart) -> Self {
        Self { own: Bucket::FULL, share }
    }

    /// Takes `n` of the connection's own, and of its source's.
    #[inline]
    fn take(&mut self, now: Instant, rates: Rates, pool: Option<(&PartClock, &mut Pool)>, n: u32) -> bool {
        let before = self.own;
        if self.own.take(now, rates.own, n).is_err() {
            return false;
        }
        let Some((clock, pool)) = pool else { return true };
        let taken = pool.take(now, clock, rates.source, &mut self.share, n);
        if !taken {
            self.own = before;
        }
        taken
    }
}

impl SourceAt {
    fn index(self) -> Option<usize> {
        usize::try_from(self.0?.get().checked_sub(1)?).ok()
    }
}

impl ControlQuotas {
    /// Those of a new connection: its share of each rate is empty.
    pub(super) const fn new(share: EqualPart) -> Self {
        let quota = Quota::new(share);
        Self { text: quota, state: quota, bytes: quota, attempts: share }
    }

    const fn get_mut(&mut self, kind: Kind) -> &mut Quota {
        match kind {
            Kind::Text => &mut self.text,
            Kind::State => &mut self.state,
            Kind::Bytes => &mut self.bytes,
        }
    }
}

/// All source addresses that have, or had lately, a connection. As many as there are connections at most, and as many again
/// that are remembered: no source is refused because others fill a table.
#[derive(Debug)]
pub(super) struct Sources {
    by_address: BTreeMap<IpAddr, usize>,
    slots: Vec<Source>,
    free: Vec<usize>,
    /// Those without a connection, until when they are remembered.
    gone: VecDeque<(Instant, usize)>,
    max_gone: usize,
    pub(super) exempt: Exempt,
}

#[derive(Debug)]
struct Source {
    address: IpAddr,
    /// By which the shares of its connections fill.
    clock: PartClock,
    /// While it has no connection: until when it is remembered.
    until: Option<Instant>,
    voice: Pool,
    text: Pool,
    state: Pool,
    bytes: Pool,
    attempts: Pool,
}

/// One rate of a source.
#[derive(Debug, Clone, Copy, Default)]
struct Pool {
    /// What its connections have an equal share of.
    parts: EqualParts,
    /// What they take beyond their shares.
    all: Bucket,
}

impl Source {
    const fn get_mut(&mut self, kind: Kind) -> (&PartClock, &mut Pool) {
        let pool = match kind {
            Kind::Text => &mut self.text,
            Kind::State => &mut self.state,
            Kind::Bytes => &mut self.bytes,
        };
        (&self.clock, pool)
    }
}

impl Pool {
    /// Takes `n` of a connection's share, or of what all share: what is one's own first, as what is every client's lasts for longer.
    #[inline]
    fn take(&mut self, now: Instant, clock: &PartClock, rate: Rate, share: &mut EqualPart, n: u32) -> bool {
        self.parts.take(now, clock, rate, share, n) || self.all.take(now, rate, n).is_ok()
    }
}

impl Sources {
    pub(super) const fn new(max_gone: usize) -> Self {
        Self {
            by_address: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            gone: VecDeque::new(),
            max_gone,
            exempt: Exempt::new(),
        }
    }

    /// A connection arrives. Returns its share of each rate.
    pub(super) fn open(&mut self, now: Instant, from: Option<IpAddr>) -> (SourceAt, EqualPart) {
        self.forget(now);
        let Some(address) = self.exempt.limited(from).map(source) else { return Default::default() };
        let index = self.by_address.get(&address).copied().unwrap_or_else(|| self.add(address));
        let Some(slot) = self.slots.get_mut(index) else { return Default::default() };
        // A share fills up with time: connecting again brings none.
        let share = slot.clock.open(now);
        slot.until = None;
        let source = SourceAt(u32::try_from(index.saturating_add(1)).ok().and_then(NonZeroU32::new));
        (source, share)
    }

    fn add(&mut self, address: IpAddr) -> usize {
        let (clock, pool) = (PartClock::default(), Pool::default());
        let (voice, text, state, bytes, attempts) = (pool, pool, pool, pool, pool);
        let new = Source { address, clock, until: None, voice, text, state, bytes, attempts };
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.slots.len(),
        };
        match self.slots.get_mut(index) {
            Some(slot) => *slot = new,
            None => self.slots.push(new),
        }
        self.by_address.insert(address, index);
        index
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, now: Instant, source: SourceAt) {
        self.forget(now);
        let Some(index) = source.index() else { return };
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.clock.close(now);
        if slot.clock.connections() == 0 {
            let until = now.saturating_add(REMEMBERED);
            slot.until = Some(until);
            self.gone.push_back((until, index));
        }
    }

    /// Forgets sources that are gone for long enough, and the oldest where there are too many.
    fn forget(&mut self, now: Instant) {
        while let Some(&(until, index)) = self.gone.front() {
            if until > now && self.gone.len() <= self.max_gone {
                break;
            }
            self.gone.pop_front();
            // One that has come back since has a later entry, or none.
            let Some(slot) = self.slots.get(index).filter(|slot| slot.until == Some(until)) else { continue };
            self.by_address.remove(&slot.address);
            self.free.push(index);
            if let Some(slot) = self.slots.get_mut(index) {
                slot.until = None;
            }
        }
        if self.by_address.is_empty() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
    }

    #[inline]
    fn slot(&mut self, source: SourceAt) -> Option<&mut Source> {
        self.slots.get_mut(source.index()?)
    }

    /// Whether a connection may try one more handshake: of its own part first, then of what its source shares, a quarter of which at once
    /// is kept for those that have not `tried` one.
    pub(super) fn attempt(
        &mut self,
        now: Instant,
        rate: Rate,
        source: SourceAt,
        quotas: &mut ControlQuotas,
        tried: bool,
    ) -> bool {
        let Some(slot) = self.slot(source) else { return true };
        let Source { clock, attempts: Pool { parts, all }, .. } = slot;
        let kept = if tried { rate.burst / 4 } else { 0 };
        parts.take(now, clock, rate, &mut quotas.attempts, 1)
            || all.clone().take(now, rate, kept.saturating_add(1)).is_ok() && all.take(now, rate, 1).is_ok()
    }

    /// Takes one voice frame, or nothing and says no.
    #[inline]
    pub(super) fn take_voice(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        source: SourceAt,
        quota: &mut Quota,
    ) -> bool {
        let pool = self.slot(source).map(|slot| (&slot.clock, &mut slot.voice));
        quota.take(now, Rates::voice(settings), pool, 1)
    }

    /// Takes `n` of a kind, or nothing and says no.
    pub(super) fn take(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        source: SourceAt,
        quotas: &mut ControlQuotas,
        kind: Kind,
        n: u32,
    ) -> bool {
        let pool = self.slot(source).map(|slot| slot.get_mut(kind));
        quotas.get_mut(kind).take(now, Rates::of(settings, kind), pool, n)
    }

    /// Takes `n` of a kind whether they are there or not. Returns until when the debtor should rest.
    pub(super) fn charge(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        source: SourceAt,
        quotas: &mut ControlQuotas,
        kind: Kind,
        n: u32,
    ) -> Option<Instant> {
        let rates = Rates::of(settings, kind);
        let quota = quotas.get_mut(kind);
        let own = quota.own.charge(now, rates.own, n);
        let Some(slot) = self.slot(source) else { return own };
        let (clock, pool) = slot.get_mut(kind);
        if pool.take(now, clock, rates.source, &mut quota.share, n) {
            return own;
        }
        // A debt is the source's as well: leaving and coming back does not pay it.
        pool.all.charge(now, rates.source, n);
        own.max(pool.parts.charge(now, clock, rates.source, &mut quota.share, n))
    }

    /// Forgets a connection's quotas if they are full: default ones hold as much. False, and nothing done, if they are not.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        source: SourceAt,
        quotas: &mut ControlQuotas,
    ) -> bool {
        let kinds = [Kind::Text, Kind::State, Kind::Bytes];
        if !kinds.into_iter().all(|kind| quotas.get_mut(kind).own.is_full(now)) {
            return false;
        }
        if let Some(slot) = self.slot(source) {
            let clock = slot.clock;
            let mut parts = [
                (&mut slot.text.parts, settings.source_text, quotas.text.share),
                (&mut slot.state.parts, settings.source_state, quotas.state.share),
                (&mut slot.bytes.parts, settings.source_bytes, quotas.bytes.share),
                (&mut slot.attempts.parts, settings.attempts, quotas.attempts),
            ];
            if !parts.iter().all(|(parts, rate, share)| parts.is_full(now, &clock, *rate, share)) {
                return false;
            }
            parts.iter_mut().for_each(|(parts, _, share)| parts.forget(share));
        }
        *quotas = ControlQuotas::default();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_secs(seconds))
    }

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    /// All quotas of a connection.
    #[derive(Default)]
    struct Quotas {
        source: SourceAt,
        voice: Quota,
        control: ControlQuotas,
        tried: bool,
    }

    const SETTINGS: ServerSettings = ServerSettings::DEFAULT;

    impl Sources {
        fn open_all(&mut self, now: Instant, from: Option<IpAddr>) -> Quotas {
            let (source, share) = self.open(now, from);
            Quotas { source, voice: Quota::new(share), control: ControlQuotas::new(share), tried: false }
        }

        fn voice(&mut self, now: Instant, quotas: &mut Quotas) -> bool {
            self.take_voice(now, &SETTINGS, quotas.source, &mut quotas.voice)
        }

        fn handshake(&mut self, now: Instant, rate: Rate, quotas: &mut Quotas) -> bool {
            let taken = self.attempt(now, rate, quotas.source, &mut quotas.control, quotas.tried);
            quotas.tried |= taken;
            taken
        }

        /// Voice, or another kind.
        fn take_any(&mut self, now: Instant, quotas: &mut Quotas, kind: Option<Kind>) -> bool {
            match kind {
                Some(kind) => self.take(now, &SETTINGS, quotas.source, &mut quotas.control, kind, 1),
                None => self.voice(now, quotas),
            }
        }
    }

    fn taken(sources: &mut Sources, now: Instant, quotas: &mut Quotas) -> u32 {
        (0..10_000).map(|_| u32::from(sources.voice(now, quotas))).sum()
    }

    /// F-01: who reconnects, or connects many times, has no more than the source's rate.
    #[test]
    fn f_01_many_connections_of_one_source_share_its_rate_and_reconnecting_brings_nothing() {
        let settings = ServerSettings::DEFAULT;
        let burst = settings.source_voice.burst;
        let mut sources = Sources::new(1000);
        let mut total = 0;
        for n in 0..200 {
            let mut quotas = sources.open_all(at(0), from("2001:db8::1"));
            total += taken(&mut sources, at(0), &mut quotas);
            if n % 2 == 0 {
                sources.close(at(0), quotas.source);
            }
        }
        assert_eq!(total, burst);
        // Another host of the same /64 is the same source, another /64 and loopback are not.
        let mut left = |address| {
            let mut quotas = sources.open_all(at(0), from(address));
            taken(&mut sources, at(0), &mut quotas)
        };
        assert_eq!(["2001:db8::2", "2001:db8:0:1::1", "::1"].map(&mut left), [0, 120, 120]);
    }

    /// F-01: a neighbour behind the same address keeps its share, against all that others there do.
    #[test]
    fn f_01_an_honest_neighbour_behind_the_same_address_keeps_its_share() {
        let mut sources = Sources::new(1000);
        let mut honest = sources.open_all(at(0), from("192.0.2.1"));
        let mut others: Vec<Quotas> = (0..31).map(|_| sources.open_all(at(0), from("192.0.2.1"))).collect();
        let mut heard = 0;
        for ms in 0..20_000_u64 {
            let now = Instant::from_nanos(ms * 1_000_000);
            for other in &mut others {
                sources.voice(now, other);
            }
            if ms % 20 == 0 {
                heard += u32::from(sources.voice(now, &mut honest));
            }
        }
        assert!(heard >= 995, "{heard} of 1000");
    }

    /// F-01: a source that splits into more connections than it has texts a second has no more of them.
    #[test]
    fn f_01_many_connections_have_no_more_than_few() {
        let settings = ServerSettings::DEFAULT;
        for (kind, rate, own) in [
            (Some(Kind::Text), settings.source_text, settings.text),
            (Some(Kind::State), settings.source_state, settings.state),
            (None, settings.source_voice, settings.voice),
        ] {
            for connections in [1, 39, 40, 41, 200, 2000_u32] {
                let mut sources = Sources::new(1000);
                let mut all: Vec<Quotas> =
                    (0..connections).map(|_| sources.open_all(at(0), from("192.0.2.1"))).collect();
                let mut sum = 0;
                for second in 0..60 {
                    for quotas in &mut all {
                        while sources.take_any(at(second), quotas, kind) {
                            sum += 1;
                        }
                    }
                }
                // Twice: what is theirs, and what they share.
                let most = 2 * (rate.burst.max(connections) + rate.per_second * 60);
                assert!(sum <= most, "{kind:?}: {sum} of {most} with {connections}");
                // And nobody is left without: each has had one in this minute, if its own rate allows it.
                let least = (rate.per_second * 60).min(connections * (own.burst + own.per_second * 59));
                assert!(sum >= least, "{kind:?}: {sum} of {least} with {connections}");
            }
        }
    }

    /// F-01: handshakes as well are shared out: a source that floods with them keeps no neighbour out.
    #[test]
    fn f_01_a_flood_of_handshakes_leaves_a_neighbour_its_part() {
        let settings = ServerSettings::DEFAULT;
        let mut sources = Sources::new(1000);
        let mut others: Vec<Quotas> = (0..31).map(|_| sources.open_all(at(0), from("192.0.2.1"))).collect();
        let mut honest = sources.open_all(at(0), from("192.0.2.1"));
        for second in 0..60 {
            for other in &mut others {
                while sources.handshake(at(second), settings.attempts, other) {}
            }
            let asks = second % 5 == 4;
            assert!(!asks || sources.handshake(at(second), settings.attempts, &mut honest), "{second}");
        }
    }

    /// F-06: a source that opens 256 connections, uses what they have, closes them one by one and begins anew, has no more than one that stays.
    #[test]
    fn f_06_closing_connections_one_by_one_pays_nothing() {
        let settings = ServerSettings::DEFAULT;
        let voice = settings.source_voice;
        for (rate, handshakes) in [(settings.attempts, true), (voice, false)] {
            let mut sources = Sources::new(1000);
            let mut sum = 0_u32;
            for round in 1..=20 {
                let mut all: Vec<Quotas> =
                    (0..256).map(|_| sources.open_all(at(round * 30 - 30), from("192.0.2.1"))).collect();
                let now = at(round * 30);
                while let Some(mut quotas) = all.pop() {
                    while match handshakes {
                        true => sources.handshake(now, rate, &mut quotas),
                        false => sources.voice(now, &mut quotas),
                    } {
                        sum += 1;
                    }
                    sources.close(now, quotas.source);
                }
            }
            let most = 2 * (rate.burst.max(256) + rate.per_second * 600);
            assert!(sum <= most, "{sum} of {most}, handshakes: {handshakes}");
        }
    }

    /// F-06: one that comes anew for each handshake gets in beside others that stay and try without end.
    #[test]
    fn f_06_one_who_reconnects_for_its_handshake_gets_in() {
        let settings = ServerSettings::DEFAULT;
        let mut sources = Sources::new(1000);
        let mut others: Vec<Quotas> = (0..31).map(|_| sources.open_all(at(0), from("192.0.2.1"))).collect();
        for second in 0..60 {
            for other in &mut others {
                while sources.handshake(at(second), settings.attempts, other) {}
            }
            let mut honest = sources.open_all(at(second), from("192.0.2.1"));
            assert!(sources.handshake(at(second), settings.attempts, &mut honest), "{second}");
            sources.close(at(second), honest.source);
        }
    }

    /// F-06: quotas that are forgotten where they are full are those that are kept, to the token, as neighbours come and go.
    #[test]
    fn f_06_full_quotas_can_be_forgotten() {
        [false, true].into_iter().for_each(forgotten_and_kept_quotas_are_equal);
    }

    /// Where connections close, the parts of those that stay may hold more, but not what they could not have had before: what is forgotten is
    /// looked at in both tables then.
    fn forgotten_and_kept_quotas_are_equal(closing: bool) {
        let mut rng = voxwire_core::testing::Rng::new(3);
        let (mut kept, mut forgot) = (Sources::new(1000), Sources::new(1000));
        let mut all: Vec<(Quotas, Quotas)> = Vec::new();
        let (mut ms, mut forgotten) = (0, 0);
        for _ in 0..40_000 {
            let pause = if rng.chance(0.01) { 40_000 } else { 200 };
            ms += rng.below(pause);
            let now = Instant::from_nanos(ms * 1_000_000);
            let address = from(if rng.chance(0.8) { "192.0.2.1" } else { "127.0.0.1" });
            match rng.below(30) {
                0 if all.len() < 12 => all.push((kept.open_all(now, address), forgot.open_all(now, address))),
                1 if closing && !all.is_empty() => {
                    let at = usize::try_from(rng.below(all.len() as u64)).unwrap();
                    let (one, other) = all.swap_remove(at);
                    kept.close(now, one.source);
                    forgot.close(now, other.source);
                }
                n => {
                    let at = usize::try_from(rng.below(all.len() as u64)).unwrap();
                    let Some((one, other)) = all.get_mut(at) else { continue };
                    if forgot.settle(now, &SETTINGS, other.source, &mut other.control) {
                        if closing {
                            assert!(kept.settle(now, &SETTINGS, one.source, &mut one.control));
                        }
                        forgotten += 1;
                    }
                    for _ in 0..rng.below(100) {
                        let rate = SETTINGS.attempts;
                        let kind = [Kind::Text, Kind::State, Kind::Bytes][usize::try_from(n % 3).unwrap()];
                        let many = u32::try_from(rng.below(if n % 3 == 2 { 2000 } else { 3 })).unwrap();
                        let both = match n % 4 {
                            0 => (
                                kept.handshake(now, rate, one).into(),
                                forgot.handshake(now, rate, other).into(),
                            ),
                            1 => (
                                kept.charge(now, &SETTINGS, one.source, &mut one.control, kind, many)
                                    .map_or(0, Instant::as_nanos),
                                forgot
                                    .charge(now, &SETTINGS, other.source, &mut other.control, kind, many)
                                    .map_or(0, Instant::as_nanos),
                            ),
                            _ => (
                                kept.take(now, &SETTINGS, one.source, &mut one.control, kind, many).into(),
                                forgot
                                    .take(now, &SETTINGS, other.source, &mut other.control, kind, many)
                                    .into(),
                            ),
                        };
                        assert_eq!(both.0, both.1, "{kind:?}");
                    }
                }
            }
        }
        assert!(forgotten > 500, "{forgotten}");
    }

    /// F-11: no number of sources keeps another one from its rate, and those that are gone are forgotten.
    #[test]
    fn f_11_a_whole_network_of_sources_takes_nothing_from_others() {
        let settings = ServerSettings::DEFAULT;
        let mut sources = Sources::new(1000);
        for n in 0..65_536_u32 {
            let address = IpAddr::from([0x2001, 0xdb8, 0, (n & 0xffff) as u16, 0, 0, 0, 1]);
            let mut quotas = sources.open_all(at(0), Some(address));
            while sources.handshake(at(0), settings.attempts, &mut quotas) {}
            sources.close(at(0), quotas.source);
            assert!(sources.slots.len() <= 1002);
        }
        let mut quotas = sources.open_all(at(0), from("2001:db8:1::1"));
        assert!(sources.handshake(at(0), settings.attempts, &mut quotas));
        sources.close(at(1), quotas.source);
        let _loopback = sources.open_all(at(100), from("127.0.0.1"));
        assert!(sources.slots.is_empty() && sources.by_address.is_empty() && sources.gone.is_empty());
    }

    #[test]
    fn a_source_that_comes_back_is_not_forgotten() {
        let mut sources = Sources::new(1000);
        let first = sources.open_all(at(0), from("192.0.2.1"));
        sources.close(at(0), first.source);
        let second = sources.open_all(at(30), from("192.0.2.1"));
        let other = sources.open_all(at(70), from("192.0.2.2"));
        assert_eq!(sources.by_address.len(), 2);
        sources.close(at(70), second.source);
        sources.close(at(131), other.source);
        assert_eq!(sources.by_address.len(), 1);
    }
}
