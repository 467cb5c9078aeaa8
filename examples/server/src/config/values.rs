//! Settings that are more than numbers and texts, and their ranges.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use core::str::FromStr;
use core::time::Duration;
use serde::{Deserialize, de};
use std::net::ToSocketAddrs as _;

/// How to behave where the safe thing and what original programs do differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Safe.
    #[default]
    Safe,
    /// As the originals.
    Original,
}

/// The address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Bind(pub(super) IpAddr);

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Of several, one that clients find without IPv6, too.
        let resolved =
            || (text, 0).to_socket_addrs().ok()?.map(|found| found.ip()).min_by_key(IpAddr::is_ipv6);
        let address = text.parse().ok().or_else(resolved);
        address.map(Self).ok_or_else(|| format!("`{text}` is neither an address nor a name of this machine"))
    }
}

impl TryFrom<String> for Bind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where the status page is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Http {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl FromStr for Http {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => address
                .parse()
                .map(Self::At)
                .map_err(|_| format!("`{address}` is neither ADDR:PORT nor `off`")),
        }
    }
}

impl TryFrom<String> for Http {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The status page's address, and how serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// No status page.
    No,
    /// There, if nothing else is.
    IfFree(SocketAddr),
    /// There, or the server does not start.
    At(SocketAddr),
}

impl Wanted {
    pub(crate) const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::No => None,
            Self::IfFree(address) | Self::At(address) => Some(address),
        }
    }
}

impl From<Http> for Wanted {
    fn from(http: Http) -> Self {
        match http {
            Http::Off => Self::No,
            Http::At(address) => Self::At(address),
        }
    }
}

/// A number of seconds in the file.
pub(crate) fn seconds<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// A number of milliseconds in the file.
pub(crate) fn millis<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Whether a setting is in its range.
pub(crate) fn within<T: PartialOrd + fmt::Display>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{name} {value}: {} to {} expected", range.start(), range.end())),
    }
}

/// Changes a setting if something is said of it.
pub(crate) fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}
