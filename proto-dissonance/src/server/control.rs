//! What a server keeps of connections beside their voice: limits of control packets, and what goes wrong. Most connections only listen and
//! speak, and take no memory for it.

use super::quota::{ControlQuotas, SourceAt, Sources};
use super::relay::Parts;
use super::{Pending, ServerSettings};
use crate::ClientId;
use alloc::{boxed::Box, collections::BTreeMap};
use core::{ops::Bound, time::Duration};
use voxwire_core::{Bucket, Instant, PeerId, Violations};

#[derive(Debug)]
pub(super) struct Control {
    /// A handshake that the application is thinking about.
    pub(super) pending: Option<Pending>,
    pub(super) quotas: ControlQuotas,
    pub(super) text_parts: Parts,
    /// Until when its reading pauses, at least.
    pub(super) paused_until: Instant,
    /// When its handshake was answered last; `None` for long ago.
    pub(super) answered: Option<Instant>,
    pub(super) wrong_session: Bucket,
    pub(super) violations: Violations,
    /// Numbers that it had before, the newest first: what was sent under them may still be on its way.
    pub(super) former: [Option<ClientId>; 4],
}

impl Control {
    /// That of a connection that has been quiet for long.
    fn new(now: Instant) -> Self {
        Self {
            pending: None,
            quotas: ControlQuotas::default(),
            text_parts: Parts::default(),
            paused_until: Instant::ZERO,
            answered: None,
            wrong_session: Bucket::FULL,
            violations: Violations::new(now),
            former: [None; 4],
        }
    }

    /// Whether it says no more than a new one.
    fn is_at_rest(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        sources: &mut Sources,
        source: SourceAt,
    ) -> bool {
        self.pending.is_none()
            && self.text_parts.are_over(now)
            && self.paused_until <= now
            && !self.was_answered(now, settings)
            && self.wrong_session.is_full(now)
            && self.violations.is_clear(now)
            && self.former == [None; 4]
            && sources.settle(now, settings, source, &mut self.quotas)
    }

    /// Whether its handshake was answered a moment ago.
    pub(super) fn was_answered(&self, now: Instant, settings: &ServerSettings) -> bool {
        self.answered.is_some_and(|at| now.saturating_duration_since(at) < settings.answer_interval)
    }
}

/// The control state of all connections that are not at rest, by slot.
#[derive(Debug)]
pub(super) struct Controls {
    by_slot: BTreeMap<u32, Box<Control>>,
    /// When some are looked at next, and the last that was looked at.
    pub(super) next_sweep: Instant,
    swept: Option<u32>,
}

/// So often so many are looked at: those of 100 000 connections within a minute.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);
const SWEPT_AT_ONCE: usize = 16;

impl Controls {
    pub(super) const fn new() -> Self {
        Self { by_slot: BTreeMap::new(), next_sweep: Instant::ZERO, swept: None }
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Control> {
        self.by_slot.get(&peer.slot).map(|control| &**control)
    }

    /// That of a connection that exists.
    pub(super) fn get_mut(&mut self, now: Instant, peer: PeerId) -> &mut Control {
        self.by_slot.entry(peer.slot).or_insert_with(|| Box::new(Control::new(now)))
    }

    pub(super) fn remove(&mut self, peer: PeerId) {
        self.by_slot.remove(&peer.slot);
    }

    /// Forgets some that are at rest. `source_of` says where the connection in a slot comes from.
    #[cold]
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        settings: &ServerSettings,
        sources: &mut Sources,
        source_of: impl Fn(u32) -> SourceAt,
    ) {
        self.next_sweep = now.saturating_add(SWEEP_INTERVAL);
        for _ in 0..SWEPT_AT_ONCE {
            let after = (self.swept.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let Some((&slot, control)) = self.by_slot.range_mut(after).next() else {
                // From the first one again.
                self.swept = None;
                break;
            };
            self.swept = Some(slot);
            if control.is_at_rest(now, settings, sources, source_of(slot)) {
                self.by_slot.remove(&slot);
            }
        }
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
        controls.get_mut(at(0), peer(7)).former = [Some(ClientId::new(1)), None, None, None];
        controls.get_mut(at(0), peer(8)).violations.add(at(0));
        controls.get_mut(at(0), peer(9)).paused_until = at(1000);
        let mut sweep = |controls: &mut Controls, now: Instant| {
            for ms in 0..200 {
                let now = now.saturating_add(Duration::from_millis(ms));
                if now >= controls.next_sweep {
                    controls.sweep(now, &settings, &mut sources, |_| source);
                }
            }
        };
        sweep(&mut controls, at(1));
        assert_eq!(controls.by_slot.len(), 100);
        sweep(&mut controls, at(40));
        assert!(controls.by_slot.keys().eq(&[7, 8, 9]), "{:?}", controls.by_slot.keys());
        sweep(&mut controls, at(70));
        assert!(controls.by_slot.keys().eq(&[7, 9]));
        sweep(&mut controls, at(1001));
        assert!(controls.by_slot.keys().eq(&[7]));
    }
}
