//! Fires the session's timers, carries out its requests for ports and connections, and looks once a second (the sweep) for connections that
//! take too long.

use super::dial;
use crate::grace::{Grace, LATE, is_event};
use crate::hub::shared::Shared;
use core::time::Duration;
use std::sync::Arc;
use voxwire_core::{Instant, Session};

const SWEEP: Duration = Duration::from_secs(1);

pub(in crate::hub) async fn run<S>(shared: Arc<Shared<S>>)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let mut next_sweep = shared.common.clock.now().saturating_add(SWEEP);
    let (mut grace, mut held) = (Grace::default(), None);
    while !(shared.common.quotas.is_draining() && shared.is_empty()) {
        let due = shared.locked(|core, _, _| {
            core.armed = core.session.poll_timeout();
            let held = held.filter(|_| !is_event(core.armed));
            let armed = core.armed.map(|armed| held.map_or(armed, |held: Instant| armed.max(held)));
            armed.map_or(next_sweep, |armed| armed.min(next_sweep))
        });
        tokio::select! {
            () = tokio::time::sleep_until(shared.common.clock.to_std(due).into()) => {}
            () = shared.timer.notified() => {}
        }
        shared.take_requests().into_iter().for_each(|request| dial::run(&shared, request));
        let unread = shared.has_unread_datagrams();
        shared.locked(|core, common, now| {
            core.tell_events(common, now);
            held = match core.session.poll_timeout() {
                Some(at) if at <= now => grace.hold(at, now, unread),
                _ => {
                    grace.end();
                    None
                }
            };
            if held.is_none() {
                core.expire(common, now);
            }
            if now >= next_sweep {
                let overslept = now.saturating_duration_since(next_sweep) > LATE;
                next_sweep = now.saturating_add(SWEEP);
                common.trim_pools();
                core.peers.sweep(common, now, overslept);
            }
        });
    }
}
