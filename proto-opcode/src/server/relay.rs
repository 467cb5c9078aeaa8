//! Calls that the server carries: each side is told to connect to the server, or is connected to where it listens, and neither
//! sees the other's address.
//!
//! A callee needs nothing for that: it is told a port of the server's. A caller that listens is dialled by the server once the
//! callee is there. Ours can also announce port 0: then it is told a port of the server's, too, by a CallRequest with the
//! callee's name and [`OWN_CALL`] before the host.

use super::{Peer, Server, reason};
use crate::address::is_unicast;
use crate::wire::{ECHO, MAX_VOICE, OWN_CALL, VOICE_HEAD_LEN};
use crate::{MAX_PENDING_CALLS, Packet, Role, ServerEvent, Unreachable, Violation};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use voxwire_core::{Bucket, Deadlines, DialId, Instant, Lane, ListenId, PeerId, source};

/// The calls carried.
#[derive(Debug, Default)]
pub(super) struct Relays {
    relays: BTreeMap<u32, Relay>,
    /// Calls that are not up yet.
    deadlines: Deadlines<u32>,
    /// Calls given up whose callee may still connect, until then.
    lingering: Deadlines<u32>,
    next: u32,
}

#[derive(Debug)]
struct Relay {
    /// Who called, and who was called: their connections as clients, which may end before the call does.
    parties: [PeerId; 2],
    names: [Box<[u8]>; 2],
    /// Where they come from; no other client may take their place.
    addresses: [Option<IpAddr>; 2],
    /// Their connections in the call.
    legs: [Option<PeerId>; 2],
    /// Where the caller listens; 0 if it does not.
    port: u16,
    /// On which sides we still listen.
    listening: [bool; 2],
    up: Option<Instant>,
    packets: u64,
}

/// One side's connection.
#[derive(Debug)]
pub(super) struct Leg {
    relay: u32,
    side: Role,
    /// The other one's.
    to: Option<PeerId>,
    /// Its voice is not carried: it is muted, or the other side does not hear it.
    muted: bool,
    unheard: bool,
    /// It is told.
    watched: bool,
    voice: Bucket,
}

/// What becomes of the port that a callee has been told when a call is over before it was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// No client will come.
    Close,
    /// Who comes too late is connected, and closed.
    Linger,
}

/// The callee that sends back what it hears: it is no connection.
const ECHO_PEER: PeerId = PeerId { slot: u32::MAX, generation: u32::MAX };

const SIDES: [Role; 2] = [Role::Caller, Role::Callee];

const fn index(side: Role) -> usize {
    match side {
        Role::Caller => 0,
        Role::Callee => 1,
    }
}

/// What a side's port is called: the callee's is even.
const fn listen_id(relay: u32, side: Role) -> ListenId {
    ListenId::new(relay.wrapping_mul(2).wrapping_add(match side {
        Role::Caller => 1,
        Role::Callee => 0,
    }))
}

const fn listened_for(id: ListenId) -> (u32, Role) {
    (id.get() >> 1, if id.get() & 1 == 1 { Role::Caller } else { Role::Callee })
}

/// What the connection to a relay's caller is called.
const fn dial_id(relay: u32) -> DialId {
    DialId::new(relay.saturating_add(1))
}

const fn dialled_for(id: DialId) -> u32 {
    id.get().wrapping_sub(1)
}

impl Relay {
    fn waits_for(&self, caller: PeerId, callee: PeerId) -> bool {
        self.up.is_none() && self.parties == [caller, callee]
    }

    fn party(&self, side: Role) -> PeerId {
        self.parties.get(index(side)).copied().unwrap_or(ECHO_PEER)
    }

    /// Whether the server itself is called.
    fn is_echo(&self) -> bool {
        self.party(Role::Callee) == ECHO_PEER
    }

    /// Who called, and who was called, as events have it.
    fn told_parties(&self) -> (PeerId, PeerId) {
        let caller = self.party(Role::Caller);
        (caller, if self.is_echo() { caller } else { self.party(Role::Callee) })
    }

