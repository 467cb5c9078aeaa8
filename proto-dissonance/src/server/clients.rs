//! Who is in the session: clients by number, and which numbers are free.

use crate::rooms::RoomSet;
use crate::{ClientId, CodecSettings, SERVER_ONLY};
use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::time::Duration;
use voxwire_core::{Instant, PeerId};

/// The clients of a session, by number. What relaying needs lies together.
#[derive(Debug)]
pub(super) struct Clients {
    routes: Vec<Option<Route>>,
    /// The rest, in the same places.
    clients: Vec<Option<Client>>,
    len: usize,
    ids: Ids,
}

/// What relaying needs to know of a destination.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) peer: PeerId,
    pub(super) rooms: RoomSet,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: Box<str>,
    pub(super) codec: CodecSettings,
    pub(super) treatment: Treatment,
    /// It has said which rooms it listens to.
    pub(super) stated: bool,
}

/// What the application wants done with a client.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Treatment {
    pub(super) mute_voice: bool,
    pub(super) mute_text: bool,
    pub(super) watched: bool,
}

impl Clients {
    pub(super) const fn new(quarantine: Duration) -> Self {
        Self { routes: Vec::new(), clients: Vec::new(), len: 0, ids: Ids::new(quarantine) }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is a number for one more.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.ids.has_free(now)
    }

    /// A new client, with a number that is free; `None` if all are taken, or were a moment ago.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        peer: PeerId,
        name: Box<str>,
        codec: CodecSettings,
    ) -> Option<ClientId> {
        let id = self.ids.take(now)?;
        let index = usize::from(id.get());
        if self.routes.len() <= index {
            self.routes.resize_with(index.saturating_add(1), || None);
            self.clients.resize_with(index.saturating_add(1), || None);
        }
        *self.routes.get_mut(index)? = Some(Route { peer, rooms: RoomSet::EMPTY });
        *self.clients.get_mut(index)? =
            Some(Client { name, codec, treatment: Treatment::default(), stated: false });
        self.len = self.len.saturating_add(1);
        Some(id)
    }

    pub(super) fn remove(&mut self, now: Instant, id: ClientId) -> Option<(Route, Client)> {
        let index = usize::from(id.get());
        let route = self.routes.get_mut(index)?.take()?;
        let client = self.clients.get_mut(index)?.take()?;
        self.len = self.len.saturating_sub(1);
        self.ids.give_back(now, id);
        Some((route, client))
    }

    #[inline]
    pub(super) fn route(&self, id: ClientId) -> Option<&Route> {
        self.routes.get(usize::from(id.get()))?.as_ref()
    }

    pub(super) fn route_mut(&mut self, id: ClientId) -> Option<&mut Route> {
        self.routes.get_mut(usize::from(id.get()))?.as_mut()
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(usize::from(id.get()))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(usize::from(id.get()))?.as_mut()
    }

    /// All clients, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, &Route, &Client)> {
        let both = self.routes.iter().zip(&self.clients).zip(0..);
        both.filter_map(|((route, client), id)| Some((ClientId::new(id), route.as_ref()?, client.as_ref()?)))
    }

    /// The connections of all clients.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.routes.iter().flatten().map(|route| route.peer)
    }

    /// The connections of those `destinations` that are there and that `wanted` wants, and that have not been `reached`.
    #[inline]
    pub(super) fn once_each<'a>(
        &'a self,
        destinations: &'a [ClientId],
        reached: &'a mut ClientSet,
        wanted: impl Fn(ClientId, &RoomSet) -> bool + 'a,
    ) -> impl Iterator<Item = PeerId> + 'a {
        destinations.iter().filter_map(move |&id| {
            let route = self.route(id)?;
            (wanted(id, &route.rooms) && reached.insert(id)).then_some(route.peer)
        })
    }

    /// Whether some of those `destinations` are there and wanted, and none of these has been `reached`.
    pub(super) fn are_new(
        &self,
        destinations: &[ClientId],
        reached: &ClientSet,
        wanted: impl Fn(ClientId, &RoomSet) -> bool,
    ) -> bool {
        let mut some = false;
        destinations.iter().all(|&id| {
            let there = self.route(id).is_some_and(|route| wanted(id, &route.rooms));
            some |= there;
            !(there && reached.contains(id))
        }) && some
    }
}

/// Clients, one bit for each number; as long as the highest one makes it.
#[derive(Debug, Default)]
pub(super) struct ClientSet(Vec<u64>);

