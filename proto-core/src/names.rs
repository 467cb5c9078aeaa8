//! Names that users choose: which are valid, which are the same, and who holds which.

mod rules;

use crate::{Instant, PeerId};
use alloc::{
    borrow::Cow,
    boxed::Box,
    collections::{BTreeMap, VecDeque},
};
use core::net::IpAddr;
pub use rules::{MAX_NAME_LEN, NameError, canonical_name, check_label, check_name, is_address_like};

/// Who holds which name, and the names of lost connections that are kept for their address for a while.
///
/// Two names are the same if their [canonical forms](canonical_name) are: "José" is one name, however the accent is encoded.
/// Bytes that are not text are a name, too. [`check_name`] says which names are valid.
#[derive(Debug)]
pub struct Names {
    holders: BTreeMap<Box<[u8]>, PeerId>,
    kept: KeptNames,
}

impl Names {
    /// No name taken. At most `max_released` names are kept after their connections are lost.
    pub const fn new(max_released: usize) -> Self {
        Self { holders: BTreeMap::new(), kept: KeptNames::new(max_released) }
    }

    /// The same, but names are compared byte by byte: for protocols whose original programs do so.
    pub const fn exact(max_released: usize) -> Self {
        Self { holders: BTreeMap::new(), kept: KeptNames::exact(max_released) }
    }

    /// Who holds `name`.
    pub fn find(&self, name: &[u8]) -> Option<PeerId> {
        self.holders.get(&*self.kept.key(name)).copied()
    }

    /// Number of names held.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether no peer holds a name.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Gives `name` to `peer`, even if another peer held it, or it was kept for another address.
    pub fn take(&mut self, name: &[u8], peer: PeerId) {
        self.kept.take(name);
        self.holders.insert(self.kept.key(name).into(), peer);
    }

    /// A lost connection gives up its name. Until `until` only its own address may take it.
    pub fn release(&mut self, now: Instant, name: &[u8], address: Option<IpAddr>, until: Instant) {
        self.holders.remove(&*self.kept.key(name));
        self.kept.keep(now, name, address, until);
    }

    /// Whether `name` is kept for another address.
    pub fn is_kept(&mut self, now: Instant, name: &[u8], address: Option<IpAddr>) -> bool {
        self.kept.is_kept(now, name, address)
    }
}

/// The names of lost connections that are kept for their address for a while: the second half of [`Names`], for sessions that have the names
/// in use in a table of their own.
#[derive(Debug)]
pub struct KeptNames {
    /// Whether names are compared byte by byte.
    exact: bool,
    /// Whose they were, until when.
    names: BTreeMap<Box<[u8]>, (Option<IpAddr>, Instant)>,
    /// The same, in the order in which they end: all are kept equally long.
    expiry: VecDeque<(Instant, Box<[u8]>)>,
    max: usize,
}

impl KeptNames {
    /// No names kept, and at most `max`. Names are compared in their [canonical forms](canonical_name).
    pub const fn new(max: usize) -> Self {
        Self { exact: false, names: BTreeMap::new(), expiry: VecDeque::new(), max }
    }

    /// The same, where names are compared byte by byte.
    pub const fn exact(max: usize) -> Self {
        Self { exact: true, names: BTreeMap::new(), expiry: VecDeque::new(), max }
    }

    /// What `name` is known by here.
    pub fn key<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        if self.exact { Cow::Borrowed(name) } else { name_key(name) }
    }

    /// `name` is in use: it is kept no more.
    pub fn take(&mut self, name: &[u8]) {
        self.names.remove(&*self.key(name));
    }

    /// Keeps `name` for `address`, until `until`.
    pub fn keep(&mut self, now: Instant, name: &[u8], address: Option<IpAddr>, until: Instant) {
        self.expire(now);
        // Full: those who came first stay kept.
        if until > now && self.expiry.len() < self.max {
            let name: Box<[u8]> = self.key(name).into();
            self.names.insert(name.clone(), (address, until));
            self.expiry.push_back((until, name));
        }
    }

    /// Whether `name` is kept for another address.
    pub fn is_kept(&mut self, now: Instant, name: &[u8], address: Option<IpAddr>) -> bool {
        self.expire(now);
        self.names.get(&*self.key(name)).is_some_and(|(owner, _)| owner.is_none() || *owner != address)
    }

    fn expire(&mut self, now: Instant) {
        while self.expiry.front().is_some_and(|(until, _)| *until <= now) {
            let Some((end, name)) = self.expiry.pop_front() else { return };
            // The name may have been taken and released again since.
            if self.names.get(&name).is_some_and(|(_, until)| *until == end) {
                self.names.remove(&name);
            }
        }
    }
}

/// What a name is known by, in a table: its [canonical form](canonical_name) if it is text, and the bytes themselves if not.
pub fn name_key(name: &[u8]) -> Cow<'_, [u8]> {
    match core::str::from_utf8(name).map(canonical_name) {
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId { slot: 0, generation: 0 };
    const B: PeerId = PeerId { slot: 1, generation: 0 };

    #[test]
    fn a_released_name_is_kept_for_its_address_until_it_is_taken_or_the_time_is_over() {
        let (home, away) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        let at = Instant::from_nanos;
        let mut names = Names::new(1);
        names.take(b"ann", A);
        names.take(b"bob", B);
        names.release(at(0), b"ann", home, at(10));
        assert_eq!((names.find(b"ann"), names.len()), (None, 1));
        assert!(!names.is_kept(at(5), b"ann", home) && names.is_kept(at(5), b"ann", away));
        // There is room for one only.
        names.release(at(5), b"bob", home, at(15));
        assert!(!names.is_kept(at(5), b"bob", away));
        assert!(!names.is_kept(at(10), b"ann", away));
        names.take(b"ann", B);
        names.release(at(10), b"ann", None, at(20));
        assert!(names.is_kept(at(11), b"ann", None), "nobody's: nobody can show that it is his");
        names.take(b"ann", A);
        assert!(!names.is_kept(at(11), b"ann", away));
    }

    /// F-05: one name, however it is encoded, is held by one.
    #[test]
    fn a_name_is_the_same_in_either_form() {
        let (composed, decomposed) = ("Jos\u{e9}".as_bytes(), "Jose\u{301}".as_bytes());
        let at = Instant::from_nanos;
        let mut names = Names::new(1);
        names.take(composed, A);
        assert_eq!((names.find(decomposed), names.find(b"Jose")), (Some(A), None));
        names.release(at(0), decomposed, None, at(10));
        assert!(names.is_empty() && names.is_kept(at(5), composed, None));
        names.take(decomposed, B);
        assert_eq!(names.find(composed), Some(B));
        let mut names = Names::exact(1);
        names.take(composed, A);
        assert_eq!((names.find(composed), names.find(decomposed)), (Some(A), None));
        names.take(b"\xff", B);
        assert_eq!(names.find(b"\xff"), Some(B));
    }
}
