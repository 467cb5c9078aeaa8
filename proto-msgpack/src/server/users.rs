//! The users that are logged in, and what they may send and be sent.

mod delivered;
mod log_ins;
mod lost;

pub(super) use {
    delivered::Delivered,
    lost::{Lost, LostLogins},
};

use super::{RESUMPTION, key};
use alloc::collections::BTreeMap;
use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::net::IpAddr;
use voxwire_core::{Bucket, Instant, PeerId, Rate};

/// That a connection is logged in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) username: Box<[u8]>,
    /// Which user, in this period of being logged in; compared faster than names.
    pub(super) user: u64,
    pub(super) token: [u8; 32],
    /// Nothing is delivered to it, and its user is no more there than before.
    pub(super) requests_only: bool,
}

/// Those who are logged in.
#[derive(Debug)]
pub(super) struct Users {
    /// Whether names are compared byte by byte.
    exact: bool,
    by_name: BTreeMap<Box<[u8]>, User>,
    numbered: u64,
    /// Connections that are logged in for requests alone, by user, oldest first.
    for_requests: BTreeMap<Box<[u8]>, Vec<PeerId>>,
    /// What each has sent lately.
    sent: Buckets,
    /// How often each has taken a log-in up lately.
    resumed: Buckets,
}

/// A bucket for each user, also after its connections.
#[derive(Debug)]
struct Buckets {
    by_name: BTreeMap<Box<[u8]>, Bucket>,
    /// How many there may be before those are looked for that say nothing any more.
    tidy_at: usize,
}

impl Buckets {
    const fn new() -> Self {
        Self { by_name: BTreeMap::new(), tidy_at: 0 }
    }

    /// Whether `n` tokens are left.
    fn has(&self, now: Instant, rate: Rate, username: &[u8], n: u32) -> bool {
        self.by_name.get(username).is_none_or(|bucket| bucket.clone().take(now, rate, n).is_ok())
    }

    /// Takes `n` tokens; false, and nothing is taken, if fewer are left.
    fn take(&mut self, now: Instant, rate: Rate, username: &[u8], n: u32) -> bool {
        if self.by_name.len() >= self.tidy_at {
            self.by_name.retain(|_, bucket| !bucket.is_full(now));
            self.tidy_at = self.by_name.len().saturating_mul(2).max(64);
        }
        match self.by_name.get_mut(username) {
            Some(bucket) => bucket.take(now, rate, n).is_ok(),
            None => self.by_name.entry(username.into()).or_default().take(now, rate, n).is_ok(),
        }
    }
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) number: u64,
    pub(super) connections: Vec<PeerId>,
    /// What is kept of each connection's token.
    tokens: Vec<[u8; 32]>,
    /// The token itself, where all its connections share it.
    shared: Option<Box<[u8]>>,
    /// What it has been sent.
    received: Bucket,
    /// What of it by whom, and from where.
    by_name: BTreeMap<Box<[u8]>, Bucket>,
    by_address: BTreeMap<IpAddr, Bucket>,
    /// How many may be in these before those are looked for that say nothing any more.
    tidy_at: usize,
}

impl User {
    /// Takes `len` bytes out of what it may be sent at `rate`, by `sender` and from `address`; false, and nothing is taken, if that is
    /// too much. More than the burst counts as the burst.
    pub(super) fn may_receive(
        &mut self,
        now: Instant,
        rate: Rate,
        sender: &[u8],
        address: Option<IpAddr>,
        len: usize,
    ) -> bool {
        if self.by_name.len().max(self.by_address.len()) >= self.tidy_at {
            self.by_name.retain(|_, bucket| !bucket.is_full(now));
            self.by_address.retain(|_, bucket| !bucket.is_full(now));
            self.tidy_at = self.by_name.len().max(self.by_address.len()).saturating_mul(2).max(16);
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(rate.burst);
        let (of_name, of_address) = (part(rate, 4), part(rate, 2));
        let mut received = self.received;
        let mut by_name = self.by_name.get(sender).copied().unwrap_or_default();
        let mut by_address = address.and_then(|from| self.by_address.get(&from)).copied().unwrap_or_default();
        // What may go beyond a share leaves one to others.
        let rest = if len > of_name.burst / 2 { of_name.burst } else { 0 };
        let fits = received.clone().take(now, rate, len.saturating_add(rest).min(rate.burst)).is_ok()
            && received.take(now, rate, len).is_ok()
            && take_all(&mut by_name, now, of_name, len)
            && (address.is_none() || take_all(&mut by_address, now, of_address, len));
        if fits {
            self.received = received;
            match self.by_name.get_mut(sender) {
                Some(bucket) => *bucket = by_name,
                None => drop(self.by_name.insert(sender.into(), by_name)),
            }
            if let Some(from) = address {
                self.by_address.insert(from, by_address);
            }
        }
        fits
    }
}

/// One `n`th of a rate.
fn part(rate: Rate, n: u32) -> Rate {
    let of = |all: u32| all.checked_div(n).unwrap_or(all).max(1);
    Rate { per_second: of(rate.per_second), burst: of(rate.burst) }
}

/// Takes `len` tokens, going into debt for what is over half of the burst: that half has to be there.
fn take_all(bucket: &mut Bucket, now: Instant, rate: Rate, len: u32) -> bool {
    let first = len.min(rate.burst / 2);
    let fits = bucket.take(now, rate, first).is_ok();
    if fits {
        bucket.charge(now, rate, len.saturating_sub(first));
    }
    fits
}

impl Users {
    pub(super) const fn new(exact: bool) -> Self {
        Self {
            exact,
            by_name: BTreeMap::new(),
            numbered: 0,
            for_requests: BTreeMap::new(),
            sent: Buckets::new(),
            resumed: Buckets::new(),
        }
    }

