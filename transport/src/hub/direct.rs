//! Tells clients who want that where others are who want that, too: `PROTOCOL.md`, section 6.

use super::datagrams::Route;
use super::shared::{Core, Shared};
use crate::lanes::{Control, PathKey};
use core::net::SocketAddr;
use std::collections::BTreeSet;
use voxwire_core::{Bucket, Instant, PeerId, Rate, Session};

/// How often a client may turn up elsewhere, and have others told.
const MOVES: Rate = Rate { per_second: 1, burst: 5 };

/// Whom a client has been introduced to.
#[derive(Debug, Default)]
pub(super) struct Introduced {
    to: Vec<(PeerId, PathKey)>,
    moves: Bucket,
    /// It has moved too often to be introduced at once.
    late: bool,
}

impl Introduced {
    /// Whether it is still to be introduced.
    pub(super) const fn is_late(&self) -> bool {
        self.late
    }
}

/// Those who are there and have not been introduced to as many others as may be.
pub(super) type Sociable = BTreeSet<PeerId>;

impl<S: Session> Core<S> {
    /// A client is to be found at the address that is bound: those are told who want to know, and it of them.
    pub(super) fn introduce(&mut self, shared: &Shared<S>, now: Instant, peer: PeerId) {
        self.part(shared, peer);
        let most = shared.settings.introductions;
        let Some((at, introduced)) = self.introduced(peer) else { return };
        // Tried again with its next ping.
        introduced.late = introduced.moves.take(now, MOVES, 1).is_err();
        if introduced.late {
            return;
        }
        let others: Vec<PeerId> = self.sociable.iter().copied().take(most).collect();
        for other in others {
            let mut key = PathKey::default();
            if getrandom::fill(&mut key).is_err() {
                return;
            }
            let Some((there, introduced)) = self.introduced(other) else { continue };
            introduced.to.push((peer, key));
            if introduced.to.len() >= most {
                self.sociable.remove(&other);
            }
            self.say(shared, other, Control::Peer(key, at));
            self.say(shared, peer, Control::Peer(key, there));
            if let Some((_, introduced)) = self.introduced(peer) {
                introduced.to.push((other, key));
            }
        }
        if self.introduced(peer).is_some_and(|(_, introduced)| introduced.to.len() < most) {
            self.sociable.insert(peer);
        }
    }

    /// A client is not to be found any more where it was.
    pub(super) fn part(&mut self, shared: &Shared<S>, peer: PeerId) {
        self.sociable.remove(&peer);
        let Some(Route::Udp(route)) = self.routes.get_mut(peer) else { return };
        let Some(introduced) = &mut route.introduced else { return };
        for (other, key) in core::mem::take(&mut introduced.to) {
            if let Some((_, introduced)) = self.introduced(other) {
                introduced.to.retain(|(to, _)| *to != peer);
                self.sociable.insert(other);
            }
            self.say(shared, other, Control::Gone(key));
            self.say(shared, peer, Control::Gone(key));
        }
    }

    /// Where a client is who wants to be introduced, and to whom it has been.
    fn introduced(&mut self, peer: PeerId) -> Option<(SocketAddr, &mut Introduced)> {
        let Some(Route::Udp(route)) = self.routes.get_mut(peer) else { return None };
        let bound = route.bound?.remote;
        // A wildcard socket of IPv6 sees IPv4 addresses in its own clothes.
        Some((SocketAddr::new(bound.ip().to_canonical(), bound.port()), route.introduced.as_mut()?))
    }
}
