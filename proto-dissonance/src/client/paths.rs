//! Direct ways to other clients: found by the driver, named by HandshakeP2P.

use super::Client;
use crate::{ClientEvent, ClientId, Packet, SessionState, Violation};
use alloc::collections::BTreeMap;
use voxwire_core::{Deadlines, Instant, Lane, PeerId};

/// Direct connections, whether anybody has answered on them or not.
#[derive(Debug, Default)]
pub(super) struct Paths {
    by_peer: BTreeMap<PeerId, Path>,
    /// When to ask again.
    retries: Deadlines<PeerId>,
}

#[derive(Debug, Default)]
struct Path {
    /// Who answered.
    client: Option<ClientId>,
    /// How often we have asked.
    asked: u32,
}

impl Paths {
    pub(super) fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.retries.next()
    }
}

impl Client {
    /// The driver has a way to somebody.
    pub(super) fn open_path(&mut self, now: Instant, peer: PeerId) -> Result<(), Violation> {
        if self.paths.by_peer.len() >= self.settings.max_paths {
            self.outbox.close(peer);
            return Err(Violation::TooMany("direct paths"));
        }
        self.paths.by_peer.insert(peer, Path::default());
        self.ask(now, peer);
        Ok(())
    }

    /// The way is gone; voice goes by the server again.
    pub(super) fn close_path(&mut self, peer: PeerId) -> Option<ClientEvent<'static>> {
        self.paths.retries.clear(peer);
        let client = self.paths.by_peer.remove(&peer)?.client?;
        let remote = self.roster.get_mut(client)?;
        remote.path.take_if(|path| *path == peer)?;
        Some(ClientEvent::Direct { client, up: false })
    }

    /// Message type 11, from somebody reached directly.
    pub(super) fn handshake_p2p(
        &mut self,
        peer: PeerId,
        client: ClientId,
    ) -> Result<Option<ClientEvent<'static>>, Violation> {
        if self.state != SessionState::Connected || Some(client) == self.id {
            return Err(Violation::Unexpected { state: self.state, message: "HandshakeP2P" });
        }
        let known = self.paths.by_peer.get(&peer).ok_or(Violation::UnknownPeer)?.client;
        if let Some(expected) = known {
            // One way, one client; repeats only show that it is still there.
            return if expected == client {
                Ok(None)
            } else {
                Err(Violation::Forged { got: client, expected })
            };
        }
        // A client that has a way keeps it while it lasts: nobody else can draw its voice by claiming to be it. Two ways
        // that crossed are closed from both ends, and voice goes by the server.
        if self.roster.path(client).is_some() {
            self.paths.by_peer.remove(&peer);
            self.paths.retries.clear(peer);
            self.outbox.close(peer);
            return Err(Violation::Unexpected { state: self.state, message: "a second HandshakeP2P" });
        }
        if let Some(path) = self.paths.by_peer.get_mut(&peer) {
            path.client = Some(client);
        }
        self.paths.retries.clear(peer);
        self.say_p2p(peer);
        Ok(self.adopt_path(peer, client))
    }

    /// Somebody has come whose way may be known already.
    pub(super) fn adopt_known_path(&mut self, client: ClientId) {
        let known = self.paths.by_peer.iter().find(|(_, path)| path.client == Some(client));
        if let Some(peer) = known.map(|(peer, _)| *peer) {
            let event = self.adopt_path(peer, client);
            self.later.extend(event);
        }
    }

    fn adopt_path(&mut self, peer: PeerId, client: ClientId) -> Option<ClientEvent<'static>> {
        let remote = self.roster.get_mut(client)?;
        remote.path = Some(peer);
        Some(ClientEvent::Direct { client, up: true })
    }

    /// A client is gone, and its number may be somebody else's next: whoever is at the end of its way says who he is.
    pub(super) fn forget_path(&mut self, client: ClientId) {
        for path in self.paths.by_peer.values_mut().filter(|path| path.client == Some(client)) {
            *path = Path::default();
        }
    }

    /// Another session, or none: nobody is known by number any more.
    pub(super) fn forget_paths(&mut self) {
        self.paths.by_peer.values_mut().for_each(|path| *path = Path::default());
        self.paths.retries = Deadlines::new();
    }

    /// The end.
    pub(super) fn close_paths(&mut self) {
        for peer in core::mem::take(&mut self.paths).by_peer.into_keys() {
            self.outbox.close(peer);
        }
    }

    /// We are somebody in a session: everybody is told who, and those are asked who have not answered.
    pub(super) fn ask_everybody(&mut self, now: Instant) {
        let peers: alloc::vec::Vec<PeerId> = self.paths.by_peer.keys().copied().collect();
        for peer in peers {
            match self.paths.by_peer.get_mut(&peer) {
                Some(Path { client: Some(_), .. }) => self.say_p2p(peer),
                Some(path) => {
                    path.asked = 0;
                    self.ask(now, peer);
                }
                None => {}
            }
        }
    }

    /// Whether `peer` has said that it is `client`.
    pub(super) fn is_path_of(&self, peer: PeerId, client: ClientId) -> bool {
        self.paths.by_peer.get(&peer).is_some_and(|path| path.client == Some(client))
    }

    /// Says who we are, and again until somebody answers.
    pub(super) fn ask(&mut self, now: Instant, peer: PeerId) {
        if self.state != SessionState::Connected {
            return;
        }
        let Some(path) = self.paths.by_peer.get_mut(&peer) else { return };
        if path.client.is_some() {
            return;
        }
        if path.asked >= self.settings.p2p_tries {
            // Nobody there whom we could speak to.
            self.paths.by_peer.remove(&peer);
            self.outbox.close(peer);
            return;
        }
        path.asked = path.asked.saturating_add(1);
        self.paths.retries.set(peer, now.saturating_add(self.settings.p2p_retry));
        self.say_p2p(peer);
    }

    pub(super) fn pop_retry(&mut self, now: Instant) -> Option<PeerId> {
        self.paths.retries.pop(now)
    }

    fn say_p2p(&mut self, peer: PeerId) {
        let Some(client) = self.id else { return };
        let packet = Packet::HandshakeP2P { session: self.session, client };
        let _ = self.outbox.insist(peer, Lane::Reliable, &packet, &self.wire);
    }
}
