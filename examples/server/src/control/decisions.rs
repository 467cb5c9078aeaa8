//! What was decided about clients of one protocol, by name: it holds for them again when they come back, until the server ends.

use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use voxwire_core::{Mute, canonical_name};

/// Bytes of a name: no protocol has longer ones.
const MAX_NAME: usize = 1024;
/// Names that may be muted.
const MOST_MUTED: usize = 100_000;
/// Listeners with a set, and speakers in all sets together.
const MOST_LISTENERS: usize = 65_536;
const MOST_HEARD: usize = 1_000_000;

/// A name, which all sets that it is in share.
type Name = Arc<str>;

/// The names of a set, in ascending order. Shared, so that a list of sets is taken while a session waits for it, and written after that.
type Names = Arc<[Name]>;

/// The decisions of one protocol. Names are in their canonical form.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    muted: BTreeMap<String, Mute>,
    hearing: BTreeMap<Name, Names>,
    /// In whose sets a speaker is. Its names are those of the sets.
    heard_by: BTreeMap<Name, BTreeSet<Name>>,
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
    #[serde(serialize_with = "name")]
    listener: Name,
    #[serde(serialize_with = "names")]
    hears: Names,
}

fn name<S: Serializer>(name: &Name, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(name)
}

fn names<S: Serializer>(names: &Names, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(names.iter().map(|name| &**name))
}

/// A limit of these.
#[derive(Debug)]
pub(super) struct TooMany(pub(super) String);

/// What listeners are to hear, which can be carried out.
#[derive(Debug)]
pub(super) struct Sets(BTreeMap<String, Option<BTreeSet<String>>>);

impl Sets {
    /// The listeners.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

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

    /// Whether all of an update can be carried out: whom each listener hears, `None` for what holds for listeners without a set. Changes
    /// nothing.
    pub(super) fn check(&self, update: &BTreeMap<String, Option<Vec<String>>>) -> Result<Sets, TooMany> {
        let mut sets = BTreeMap::new();
        for (listener, hears) in update {
            let hears = hears.as_ref().map(|hears| hears.iter().map(|name| named(name)).collect());
            sets.insert(named(listener)?, hears.transpose()?);
        }
        let (mut listeners, mut heard) = (self.hearing.len(), self.heard);
        for (listener, hears) in &sets {
            let before = self.hearing.get(listener.as_str()).map(|names| names.len());
            let after = hears.as_ref().map(BTreeSet::len);
            listeners = listeners
                .saturating_sub(usize::from(before.is_some()))
                .saturating_add(usize::from(after.is_some()));
            heard = heard.saturating_sub(before.unwrap_or(0)).saturating_add(after.unwrap_or(0));
        }
        // An update that makes it less is carried out even above the limit.
        if listeners > MOST_LISTENERS.max(self.hearing.len()) {
            return Err(TooMany(format!("listeners with a set: at most {MOST_LISTENERS}")));
        }
        if heard > MOST_HEARD.max(self.heard) {
            return Err(TooMany(format!("speakers in all sets together: at most {MOST_HEARD}")));
        }
        Ok(Sets(sets))
    }

    /// Carries it out.
    pub(super) fn apply(&mut self, Sets(sets): Sets) {
        for (listener, hears) in sets {
            self.set(listener, hears);
        }
    }

    fn set(&mut self, listener: String, hears: Option<BTreeSet<String>>) {
        let (listener, before) = match self.hearing.remove_entry(listener.as_str()) {
            Some((listener, before)) => (listener, before),
            None => (Name::from(listener), Names::from([])),
        };
        for speaker in before.iter() {
            if let Some(listeners) = self.heard_by.get_mut(speaker) {
                listeners.remove(&listener);
                if listeners.is_empty() {
                    self.heard_by.remove(speaker);
                }
            }
        }
        self.heard = self.heard.saturating_sub(before.len());
        let Some(hears) = hears else { return };
        self.heard = self.heard.saturating_add(hears.len());
        let mut names = Vec::with_capacity(hears.len());
        for speaker in hears {
            let known = self.heard_by.get_key_value(speaker.as_str()).map(|(name, _)| name.clone());
            let speaker = known.unwrap_or_else(|| speaker.into());
            self.heard_by.entry(speaker.clone()).or_default().insert(listener.clone());
            names.push(speaker);
        }
        self.hearing.insert(listener, names.into());
    }

    /// Whom a listener hears.
    pub(super) fn hears(&self, listener: &str) -> Option<&[Name]> {
        if self.hearing.is_empty() { None } else { self.hearing.get(&*key(listener)).map(|names| &**names) }
    }

    /// The listeners that hear a client.
    pub(super) fn listeners_of(&self, speaker: &str) -> impl Iterator<Item = &str> {
        let listeners = (!self.heard_by.is_empty()).then(|| self.heard_by.get(&*key(speaker))).flatten();
        listeners.into_iter().flatten().map(|listener| &**listener)
    }

    pub(super) fn list_hearing(&self, offset: usize, limit: usize) -> (usize, Vec<Set>) {
        let all = self.hearing.iter().skip(offset).take(limit);
        let sets = all.map(|(listener, hears)| Set { listener: listener.clone(), hears: hears.clone() });
        (self.hearing.len(), sets.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The update that sets whom one listener hears.
    fn one(listener: &str, hears: Option<&[String]>) -> BTreeMap<String, Option<Vec<String>>> {
        [(listener.to_owned(), hears.map(<[String]>::to_vec))].into()
    }

    fn set(decisions: &mut Decisions, listener: &str, hears: Option<&[String]>) -> Result<(), TooMany> {
        let sets = decisions.check(&one(listener, hears))?;
        decisions.apply(sets);
        Ok(())
    }

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
        let refused = (0..2000).filter(|n| set(&mut decisions, &n.to_string(), Some(&many)).is_err()).count();
        assert_eq!(refused, 1000);
        assert!(set(&mut decisions, "0", Some(&many)).is_ok() && set(&mut decisions, "0", None).is_ok());
        assert_eq!((decisions.heard, decisions.listeners_of("7").count()), (MOST_HEARD - 1000, 999));
    }

    /// C-33: an update is carried out as a whole, or not at all; and who is in whose set is known from both sides.
    #[test]
    fn c_33_an_update_is_whole_and_both_sides_of_it_agree() {
        let mut decisions = Decisions::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        set(&mut decisions, "ann", Some(&names(&["bob", "Bob", "eve"]))).unwrap();
        let long = "x".repeat(MAX_NAME + 1);
        let mut update = one("ann", None);
        update.extend(one("bob", Some(&names(&[&long]))));
        assert!(decisions.check(&update).is_err());
        assert_eq!(decisions.hears("ann").unwrap().len(), 3);
        set(&mut decisions, "eve", Some(&names(&["eve", "bob"]))).unwrap();
        set(&mut decisions, "ann", Some(&names(&["eve"]))).unwrap();
        let listeners = |decisions: &Decisions, speaker| {
            decisions.listeners_of(speaker).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(listeners(&decisions, "bob"), ["eve"]);
        assert_eq!(listeners(&decisions, "eve"), ["ann", "eve"]);
        set(&mut decisions, "ann", None).unwrap();
        set(&mut decisions, "eve", None).unwrap();
        assert!(decisions.heard == 0 && decisions.heard_by.is_empty() && decisions.hearing.is_empty());
    }
}