impl ClientSet {
    fn at(id: ClientId) -> (usize, u64) {
        let id = usize::from(id.get());
        (id / 64, 1_u64.wrapping_shl(u32::try_from(id % 64).unwrap_or(0)))
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn contains(&self, id: ClientId) -> bool {
        let (word, bit) = Self::at(id);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Adds a client that exists. False if it was there before.
    #[inline]
    fn insert(&mut self, id: ClientId) -> bool {
        let (index, bit) = Self::at(id);
        if self.0.len() <= index {
            self.0.resize(index.saturating_add(1), 0);
        }
        let Some(word) = self.0.get_mut(index) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Which numbers are free. The first is 0, then 1, 2, ..; of those given back the highest goes first, after a rest.
#[derive(Debug)]
struct Ids {
    /// This and all above have never been used.
    fresh: u16,
    /// Given back, and rested.
    free: BTreeSet<ClientId>,
    /// Given back, until when they rest.
    resting: VecDeque<(Instant, ClientId)>,
    rest: Duration,
}

/// With no more numbers free than this, no client waits for them to rest.
const PLENTY: usize = 1000;

impl Ids {
    const fn new(rest: Duration) -> Self {
        Self { fresh: 0, free: BTreeSet::new(), resting: VecDeque::new(), rest }
    }

    fn has_free(&self, now: Instant) -> bool {
        let rested = self.resting.front().is_some_and(|(until, _)| *until <= now);
        let scarce = !self.resting.is_empty() && self.resting.len() <= PLENTY;
        rested || scarce || !self.free.is_empty() || ClientId::new(self.fresh) != SERVER_ONLY
    }

    fn take(&mut self, now: Instant) -> Option<ClientId> {
        while let Some(&(_, id)) = self.resting.front().filter(|(until, _)| *until <= now) {
            self.resting.pop_front();
            self.free.insert(id);
        }
        if let Some(highest) = self.free.pop_last() {
            return Some(highest);
        }
        if ClientId::new(self.fresh) != SERVER_ONLY {
            let id = ClientId::new(self.fresh);
            self.fresh = self.fresh.saturating_add(1);
            return Some(id);
        }
        if self.resting.len() > PLENTY {
            return None;
        }
        self.resting.pop_front().map(|(_, id)| id)
    }

    fn give_back(&mut self, now: Instant, id: ClientId) {
        if self.rest.is_zero() {
            // As the original's table: its end shrinks, holes are filled from above.
            self.free.insert(id);
            while self.fresh.checked_sub(1).is_some_and(|last| self.free.remove(&ClientId::new(last))) {
                self.fresh = self.fresh.saturating_sub(1);
            }
            return;
        }
        self.resting.push_back((now.saturating_add(self.rest), id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take(ids: &mut Ids, now: Instant) -> Option<u16> {
        ids.take(now).map(ClientId::get)
    }

    #[test]
    fn d_13_ids_count_from_0_and_rest_for_30_seconds() {
        let mut ids = Ids::new(30 * SECOND);
        let at = |s| Instant::ZERO.saturating_add(SECOND * s);
        assert_eq!([0; 4].map(|_| take(&mut ids, at(0))), [Some(0), Some(1), Some(2), Some(3)]);
        ids.give_back(at(1), ClientId::new(1));
        ids.give_back(at(2), ClientId::new(2));
        assert_eq!(take(&mut ids, at(30)), Some(4));
        // Both have rested: the highest first.
        assert_eq!([0; 3].map(|_| take(&mut ids, at(32))), [Some(2), Some(1), Some(5)]);
    }

    #[test]
    fn d_13_without_rest_holes_are_filled_from_above_and_the_end_shrinks_as_in_the_original() {
        let mut ids = Ids::new(Duration::ZERO);
        let now = Instant::ZERO;
        for _ in 0..4 {
            take(&mut ids, now);
        }
        for id in [0, 3, 1] {
            ids.give_back(now, ClientId::new(id));
        }
        assert_eq!([0; 4].map(|_| take(&mut ids, now)), [Some(1), Some(0), Some(3), Some(4)]);
    }

    #[test]
    fn d_13_where_ids_are_scarce_nobody_waits_and_65535_is_never_given() {
        let mut ids = Ids::new(30 * SECOND);
        let now = Instant::ZERO;
        assert_eq!((0..65_535).filter_map(|_| take(&mut ids, now)).max(), Some(65_534));
        assert_eq!(take(&mut ids, now), None);
        for id in 0..=1000 {
            ids.give_back(now, ClientId::new(id));
        }
        // 1001 are free: plenty.
        assert_eq!(take(&mut ids, now), None);
        ids.resting.pop_back();
        assert_eq!(take(&mut ids, now), Some(0));
    }
}
