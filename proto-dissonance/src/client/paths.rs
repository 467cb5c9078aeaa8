//! Direct paths to other clients: found by the driver, named by HandshakeP2P.

use super::Client;
use crate::{ClientEvent, ClientId, Packet, Resource, SessionState, Violation};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::time::Duration;
use voxwire_core::{Deadlines, Instant, Lane, PeerId};

/// Direct connections, whether any client has answered on them or not.
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
    /// What it was known by when its number was used last: the number alone may be another client's by now.
    name: Option<Box<str>>,
    /// How often we have asked.
    asked: u32,
    /// When we said last who we are.
    said: Option<Instant>,
    /// How often a repeated question has been answered.
    repeats: u32,
}

impl Path {
    /// When it can be asked again.
    fn soon(&self, now: Instant, retry: Duration) -> Instant {
        self.said.map_or(now, |said| said.saturating_add(retry).max(now))
    }
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
    /// The driver has a way to a client.
    pub(super) fn open_path(&mut self, now: Instant, peer: PeerId) -> Result<(), Violation> {
        if self.paths.by_peer.len() >= self.settings.max_paths {
            self.outbox.close(peer);
            return Err(Violation::TooMany(Resource::DirectPaths));
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

    /// Message type 11, from a client reached directly.
    pub(super) fn handshake_p2p(
        &mut self,
        now: Instant,
        peer: PeerId,
        client: ClientId,
    ) -> Result<Option<ClientEvent<'static>>, Violation> {
        if self.state != SessionState::Connected || Some(client) == self.id {
            return Err(Violation::Unexpected { state: self.state, message: "HandshakeP2P" });
        }
        let path = self.paths.by_peer.get_mut(&peer).ok_or(Violation::UnknownPeer)?;
        match path.client {
            // Asked once more: our answer was lost, or what it was worth to the other side is. At longer and longer
            // intervals, or two such answers would answer each other.
            Some(known) if known == client => {
                let wait = slower(self.settings.p2p_interval, path.repeats, self.settings.p2p_max_interval);
                if path.said.is_none_or(|said| said.saturating_add(wait) <= now) {
                    path.repeats = path.repeats.saturating_add(1);
                    self.say_p2p(now, peer);
                }
                return Ok(None);
            }
            // One way, one client; unless that client is not in the session any more.
            Some(expected) if self.roster.get(expected).is_some() => {
                return Err(Violation::Forged { got: client, expected });
            }
            _ => {}
        }
        // A client that has a way keeps it while it lasts: no other client can draw its voice by claiming to be it. Two ways
        // that crossed are closed from both ends, and voice goes by the server.
        if self.roster.path(client).is_some() {
            self.paths.by_peer.remove(&peer);
            self.paths.retries.clear(peer);
            self.outbox.close(peer);
            return Err(Violation::Unexpected { state: self.state, message: "a second HandshakeP2P" });
        }
        Ok(self.claim(now, peer, client))
    }

    /// A client says that it is `client`, which has no way yet: this one is it from now on.
    fn claim(&mut self, now: Instant, peer: PeerId, client: ClientId) -> Option<ClientEvent<'static>> {
        if let Some(path) = self.paths.by_peer.get_mut(&peer) {
            *path = Path { client: Some(client), ..Path::default() };
        }
        self.paths.retries.clear(peer);
        self.say_p2p(now, peer);
        self.adopt_path(peer, client)
    }

    /// Whether what comes from `peer` and says that it is `client`'s is so. Voice may overtake the handshake that goes before
    /// it, or outlive it: it says as much.
    pub(super) fn is_from(&mut self, now: Instant, peer: PeerId, client: ClientId) -> bool {
        if self.roster.path(client) == Some(peer) {
            return true;
        }
        let unknown = self.paths.by_peer.get(&peer).is_some_and(|path| path.client.is_none());
        let free = self.roster.get(client).is_some_and(|remote| remote.path.is_none());
        let claimed = unknown && free && self.state == SessionState::Connected && Some(client) != self.id;
        if claimed {
            let event = self.claim(now, peer, client);
            self.later.extend(event);
        }
        claimed
    }

