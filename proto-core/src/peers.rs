use alloc::vec::Vec;
use core::fmt;

/// One peer of a session. The driver makes the id. The slot is an index into dense tables; the generation tells a peer from those that had the slot
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PeerId {
    /// Index into dense tables; small, reused after the peer is gone.
    pub slot: u32,
    /// Counts the peers that have had the slot.
    pub generation: u32,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// Values by [`PeerId`], in slot order; a look-up is an index.
#[derive(Debug, Clone)]
pub struct PeerSlab<T> {
    slots: Vec<Option<(u32, T)>>,
    len: usize,
    max: usize,
}

impl<T> PeerSlab<T> {
    /// An empty table that takes at most `max` peers, and only slots below `max`.
    pub const fn new(max: usize) -> Self {
        Self { slots: Vec::new(), len: 0, max }
    }

    /// Number of peers.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no peer.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a peer; replaces the one that had its slot. False, and nothing done, if the slot is beyond the maximum.
    pub fn insert(&mut self, peer: PeerId, value: T) -> bool {
        let Some(index) = usize::try_from(peer.slot).ok().filter(|&index| index < self.max) else {
            return false;
        };
        lengthen(&mut self.slots, index.saturating_add(1), || None);
        let Some(slot) = self.slots.get_mut(index) else { return false };
        if slot.replace((peer.generation, value)).is_none() {
            self.len = self.len.saturating_add(1);
        }
        true
    }

    /// The value of `peer`.
    #[inline]
    pub fn get(&self, peer: PeerId) -> Option<&T> {
        match self.slots.get(usize::try_from(peer.slot).ok()?)? {
            Some((generation, value)) if *generation == peer.generation => Some(value),
            _ => None,
        }
    }

    /// The value of `peer`, to change.
    #[inline]
    pub fn get_mut(&mut self, peer: PeerId) -> Option<&mut T> {
        match self.slots.get_mut(usize::try_from(peer.slot).ok()?)? {
            Some((generation, value)) if *generation == peer.generation => Some(value),
            _ => None,
        }
    }

    /// Removes `peer`. Memory is given back when the table empties.
    pub fn remove(&mut self, peer: PeerId) -> Option<T> {
        let slot = self.slots.get_mut(usize::try_from(peer.slot).ok()?)?;
        let (_, value) = slot.take_if(|(generation, _)| *generation == peer.generation)?;
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            self.slots = Vec::new();
        }
        Some(value)
    }

    /// All peers are in slots below this one.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// The peer in a slot.
    pub fn peer_at(&self, slot: u32) -> Option<PeerId> {
        let (generation, _) = self.slots.get(usize::try_from(slot).ok()?)?.as_ref()?;
        Some(PeerId { slot, generation: *generation })
    }

    /// All peers in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| {
            slot.as_ref().map(|(generation, value)| (PeerId { slot: index, generation: *generation }, value))
        })
    }
}

/// Makes a table of rows at least `len` rows long. It grows by a 32nd at a time: doubling would leave up to half of it empty.
pub fn lengthen<T>(table: &mut Vec<T>, len: usize, row: impl FnMut() -> T) {
    if table.len() >= len {
        return;
    }
    if table.capacity() < len {
        let more = (table.len() / 32).max(4);
        table.reserve_exact(len.saturating_sub(table.len()).max(more));
    }
    table.resize_with(len, row);
}

/// Mints [`PeerId`]s for a driver: a free slot where there is one, each time with a new generation.
#[derive(Debug, Clone, Default)]
pub struct PeerIds {
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl PeerIds {
    /// No peers yet.
    pub const fn new() -> Self {
        Self { generations: Vec::new(), free: Vec::new() }
    }

    /// A new peer; `None` only with 2³² peers alive.
    pub fn mint(&mut self) -> Option<PeerId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.generations.len()).ok()?;
                self.generations.push(0);
                slot
            }
        };
        let generation = *self.generations.get(usize::try_from(slot).ok()?)?;
        Some(PeerId { slot, generation })
    }

    /// Frees a peer's slot for the next one. Does nothing for a peer that is not alive.
    pub fn retire(&mut self, peer: PeerId) {
        let Ok(index) = usize::try_from(peer.slot) else { return };
        if let Some(generation) =
            self.generations.get_mut(index).filter(|generation| **generation == peer.generation)
        {
            *generation = generation.wrapping_add(1);
            self.free.push(peer.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_with_another_generation() {
        let mut ids = PeerIds::new();
        let (a, b) = (ids.mint().unwrap(), ids.mint().unwrap());
        assert_eq!((a.slot, b.slot), (0, 1));
        ids.retire(a);
        ids.retire(a);
        let c = ids.mint().unwrap();
        assert_eq!((c.slot, c.generation), (0, 1));
        assert_eq!(ids.mint().unwrap().slot, 2);

        let mut slab = PeerSlab::new(10);
        assert!(slab.insert(a, "a") && slab.insert(b, "b"));
        assert_eq!(slab.get(c), None);
        assert_eq!(slab.remove(c), None);
        assert!(slab.insert(c, "c"));
        assert_eq!((slab.get(a), slab.get(c), slab.len()), (None, Some(&"c"), 2));
        assert_eq!(slab.iter().map(|(peer, _)| peer).collect::<Vec<_>>(), [c, b]);
        assert_eq!((slab.remove(b), slab.remove(c), slab.is_empty()), (Some("b"), Some("c"), true));
    }

    #[test]
    fn a_slot_beyond_the_maximum_is_refused_before_memory_is_taken() {
        let mut slab = PeerSlab::new(10);
        assert!(!slab.insert(PeerId { slot: u32::MAX, generation: 0 }, ()));
        assert!(slab.is_empty());
    }
}
