//! A protocol's handler, with control and recordings behind it.

use super::Control;
use crate::recording::Tap;
use std::sync::Arc;
use voxwire_core::{Handler, Instant, MemberChange, Moderation, PeerId};

/// A handler whose clients are under control.
#[derive(Debug)]
pub(crate) struct Controlled<H> {
    inner: H,
    protocol: &'static str,
    /// `None` where there is no control: nothing is done then.
    control: Option<Arc<Control>>,
    /// `None` where nothing can be recorded.
    tap: Option<Arc<Tap>>,
}

impl<H> Controlled<H> {
    pub(crate) const fn new(inner: H, protocol: &'static str, control: Option<Arc<Control>>) -> Self {
        Self { inner, protocol, control, tap: None }
    }

    /// The same, with clients that may be recorded.
    pub(crate) fn tapped(self, tap: Arc<Tap>) -> Self {
        Self { tap: Some(tap), ..self }
    }
}

impl<S: Moderation, H: Handler<S>> Handler<S> for Controlled<H> {
    fn on_event(&mut self, session: &mut S, now: Instant, event: S::Event<'_>) {
        if self.control.is_none() && self.tap.is_none() {
            return self.inner.on_event(session, now, event);
        }
        let change = S::member_change(&event);
        self.inner.on_event(session, now, event);
        let Some(change) = change else { return };
        if let Some(control) = &self.control {
            match change {
                MemberChange::Changed(peer) => control.changed(self.protocol, session, now, peer),
                MemberChange::Gone(peer) => control.gone(self.protocol, peer),
            }
        }
        if let Some(tap) = &self.tap {
            match change {
                MemberChange::Changed(peer) => tap.came(session, now, peer),
                MemberChange::Gone(peer) => tap.gone(peer),
            }
        }
    }

    fn on_violation(&mut self, now: Instant, peer: PeerId, violation: S::Violation) {
        self.inner.on_violation(now, peer, violation);
    }
}
