//! Who is in the session: clients by number and by name, and which numbers are free.

use super::reached::{HERE, Reached};
use crate::rooms::{RoomSet, contains};
use crate::{ClientId, CodecSettings, RoomId, SERVER_ONLY};
use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::{net::IpAddr, time::Duration};
use voxwire_core::{Instant, KeptNames, PeerId, lengthen};

/// The clients of a session, by number. What a relay touches of a listener is one row of 16 bytes, and beyond [`FEW`] rooms the list of them.
#[derive(Debug)]
pub(super) struct Clients {
    routes: Vec<Option<Route>>,
    /// The rest, in the same places.
    clients: Vec<Option<Client>>,
    /// The rooms of those that listen to more than [`FEW`], and which places are free.
    more: Vec<RoomSet>,
    free: Vec<u32>,
    len: usize,
    ids: Ids,
    /// The sender of the operator's texts.
    operator: Option<ClientId>,
    /// Who sends back what is said in the room of echo.
    echo: Option<ClientId>,
    /// In the order of what their names are known by.
    by_name: Vec<ClientId>,
    kept: KeptNames,
}

/// What relaying needs to know of a destination.
#[derive(Debug, Clone, Copy)]
struct Route {
    peer: PeerId,
    rooms: Listens,
}

const _: () = assert!(size_of::<Option<Route>>() == 16);
const _: () = assert!(size_of::<Option<Client>>() <= 32);

/// What a client listens to, in ascending order.
#[derive(Debug, Clone, Copy)]
enum Listens {
    Nothing,
    /// How many there are. The last one fills the rest, so that looking for a room needs no length.
    Few([RoomId; FEW], u8),
    /// The place in [`Clients::more`].
    Many(u32),
}

/// A client that is there, as a destination.
#[derive(Clone, Copy)]
pub(super) struct Listener<'a> {
    clients: &'a Clients,
    route: &'a Route,
}

impl Listener<'_> {
    /// Whether it listens to a room.
    #[inline]
    pub(super) fn listens_to(self, room: RoomId) -> bool {
        match &self.route.rooms {
            Listens::Nothing => false,
            Listens::Few(rooms, _) => rooms.contains(&room),
            Listens::Many(at) => self.clients.has_many(*at, room),
        }
    }
}

/// No driver has so many.
const NO_PEER: PeerId = PeerId { slot: u32::MAX, generation: 0 };

/// Rooms that have room beside a [`PeerId`].
const FEW: usize = 3;

#[derive(Debug)]
pub(super) struct Client {
    /// Its name, and behind it what that is known by, where that is something else.
    names: Box<str>,
    name_len: u16,
    keyed: bool,
    pub(super) codec: CodecSettings,
    /// It has said which rooms it listens to.
    pub(super) stated: bool,
}

impl Clients {
    /// No clients. Numbers rest for `quarantine`; `kept` are names that cannot be had.
    pub(super) const fn new(quarantine: Duration, kept: KeptNames) -> Self {
        Self {
            routes: Vec::new(),
            clients: Vec::new(),
            more: Vec::new(),
            free: Vec::new(),
            len: 0,
            ids: Ids::new(quarantine),
            operator: None,
            echo: None,
            by_name: Vec::new(),
            kept,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is a number for one more.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.ids.has_free(now)
    }

    /// The client that is known by `name`.
    pub(super) fn find(&self, name: &str) -> Option<ClientId> {
        let key = self.kept.key(name.as_bytes());
        self.by_name.get(self.place(&key).ok()?).copied()
    }

    /// Whether `name` is kept for another address.
    pub(super) fn is_kept(&mut self, now: Instant, name: &str, address: Option<IpAddr>) -> bool {
        self.kept.is_kept(now, name.as_bytes(), address)
    }

    /// Keeps the name of a client that is lost for its address, until then.
    pub(super) fn keep(&mut self, now: Instant, name: &str, address: Option<IpAddr>, until: Instant) {
        self.kept.keep(now, name.as_bytes(), address, until);
    }

    /// Where what a name is known by is in the order of these, or would be.
    fn place(&self, key: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&id| self.get(id).map_or("", Client::key).as_bytes().cmp(key))
    }

