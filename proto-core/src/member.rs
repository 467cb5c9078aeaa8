//! Moderation: what an operator sees of a server's clients, and can decide about them.

use crate::{PeerId, PeerSlab};
use alloc::{boxed::Box, vec::Vec};
use core::net::SocketAddr;

/// One of a server's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its connection.
    pub peer: PeerId,
    /// Its name, where the protocol has names.
    pub name: Option<&'a [u8]>,
    /// Its address, if the driver told it.
    pub address: Option<SocketAddr>,
    /// What the server does not hand on for it.
    pub muted: Mute,
    /// Whether the application decides whom it hears.
    pub hearing_set: bool,
}

/// What a server does not hand on for a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mute {
    /// Voice: live, and recordings where the protocol has them.
    pub voice: bool,
    /// Text.
    pub text: bool,
}

impl Mute {
    /// Everything is handed on.
    pub const NOTHING: Self = Self { voice: false, text: false };

    /// Whether everything is handed on.
    pub const fn is_nothing(self) -> bool {
        !self.voice && !self.text
    }
}

/// Who hears whom, where the application decides that. A listener may have a set of speakers: only their voice is handed on to it.
///
/// ```
/// use voxwire_core::{Hearing, PeerId};
/// let [alice, bob, carol] = [0, 1, 2].map(|slot| PeerId { slot, generation: 0 });
/// let mut hearing = Hearing::new();
/// assert!(hearing.hears(alice, bob));
/// hearing.set(alice, Some(&[carol]));
/// assert!(!hearing.hears(alice, bob) && hearing.hears(alice, carol) && hearing.hears(bob, alice));
/// ```
#[derive(Debug)]
pub struct Hearing {
    /// In ascending order.
    sets: PeerSlab<Box<[PeerId]>>,
    /// Listeners without a set hear no client.
    closed: bool,
}

impl Default for Hearing {
    fn default() -> Self {
        Self::new()
    }
}

impl Hearing {
    /// Every client hears every other one.
    pub const fn new() -> Self {
        Self { sets: PeerSlab::new(usize::MAX), closed: false }
    }

    /// Whether nothing has been decided: every client hears every other one.
    #[inline]
    pub const fn is_open(&self) -> bool {
        self.sets.is_empty() && !self.closed
    }

    /// Sets whom `listener` hears: these `speakers`. `None` removes the set. The listener has to exist, or its set would be kept for ever.
    pub fn set(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) {
        match speakers {
            Some(speakers) => {
                let mut set = Vec::from(speakers);
                set.sort_unstable();
                set.dedup();
                self.sets.insert(listener, set.into());
            }
            None => drop(self.sets.remove(listener)),
        }
    }

    /// Sets whether listeners without a set hear no client, or every client.
    pub const fn close(&mut self, closed: bool) {
        self.closed = closed;
    }

    /// Whether listeners without a set hear no client.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a listener has a set.
    pub fn has_set(&self, listener: PeerId) -> bool {
        self.sets.get(listener).is_some()
    }

    /// Whether it is decided whom `listener` hears: by a set of its own, or by [`close`](Self::close).
    pub fn is_decided(&self, listener: PeerId) -> bool {
        self.closed || self.has_set(listener)
    }

    /// Whether `listener` hears `speaker`.
    #[inline]
    pub fn hears(&self, listener: PeerId, speaker: PeerId) -> bool {
        match self.sets.get(listener) {
            Some(set) => set.binary_search(&speaker).is_ok(),
            None => !self.closed,
        }
    }

    /// A client is gone.
    pub fn remove(&mut self, peer: PeerId) {
        self.sets.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 0 }
    }

    #[test]
    fn a_listener_hears_those_of_its_set_and_others_every_client_or_none() {
        let mut hearing = Hearing::new();
        assert!(hearing.is_open() && hearing.hears(peer(1), peer(2)));
        hearing.set(peer(1), Some(&[peer(9), peer(3), peer(3)]));
        let heard =
            |hearing: &Hearing, listener| (2..10).filter(|&n| hearing.hears(peer(listener), peer(n))).count();
        assert_eq!((heard(&hearing, 1), heard(&hearing, 2)), (2, 8));
        assert!(
            !hearing.hears(peer(1), PeerId { slot: 9, generation: 1 }),
            "who has the slot now is another client"
        );
        hearing.close(true);
        assert_eq!((heard(&hearing, 1), heard(&hearing, 2)), (2, 0));
        assert!(hearing.is_decided(peer(2)) && !hearing.has_set(peer(2)));
        hearing.close(false);
        hearing.set(peer(1), Some(&[]));
        assert_eq!(heard(&hearing, 1), 0);
        hearing.remove(peer(1));
        assert!(hearing.is_open());
    }
}
