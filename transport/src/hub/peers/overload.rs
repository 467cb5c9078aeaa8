//! Resets connections while all queues together hold more than `max_queued_total`.

use crate::hub::common::Common;
use crate::hub::conn::Conn;
use crate::hub::load::SPARED_BYTES;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Waker;
use core::time::Duration;
use std::sync::Arc;
use voxwire_core::{Framing, Instant, PeerId};

/// How soon to look again for connections to reset, where resets did not free enough.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Chooses the connections to reset while all queues together hold too much.
#[derive(Debug, Default)]
pub(super) struct Overload {
    /// Until then `reset_largest` does not look again: what it has reset is not free yet, or nothing is left to reset.
    pub(super) look_again: Instant,
}

impl Overload {
    /// Resets `overflowed`, whose peers the caller knows. Then resets others until an eighth of `max_queued_total` is free: those that are being
    /// closed, which come without a peer, before the rest, and in each group those first that hold most memory. Returns the peers of the others.
    pub(super) fn reset_largest<'c, F: Framing + 'c>(
        &mut self,
        common: &Common,
        now: Instant,
        overflowed: impl Iterator<Item = &'c Arc<Conn<F>>>,
        conns: impl Iterator<Item = (Option<PeerId>, &'c Arc<Conn<F>>)>,
        wakers: &mut Vec<Waker>,
    ) -> Vec<PeerId> {
        let mut reset = Vec::new();
        if now < self.look_again {
            return reset;
        }
        let settings = &common.settings;
        // An eighth more than is needed now, or the next frame would have to reset the next connection.
        let most = settings.max_queued_total.saturating_sub(settings.max_queued_total / 8);
        let excess = || common.queued.load(Relaxed).saturating_sub(most);
        // Bytes that are free once the tasks of the reset connections have run.
        let mut soon: usize = 0;
        for conn in overflowed {
            soon = soon.saturating_add(conn.reset(common, wakers));
        }
        // Half of an even share of `max_queued_total`.
        let little =
            settings.max_queued_total.checked_div(common.quotas.max_connections().max(1)).unwrap_or(0) / 2;
        let little = little.min(SPARED_BYTES);
        let resettable = conns.filter_map(|(peer, conn)| {
            Some((peer.is_none(), conn.memory_if_resettable(common, little)?, peer, conn))
        });
        let mut resettable: Vec<_> = resettable.collect();
        resettable.sort_unstable_by_key(|(closing, queued, peer, _)| (*closing, *queued, *peer));
        while excess() > soon {
            let Some((_, _, peer, conn)) = resettable.pop() else { break };
            // A shared frame is free only when it is queued for no other connection.
            soon = soon.saturating_add(conn.reset(common, wakers));
            reset.extend(peer);
        }
        // A look costs more than a frame, and would find nothing now. `check_total` bounds what is queued until the next look.
        if excess() > 0 {
            self.look_again = now.saturating_add(LOOK_AGAIN);
        }
        reset
    }
}