    /// A client has come: its way may be known already, or be one of those where no client has answered yet.
    pub(super) fn look_for_path(&mut self, now: Instant, client: ClientId) {
        let Self { paths, roster, .. } = self;
        let name = roster.get(client).map(|remote| &*remote.name);
        let known = paths.by_peer.iter().find(|(_, path)| path.client == Some(client));
        let known = known.map(|(peer, path)| (*peer, path.name.as_deref().is_none_or(|is| Some(is) == name)));
        match known {
            Some((peer, true)) => {
                let event = self.adopt_path(peer, client);
                self.later.extend(event);
            }
            // Another client has that number now.
            Some((peer, false)) => self.doubt(now, peer),
            None => {}
        }
        // A client that has not answered was perhaps not there yet.
        let retry = self.settings.p2p_interval;
        for (&peer, path) in self.paths.by_peer.iter_mut().filter(|(_, path)| path.client.is_none()) {
            path.asked = 0;
            self.paths.retries.set(peer, path.soon(now, retry));
        }
    }

    fn adopt_path(&mut self, peer: PeerId, client: ClientId) -> Option<ClientEvent<'static>> {
        let remote = self.roster.get_mut(client)?;
        remote.path = Some(peer);
        if let Some(path) = self.paths.by_peer.get_mut(&peer) {
            path.name = Some(remote.name.clone());
        }
        Some(ClientEvent::Direct { client, up: true })
    }

    /// It is not known which client is at the end of a path: that client says so.
    fn doubt(&mut self, now: Instant, peer: PeerId) {
        if let Some(path) = self.paths.by_peer.get_mut(&peer) {
            *path = Path { said: path.said, ..Path::default() };
            self.paths.retries.set(peer, path.soon(now, self.settings.p2p_interval));
        }
    }

    /// A client is gone, and its number may be another client's next.
    pub(super) fn forget_path(&mut self, now: Instant, client: ClientId) {
        let of = |path: &Path| path.client == Some(client);
        let peers: Vec<PeerId> =
            self.paths.by_peer.iter().filter(|(_, path)| of(path)).map(|(peer, _)| *peer).collect();
        peers.into_iter().for_each(|peer| self.doubt(now, peer));
    }

    /// Another session, or none: no client is known by number any more.
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

    /// We have a number in a session: every client is told which, and those are asked who have not answered.
    pub(super) fn ask_all(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.paths.by_peer.keys().copied().collect();
        for peer in peers {
            match self.paths.by_peer.get_mut(&peer) {
                Some(Path { client: Some(_), .. }) => self.say_p2p(now, peer),
                Some(path) => {
                    path.asked = 0;
                    self.ask(now, peer);
                }
                None => {}
            }
        }
    }

    /// Says who we are, and again until a client answers: some times soon, then at longer and longer intervals.
    pub(super) fn ask(&mut self, now: Instant, peer: PeerId) {
        if self.state != SessionState::Connected {
            return;
        }
        let Some(path) = self.paths.by_peer.get_mut(&peer).filter(|path| path.client.is_none()) else {
            return;
        };
        path.asked = path.asked.saturating_add(1);
        let late = path.asked.saturating_sub(self.settings.p2p_tries.saturating_sub(1));
        let wait = slower(self.settings.p2p_interval, late, self.settings.p2p_max_interval);
        self.paths.retries.set(peer, now.saturating_add(wait));
        self.say_p2p(now, peer);
    }

    pub(super) fn pop_retry(&mut self, now: Instant) -> Option<PeerId> {
        self.paths.retries.pop(now)
    }

    fn say_p2p(&mut self, now: Instant, peer: PeerId) {
        let Some(client) = self.id else { return };
        if let Some(path) = self.paths.by_peer.get_mut(&peer) {
            path.said = Some(now);
        }
        let packet = Packet::HandshakeP2P { session: self.session, client };
        let _ = self.outbox.send_over_limit(peer, Lane::Reliable, &packet, &self.wire);
    }
}

/// An interval, doubled `times`, and at most `slowest`.
fn slower(interval: Duration, times: u32, slowest: Duration) -> Duration {
    interval.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(slowest.max(interval))
}
