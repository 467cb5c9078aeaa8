//! Names as the settings have them, and as the log shows them.

use core::fmt;
use core::net::SocketAddr;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq as _;
use voxwire_core::{Untrusted, canonical_name};

/// The names that are admitted with a secret only.
pub(crate) struct Secrets {
    /// By names in their canonical form: a name in another encoding is the same name.
    by_name: BTreeMap<String, String>,
    /// No other name is admitted.
    pub(crate) only: bool,
}

/// What the secret that was shown with a name proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The name is the client's.
    Right,
    Wrong,
    /// None was shown, and the name has one.
    Missing,
    /// The name has none.
    Unneeded,
}

impl Secrets {
    pub(crate) fn new(table: &BTreeMap<String, String>, only: bool) -> Self {
        let by_name = table.iter().map(|(name, secret)| (canonical_name(name).into_owned(), secret.clone()));
        Self { by_name: by_name.collect(), only }
    }

    /// Whether no name has a secret.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether this name has a secret.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(&*canonical_name(name))
    }

    /// Compares in constant time.
    pub(crate) fn check(&self, name: &str, shown: Option<&[u8]>) -> Proof {
        match (self.by_name.get(&*canonical_name(name)), shown) {
            (Some(expected), Some(shown)) if bool::from(expected.as_bytes().ct_eq(shown)) => Proof::Right,
            (Some(_), Some(_)) => Proof::Wrong,
            (Some(_), None) => Proof::Missing,
            (None, _) => Proof::Unneeded,
        }
    }
}

/// Without the secrets.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("names", &self.by_name.keys()).field("only", &self.only).finish()
    }
}

/// Refuses two names of a table that are one name, spelled in two ways: one would silently take the other's place. `what` says in the
/// plural what the table holds.
pub(crate) fn check_spellings(what: &str, table: &BTreeMap<String, String>) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for name in table.keys() {
        if let Some(first) = seen.insert(canonical_name(name), name) {
            let [first, second] =
                [first, name].map(|name| format!("{} ({})", quoted(name), name.escape_unicode()));
            return Err(format!("{what} {first} and {second} are one name: leave one out"));
        }
    }
    Ok(())
}

/// Text between quotation marks, as the log and our errors show it.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", Untrusted::new(text))
}

/// Who a peer is, for the log: its name between quotation marks, or else its address without: no name imitates one.
pub(crate) struct Who<'a> {
    pub(crate) name: Option<&'a [u8]>,
    pub(crate) address: Option<SocketAddr>,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.address) {
            (Some(name), _) => write!(f, "{:?}", Untrusted::new(name)),
            (None, Some(address)) => write!(f, "{address}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-13: in the log, too.
    #[test]
    fn no_name_imitates_a_peer_that_has_none() {
        let address = SocketAddr::from(([192, 0, 2, 7], 40000));
        let who = |name: Option<&str>, address| Who { name: name.map(str::as_bytes), address }.to_string();
        assert_eq!(who(None, Some(address)), "192.0.2.7:40000");
        assert_eq!(who(Some("192.0.2.7:40000"), None), "\"192.0.2.7:40000\"");
        assert_eq!(who(Some("unknown"), None), "\"unknown\"");
        assert_eq!(who(None, None), "unknown");
        assert_eq!(who(Some("a\" x=\n"), None), r#""a\" x=\n""#);
    }
}
