//! Who listens to what: the table that servers and clients replicate.

use crate::{ClientId, RoomId, room_id};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

/// The rooms that a client listens to, by number.
#[derive(Debug, Default)]
pub(crate) struct Rooms(BTreeMap<RoomId, Room>);

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: Box<str>,
    /// In ascending order.
    pub(crate) listeners: Vec<ClientId>,
}

impl Rooms {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn get(&self, room: RoomId) -> Option<&Room> {
        self.0.get(&room)
    }

    /// The listeners of a room, in ascending order.
    pub(crate) fn listeners(&self, room: RoomId) -> &[ClientId] {
        self.0.get(&room).map_or(&[], |room| &room.listeners)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (RoomId, &Room)> {
        self.0.iter().map(|(id, room)| (*id, room))
    }

    /// Whether a room of another name has the number of `name`.
    pub(crate) fn collides(&self, name: &str) -> bool {
        self.0.get(&room_id(name)).is_some_and(|room| &*room.name != name)
    }

    /// `client` starts to listen; the first name of a number stays. False if it did already.
    pub(crate) fn join(&mut self, client: ClientId, name: &str) -> bool {
        let room =
            self.0.entry(room_id(name)).or_insert_with(|| Room { name: name.into(), listeners: Vec::new() });
        match room.listeners.binary_search(&client) {
            Ok(_) => false,
            Err(at) => {
                room.listeners.insert(at, client);
                true
            }
        }
    }

    /// `client` stops listening; a room that no client listens to is forgotten. False if it did not listen.
    pub(crate) fn leave(&mut self, client: ClientId, room: RoomId) -> bool {
        let Some(state) = self.0.get_mut(&room) else { return false };
        let Ok(at) = state.listeners.binary_search(&client) else { return false };
        state.listeners.remove(at);
        if state.listeners.is_empty() {
            self.0.remove(&room);
        }
        true
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a room is among `rooms`, which are in ascending order.
#[inline]
pub(crate) fn contains(rooms: &[RoomId], room: RoomId) -> bool {
    if rooms.len() <= INLINE { rooms.contains(&room) } else { rooms.binary_search(&room).is_ok() }
}

/// A few rooms, in ascending order; up to [`INLINE`] of them without memory of their own.
#[derive(Debug, Clone)]
pub(crate) enum RoomSet {
    Few([RoomId; INLINE], u8),
    Many(Vec<RoomId>),
}

/// As many as fit beside a `Vec` for free.
const INLINE: usize = 7;

impl Default for RoomSet {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl FromIterator<RoomId> for RoomSet {
    fn from_iter<I: IntoIterator<Item = RoomId>>(rooms: I) -> Self {
        let mut set = Self::EMPTY;
        rooms.into_iter().for_each(|room| set.insert(room));
        set
    }
}

impl RoomSet {
    pub(crate) const EMPTY: Self = Self::Few([RoomId::new(0); INLINE], 0);

    #[inline]
    pub(crate) fn as_slice(&self) -> &[RoomId] {
        match self {
            Self::Few(rooms, len) => rooms.get(..usize::from(*len)).unwrap_or(&[]),
            Self::Many(rooms) => rooms,
        }
    }

    pub(crate) fn insert(&mut self, room: RoomId) {
        let Err(at) = self.as_slice().binary_search(&room) else { return };
        match self {
            Self::Few(rooms, len) if usize::from(*len) < INLINE => {
                *len = len.saturating_add(1);
                if let Some(tail) = rooms.get_mut(at..usize::from(*len)) {
                    tail.rotate_right(1);
                    tail.iter_mut().take(1).for_each(|first| *first = room);
                }
            }
            Self::Few(rooms, _) => {
                let mut rooms = rooms.to_vec();
                rooms.insert(at, room);
                *self = Self::Many(rooms);
            }
            Self::Many(rooms) => rooms.insert(at, room),
        }
    }

    pub(crate) fn remove(&mut self, room: RoomId) {
        let Ok(at) = self.as_slice().binary_search(&room) else { return };
        match self {
            Self::Few(rooms, len) => {
                if let Some(tail) = rooms.get_mut(at..usize::from(*len)) {
                    tail.rotate_left(1);
                }
                *len = len.saturating_sub(1);
            }
            Self::Many(rooms) => {
                rooms.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_of_rooms_is_a_set_at_every_size() {
        let mut rng = voxwire_core::testing::Rng::new(1);
        let (mut set, mut model) = (RoomSet::EMPTY, BTreeSet::new());
        for step in 0..5000_u32 {
            // Grows to a dozen and shrinks again.
            let room = RoomId::new(u16::try_from(rng.below(16)).unwrap());
            if rng.below(16) > u64::from(step / 400 % 16) {
                set.insert(room);
                model.insert(room);
            } else {
                set.remove(room);
                model.remove(&room);
            }
            assert!(set.as_slice().iter().eq(model.iter()), "{set:?} {model:?}");
            assert_eq!(contains(set.as_slice(), room), model.contains(&room));
        }
    }

    #[test]
    fn d_06_rooms_come_and_go_with_their_listeners() {
        let (a, b) = (ClientId::new(1), ClientId::new(2));
        let mut rooms = Rooms::new();
        assert!(rooms.join(b, "Lobby") && rooms.join(a, "Lobby") && !rooms.join(a, "Lobby"));
        assert_eq!(rooms.listeners(room_id("Lobby")), [a, b]);
        assert!(rooms.leave(a, room_id("Lobby")) && !rooms.leave(a, room_id("Lobby")));
        assert!(rooms.leave(b, room_id("Lobby")) && rooms.get(room_id("Lobby")).is_none());
    }
}
