//! Whom a frame has reached.

use crate::ClientId;
use alloc::{boxed::Box, vec::Vec};

/// Clients that a frame has reached. As many as a room has as a rule are here, more take memory.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// How many there are, up to one more than can be here.
    len: u16,
    here: [ClientId; HERE],
    /// All of them, where they are more.
    all: Option<Box<ClientSet>>,
}

pub(super) const HERE: usize = 19;
const BEYOND: u16 = 20;

impl Reached {
    #[inline]
    pub(super) fn clear(&mut self) {
        if let Some(all) = self.all.as_mut().filter(|_| usize::from(self.len) > HERE) {
            all.clear();
        }
        self.len = 0;
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds all of these to none: clients that exist, each once, and in ascending order where they are more than [`HERE`].
    #[inline]
    pub(super) fn fill(&mut self, ids: &[ClientId]) {
        match self.here.get_mut(..ids.len()) {
            Some(here) => {
                here.copy_from_slice(ids);
                self.len = u16::try_from(ids.len()).unwrap_or(0);
            }
            None => {
                self.len = BEYOND;
                self.all.get_or_insert_default().fill(ids);
            }
        }
    }

    pub(super) fn contains(&self, id: ClientId) -> bool {
        match self.here.get(..usize::from(self.len)) {
            Some(here) => here.contains(&id),
            None => self.all.as_ref().is_some_and(|all| all.contains(id)),
        }
    }

    /// Whether a client is among those that are here.
    #[cold]
    fn has_here(&self, id: ClientId) -> bool {
        self.here.get(..usize::from(self.len)).is_some_and(|here| here.contains(&id))
    }

    /// Adds clients that exist, one by one.
    #[inline]
    pub(super) fn adding(&mut self) -> Adding<'_> {
        Adding { seen: if self.is_empty() { 0 } else { u64::MAX }, reached: self }
    }

    /// Adds a client that is not here. False if it was there before.
    #[inline]
    fn push(&mut self, id: ClientId) -> bool {
        match self.here.get_mut(usize::from(self.len)) {
            Some(free) => *free = id,
            None => return self.insert_beyond(id),
        }
        self.len = self.len.wrapping_add(1);
        true
    }

    #[inline(never)]
    fn insert_beyond(&mut self, id: ClientId) -> bool {
        let all = self.all.get_or_insert_default();
        if usize::from(self.len) == HERE {
            if self.here.contains(&id) {
                return false;
            }
            self.here.iter().for_each(|&here| _ = all.insert(here));
            self.len = BEYOND;
        }
        all.insert(id)
    }
}

/// Adds to those that a frame has reached, and looks only for those among them that may be there.
pub(super) struct Adding<'a> {
    reached: &'a mut Reached,
    /// A bit for the last six bits of each of their numbers: where it is not set, the client is new.
    seen: u64,
}

impl Adding<'_> {
    /// Adds a client that exists. False if it was there before.
    #[inline]
    pub(super) fn insert(&mut self, id: ClientId) -> bool {
        let bit = 1_u64.wrapping_shl(id.get().into());
        let seen = self.seen & bit != 0 && self.reached.has_here(id);
        self.seen |= bit;
        !seen && self.reached.push(id)
    }
}

/// Clients: a sorted list, and where they are many a bit for each number there is. So it takes two bytes for each of them, four while it
/// grows, and 8 KiB at most.
#[derive(Debug)]
enum ClientSet {
    Few(Vec<ClientId>),
    Many(Box<[u64; WORDS]>),
}

/// A bit for each number.
const WORDS: usize = 65_536 / 64;
/// More of them in a list would be longer than a bit for each number.
const LISTED: usize = 4096;

impl Default for ClientSet {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl ClientSet {
    fn clear(&mut self) {
        match self {
            Self::Few(few) => few.clear(),
            Self::Many(many) => many.fill(0),
        }
    }

