//! Who may not come in: addresses with a prefix, and names. In memory for the look-up, in SQLite to outlive the server.

use super::store::Store;
use super::time::now;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use serde::Serialize;
use std::collections::{BTreeMap, btree_map::Entry};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use voxwire_core::canonical_name;

/// Bans at a time.
pub(super) const MOST: usize = 100_000;

/// An address and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network {
    /// IPv4 in the form of IPv6.
    bits: u128,
    prefix: u8,
}

impl Network {
    fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = if address.to_canonical().is_ipv4() { prefix.saturating_add(96) } else { prefix };
        Self { bits: bits(address) & mask(prefix), prefix }
    }

    /// Whether an address is in it.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        bits(address) & mask(self.prefix) == self.bits
    }

    /// Whether all addresses of IPv4 are in it.
    fn holds_ipv4(self) -> bool {
        self.prefix <= 96 && bits(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) & mask(self.prefix) == self.bits
    }
}

/// An address in the form of IPv6.
fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

const fn mask(prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        prefix => u128::MAX << (128 - prefix as u32),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("address {text:?}: an address, or one with a prefix such as 192.0.2.0/24, expected");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        // An IPv6 host has the addresses of a network, and takes another one when it likes.
        let (usual, most) = if address.is_ipv4() { (32, 32) } else { (64, 128) };
        match prefix.unwrap_or(usual) {
            prefix if (1..=most).contains(&prefix) => match Self::new(address, prefix) {
                network if address.is_ipv6() && network.holds_ipv4() => {
                    Err(format!("address {text:?}: a network without the addresses of IPv4 expected"))
                }
                network => Ok(network),
            },
            // Nobody bans every address by a slip.
            _ => Err(format!("address {text:?}: a prefix of 1 to {most} expected")),
        }
    }
}

impl core::fmt::Display for Network {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let address = IpAddr::V6(Ipv6Addr::from_bits(self.bits)).to_canonical();
        let prefix = if address.is_ipv4() { self.prefix.saturating_sub(96) } else { self.prefix };
        match (address, prefix) {
            (IpAddr::V4(_), 32) => write!(f, "{address}"),
            _ => write!(f, "{address}/{prefix}"),
        }
    }
}

/// Whom a ban keeps out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Address(Network),
    /// In its canonical form.
    Name(String),
}

impl Subject {
    pub(super) fn name(name: &str) -> Self {
        Self::Name(canonical_name(name).into_owned())
    }
}

/// A ban, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Ban {
    pub(super) id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) reason: String,
    /// Who made it.
    pub(super) by: String,
    /// Seconds since 1970.
    pub(super) since: i64,
    /// When it ends, in seconds since 1970; `None` for never.
    pub(super) until: Option<i64>,
}

/// When each ends; `None` for never.
#[derive(Debug, Default)]
struct Index {
    /// By prefix, then by the bits before it.
    addresses: BTreeMap<u8, BTreeMap<u128, Option<i64>>>,
    names: BTreeMap<String, Option<i64>>,
    /// Subjects, those included whose ban has ended.
    len: usize,
}

impl Index {
    fn add(&mut self, subject: &Subject, until: Option<i64>) {
        // Of two bans of one subject the later end counts.
        let later = |kept: &mut Option<i64>| {
            *kept = kept.zip(until).map(|(kept, until)| kept.max(until));
            false
        };
        let is_new = match subject {
            Subject::Address(Network { bits, prefix }) => {
                match self.addresses.entry(*prefix).or_default().entry(*bits) {
                    Entry::Occupied(kept) => later(kept.into_mut()),
                    Entry::Vacant(place) => {
                        place.insert(until);
                        true
                    }
                }
            }
            Subject::Name(name) => match self.names.entry(name.clone()) {
                Entry::Occupied(kept) => later(kept.into_mut()),
                Entry::Vacant(place) => {
                    place.insert(until);
                    true
                }
            },
        };
        self.len = self.len.saturating_add(usize::from(is_new));
    }

    /// Forgets a subject, of which all bans have ended.
    fn remove(&mut self, subject: &Subject) {
        let removed = match subject {
            Subject::Address(Network { bits, prefix }) => {
                let network = self.addresses.get_mut(prefix);
                let removed = network.and_then(|bans| bans.remove(bits)).is_some();
                self.addresses.retain(|_, bans| !bans.is_empty());
                removed
            }
            Subject::Name(name) => self.names.remove(name).is_some(),
        };
        self.len = self.len.saturating_sub(usize::from(removed));
    }

