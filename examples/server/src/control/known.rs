//! The clients of one protocol that have been told of: what was decided about names holds for clients as they come, and who comes and goes
//! is told.

use super::{BANNED, Control, fields, realm};
use serde_json::{Map, Value};
use std::sync::{Mutex, PoisonError};
use voxwire_core::{Instant, Moderation, PeerId, PeerSlab};

/// What each client that has been told of is named, if it has a name. Locked after the session, always.
#[derive(Debug)]
pub(super) struct Known(Mutex<PeerSlab<Option<String>>>);

impl Default for Known {
    fn default() -> Self {
        Self(Mutex::new(PeerSlab::new(usize::MAX)))
    }
}

impl Known {
    /// Whether that client, of that name, has not been told of. It has from now on.
    fn is_new(&self, peer: PeerId, name: &Option<String>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = known.get(peer).is_none_or(|before| before != name);
        if new {
            known.insert(peer, name.clone());
        }
        new
    }

    fn remove(&self, peer: PeerId) -> Option<Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(peer)
    }

    fn has(&self, peer: PeerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(peer).is_some()
    }
}

impl Control {
    /// A client has come, or may have another name now.
    pub(crate) fn changed<S: Moderation>(
        &self,
        protocol: &'static str,
        session: &mut S,
        now: Instant,
        peer: PeerId,
    ) {
        let Some(realm) = self.realm(protocol) else { return };
        let Some(member) = session.member(peer) else { return self.gone(protocol, peer) };
        let (name, address) = (realm::name_of(&member), member.address);
        let before = realm.known.has(peer);
        if !realm.known.is_new(peer, &name) {
            return;
        }
        if before {
            self.tell("left", event(protocol, peer, None));
        }
        let mut event = event(protocol, peer, name.as_deref());
        if let Some(address) = address {
            event.insert("address".into(), address.to_string().into());
        }
        if name.as_deref().is_some_and(|name| !self.allows(name)) {
            realm.known.remove(peer);
            tracing::info!(%peer, "a client with a banned name is disconnected");
            self.tell("refused", event);
            let _ = session.kick(now, peer, BANNED);
            return;
        }
        if let Some(name) = &name {
            realm::apply(session, realm, peer, name);
        }
        self.tell("joined", event);
    }

    /// A client is gone, or has no name any more.
    pub(crate) fn gone(&self, protocol: &'static str, peer: PeerId) {
        let known = self.realm(protocol).and_then(|realm| realm.known.remove(peer));
        if let Some(name) = known {
            self.tell("left", event(protocol, peer, name.as_deref()));
        }
    }
}

fn event(protocol: &'static str, peer: PeerId, name: Option<&str>) -> Map<String, Value> {
    let mut event = fields([("protocol", protocol.into()), ("peer", peer.to_string().into())]);
    if let Some(name) = name {
        event.insert("name".into(), name.into());
    }
    event
}