    fn contains(&self, id: ClientId) -> bool {
        match self {
            Self::Few(few) => few.binary_search(&id).is_ok(),
            Self::Many(many) => {
                let (word, bit) = Self::at(id);
                many.get(word).is_some_and(|word| word & bit != 0)
            }
        }
    }

    /// Adds all of these to none, in ascending order.
    fn fill(&mut self, ids: &[ClientId]) {
        match self {
            Self::Few(few) if ids.len() <= LISTED => few.extend_from_slice(ids),
            _ => ids.iter().for_each(|&id| _ = self.insert(id)),
        }
    }

    /// False if it was there before.
    #[inline]
    fn insert(&mut self, id: ClientId) -> bool {
        match self {
            // In ascending order, as a rule.
            Self::Few(few) if few.len() < LISTED && few.last().is_none_or(|&last| last < id) => {
                few.push(id);
                true
            }
            _ => self.insert_among(id),
        }
    }

    #[inline(never)]
    fn insert_among(&mut self, id: ClientId) -> bool {
        match self {
            Self::Few(few) if few.len() < LISTED => match few.binary_search(&id) {
                Ok(_) => return false,
                Err(at) => few.insert(at, id),
            },
            Self::Few(few) => {
                let few = core::mem::take(few);
                *self = Self::Many(Box::new([0; WORDS]));
                few.into_iter().for_each(|id| _ = self.insert(id));
                return self.insert(id);
            }
            Self::Many(many) => {
                let (word, bit) = Self::at(id);
                let Some(word) = many.get_mut(word).filter(|word| **word & bit == 0) else { return false };
                *word |= bit;
            }
        }
        true
    }

    fn at(id: ClientId) -> (usize, u64) {
        let id = usize::from(id.get());
        (id / 64, 1_u64.wrapping_shl(u32::try_from(id % 64).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// D-10: a frame reaches each client once, whether it has few listeners or many.
    #[test]
    fn d_10_whom_a_frame_has_reached_is_a_set_whatever_its_size() {
        let mut rng = voxwire_core::testing::Rng::new(2);
        let mut reached = Reached::default();
        for round in 0..200 {
            let mut model = BTreeSet::new();
            let below = if round % 2 == 0 { 30 } else { 65_535 };
            let mut any = || ClientId::new(u16::try_from(rng.below(below)).unwrap());
            if round % 3 == 0 {
                // A first packet whose destinations are known to be different.
                model.extend((0..round).map(|_| any()));
                reached.fill(&model.iter().copied().collect::<Vec<_>>());
            }
            for packet in 0..if round % 50 == 49 { 3000 } else { 30 } {
                let mut adding = reached.adding();
                for _ in 0..packet % 5 {
                    let id = any();
                    assert_eq!(adding.insert(id), model.insert(id));
                }
                let id = any();
                assert_eq!(reached.contains(id), model.contains(&id));
                assert_eq!(reached.is_empty(), model.is_empty());
            }
            assert!(model.iter().all(|&id| reached.contains(id)));
            reached.clear();
            assert!(model.iter().all(|&id| !reached.contains(id)) && reached.is_empty());
        }
    }

    /// G-M2: what a frame has reached takes memory for each client that it has reached, also where their numbers are high.
    #[test]
    fn g_m2_whom_a_frame_has_reached_takes_memory_by_how_many_they_are() {
        for (many, most) in [(19, 0), (20, 64), (100, 300), (4096, 4 * 4096), (60_000, 8192)] {
            let mut reached = Reached::default();
            // The highest numbers, the highest of all first.
            let mut adding = reached.adding();
            (0..many).for_each(|n| assert!(adding.insert(ClientId::new(65_534 - n))));
            let bytes = match reached.all.as_deref() {
                None => 0,
                Some(ClientSet::Few(few)) => few.capacity() * size_of::<ClientId>(),
                Some(ClientSet::Many(many)) => size_of_val(&**many),
            };
            assert!(bytes <= most, "{bytes} bytes for {many}");
        }
    }
}
