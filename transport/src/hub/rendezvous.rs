//! Introduces clients to each other, for direct paths: each of two clients that ask for it is told the other's UDP address. `PROTOCOL.md`,
//! section 6.

use crate::tcp_udp::{Control, PathKey};
use core::net::SocketAddr;
use std::collections::BTreeSet;
use voxwire_core::{Bucket, Instant, PeerId, PeerSlab, Rate};

/// How often a client may come from another address, so that others are told the new one.
const MOVES: Rate = Rate { per_second: 1, burst: 5 };

/// The clients that ask for introductions, and which of them have been introduced.
#[derive(Debug)]
pub(super) struct Rendezvous {
    /// To how many others a client is introduced at most.
    most: usize,
    members: PeerSlab<Member>,
    /// Members whose address is known, and that have been introduced to fewer others than `most`.
    available: BTreeSet<PeerId>,
}

#[derive(Debug, Default)]
struct Member {
    /// Its UDP address; `None` while none is bound.
    at: Option<SocketAddr>,
    told_of: Vec<(PeerId, PathKey)>,
    moves: Bucket,
    /// It has changed its address too often. Its introduction is postponed.
    postponed: bool,
    /// The session forbids that it is introduced.
    barred: bool,
}

/// Control messages and their addressees, in the order in which they are sent.
pub(super) type Messages = Vec<(PeerId, Control)>;