    fn address(&self, side: Role) -> Option<IpAddr> {
        self.addresses.get(index(side)).copied().flatten()
    }

    fn leg(&self, side: Role) -> Option<PeerId> {
        self.legs.get(index(side)).copied().flatten()
    }

    fn set_leg(&mut self, side: Role, leg: Option<PeerId>) {
        if let Some(place) = self.legs.get_mut(index(side)) {
            *place = leg;
        }
    }

    fn listens(&self, side: Role) -> bool {
        self.listening.get(index(side)).copied().unwrap_or(false)
    }

    /// Whether we listened on that side until now.
    fn stop_listening(&mut self, side: Role) -> bool {
        self.listening.get_mut(index(side)).is_some_and(core::mem::take)
    }
}

const fn other(side: Role) -> Role {
    match side {
        Role::Caller => Role::Callee,
        Role::Callee => Role::Caller,
    }
}

impl Relays {
    pub(super) fn len(&self) -> usize {
        self.relays.len()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        [self.deadlines.next(), self.lingering.next()].into_iter().flatten().min()
    }
}

impl Server {
    /// Whether a call can be carried: asked before anything counts.
    pub(super) fn may_relay(
        &self,
        caller: PeerId,
        callee: PeerId,
        port: u16,
    ) -> Result<(), (Unreachable, &'static str)> {
        if port != 0 && port < self.settings.lowest_port {
            return Err((Unreachable::Address, reason::PORT));
        }
        let address = self.peers.ip(caller);
        let payer = address.map(source);
        let from = |relay: &Relay| relay.address(Role::Caller).map(source);
        let (mut pending, mut carried, mut all) = (0_usize, 0_usize, self.relays.lingering.len());
        for relay in self.relays.relays.values() {
            // Called again: the call before is given up.
            if relay.waits_for(caller, callee) {
                continue;
            }
            all = all.saturating_add(1);
            let theirs = relay.up.is_none() && relay.party(Role::Caller) == caller;
            pending = pending.saturating_add(usize::from(theirs));
            carried = carried.saturating_add(usize::from(from(relay) == payer));
        }
        let exempt = self.attempts.limited(address).is_none();
        let full = all >= self.settings.max_relays
            || pending >= MAX_PENDING_CALLS
            || (!exempt && carried >= self.settings.max_source_relays);
        let no_host = callee != ECHO_PEER && self.relay_host(callee).is_none();
        if full || no_host || (port == 0 && self.relay_host(caller).is_none()) {
            return Err((Unreachable::NoRelay, reason::NO_RELAY));
        }
        Ok(())
    }

    /// The address to which the server connects for a call of `echo`: that of the caller's connection. The host in the CallRequest is ignored.
    pub(super) fn may_echo(&self, caller: PeerId, port: u16) -> Result<IpAddr, (Unreachable, &'static str)> {
        let unreachable = (Unreachable::Address, reason::PORT);
        if port == 0 && self.settings.relay.is_none() {
            return Err((Unreachable::Address, reason::NOT_RELAYED));
        }
        let address = self.peers.ip(caller).filter(|ip| is_unicast(*ip)).ok_or(unreachable)?;
        // A gateway listens for no client.
        if port != 0 && self.attempts.exempt_addresses().is_gateway(address) {
            return Err(unreachable);
        }
        self.may_relay(caller, ECHO_PEER, port).map(|()| address)
    }

    /// Takes such a call. Once it is up, each packet of sound goes back to its sender.
    pub(super) fn begin_echo(&mut self, now: Instant, caller: PeerId, at: IpAddr, port: u16) {
        let id = self.add_relay(now, (caller, ECHO_PEER), port);
        if port != 0 && self.outbox.dial(dial_id(id), &at.to_string(), port).is_err() {
            let failed = self.dial_failed(now, dial_id(id));
            self.later.extend(failed);
        }
    }

    /// By which address of ours a client reaches us.
    fn relay_host(&self, client: PeerId) -> Option<IpAddr> {
        self.settings.relay?.seen_from(self.peers.address(client)?.ip())
    }