    /// What a user is known by.
    pub(super) fn key<'a>(&self, username: &'a [u8]) -> Cow<'a, [u8]> {
        key(username, self.exact)
    }

    pub(super) fn get(&self, username: &[u8]) -> Option<&User> {
        self.by_name.get(&*self.key(username))
    }

    /// The connections of a user, those for requests alone included.
    pub(super) fn of(&self, username: &[u8]) -> impl Iterator<Item = PeerId> + '_ {
        let name = self.key(username);
        let connections = self.by_name.get(&*name).map(|user| &user.connections);
        let for_requests = self.for_requests.get(&*name);
        connections.into_iter().chain(for_requests).flatten().copied()
    }

    pub(super) fn get_mut(&mut self, username: &[u8]) -> Option<&mut User> {
        self.by_name.get_mut(&*key(username, self.exact))
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Adds a connection of a user, and returns the user's number.
    fn add(&mut self, username: &[u8], peer: PeerId, token: [u8; 32], shared: Option<&[u8]>) -> u64 {
        if let Some(user) = self.by_name.get_mut(username) {
            user.connections.push(peer);
            user.tokens.push(token);
            return user.number;
        }
        self.numbered = self.numbered.saturating_add(1);
        let user = User {
            number: self.numbered,
            connections: Vec::from([peer]),
            tokens: Vec::from([token]),
            shared: shared.map(Box::from),
            received: Bucket::default(),
            by_name: BTreeMap::new(),
            by_address: BTreeMap::new(),
            tidy_at: 16,
        };
        self.by_name.insert(username.into(), user);
        self.numbered
    }

    /// Takes `len` bytes out of what `username` may send at `rate`; false if it may not. More than the burst counts as the burst.
    pub(super) fn may_send(&mut self, now: Instant, rate: Rate, username: &[u8], len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(rate.burst);
        self.sent.take(now, rate, &key(username, self.exact), len)
    }

    /// Whether [`may_send`](Self::may_send) would take as much.
    pub(super) fn could_send(&self, now: Instant, rate: Rate, username: &[u8], len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(rate.burst);
        self.sent.has(now, rate, &self.key(username), len)
    }

    /// Whether `username` may take one more log-in up at `rate`.
    fn may_resume(&self, now: Instant, rate: Rate, username: &[u8]) -> bool {
        self.resumed.has(now, rate, &self.key(username), RESUMPTION)
    }

    /// Adds a connection of a user that is there for requests alone.
    fn add_for_requests(&mut self, username: &[u8], peer: PeerId) {
        self.for_requests.entry(username.into()).or_default().push(peer);
    }

    /// The oldest of a user's connections for requests alone, if there are `max` of them.
    fn one_too_many(&self, username: &[u8], max: usize) -> Option<PeerId> {
        let peers = self.for_requests.get(&*self.key(username))?;
        peers.first().copied().filter(|_| peers.len() >= max)
    }

    /// Removes a connection; with the last one the user is offline.
    pub(super) fn remove(&mut self, username: &[u8], peer: PeerId) {
        if let Some(peers) = self.for_requests.get_mut(username) {
            peers.retain(|other| *other != peer);
            if peers.is_empty() {
                self.for_requests.remove(username);
            }
        }
        let Some(user) = self.by_name.get_mut(username) else { return };
        if let Some(at) = user.connections.iter().position(|connection| *connection == peer) {
            user.connections.remove(at);
            user.tokens.remove(at);
        }
        if user.connections.is_empty() {
            self.by_name.remove(username);
        }
    }
}

#[cfg(test)]
mod tests;
