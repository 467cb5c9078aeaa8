//! What a server keeps of connections beside their voice: limits of control packets, and what goes wrong. Most connections only listen and
//! speak, and take no memory for it.

use super::quota::{ControlQuotas, SourceAt, Sources};
use super::relay::Deliveries;
use super::{Pending, ServerSettings};
use crate::ClientId;
use alloc::{boxed::Box, collections::BTreeMap};
use core::{ops::Range, time::Duration};
use voxwire_core::{Bucket, Instant, PeerId, Violations};

#[derive(Debug)]
pub(super) struct Control {
    /// When it was needed last.
    touched: Instant,
    /// A handshake that the application is thinking about.
    pub(super) pending: Option<Pending>,
    pub(super) quotas: ControlQuotas,
    pub(super) text_deliveries: Deliveries,
    /// Until when its reading pauses, at least.
    pub(super) paused_until: Instant,
    /// When its handshake was answered last; `None` for long ago.
    pub(super) answered: Option<Instant>,
    pub(super) wrong_session: Bucket,
    pub(super) violations: Violations,
    /// Numbers that it had before, the newest first, and until when they count: what was sent under them may still be on its way.
    former: [Option<ClientId>; 4],
    former_until: Instant,
}

/// How long a former number counts, after the connection has given it up.
const FORMER: Duration = Duration::from_secs(60);

impl Control {
    /// That of a connection that has been quiet for long.
    fn new(now: Instant) -> Self {
        Self {
            touched: now,
            pending: None,
            quotas: ControlQuotas::default(),
            text_deliveries: Deliveries::default(),
            paused_until: Instant::ZERO,
            answered: None,
            wrong_session: Bucket::FULL,
            violations: Violations::new(now),
            former: [None; 4],
            former_until: Instant::ZERO,
        }
    }

    /// Whether it has not been needed for a while, and says no more than a new one.
    fn is_at_rest(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        sources: &mut Sources,
        source: SourceAt,
    ) -> bool {
        now.saturating_duration_since(self.touched) >= REST
            && self.pending.is_none()
            && self.paused_until <= now
            && !self.was_answered(now, settings)
            && self.wrong_session.is_full(now)
            && self.violations.is_clear(now)
            && self.former_until <= now
            && sources.settle(now, settings, source, &mut self.quotas)
    }

    /// It had a number until now.
    pub(super) fn add_former(&mut self, now: Instant, number: ClientId) {
        self.former.rotate_right(1);
        if let Some(first) = self.former.first_mut() {
            *first = Some(number);
        }
        self.former_until = now.saturating_add(FORMER);
    }

    /// Whether it had a number a moment ago.
    pub(super) fn had(&self, now: Instant, number: ClientId) -> bool {
        now < self.former_until && self.former.contains(&Some(number))
    }

    /// Whether its handshake was answered a moment ago.
    pub(super) fn was_answered(&self, now: Instant, settings: &ServerSettings) -> bool {
        self.answered.is_some_and(|at| now.saturating_duration_since(at) < settings.answer_interval)
    }
}

/// How long something is kept that is not needed, at least: what is needed for each frame is never given back between two.
pub(super) const REST: Duration = Duration::from_secs(30);

/// The control state of all connections that are not at rest, by slot.
#[derive(Debug)]
pub(super) struct Controls(BTreeMap<u32, Box<Control>>);

impl Controls {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Control> {
        self.0.get(&peer.slot).map(|control| &**control)
    }

    /// That of a connection that exists.
    pub(super) fn get_mut(&mut self, now: Instant, peer: PeerId) -> &mut Control {
        let control = self.0.entry(peer.slot).or_insert_with(|| Box::new(Control::new(now)));
        control.touched = now;
        control
    }

    pub(super) fn remove(&mut self, peer: PeerId) {
        self.0.remove(&peer.slot);
    }

    /// Forgets that of a connection, if it is at rest.
    pub(super) fn forget(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        sources: &mut Sources,
        (peer, source): (PeerId, SourceAt),
    ) {
        let control = self.0.get_mut(&peer.slot);
        if control.is_some_and(|control| control.is_at_rest(now, settings, sources, source)) {
            self.remove(peer);
        }
    }
}

/// Which connections are looked at next, to give back what is kept of the quiet ones.
#[derive(Debug)]
pub(super) struct Sweep {
    /// When some were looked at last, and when the next are.
    last: Instant,
    next: Instant,
    slot: u32,
    /// Frames of voice may be kept of some, and those looked at since the first slot have some.
    voice: bool,
    found: bool,
}

/// So many are looked at for each such time: those of 100 000 connections within a minute.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);
const SWEPT: u128 = 16;
/// At once, however long nothing has come in: those of 20 000 connections within a minute, where they are quiet.
const SWEPT_AT_ONCE: u128 = 512;
/// How soon some are looked at where nothing comes in.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);

