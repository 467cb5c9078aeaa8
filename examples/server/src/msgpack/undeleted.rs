//! What could not be deleted, and is as good as deleted.

use std::collections::{BTreeMap, BTreeSet};

/// What could not be deleted.
#[derive(Debug, Default)]
pub(super) struct Undeleted {
    /// Messages that have arrived, by user: they are not delivered again, and deleted when that is possible.
    messages: BTreeMap<Box<[u8]>, BTreeSet<i64>>,
    count: usize,
    /// Groups that are forgotten: they are deleted before there is another of that name. (There are no more than in the database.)
    pub(super) groups: BTreeSet<Box<[u8]>>,
}

/// How many of these are remembered.
const UNDELETED: usize = 100_000;

impl Undeleted {
    pub(super) fn of(&self, username: &[u8]) -> &BTreeSet<i64> {
        const NONE: &BTreeSet<i64> = &BTreeSet::new();
        self.messages.get(username).unwrap_or(NONE)
    }

    pub(super) fn add(&mut self, username: &[u8], messages: &[i64]) {
        let set = self.messages.entry(username.into()).or_default();
        for message in messages.iter().take(UNDELETED.saturating_sub(self.count)) {
            self.count = self.count.saturating_add(usize::from(set.insert(*message)));
        }
    }

    /// They are deleted now.
    pub(super) fn clear(&mut self, username: &[u8]) {
        let cleared = self.messages.remove(username).map_or(0, |messages| messages.len());
        self.count = self.count.saturating_sub(cleared);
    }
}