    /// Asks for a port to tell the callee. The call is handed on when there is one.
    pub(super) fn begin_relay(&mut self, now: Instant, caller: PeerId, callee: PeerId, port: u16) {
        let id = self.add_relay(now, (caller, callee), port);
        self.outbox.listen(listen_id(id, Role::Callee));
    }

    /// A call more; where it has been asked for before, that one is given up. A caller that does not listen gets a port of ours.
    fn add_relay(&mut self, now: Instant, (caller, callee): (PeerId, PeerId), port: u16) -> u32 {
        let before = self.relays.relays.iter().find(|(_, relay)| relay.waits_for(caller, callee));
        if let Some(before) = before.map(|(id, _)| *id) {
            let ended = self.end_relay(now, before, None, Late::Close);
            self.later.extend(ended);
        }
        let id = self.relays.next;
        // 31 bits: the ports' names take one more.
        self.relays.next = id.wrapping_add(1) & (u32::MAX >> 1);
        let address = |peer| self.peers.ip(peer);
        let name = |peer| self.name(peer).map(Box::<[u8]>::from).unwrap_or_default();
        let relay = Relay {
            parties: [caller, callee],
            names: [name(caller), if callee == ECHO_PEER { ECHO.as_bytes().into() } else { name(callee) }],
            addresses: [address(caller), address(callee)],
            legs: [None; 2],
            port,
            listening: [port == 0, callee != ECHO_PEER],
            up: None,
            packets: 0,
        };
        self.relays.relays.insert(id, relay);
        self.relays.deadlines.set(id, now.saturating_add(self.settings.answer_timeout));
        if port == 0 {
            self.outbox.listen(listen_id(id, Role::Caller));
        }
        id
    }

