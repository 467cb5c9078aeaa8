//! A protocol's handler, with control behind it.

use super::Control;
use std::sync::Arc;
use voxwire_core::{Handler, Instant, MemberChange, Moderation, PeerId};

/// A handler whose clients are under control.
#[derive(Debug)]
pub(crate) struct Controlled<H> {
    inner: H,
    protocol: &'static str,
    /// `None` where there is no control: nothing is done then.
    control: Option<Arc<Control>>,
}

impl<H> Controlled<H> {
    pub(crate) const fn new(inner: H, protocol: &'static str, control: Option<Arc<Control>>) -> Self {
        Self { inner, protocol, control }
    }
}

impl<S: Moderation, H: Handler<S>> Handler<S> for Controlled<H> {
    fn on_event(&mut self, session: &mut S, now: Instant, event: S::Event<'_>) {
        let Some(control) = &self.control else {
            return self.inner.on_event(session, now, event);
        };
        let change = S::member_change(&event);
        self.inner.on_event(session, now, event);
        match change {
            None => {}
            Some(MemberChange::Changed(peer)) => control.changed(self.protocol, session, now, peer),
            Some(MemberChange::Gone(peer)) => control.gone(self.protocol, peer),
        }
    }

    fn on_violation(&mut self, now: Instant, peer: PeerId, violation: S::Violation) {
        self.inner.on_violation(now, peer, violation);
    }
}