    /// A new client, with a number that is free; `None` if all are taken, or were a moment ago. No other client may have its name.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        peer: PeerId,
        name: Box<str>,
        codec: CodecSettings,
    ) -> Option<ClientId> {
        let id = self.ids.take(now)?;
        let index = usize::from(id.get());
        lengthen(&mut self.routes, index.saturating_add(1), || None);
        lengthen(&mut self.clients, index.saturating_add(1), || None);
        self.kept.take(name.as_bytes());
        let client = Client::new(name, &self.kept, codec);
        let (Ok(at) | Err(at)) = self.place(client.key().as_bytes());
        self.by_name.insert(at, id);
        *self.routes.get_mut(index)? = Some(Route { peer, rooms: Listens::Nothing });
        *self.clients.get_mut(index)? = Some(client);
        self.len = self.len.saturating_add(1);
        Some(id)
    }

    /// The number of the operator, which no client gets from the first time on; `None` if none is free.
    pub(super) fn operator(&mut self, now: Instant) -> Option<ClientId> {
        self.operator = self.operator.or_else(|| self.ids.take(now));
        self.operator
    }

    /// The same for the player of echo.
    pub(super) fn echo(&mut self, now: Instant) -> Option<ClientId> {
        self.echo = self.echo.or_else(|| self.ids.take(now));
        self.echo
    }

    /// That number, if there is one yet.
    #[inline]
    pub(super) const fn echo_number(&self) -> Option<ClientId> {
        self.echo
    }

    /// Removes a client, and returns what it listened to.
    pub(super) fn remove(&mut self, now: Instant, id: ClientId) -> Option<(RoomSet, Client)> {
        let rooms = self.clear_rooms(id);
        let place = self.get(id).and_then(|client| self.place(client.key().as_bytes()).ok());
        if let Some(at) = place.filter(|&at| self.by_name.get(at) == Some(&id)) {
            self.by_name.remove(at);
        }
        let index = usize::from(id.get());
        self.routes.get_mut(index)?.take()?;
        let client = self.clients.get_mut(index)?.take()?;
        self.len = self.len.saturating_sub(1);
        self.ids.give_back(now, id);
        Some((rooms, client))
    }

    #[inline]
    fn route(&self, id: ClientId) -> Option<&Route> {
        self.routes.get(usize::from(id.get()))?.as_ref()
    }

    /// How many of these clients there are. The rows of all are in the cache then: a processor fetches them at once, as none depends on
    /// another one, while a loop that does more with each would wait for each.
    #[inline]
    pub(super) fn touch(&self, ids: &[ClientId]) -> usize {
        ids.iter().filter(|&&id| self.route(id).is_some()).count()
    }

    /// The connection of a client.
    pub(super) fn peer(&self, id: ClientId) -> Option<PeerId> {
        self.route(id).map(|route| route.peer)
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(usize::from(id.get()))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(usize::from(id.get()))?.as_mut()
    }

    /// All clients, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.clients.iter().zip(0..).filter_map(|(client, id)| Some((ClientId::new(id), client.as_ref()?)))
    }

    /// The connections of all clients.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.routes.iter().flatten().map(|route| route.peer)
    }

    /// What a client listens to, in ascending order.
    pub(super) fn rooms(&self, id: ClientId) -> &[RoomId] {
        self.route(id).map_or(&[], |route| self.rooms_of(route))
    }

    #[inline]
    fn rooms_of<'a>(&'a self, route: &'a Route) -> &'a [RoomId] {
        match &route.rooms {
            Listens::Nothing => &[],
            Listens::Few(rooms, len) => rooms.get(..usize::from(*len)).unwrap_or(&[]),
            Listens::Many(at) => self.many(*at),
        }
    }

    /// Whether a room is among those of one that listens to many.
    #[inline(never)]
    fn has_many(&self, at: u32, room: RoomId) -> bool {
        contains(self.many(at), room)
    }

    fn many(&self, at: u32) -> &[RoomId] {
        usize::try_from(at).ok().and_then(|at| self.more.get(at)).map_or(&[], RoomSet::as_slice)
    }

    /// A client starts to listen to a room. False if there is no such client.
    pub(super) fn add_room(&mut self, id: ClientId, room: RoomId) -> bool {
        self.change_rooms(id, |rooms| rooms.insert(room)).is_some()
    }

    /// A client stops listening to a room.
    pub(super) fn remove_room(&mut self, id: ClientId, room: RoomId) {
        self.change_rooms(id, |rooms| rooms.remove(room));
    }

    /// A client stops listening to all rooms, which are returned.
    pub(super) fn clear_rooms(&mut self, id: ClientId) -> RoomSet {
        self.change_rooms(id, core::mem::take).unwrap_or_default()
    }

    fn change_rooms<T>(&mut self, id: ClientId, change: impl FnOnce(&mut RoomSet) -> T) -> Option<T> {
        let Self { routes, more, free, .. } = self;
        let route = routes.get_mut(usize::from(id.get()))?.as_mut()?;
        let mut rooms = match route.rooms {
            Listens::Nothing => RoomSet::default(),
            Listens::Few(rooms, len) => rooms.into_iter().take(len.into()).collect(),
            Listens::Many(at) => {
                free.push(at);
                core::mem::take(more.get_mut(usize::try_from(at).ok()?)?)
            }
        };
        let result = change(&mut rooms);
        let few = rooms.as_slice();
        route.rooms = match few.last() {
            None => Listens::Nothing,
            Some(&last) if few.len() <= FEW => {
                let mut padded = [last; FEW];
                padded.iter_mut().zip(few).for_each(|(padded, room)| *padded = *room);
                Listens::Few(padded, u8::try_from(few.len()).unwrap_or(0))
            }
            Some(_) => {
                let at = match free.pop() {
                    Some(at) => at,
                    None => {
                        more.push(RoomSet::default());
                        u32::try_from(more.len().saturating_sub(1)).ok()?
                    }
                };
                *more.get_mut(usize::try_from(at).ok()?)? = rooms;
                Listens::Many(at)
            }
        };
        if more.len() == free.len() {
            (self.more, self.free) = (Vec::new(), Vec::new());
        }
        Some(result)
    }

    /// The connections of those `destinations` that are there and that `wanted` wants, and that have not been `reached`.
    #[inline]
    pub(super) fn once_each<'a>(
        &'a self,
        destinations: &'a [ClientId],
        reached: &'a mut Reached,
        wanted: impl Fn(ClientId, Listener<'_>) -> bool + 'a,
    ) -> impl Iterator<Item = PeerId> + 'a {
        let mut reached = reached.adding();
        destinations.iter().filter_map(move |&id| {
            let route = self.route(id)?;
            (wanted(id, Listener { clients: self, route }) && reached.insert(id)).then_some(route.peer)
        })
    }

    /// The connections of these `destinations`, one for each, in `to`. `None` where one of them is not there, does not listen to the room or
    /// comes twice, or where it takes more than one look at each to know that.
    #[inline(never)]
    pub(super) fn in_room<'t>(
        &self,
        destinations: &[ClientId],
        room: RoomId,
        to: &'t mut Vec<PeerId>,
    ) -> Option<&'t [PeerId]> {
        if to.len() < destinations.len() {
            to.resize(destinations.len(), NO_PEER);
        }
        let to = to.get_mut(..destinations.len())?;
        let (mut ascending, mut alike) = (true, false);
        // The last number, and a bit for the last six bits of each.
        let (mut last, mut seen) = (-1, 0_u64);
        for (to, &id) in to.iter_mut().zip(destinations) {
            let route = self.route(id)?;
            if !(Listener { clients: self, route }).listens_to(room) {
                return None;
            }
            *to = route.peer;
            let (number, bit) = (i32::from(id.get()), 1_u64.wrapping_shl(id.get().into()));
            ascending &= last < number;
            alike |= seen & bit != 0;
            (last, seen) = (number, seen | bit);
        }
        (ascending || !alike && destinations.len() <= HERE).then_some(to)
    }

    /// Whether some of those `destinations` are there and wanted, and none of these has been `reached`.
    pub(super) fn are_new(
        &self,
        destinations: &[ClientId],
        reached: &Reached,
        wanted: impl Fn(ClientId, Listener<'_>) -> bool,
    ) -> bool {
        let mut some = false;
        destinations.iter().all(|&id| {
            let there = self.route(id).is_some_and(|route| wanted(id, Listener { clients: self, route }));
            some |= there;
            !(there && reached.contains(id))
        }) && some
    }
}