    /// There is a port: the side is told.
    pub(super) fn listening(&mut self, id: ListenId, port: u16) -> Option<ServerEvent<'static>> {
        let (id, side) = listened_for(id);
        let relay = self.relays.relays.get(&id).filter(|relay| relay.listens(side))?;
        let to = relay.party(side);
        let about = relay.names.get(index(other(side))).cloned().unwrap_or_default();
        let ip = self.settings.relay?.seen_from(relay.address(side)?)?;
        let host = match side {
            Role::Callee => ip.to_string(),
            Role::Caller => alloc::format!("{OWN_CALL}{ip}"),
        };
        self.ring(&about, to, &host, port);
        None
    }

    pub(super) fn listen_failed(&mut self, now: Instant, id: ListenId) -> Option<ServerEvent<'static>> {
        let (id, side) = listened_for(id);
        let relay = self.relays.relays.get(&id).filter(|relay| relay.listens(side))?;
        let caller = relay.party(Role::Caller);
        self.send_error(caller, reason::NO_RELAY);
        self.end_relay(now, id, None, Late::Close)
    }

    /// A client connects to a port of a call's.
    pub(super) fn leg_accepted(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: ListenId,
        from: Option<SocketAddr>,
    ) -> Result<Option<ServerEvent<'static>>, Violation> {
        let (id, side) = listened_for(id);
        let from = from.map(|from| from.ip().to_canonical());
        if side == Role::Callee && self.relays.lingering.contains(id) {
            // Too late, from any address.
            self.stop_lingering(id);
            self.outbox.close(peer);
            return Ok(None);
        }
        let relay = self.relays.relays.get_mut(&id);
        let Some(relay) = relay.filter(|relay| relay.address(side) == from && relay.leg(side).is_none())
        else {
            self.outbox.close(peer);
            return Err(Violation::NotOfTheCall);
        };
        if relay.stop_listening(side) {
            self.outbox.stop_listening(listen_id(id, side));
        }
        let dial = (side == Role::Callee && relay.port != 0).then_some(relay.port);
        let caller = relay.address(Role::Caller);
        self.add_leg(now, peer, id, side);
        if let (Some(port), Some(caller)) = (dial, caller) {
            // Ids of our own begin at 1.
            let dial = dial_id(id);
            if self.outbox.dial(dial, &caller.to_string(), port).is_err() {
                return Ok(self.dial_failed(now, dial));
            }
        }
        Ok(self.relay_up(now, id))
    }

    /// We have reached the caller where it listens. It will greet the callee itself.
    pub(super) fn leg_dialled(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: DialId,
    ) -> Result<Option<ServerEvent<'static>>, Violation> {
        let id = dialled_for(id);
        // Where the caller comes to a port of ours, no client was dialled.
        let relay = self.relays.relays.get(&id);
        if relay.is_none_or(|relay| relay.port == 0 || relay.leg(Role::Caller).is_some()) {
            self.outbox.close(peer);
            return Err(Violation::UnknownPeer);
        }
        self.add_leg(now, peer, id, Role::Caller);
        Ok(self.relay_up(now, id))
    }

    pub(super) fn dial_failed(&mut self, now: Instant, id: DialId) -> Option<ServerEvent<'static>> {
        let id = dialled_for(id);
        let relay = self.relays.relays.get(&id).filter(|relay| relay.leg(Role::Caller).is_none())?;
        let caller = relay.party(Role::Caller);
        self.send_error(caller, reason::UNREACHABLE);
        self.end_relay(now, id, Some(Role::Caller), Late::Close)
    }

    fn add_leg(&mut self, now: Instant, peer: PeerId, id: u32, side: Role) {
        let Some(relay) = self.relays.relays.get_mut(&id) else { return };
        let leg = Leg {
            relay: id,
            side,
            to: None,
            muted: false,
            unheard: false,
            watched: false,
            voice: Bucket::default(),
        };
        if !self.peers.add(now, peer, None, Peer::Leg(leg)) {
            // Beyond all slots; the call ends when its time is over.
            self.outbox.close(peer);
            return;
        }
        relay.set_leg(side, Some(peer));
        // Nothing else than voice is carried, and no more of it than is looked at.
        self.outbox.limit(peer, VOICE_HEAD_LEN.saturating_add(MAX_VOICE));
        self.outbox.budget(peer, self.settings.droppable_budget);
    }

    /// Connects the two sides, if both are there.
    fn relay_up(&mut self, now: Instant, id: u32) -> Option<ServerEvent<'static>> {
        let relay = self.relays.relays.get_mut(&id)?;
        let caller = relay.leg(Role::Caller)?;
        let callee = if relay.is_echo() { caller } else { relay.leg(Role::Callee)? };
        relay.up = Some(now);
        let parties = relay.told_parties();
        let both_dialled = relay.port == 0;
        let legs = [(caller, callee), (callee, caller)];
        for (leg, to) in legs.into_iter().take(if caller == callee { 1 } else { 2 }) {
            if let Some(Peer::Leg(leg)) = self.peers.get_mut(leg) {
                leg.to = Some(to);
            }
            if both_dialled {
                // Both wait for the first word of the listening side, and that is us.
                self.send(leg, &Packet::ConnectionEstablished);
            }
        }
        self.relays.deadlines.clear(id);
        self.silence(id);
        self.stats.established = self.stats.established.saturating_add(1);
        Some(ServerEvent::Established { caller: parties.0, callee: parties.1 })
    }

    /// Says of each side of a call whether its voice is carried, and whether it is told. Of a party that has logged out nothing is known any more:
    /// what was said before stays.
    fn silence(&mut self, id: u32) {
        let Some(relay) = self.relays.relays.get(&id) else { return };
        let parties = relay.parties.map(|party| self.client(party).map(|client| client.watched));
        let watched = parties.contains(&Some(true));
        for leg in relay.legs.into_iter().flatten() {
            if let Some(Peer::Leg(leg)) = self.peers.get_mut(leg) {
                leg.watched = watched || (leg.watched && parties.contains(&None));
            }
        }
        for side in SIDES {
            let (speaker, listener) = (relay.party(side), relay.party(other(side)));
            let Some(muted) = self.client(speaker).map(|client| client.muted) else { continue };
            let unheard = self.client(listener).map(|_| !self.hearing.hears(listener, speaker));
            if let Some(Peer::Leg(leg)) = relay.leg(side).and_then(|leg| self.peers.get_mut(leg)) {
                leg.muted = muted;
                leg.unheard = unheard.unwrap_or(leg.unheard);
            }
        }
    }

    /// When a client's voice was taken last in a call that is carried.
    pub(super) fn relayed_voice(&self, peer: PeerId) -> Option<Instant> {
        let spoken = self.relays.relays.values().flat_map(|relay| {
            let sides = SIDES.into_iter().filter(move |side| relay.party(*side) == peer);
            sides.filter_map(|side| relay.leg(side))
        });
        let voices = spoken.filter_map(|leg| match self.peers.get(leg) {
            Some(Peer::Leg(leg)) => Some(leg.voice.full_at()),
            _ => None,
        });
        voices.max().filter(|at| *at != Instant::ZERO)
    }

    /// The same, of all calls of a client.
    pub(super) fn silence_calls_of(&mut self, peer: PeerId) {
        let calls = self.relays.relays.iter().filter(|(_, relay)| relay.parties.contains(&peer));
        let calls: Vec<u32> = calls.map(|(id, _)| *id).collect();
        calls.into_iter().for_each(|id| self.silence(id));
    }

    /// The same, of all calls.
    pub(super) fn silence_all(&mut self) {
        let calls: Vec<u32> = self.relays.relays.keys().copied().collect();
        calls.into_iter().for_each(|id| self.silence(id));
    }

    /// Ends all calls of a client, those included that are up.
    pub(super) fn end_relays(&mut self, now: Instant, peer: PeerId) {
        let calls = self.relays.relays.iter().filter(|(_, relay)| relay.parties.contains(&peer));
        let calls: Vec<u32> = calls.map(|(id, _)| *id).collect();
        for id in calls {
            let ended = self.end_relay(now, id, None, Late::Close);
            self.later.extend(ended);
        }
    }

    /// Hands a packet on to the other side of a call. Whether the application is to be told of it.
    #[inline]
    pub(super) fn carry(
        &mut self,
        now: Instant,
        peer: PeerId,
        raw: &[u8],
        packet: Packet<'_>,
    ) -> Result<bool, Violation> {
        let Some(Peer::Leg(leg)) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let lane = match packet {
            Packet::VoiceData(_) => Lane::Droppable,
            Packet::ConnectionEstablished if leg.side == Role::Caller => Lane::Reliable,
            packet => {
                let message = packet.name();
                self.expel(now, peer, None);
                return Err(Violation::Unexpected { state: "in a call", message });
            }
        };
        let Some(to) = leg.to else {
            // A callee has to wait for the first word of the listening side.
            return Err(Violation::Unexpected {
                state: "waiting for the other side",
                message: packet.name(),
            });
        };
        // Of echo the caller wants its sound back, and no greeting.
        if to == peer && lane == Lane::Reliable {
            return Ok(false);
        }
        let pause = leg.voice.charge(now, self.settings.voice, 1);
        let watched = leg.watched;
        let (relay, silenced) = (leg.relay, (leg.muted || leg.unheard) && lane == Lane::Droppable);
        if silenced {
            self.stats.muted = self.stats.muted.saturating_add(1);
        } else {
            self.outbox.forward([to], lane, raw)?;
        }
        if let Some(until) = pause {
            self.outbox.pause(peer, until);
        }
        if let (Packet::VoiceData(data), false) = (packet, silenced) {
            if let Some(relay) = self.relays.relays.get_mut(&relay) {
                relay.packets = relay.packets.saturating_add(1);
            }
            self.stats.packets = self.stats.packets.saturating_add(1);
            self.stats.bytes = self.stats.bytes.saturating_add(data.len() as u64);
            return Ok(watched);
        }
        Ok(false)
    }

    /// What the application is told of voice that was carried.
    #[cold]
    pub(super) const fn told(leg: PeerId, packet: Packet<'_>) -> Option<ServerEvent<'_>> {
        match packet {
            Packet::VoiceData(data) => Some(ServerEvent::Voice { leg, data }),
            _ => None,
        }
    }

    /// Who speaks on a connection that carries a call, and who is on its other side: also where either has logged out.
    pub fn parties_of(&self, leg: PeerId) -> Option<[&[u8]; 2]> {
        let Some(Peer::Leg(Leg { relay, side, .. })) = self.peers.get(leg) else { return None };
        let [caller, callee] = &self.relays.relays.get(relay)?.names;
        Some(if *side == Role::Caller { [caller, callee] } else { [callee, caller] })
    }

    /// One side's connection is gone: that is how calls end.
    pub(super) fn leg_gone(&mut self, now: Instant, leg: Leg) -> Option<ServerEvent<'static>> {
        if let Some(relay) = self.relays.relays.get_mut(&leg.relay) {
            relay.set_leg(leg.side, None);
        }
        let missing = self.relays.relays.get(&leg.relay).is_some_and(|relay| relay.up.is_none());
        self.end_relay(now, leg.relay, missing.then_some(leg.side), Late::Close)
    }

    /// The callee does not want the call.
    pub(super) fn refuse_relay(&mut self, now: Instant, caller: PeerId, callee: PeerId) {
        let id = self.relays.relays.iter().find(|(_, relay)| relay.waits_for(caller, callee));
        let id = id.map(|(id, _)| *id);
        if let Some(id) = id {
            // What there is to tell has been told.
            self.end_relay(now, id, None, Late::Close);
        }
    }

    /// A client has gone: so have its calls that are not up. Those that are go on, as between two originals.
    pub(super) fn cancel_relays(&mut self, now: Instant, peer: PeerId) {
        let theirs = |relay: &Relay| relay.up.is_none() && relay.parties.contains(&peer);
        while let Some(id) = self.relays.relays.iter().find(|(_, relay)| theirs(relay)).map(|(id, _)| *id) {
            let gone = |relay: &Relay| relay.party(Role::Callee) == peer;
            let nobody = self.relays.relays.get(&id).is_none_or(gone);
            let ended = self.end_relay(now, id, None, if nobody { Late::Close } else { Late::Linger });
            self.later.extend(ended);
        }
    }

    fn stop_lingering(&mut self, id: u32) {
        self.relays.lingering.clear(id);
        self.outbox.stop_listening(listen_id(id, Role::Callee));
    }

    pub(super) fn relay_timeout<'a>(&mut self, now: Instant) -> Option<ServerEvent<'a>> {
        if let Some(id) = self.relays.lingering.pop(now) {
            self.stop_lingering(id);
            return None;
        }
        let id = self.relays.deadlines.pop(now)?;
        let relay = self.relays.relays.get(&id)?;
        let sides = SIDES.into_iter().rev().filter(|side| *side == Role::Caller || !relay.is_echo());
        let missing = sides.into_iter().find(|side| relay.leg(*side).is_none());
        self.end_relay(now, id, missing, Late::Linger)
    }

    /// Forgets a call, and closes what is open of it.
    fn end_relay(
        &mut self,
        now: Instant,
        id: u32,
        missing: Option<Role>,
        late: Late,
    ) -> Option<ServerEvent<'static>> {
        let mut relay = self.relays.relays.remove(&id)?;
        self.relays.deadlines.clear(id);
        if late == Late::Linger && !self.settings.linger.is_zero() && relay.stop_listening(Role::Callee) {
            self.relays.lingering.set(id, now.saturating_add(self.settings.linger));
        }
        for side in SIDES {
            if relay.stop_listening(side) {
                self.outbox.stop_listening(listen_id(id, side));
            }
            if let Some(leg) = relay.leg(side) {
                self.peers.remove(leg);
                self.outbox.close(leg);
            }
        }
        let [caller_name, callee_name] = core::mem::take(&mut relay.names);
        let (caller, callee) = relay.told_parties();
        Some(ServerEvent::Ended {
            caller,
            callee,
            caller_name,
            callee_name,
            missing,
            lasted: relay.up.map(|up| now.saturating_duration_since(up)),
            packets: relay.packets,
        })
    }
}
