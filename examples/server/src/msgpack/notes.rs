//! What the session has found out that no user waits for: which messages have arrived, and who can be delivered more.
//!
//! One note for each connection and user: there are no more of them than connections, beside those about messages that were delivered.
//! So there is room for each.

use super::job::Job;
use std::collections::{BTreeMap, BTreeSet};
use voxwire_core::PeerId;

/// Messages of one user that are deleted in one transaction, so that others are not held up.
const DELETED: usize = 500;

type Whose = (PeerId, Box<[u8]>);

/// In the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Notes {
    all: BTreeMap<Whose, Note>,
    order: BTreeMap<u64, Whose>,
    /// By user: what has arrived, on whichever connection, and is not deleted yet.
    arrived: BTreeMap<Box<[u8]>, BTreeSet<i64>>,
    numbered: u64,
}

#[derive(Debug, Default)]
struct Note {
    number: u64,
    /// These have arrived.
    arrived: Vec<i64>,
    /// More can be delivered: what was delivered so far has been read.
    next: bool,
}

impl Notes {
    pub(super) const fn new() -> Self {
        Self { all: BTreeMap::new(), order: BTreeMap::new(), arrived: BTreeMap::new(), numbered: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn note(&mut self, peer: PeerId, username: Box<[u8]>) -> &mut Note {
        let number = self.numbered.saturating_add(1);
        self.numbered = number;
        let whose = (peer, username);
        let note = self.all.entry(whose.clone()).or_default();
        if note.number == 0 {
            note.number = number;
            self.order.insert(number, whose);
        }
        note
    }

    /// These have arrived; the next ones can be delivered.
    pub(super) fn arrived(&mut self, peer: PeerId, username: Box<[u8]>, messages: Vec<i64>) {
        if !messages.is_empty() {
            self.arrived.entry(username.clone()).or_default().extend(&messages);
        }
        self.note(peer, username).arrived.extend(messages);
    }

    /// What was delivered so far has been read; the next ones can be delivered.
    pub(super) fn next(&mut self, peer: PeerId, username: Box<[u8]>) {
        self.note(peer, username).next = true;
    }

    /// The connection is closed: nothing more is delivered to it.
    pub(super) fn gone(&mut self, peer: PeerId) {
        let from = (peer, Box::default());
        let theirs = self.all.range(from..).take_while(|((other, _), _)| *other == peer);
        let idle = theirs.filter(|(_, note)| note.arrived.is_empty());
        let idle: Vec<(u64, Whose)> = idle.map(|(whose, note)| (note.number, whose.clone())).collect();
        for (number, whose) in idle {
            self.order.remove(&number);
            self.all.remove(&whose);
        }
    }

    /// What has arrived of a user's and is not deleted yet: it is not delivered again, neither there nor to another connection.
    pub(super) fn of(&self, username: &[u8]) -> &BTreeSet<i64> {
        const NONE: &BTreeSet<i64> = &BTreeSet::new();
        self.arrived.get(username).unwrap_or(NONE)
    }

    /// These are deleted next.
    fn taken(&mut self, username: &[u8], messages: &[i64]) {
        if let Some(arrived) = self.arrived.get_mut(username) {
            for message in messages {
                arrived.remove(message);
            }
            if arrived.is_empty() {
                self.arrived.remove(username);
            }
        }
    }

    /// The oldest note, or a part of it: then the rest comes behind the others, and nothing more is delivered before that.
    pub(super) fn take(&mut self) -> Option<Job> {
        let (_, whose) = self.order.pop_first()?;
        let mut note = self.all.remove(&whose)?;
        let (peer, username) = whose.clone();
        let rest = note.arrived.split_off(note.arrived.len().min(DELETED));
        let messages = core::mem::replace(&mut note.arrived, rest);
        self.taken(&username, &messages);
        if note.arrived.is_empty() {
            return Some(match messages.is_empty() && note.next {
                true => Job::Next { peer, username },
                false => Job::Received { peer, username, messages, next: note.next },
            });
        }
        self.numbered = self.numbered.saturating_add(1);
        note.number = self.numbered;
        self.order.insert(note.number, whose.clone());
        self.all.insert(whose, note);
        Some(Job::Delete { username, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 0 }
    }

    fn ann() -> Box<[u8]> {
        b"ann"[..].into()
    }

    /// F-33: what a connection can be delivered is never forgotten, however many there are, and is one note.
    #[test]
    fn there_is_one_note_for_each_connection_and_room_for_all() {
        let mut notes = Notes::default();
        for _ in 0..3 {
            for slot in 0..20_000 {
                notes.next(peer(slot), ann());
            }
        }
        assert_eq!((notes.all.len(), notes.order.len()), (20_000, 20_000));
        for slot in (0..20_000).filter(|slot| slot % 2 == 1) {
            notes.gone(peer(slot));
        }
        for slot in (0..20_000).filter(|slot| slot % 2 == 0) {
            assert!(matches!(notes.take(), Some(Job::Next { peer, .. }) if peer.slot == slot));
        }
        assert!(notes.take().is_none() && notes.is_empty());
    }

    /// F-33: many messages that have arrived are deleted a part at a time, and nothing is delivered in between.
    #[test]
    fn what_has_arrived_is_deleted_in_parts_and_not_delivered_meanwhile() {
        let mut notes = Notes::default();
        notes.arrived(peer(1), ann(), (0..700).collect());
        notes.next(peer(1), ann());
        notes.arrived(peer(1), ann(), (700..1100).collect());
        notes.arrived(peer(1), b"bob"[..].into(), vec![7]);
        notes.arrived(peer(2), ann(), vec![]);
        assert_eq!(notes.of(b"ann").len(), 1100);
        // It stays noted what has arrived on a connection that is gone.
        notes.gone(peer(1));
        let mut taken = Vec::new();
        while let Some(job) = notes.take() {
            taken.push(match job {
                Job::Delete { messages, .. } => format!("{} of {}", messages.len(), messages[0]),
                Job::Received { peer, messages, next, .. } => {
                    format!("{}: {} {next}", peer.slot, messages.len())
                }
                _ => panic!(),
            });
        }
        assert_eq!(taken, ["500 of 0", "1: 1 false", "2: 0 false", "500 of 500", "1: 100 true"]);
        assert!(notes.of(b"ann").is_empty() && notes.arrived.is_empty());
    }
}