impl Client {
    fn new(name: Box<str>, kept: &KeptNames, codec: CodecSettings) -> Self {
        let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let key = kept.key(name.as_bytes());
        let key = core::str::from_utf8(&key).ok().filter(|key| **key != *name);
        let with_key = key.map(|key| [&*name, key].concat().into_boxed_str());
        let keyed = with_key.is_some();
        Self { names: with_key.unwrap_or(name), name_len, keyed, codec, stated: false }
    }

    pub(super) fn name(&self) -> &str {
        self.names.get(..usize::from(self.name_len)).unwrap_or(&self.names)
    }

    pub(super) fn into_name(self) -> Box<str> {
        if self.keyed { self.name().into() } else { self.names }
    }

    /// What the name is known by. Kept, as looking for a name compares it to many.
    fn key(&self) -> &str {
        let key = self.names.get(usize::from(self.name_len)..).filter(|_| self.keyed);
        key.unwrap_or(&self.names)
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

/// Where no number is free and no more than this rest, the one that has rested longest is given out.
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

    fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 7 }
    }

    /// D-06: what clients listen to is a set, in the row of a client or beyond it, as they come and go; and each is found by its name.
    #[test]
    fn d_06_each_client_has_its_rooms_and_its_name_as_others_come_and_go() {
        use std::collections::{BTreeMap, BTreeSet};
        let mut rng = voxwire_core::testing::Rng::new(1);
        let mut clients = Clients::new(Duration::ZERO, KeptNames::new(0));
        let mut model: BTreeMap<ClientId, (std::string::String, BTreeSet<RoomId>)> = BTreeMap::new();
        for step in 0..20_000_u32 {
            let any = usize::try_from(rng.below(16)).unwrap();
            let id = model.keys().nth(any).copied();
            match (rng.below(40), id) {
                (0, _) if model.len() < 20 => {
                    let e = if rng.chance(0.5) { "\u{e9}" } else { "e\u{301}" };
                    let name = std::format!("Jos{e} {}", rng.below(1 << 32));
                    let codec = CodecSettings::DEFAULT;
                    let id = clients.insert(Instant::ZERO, peer(step), name.as_str().into(), codec).unwrap();
                    assert_eq!(clients.peer(id), Some(peer(step)));
                    model.insert(id, (name, BTreeSet::new()));
                }
                (1, Some(id)) => {
                    let (rooms, client) = clients.remove(Instant::ZERO, id).unwrap();
                    let (name, before) = model.remove(&id).unwrap();
                    assert!(rooms.as_slice().iter().eq(&before) && *client.into_name() == *name);
                    assert_eq!((clients.find(&name), clients.peer(id)), (None, None));
                }
                (2, Some(id)) => {
                    clients.clear_rooms(id);
                    model.get_mut(&id).unwrap().1.clear();
                }
                (n, Some(id)) => {
                    let room = RoomId::new(u16::try_from(rng.below(12)).unwrap());
                    let rooms = &mut model.get_mut(&id).unwrap().1;
                    if n % 2 == 0 {
                        assert!(clients.add_room(id, room));
                        rooms.insert(room);
                    } else {
                        clients.remove_room(id, room);
                        rooms.remove(&room);
                    }
                }
                _ => {}
            }
            assert_eq!(clients.len(), model.len());
            for (id, (name, rooms)) in &model {
                assert!(clients.rooms(*id).iter().eq(rooms) && clients.find(name) == Some(*id));
            }
            let long = model.values().filter(|(_, rooms)| rooms.len() > FEW).count();
            assert_eq!(clients.more.len() - clients.free.len(), long);
        }
        // However it is encoded.
        for (id, (name, _)) in &model {
            for name in [name.replace('\u{e9}', "e\u{301}"), name.replace("e\u{301}", "\u{e9}")] {
                assert_eq!(clients.find(&name), Some(*id));
            }
            assert_eq!(clients.get(*id).unwrap().name(), name);
        }
    }

    /// D-10: the shorter way of a packet to one room leads to the same connections as the longer one, or nowhere.
    #[test]
    fn d_10_a_packet_to_one_room_reaches_the_same_clients_by_either_way() {
        let mut rng = voxwire_core::testing::Rng::new(3);
        let mut clients = Clients::new(Duration::ZERO, KeptNames::new(0));
        let room = RoomId::new(7);
        let name = |n: u32| std::format!("client {n}").as_str().into();
        for n in 0..300 {
            let id = clients.insert(Instant::ZERO, peer(n), name(n), CodecSettings::DEFAULT).unwrap();
            // Those of the first 200 listen; some to other rooms, too; and some have gone.
            (0..n % 6)
                .for_each(|n| assert!(clients.add_room(id, RoomId::new(10 * u16::try_from(n).unwrap()))));
            assert!(n >= 200 || clients.add_room(id, room));
        }
        (0..20).for_each(|n| _ = clients.remove(Instant::ZERO, ClientId::new(n * 10)).unwrap());
        let (mut to, mut short) = (Vec::new(), 0);
        for round in 0..2000_u64 {
            let below = [30, 200, 310][usize::try_from(round % 3).unwrap()];
            let most = [12, 25, 255][usize::try_from(rng.below(3)).unwrap()];
            let many = rng.below(most);
            let mut ids: Vec<_> =
                (0..many).map(|_| ClientId::new(u16::try_from(rng.below(below)).unwrap())).collect();
            match rng.below(4) {
                0 => ids.sort_unstable(),
                1 | 2 => {
                    ids.retain(|id| clients.rooms(*id).contains(&room));
                    ids.sort_unstable();
                    ids.dedup();
                }
                _ => {}
            }
            let mut reached = Reached::default();
            let listens = |_, listener: Listener<'_>| listener.listens_to(room);
            let long: Vec<_> = clients.once_each(&ids, &mut reached, listens).collect();
            let whole = ids.is_sorted() && long.len() == ids.len();
            match clients.in_room(&ids, room, &mut to) {
                Some(to) => {
                    short += 1;
                    assert_eq!(to, long);
                    assert_eq!(to.len(), ids.len());
                    let mut filled = Reached::default();
                    filled.fill(&ids);
                    assert!(
                        (0..310).map(ClientId::new).all(|id| filled.contains(id) == reached.contains(id))
                    );
                }
                None => assert!(!whole, "{ids:?}"),
            }
        }
        assert!((900..2000).contains(&short), "{short}");
    }

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