impl Rendezvous {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, members: PeerSlab::new(usize::MAX), available: BTreeSet::new() }
    }

    /// A client asks for introductions.
    pub(super) fn join(&mut self, peer: PeerId) {
        self.members.insert(peer, Member::default());
    }

    /// A client has gone.
    pub(super) fn leave(&mut self, peer: PeerId) -> Messages {
        let messages = self.withdraw(peer);
        self.members.remove(peer);
        messages
    }

    /// Forbids that a client is introduced. Clients that know of it are told that it is gone, and it is told that they are.
    pub(super) fn bar(&mut self, peer: PeerId) -> Messages {
        let messages = self.withdraw(peer);
        if let Some(member) = self.members.get_mut(peer) {
            (member.barred, member.postponed) = (true, false);
        }
        messages
    }

    /// Allows that a client is introduced. True if it asks for that and was barred until now.
    pub(super) fn admit(&mut self, peer: PeerId) -> bool {
        self.members.get_mut(peer).is_some_and(|member| core::mem::take(&mut member.barred))
    }

    /// Whether a client is to be introduced later, because it has changed its address too often.
    pub(super) fn is_late(&self, peer: PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| member.postponed)
    }

    /// A client's address is `at`. Introduces it to others. `key` makes the random key by which two clients know each other; `None` if the system
    /// has no random bytes.
    pub(super) fn introduce(
        &mut self,
        now: Instant,
        peer: PeerId,
        at: SocketAddr,
        mut key: impl FnMut() -> Option<PathKey>,
    ) -> Messages {
        let mut messages = self.withdraw(peer);
        // A wildcard socket of IPv6 sees IPv4 addresses in the form of IPv6.
        let at = SocketAddr::new(at.ip().to_canonical(), at.port());
        let Some(member) = self.members.get_mut(peer).filter(|member| !member.barred) else {
            return messages;
        };
        member.at = Some(at);
        // The hub tries again at its next PING.
        member.postponed = member.moves.take(now, MOVES, 1).is_err();
        if member.postponed {
            return messages;
        }
        let others: Vec<PeerId> = self.available.iter().copied().take(self.most).collect();
        for other in others {
            let Some(key) = key() else { return messages };
            let Some(there) = self.tell(other, (peer, key)) else { continue };
            self.tell(peer, (other, key));
            messages.push((other, Control::Peer(key, at)));
            messages.push((peer, Control::Peer(key, there)));
        }
        self.make_available(peer);
        messages
    }

    /// A client's address is not valid any more. Its introductions are taken back.
    pub(super) fn withdraw(&mut self, peer: PeerId) -> Messages {
        let mut messages = Vec::new();
        self.available.remove(&peer);
        let Some(member) = self.members.get_mut(peer) else { return messages };
        member.at = None;
        for (other, key) in core::mem::take(&mut member.told_of) {
            if let Some(member) = self.members.get_mut(other) {
                member.told_of.retain(|(to, _)| *to != peer);
            }
            self.make_available(other);
            messages.push((other, Control::Gone(key)));
            messages.push((peer, Control::Gone(key)));
        }
        messages
    }

    /// Notes that `peer` is told of another client. Returns the address of `peer`.
    fn tell(&mut self, peer: PeerId, of: (PeerId, PathKey)) -> Option<SocketAddr> {
        let member = self.members.get_mut(peer)?;
        let at = member.at?;
        member.told_of.push(of);
        if member.told_of.len() >= self.most {
            self.available.remove(&peer);
        }
        Some(at)
    }

    fn make_available(&mut self, peer: PeerId) {
        let member = self.members.get(peer);
        if member.is_some_and(|member| member.at.is_some() && member.told_of.len() < self.most) {
            self.available.insert(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 0 }
    }

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 5000))
    }

    fn keys() -> impl FnMut() -> Option<PathKey> {
        let mut next = 0;
        move || {
            next += 1;
            Some([next; 16])
        }
    }

    /// D-15: two clients are introduced with the same key, and learn of each other's end; no client is introduced to more than `most`.
    #[test]
    fn d_15_clients_are_told_of_each_other_with_one_key() {
        let (mut rendezvous, mut key) = (Rendezvous::new(2), keys());
        (0..4).for_each(|n| rendezvous.join(peer(n)));
        let mut introduce = |n: u8| {
            let now = Instant::ZERO.saturating_add(Duration::from_secs(n.into()));
            rendezvous.introduce(now, peer(n.into()), at(n), &mut key)
        };
        assert_eq!(introduce(0), []);
        assert_eq!(
            introduce(1),
            [(peer(0), Control::Peer([1; 16], at(1))), (peer(1), Control::Peer([1; 16], at(0)))]
        );
        assert_eq!(introduce(2).len(), 4);
        // The first three have two others each by now.
        assert_eq!(introduce(3), []);
        let gone = rendezvous.leave(peer(0));
        assert_eq!(gone.iter().filter(|(_, control)| matches!(control, Control::Gone(_))).count(), 4);
        assert!(gone.contains(&(peer(1), Control::Gone([1; 16]))));
        // Those that have lost one are introduced to another one.
        let told = rendezvous.introduce(
            Instant::ZERO.saturating_add(Duration::from_secs(9)),
            peer(3),
            at(3),
            keys(),
        );
        assert_eq!(told.iter().map(|(to, _)| to.slot).collect::<Vec<_>>(), [1, 3, 2, 3]);
    }

    /// C-30: who is muted or told whom it hears is not introduced, and those that knew of it hear that it is gone.
    #[test]
    fn c_30_a_barred_client_is_introduced_to_no_client_until_it_is_admitted() {
        let (mut rendezvous, mut key) = (Rendezvous::new(8), keys());
        (0..3).for_each(|n| rendezvous.join(peer(n)));
        let now = Instant::ZERO.saturating_add(Duration::from_secs(1));
        rendezvous.introduce(now, peer(0), at(0), &mut key);
        rendezvous.introduce(now, peer(1), at(1), &mut key);
        let gone = [(peer(0), Control::Gone([1; 16])), (peer(1), Control::Gone([1; 16]))];
        assert_eq!(rendezvous.bar(peer(1)), gone);
        assert_eq!(rendezvous.introduce(now, peer(1), at(1), &mut key), []);
        assert_eq!(rendezvous.bar(peer(1)), []);
        // Others are introduced to each other.
        let told = rendezvous.introduce(now, peer(2), at(2), &mut key);
        assert_eq!(told.iter().map(|(to, _)| to.slot).collect::<Vec<_>>(), [0, 2]);
        assert!(rendezvous.admit(peer(1)) && !rendezvous.admit(peer(1)));
        assert_eq!(rendezvous.introduce(now, peer(1), at(1), &mut key).len(), 4);
    }

    /// F-47: a client that turns up elsewhere all the time has others told once a second, and waits for the rest.
    #[test]
    fn f_47_a_client_that_moves_all_the_time_is_introduced_once_a_second() {
        let (mut rendezvous, mut key) = (Rendezvous::new(8), keys());
        (0..2).for_each(|n| rendezvous.join(peer(n)));
        let now = Instant::ZERO.saturating_add(Duration::from_secs(1));
        rendezvous.introduce(now, peer(0), at(0), &mut key);
        for n in 1..=5 {
            assert!(!rendezvous.introduce(now, peer(1), at(n), &mut key).is_empty());
        }
        // Only what was said is taken back.
        let messages = rendezvous.introduce(now, peer(1), at(6), &mut key);
        assert!(rendezvous.is_late(peer(1)) && messages.iter().all(|(_, it)| matches!(it, Control::Gone(_))));
        let later = now.saturating_add(Duration::from_secs(1));
        assert_eq!(rendezvous.introduce(later, peer(1), at(6), &mut key).len(), 2);
        assert!(!rendezvous.is_late(peer(1)));
    }
}
