//! Who may not come in: addresses with a prefix, and names. In memory for the look-up, in SQLite to outlive the server.

use super::store::Store;
use super::time::now;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use voxwire_core::canonical_name;

/// Bans at a time.
pub(super) const MOST: usize = 100_000;

/// An address and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Network {
    /// IPv4 in the form of IPv6.
    bits: u128,
    prefix: u8,
}

impl Network {
    fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = if address.to_canonical().is_ipv4() { prefix.saturating_add(96) } else { prefix };
        Self { bits: bits(address) & mask(prefix), prefix }
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
pub(super) enum Subject {
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
}

impl Index {
    fn add(&mut self, subject: &Subject, until: Option<i64>) {
        // Of two bans of one subject the later end counts.
        let later = |kept: &mut Option<i64>| {
            *kept = kept.zip(until).map(|(kept, until)| kept.max(until));
        };
        match subject {
            Subject::Address(Network { bits, prefix }) => {
                let kept = self.addresses.entry(*prefix).or_default().entry(*bits).or_insert(until);
                later(kept);
            }
            Subject::Name(name) => later(self.names.entry(name.clone()).or_insert(until)),
        }
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
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = index;
        Ok(())
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
        let add = |subject: &Subject, until| bans.0.write().unwrap().add(subject, until);
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
    }
}
