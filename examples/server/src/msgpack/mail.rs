//! Whose kept messages are delivered next, and what of them.

use super::store::{Kept, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use voxwire_core::{Message, PeerId};
use voxwire_msgpack::{ServerMessage, Wire};

/// Kept messages that are delivered at a time, in bytes; the next when those have arrived. One always may be.
const DELIVERY: usize = 1024 * 1024;

/// Connections to which the next part of what is kept can be delivered, in the order of their turns. It is read for one of them at a time, in
/// between the other jobs, so that no user's mail holds up a log-in, and no more than one part is in memory.
#[derive(Debug, Default)]
pub(super) struct Mail {
    turns: VecDeque<PeerId>,
    /// Whose it is, and whether what was delivered to that connection is left out: it has been read.
    of: BTreeMap<PeerId, (Box<[u8]>, bool)>,
    /// How many there may be before those are looked for that are gone.
    tidy_at: usize,
}

/// At least how many.
const TIDY: usize = 1024;

impl Mail {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn add(&mut self, peer: PeerId, username: Box<[u8]>, next: bool) {
        match self.of.get_mut(&peer) {
            Some(before) => *before = (username, next || before.1),
            None => {
                self.turns.push_back(peer);
                self.of.insert(peer, (username, next));
            }
        }
    }

    /// The next one to which it `may` be delivered; the others are forgotten.
    pub(super) fn next(
        &mut self,
        mut may: impl FnMut(PeerId, &[u8]) -> bool,
    ) -> Option<(PeerId, Box<[u8]>, bool)> {
        // Connections end faster than turns come; no more are there than the session has.
        if self.turns.len() >= self.tidy_at.max(TIDY) {
            self.of.retain(|peer, (username, _)| may(*peer, username));
            self.turns.retain(|peer| self.of.contains_key(peer));
            self.tidy_at = self.turns.len().saturating_mul(2);
        }
        while let Some(peer) = self.turns.pop_front() {
            if let Some((username, next)) = self.of.remove(&peer).filter(|(username, _)| may(peer, username))
            {
                return Some((peer, username, next));
            }
        }
        None
    }
}

/// Hands what is kept for a user and can be delivered next to `f`. Empty only if there is no more: nothing follows a part of which nothing
/// is sent.
pub(super) fn next_part<R>(
    store: &Store,
    username: &[u8],
    without: &BTreeSet<i64>,
    f: impl FnOnce(&[(i64, ServerMessage<'_>)]) -> R,
) -> rusqlite::Result<R> {
    loop {
        let part = store.kept(username, DELIVERY, without)?;
        let mut updates = Vec::new();
        for Kept { id, body } in &part {
            match ServerMessage::decode(body, &Wire::CLIENT) {
                Ok(update) => updates.push((*id, update)),
                // It is left out from now on.
                Err(_) => store.skip(*id, "its body is no message"),
            }
        }
        if part.is_empty() || !updates.is_empty() {
            return Ok(f(&updates));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::store::tests::{Folder, QUOTAS};
    use crate::msgpack::store::{Keeping, Quotas};

    /// F-49: a part of the mail that holds nothing but damaged messages does not end the delivery.
    #[test]
    fn what_is_kept_behind_a_part_of_damaged_messages_is_delivered() {
        let folder = Folder::new("storage-part");
        let quotas = Quotas { kept: 64, kept_bytes: 1 << 26, ..QUOTAS };
        let store = Store::open(&folder.0, quotas).unwrap();
        let update = ServerMessage::Whisper { sender: "eve".into(), content: "sound".into() };
        let mut sound = Vec::new();
        update.encode(&Wire::SERVER, &mut sound).unwrap();
        for name in [b"ann", b"eve"] {
            store.transaction(|store| store.register(name, "$argon2id$v=19$x$y")).unwrap();
        }
        // The checksum is right, and so are two parts of 1 MiB each.
        for body in [&vec![0; DELIVERY], &vec![0; DELIVERY], &sound] {
            let recipients = [b"ann"[..].into()];
            let kept = store.transaction(|store| store.keep(b"eve", None, &recipients, body)).unwrap();
            assert!(matches!(kept, Keeping::Kept(_)));
        }
        let mail = next_part(&store, b"ann", &BTreeSet::new(), |mail| format!("{mail:?}"));
        assert_eq!(mail.unwrap(), format!("{:?}", [(3, update)]));
        drop(store);
    }

    /// M-08: mail is read for one connection after the other, and for none that is not there any more.
    #[test]
    fn mail_is_read_by_turns_for_those_who_are_there() {
        let mut mail = Mail::default();
        let peer = |slot| PeerId { slot, generation: 0 };
        for slot in [1, 2, 1, 3, 1] {
            mail.add(peer(slot), b"ann"[..].into(), slot == 3);
        }
        mail.add(peer(1), b"ann"[..].into(), true);
        mail.add(peer(1), b"ann"[..].into(), false);
        let asked = &mut Vec::new();
        let mut next = || {
            mail.next(|peer, _| {
                asked.push(peer.slot);
                peer.slot != 2
            })
        };
        assert_eq!(next(), Some((peer(1), b"ann"[..].into(), true)));
        assert_eq!(next(), Some((peer(3), b"ann"[..].into(), true)));
        assert_eq!(next(), None);
        assert_eq!(*asked, [1, 2, 3]);
        // F-33: each connection has its turn, however many there are; those that are gone take no room.
        let is_here = |peer: PeerId| peer.slot.is_multiple_of(100);
        for slot in 0..10_000 {
            mail.add(peer(slot), b"ann"[..].into(), false);
        }
        let mut served: Vec<u32> =
            mail.next(|peer, _| is_here(peer)).iter().map(|(peer, ..)| peer.slot).collect();
        assert_eq!((mail.turns.len(), mail.of.len()), (99, 99));
        served.extend(core::iter::from_fn(|| mail.next(|peer, _| is_here(peer))).map(|(peer, ..)| peer.slot));
        assert_eq!(served, (0..100).map(|n| n * 100).collect::<Vec<_>>());
    }
}
