//! Log-ins of lost connections, which can be taken up with their tokens.

use crate::server::RateUse;
use alloc::collections::BTreeMap;
use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;
use voxwire_core::{Deadlines, Instant, PeerId};

/// Log-ins whose connections are lost, by what is kept of their tokens. (Where tokens are shared, several have the same.)
#[derive(Debug)]
pub(in crate::server) struct LostLogins {
    by_token: BTreeMap<([u8; 32], PeerId), Lost>,
    expiry: Deadlines<([u8; 32], PeerId)>,
    addresses: BTreeMap<IpAddr, Address>,
    max: usize,
}

#[derive(Debug)]
pub(in crate::server) struct Lost {
    pub(in crate::server) username: Box<[u8]>,
    pub(in crate::server) requests_only: bool,
    pub(in crate::server) call: Option<Box<[u8]>>,
    pub(in crate::server) from: Option<IpAddr>,
    /// How many of the messages that were delivered to it came before its token.
    pub(in crate::server) received: usize,
    pub(in crate::server) rate_use: RateUse,
}

/// Where a user was lost.
#[derive(Debug, Default)]
struct Address {
    lost: usize,
    /// Connections from there which may be a user's who was lost.
    awaited: Vec<PeerId>,
}

impl LostLogins {
    pub(in crate::server) const fn new(max: usize) -> Self {
        Self { by_token: BTreeMap::new(), expiry: Deadlines::new(), addresses: BTreeMap::new(), max }
    }

    /// Adds the log-in of `peer`, whose connection is lost.
    pub(in crate::server) fn add(&mut self, peer: PeerId, token: [u8; 32], lost: Lost, until: Instant) {
        if self.by_token.len() >= self.max {
            return;
        }
        if let Some(from) = lost.from {
            let address = self.addresses.entry(from).or_default();
            address.lost = address.lost.saturating_add(1);
        }
        self.expiry.set((token, peer), until);
        self.by_token.insert((token, peer), lost);
    }

    /// A connection arrives: whether a user was lost at its address.
    pub(in crate::server) fn arrive(&mut self, peer: PeerId, from: IpAddr) -> bool {
        let address = self.addresses.get_mut(&from);
        address.map(|address| address.awaited.push(peer)).is_some()
    }

    /// A connection that has arrived is gone, or is logged in.
    pub(in crate::server) fn depart(&mut self, peer: PeerId, from: IpAddr) {
        if let Some(address) = self.addresses.get_mut(&from) {
            address.awaited.retain(|connection| *connection != peer);
        }
    }

    /// Takes up the log-in with this token; connections from an address where no log-in is awaited any more are
    /// added to `released`.
    pub(super) fn take(
        &mut self,
        token: &[u8; 32],
        username: &[u8],
        from: Option<IpAddr>,
        released: &mut Vec<PeerId>,
    ) -> Option<(PeerId, Lost)> {
        let (first, last) =
            (PeerId { slot: 0, generation: 0 }, PeerId { slot: u32::MAX, generation: u32::MAX });
        let mut same = self.by_token.range((*token, first)..=(*token, last));
        let (&key, _) = same.find(|(_, lost)| *lost.username == *username && lost.from == from)?;
        let lost = self.remove(key, released)?;
        let (_, peer) = key;
        Some((peer, lost))
    }

    fn remove(&mut self, key: ([u8; 32], PeerId), released: &mut Vec<PeerId>) -> Option<Lost> {
        let lost = self.by_token.remove(&key)?;
        self.expiry.clear(key);
        if let Some(from) = lost.from
            && let Some(address) = self.addresses.get_mut(&from)
        {
            address.lost = address.lost.saturating_sub(1);
            if address.lost == 0 {
                released.append(&mut address.awaited);
                self.addresses.remove(&from);
            }
        }
        Some(lost)
    }

    /// Ends what has waited for long enough. Returns the connections from addresses where no log-in is awaited any more.
    pub(in crate::server) fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        let mut released = Vec::new();
        while let Some(key) = self.expiry.pop(now) {
            self.remove(key, &mut released);
        }
        released
    }

    pub(in crate::server) fn next(&self) -> Option<Instant> {
        self.expiry.next()
    }
}

/// Whether two digests are the same, in a time that does not depend on where they differ.
pub(super) fn is_same(one: &[u8; 32], two: &[u8; 32]) -> bool {
    one.iter().zip(two).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}