impl Sweep {
    pub(super) const fn new() -> Self {
        Self { last: Instant::ZERO, next: Instant::ZERO, slot: 0, voice: false, found: false }
    }

    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// A frame of voice is kept of a connection.
    #[inline]
    pub(super) const fn spoken(&mut self) {
        (self.voice, self.found) = (true, true);
    }

    /// When to look at some even if nothing comes in: where something is kept, be it `controls` or voice.
    pub(super) fn wake_at(&self, controls: &Controls) -> Option<Instant> {
        (self.voice || !controls.is_empty()).then(|| self.last.saturating_add(WAKE_INTERVAL))
    }

    /// The slots to look at now, of so many.
    pub(super) fn slots(&mut self, now: Instant, slots: u32) -> Range<u32> {
        let passed = now.saturating_duration_since(self.last).as_nanos();
        let due = passed.checked_div(SWEEP_INTERVAL.as_nanos()).unwrap_or(0).saturating_mul(SWEPT);
        (self.last, self.next) = (now, now.saturating_add(SWEEP_INTERVAL));
        if self.slot >= slots {
            (self.slot, self.voice, self.found) = (0, self.found, false);
        }
        let first = self.slot;
        let many = u32::try_from(due.min(SWEPT_AT_ONCE)).unwrap_or(0);
        self.slot = first.saturating_add(many).min(slots);
        first..self.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::quota::Kind;
    use core::net::IpAddr;

    /// G-M2
    #[test]
    fn what_is_kept_of_a_quiet_connection_is_forgotten_and_what_still_counts_is_not() {
        let settings = ServerSettings::DEFAULT;
        let at = |seconds: u64| Instant::ZERO.saturating_add(Duration::from_secs(1000 + seconds));
        let mut sources = Sources::new(100);
        let (source, share) = sources.open(at(0), Some(IpAddr::from([192, 0, 2, 1])));
        let mut controls = Controls::new();
        let peer = |slot| PeerId { slot, generation: 0 };
        for slot in 0..100 {
            let control = controls.get_mut(at(0), peer(slot));
            control.quotas = ControlQuotas::new(share);
            sources.charge(at(0), &settings, source, &mut control.quotas, Kind::State, 1);
        }
        controls.get_mut(at(0), peer(7)).add_former(at(15), ClientId::new(1));
        controls.get_mut(at(0), peer(8)).violations.add(at(0));
        controls.get_mut(at(0), peer(9)).paused_until = at(1000);
        let mut forget = |controls: &mut Controls, now: Instant| {
            (0..100).for_each(|slot| controls.forget(now, &settings, &mut sources, (peer(slot), source)));
        };
        forget(&mut controls, at(1));
        assert_eq!(controls.0.len(), 100);
        // Its rates are full, but it was needed lately.
        controls.get_mut(at(35), peer(10));
        forget(&mut controls, at(40));
        assert!(controls.0.keys().eq(&[7, 8, 9, 10]), "{:?}", controls.0.keys());
        forget(&mut controls, at(70));
        assert!(controls.0.keys().eq(&[7, 9]));
        let had = |at| controls.get(peer(7)).unwrap().had(at, ClientId::new(1));
        assert!(had(at(74)) && !had(at(75)));
        forget(&mut controls, at(75));
        assert!(controls.0.keys().eq(&[9]));
        forget(&mut controls, at(1001));
        assert!(controls.is_empty());
    }

    /// G-M2: as much is looked at in a time, whether much comes in or little.
    #[test]
    fn how_many_are_looked_at_follows_the_time_and_not_the_inputs() {
        let at = |ms: u64| Instant::ZERO.saturating_add(Duration::from_millis(1000 + ms));
        for every in [10, 20, 100, 250] {
            let mut sweep = Sweep::new();
            sweep.slots(at(0), 20_000);
            sweep.slot = 0;
            let mut seen = std::vec![false; 20_000];
            for ms in (1..13_000).filter(|ms| ms % every == 0) {
                assert!(sweep.is_due(at(ms)) && !sweep.is_due(at(ms - 1)) || every != 10);
                let slots = sweep.slots(at(ms), 20_000);
                assert!(slots.len() <= 512);
                slots.for_each(|slot| seen[usize::try_from(slot).unwrap()] = true);
            }
            assert!(seen.iter().all(|&seen| seen), "every {every} ms");
        }
        // After a silence not all at once, and none where there are none.
        let mut sweep = Sweep::new();
        assert_eq!(sweep.slots(at(1_000_000), 20_000), 0..512);
        assert_eq!(sweep.slots(at(2_000_000), 520), 512..520);
        assert_eq!(sweep.slots(at(2_000_000), 520), 0..0);
        assert_eq!(sweep.slots(at(3_000_000), 0), 0..0);
    }
}
