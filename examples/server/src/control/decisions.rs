//! What was decided about clients of one protocol, by name: it holds for them again when they come back, until the server ends.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use voxwire_core::{Mute, canonical_name};

/// Bytes of a name: no protocol has longer ones.
const MAX_NAME: usize = 1024;
/// Names that may be muted.
const MOST_MUTED: usize = 100_000;
/// Listeners with a set, and speakers in all sets together.
const MOST_LISTENERS: usize = 65_536;
const MOST_HEARD: usize = 1_000_000;

/// The decisions of one protocol. Names are in their canonical form.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    muted: BTreeMap<String, Mute>,
    hearing: BTreeMap<String, BTreeSet<String>>,
    /// Speakers in all sets together.
    heard: usize,
    pub(super) closed: bool,
}

/// A muted client, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Muted {
    name: String,
    voice: bool,
    text: bool,
}

/// A listener and its set, as the API shows them.
#[derive(Debug, Serialize)]
pub(crate) struct Set {
    listener: String,
    hears: Vec<String>,
}

/// A limit of these.
pub(super) struct TooMany(pub(super) String);

pub(super) fn key(name: &str) -> String {
    canonical_name(name).into_owned()
}

/// A name that a client could have.
fn named(name: &str) -> Result<String, TooMany> {
    if name.len() > MAX_NAME {
        return Err(TooMany(format!("a name of {} bytes: at most {MAX_NAME} expected", name.len())));
    }
    Ok(key(name))
}

impl Decisions {
    pub(super) fn mute(&mut self, name: &str, mute: Mute) -> Result<(), TooMany> {
        let name = named(name)?;
        if mute.is_nothing() {
            self.muted.remove(&name);
            return Ok(());
        }
        if self.muted.len() >= MOST_MUTED && !self.muted.contains_key(&name) {
            return Err(TooMany(format!("muted names: at most {MOST_MUTED}")));
        }
        self.muted.insert(name, mute);
        Ok(())
    }

    pub(super) fn muted(&self, name: &str) -> Option<Mute> {
        if self.muted.is_empty() { None } else { self.muted.get(&key(name)).copied() }
    }

    pub(super) fn list_muted(&self, offset: usize, limit: usize) -> (usize, Vec<Muted>) {
        let all = self.muted.iter().skip(offset).take(limit);
        let muted = all.map(|(name, mute)| Muted { name: name.clone(), voice: mute.voice, text: mute.text });
        (self.muted.len(), muted.collect())
    }

    /// Decides whom a listener hears; `None` for what holds for listeners without a set.
    pub(super) fn set(&mut self, listener: &str, hears: Option<&[String]>) -> Result<(), TooMany> {
        let listener = named(listener)?;
        let before = self.hearing.get(&listener).map(BTreeSet::len);
        let Some(hears) = hears else {
            self.hearing.remove(&listener);
            self.heard = self.heard.saturating_sub(before.unwrap_or(0));
            return Ok(());
        };
        if before.is_none() && self.hearing.len() >= MOST_LISTENERS {
            return Err(TooMany(format!("listeners with a set: at most {MOST_LISTENERS}")));
        }
        let hears = hears.iter().map(|name| named(name)).collect::<Result<BTreeSet<String>, _>>()?;
        let heard = self.heard.saturating_sub(before.unwrap_or(0)).saturating_add(hears.len());
        if heard > MOST_HEARD {
            return Err(TooMany(format!("speakers in all sets together: at most {MOST_HEARD}")));
        }
        self.heard = heard;
        self.hearing.insert(listener, hears);
        Ok(())
    }

    /// Whom a listener hears.
    pub(super) fn hears(&self, listener: &str) -> Option<&BTreeSet<String>> {
        if self.hearing.is_empty() { None } else { self.hearing.get(&key(listener)) }
    }

    /// The listeners that hear a client.
    pub(super) fn listeners_of(&self, speaker: &str) -> Vec<String> {
        if self.hearing.is_empty() {
            return Vec::new();
        }
        let speaker = key(speaker);
        let hear = self.hearing.iter().filter(|(_, hears)| hears.contains(&speaker));
        hear.map(|(listener, _)| listener.clone()).collect()
    }

    pub(super) fn list_hearing(&self, offset: usize, limit: usize) -> (usize, Vec<Set>) {
        let all = self.hearing.iter().skip(offset).take(limit);
        let sets = all.map(|(listener, hears)| Set {
            listener: listener.clone(),
            hears: hears.iter().cloned().collect(),
        });
        (self.hearing.len(), sets.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// C-33: what is decided about a name holds for each spelling of it; and it is counted.
    #[test]
    fn c_33_decisions_hold_for_each_spelling_of_a_name() {
        let mut decisions = Decisions::default();
        let muted = Mute { voice: true, text: false };
        assert!(decisions.mute("Jose\u{301}", muted).is_ok());
        assert_eq!(decisions.muted("Jos\u{e9}"), Some(muted));
        assert!(
            decisions.mute("Jos\u{e9}", Mute::NOTHING).is_ok() && decisions.muted("Jose\u{301}").is_none()
        );
        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let refused = (0..2000).filter(|n| decisions.set(&n.to_string(), Some(&many)).is_err()).count();
        assert_eq!(refused, 1000);
        assert!(decisions.set("0", Some(&many)).is_ok() && decisions.set("0", None).is_ok());
        assert_eq!((decisions.heard, decisions.listeners_of("7").len()), (MOST_HEARD - 1000, 999));
    }
}
