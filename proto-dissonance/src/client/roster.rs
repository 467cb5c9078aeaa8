//! Who is there and listens to what: the client's replica of the session.

use super::speech::Speaker;
use crate::rooms::{RoomSet, Rooms};
use crate::{ClientId, CodecSettings, room_id};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use voxwire_core::{PeerId, canonical_name};

#[derive(Debug, Default)]
pub(super) struct Roster {
    clients: BTreeMap<ClientId, Remote>,
    names: BTreeMap<Box<str>, ClientId>,
    pub(super) rooms: Rooms,
}

/// Another client, or ourselves.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) name: Box<str>,
    pub(super) codec: CodecSettings,
    rooms: RoomSet,
    /// Where it answered directly.
    pub(super) path: Option<PeerId>,
    pub(super) speaker: Speaker,
}

impl Roster {
    pub(super) const fn new() -> Self {
        Self { clients: BTreeMap::new(), names: BTreeMap::new(), rooms: Rooms::new() }
    }

    pub(super) fn get(&self, client: ClientId) -> Option<&Remote> {
        self.clients.get(&client)
    }

    pub(super) fn get_mut(&mut self, client: ClientId) -> Option<&mut Remote> {
        self.clients.get_mut(&client)
    }

    pub(super) fn find(&self, name: &str) -> Option<ClientId> {
        let exact = self.names.get(name).copied();
        exact.or_else(|| {
            // The server takes both for one name.
            let name = canonical_name(name);
            let mut others = self.names.iter().filter(|(other, _)| !name.is_ascii() && !other.is_ascii());
            others.find(|(other, _)| canonical_name(other) == name).map(|(_, client)| *client)
        })
    }

    pub(super) fn path(&self, client: ClientId) -> Option<PeerId> {
        self.clients.get(&client)?.path
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, &Remote)> {
        self.clients.iter().map(|(id, remote)| (*id, remote))
    }

    /// Adds a client; its name and codec stay as they are if it is known. True if it is new.
    pub(super) fn insert(&mut self, client: ClientId, name: &str, codec: CodecSettings) -> bool {
        if self.clients.contains_key(&client) {
            return false;
        }
        let remote = Remote {
            name: name.into(),
            codec,
            rooms: RoomSet::EMPTY,
            path: None,
            speaker: Speaker::default(),
        };
        self.clients.insert(client, remote);
        self.names.insert(name.into(), client);
        true
    }

    pub(super) fn remove(&mut self, client: ClientId) -> Option<Remote> {
        let remote = self.clients.remove(&client)?;
        if self.names.get(&remote.name) == Some(&client) {
            self.names.remove(&remote.name);
        }
        for &room in remote.rooms.as_slice() {
            self.rooms.leave(client, room);
        }
        Some(remote)
    }

    /// A client starts or stops listening. False if nothing changes, or it is not known.
    pub(super) fn set_listening(&mut self, client: ClientId, name: &str, joined: bool) -> bool {
        let Some(remote) = self.clients.get_mut(&client) else { return false };
        let room = room_id(name);
        if joined {
            remote.rooms.insert(room);
            self.rooms.join(client, name)
        } else {
            remote.rooms.remove(room);
            self.rooms.leave(client, room)
        }
    }

    /// A client listens to nothing for now.
    pub(super) fn leave_rooms(&mut self, client: ClientId) {
        let Some(remote) = self.clients.get_mut(&client) else { return };
        for &room in remote.rooms.as_slice() {
            self.rooms.leave(client, room);
        }
        remote.rooms = RoomSet::EMPTY;
    }

    /// No client listens to anything for now.
    pub(super) fn clear_rooms(&mut self) {
        self.rooms.clear();
        self.clients.values_mut().for_each(|remote| remote.rooms = RoomSet::EMPTY);
    }

    /// Forgets those that `keep` does not keep; returns them.
    pub(super) fn retain(&mut self, keep: impl Fn(ClientId) -> bool) -> Vec<(ClientId, Remote)> {
        let gone: Vec<ClientId> = self.clients.keys().copied().filter(|&client| !keep(client)).collect();
        gone.into_iter().filter_map(|client| Some((client, self.remove(client)?))).collect()
    }
}