    /// Forgets those whose bans have ended.
    fn forget_ended(&mut self, now: i64) {
        let holds = |until: &Option<i64>| until.is_none_or(|until| until > now);
        self.names.retain(|_, until| holds(until));
        for bans in self.addresses.values_mut() {
            bans.retain(|_, until| holds(until));
        }
        self.addresses.retain(|_, bans| !bans.is_empty());
        self.len = self.addresses.values().map(BTreeMap::len).fold(self.names.len(), usize::saturating_add);
    }
}

/// All bans.
#[derive(Debug, Default)]
pub(super) struct Bans(RwLock<Index>);

impl Bans {
    /// Puts in place of those before what is stored.
    pub(super) fn load(&self, store: &Store) -> rusqlite::Result<()> {
        let mut index = Index::default();
        store.each_ban(now(), |ban| {
            if let Some(subject) = subject(&ban) {
                index.add(&subject, ban.until);
            }
        })?;
        *self.lock() = index;
        Ok(())
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ban more, which has been stored.
    pub(super) fn add(&self, subject: &Subject, until: Option<i64>) {
        let mut index = self.lock();
        // Of those that are stored, as many have not ended at most.
        if index.len >= 2 * MOST {
            index.forget_ended(now());
        }
        index.add(subject, until);
    }

    /// A ban less: `rest` says when those end that there still are of its subject.
    pub(super) fn remove(&self, subject: &Subject, rest: &[Option<i64>]) {
        let mut index = self.lock();
        index.remove(subject);
        rest.iter().for_each(|until| index.add(subject, *until));
    }

    /// Whether an address may come in. A look-up for each length of prefix that there is a ban of.
    pub(super) fn lets_in(&self, address: IpAddr) -> bool {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if index.addresses.is_empty() {
            return true;
        }
        let bits = bits(address);
        let now = now();
        !index.addresses.iter().any(|(prefix, bans)| {
            bans.get(&(bits & mask(*prefix))).is_some_and(|until| until.is_none_or(|until| until > now))
        })
    }

    /// Whether a client may have a name.
    pub(super) fn allows(&self, name: &str) -> bool {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if index.names.is_empty() {
            return true;
        }
        let until = index.names.get(&*canonical_name(name)).copied();
        until.is_none_or(|until| until.is_some_and(|until| until <= now()))
    }
}

/// Whom a stored ban keeps out.
pub(super) fn subject(ban: &Ban) -> Option<Subject> {
    match (&ban.address, &ban.name) {
        (Some(address), _) => address.parse().ok().map(Subject::Address),
        (None, Some(name)) => Some(Subject::name(name)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// C-31: prefixes are understood, and shown as they are.
    #[test]
    fn c_31_networks_are_read_and_shown() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::/64"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "x",
            "192.0.2.7/33",
            "192.0.2.7/0",
            "::/0",
            "::/8",
            "::/80",
            "2001:db8::/129",
            "1.2.3.4/-1",
            "1.2.3.4/1/2",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    /// C-31: an address is kept out by its own ban and by that of its network, until it ends.
    #[test]
    fn c_31_an_address_is_kept_out_by_each_ban_that_holds_for_it() {
        let bans = Bans::default();
        let lets_in = |address: &str| bans.lets_in(address.parse().unwrap());
        let add = |subject: &Subject, until| bans.add(subject, until);
        let address = |text: &str| Subject::Address(text.parse().unwrap());
        assert!(lets_in("192.0.2.7"));
        add(&address("192.0.2.0/24"), Some(now() + 1000));
        add(&address("198.51.100.7"), Some(now() - 1));
        add(&address("2001:db8::/32"), None);
        assert!(!lets_in("192.0.2.7") && !lets_in("::ffff:192.0.2.9") && lets_in("192.0.3.7"));
        assert!(lets_in("198.51.100.7") && !lets_in("2001:db8:1::9") && lets_in("2001:db9::9"));
        // Neither a shorter one of the same subject ends the longer.
        add(&address("2001:db8::/32"), Some(now() - 1));
        assert!(!lets_in("2001:db8:1::9"));
        add(&Subject::name("Jose\u{301}"), None);
        assert!(!bans.allows("Jos\u{e9}") && bans.allows("jose"));
        // Of several bans of one subject, what is left holds.
        bans.remove(&address("2001:db8::/32"), &[Some(now() - 1)]);
        bans.remove(&address("192.0.2.0/24"), &[Some(now() + 9)]);
        bans.remove(&Subject::name("Jos\u{e9}"), &[]);
        assert!(lets_in("2001:db8:1::9") && !lets_in("192.0.2.7") && bans.allows("Jos\u{e9}"));
        let mut index = bans.lock();
        index.forget_ended(now());
        assert_eq!((index.len, index.addresses.len(), index.names.len()), (1, 1, 0));
    }
}
