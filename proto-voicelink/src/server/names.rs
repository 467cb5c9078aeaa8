//! Who is called what: registration, names given by the application, the block list.

use super::{Name, Pending, Server, reason};
use crate::{ByteOrder, Handshake, Refusal, Registration, Resource, ServerEvent, Violation};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
};
use voxwire_core::{Instant, NameError, PeerId, canonical_name, check_name};

/// Who blocks whom. Names are kept in their canonical form: a blocked user stays so in another encoding.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Callee, then callers.
    blocked: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    blocks: usize,
    max_blocked: usize,
}

impl Blocks {
    pub(super) const fn new(max_blocked: usize) -> Self {
        Self { blocked: BTreeMap::new(), blocks: 0, max_blocked }
    }

    pub(super) fn block(&mut self, callee: &str, caller: &str) -> Result<(), Refusal> {
        let (callee, caller) = (canonical_name(callee), canonical_name(caller));
        if self.blocks >= self.max_blocked {
            return Err(Refusal::Full { what: Resource::BlockList, max: self.max_blocked });
        }
        if self.blocked.entry((*callee).into()).or_default().insert((*caller).into()) {
            self.blocks = self.blocks.saturating_add(1);
        }
        Ok(())
    }

    pub(super) fn unblock(&mut self, callee: &str, caller: &str) {
        let (callee, caller) = (canonical_name(callee), canonical_name(caller));
        let Some(callers) = self.blocked.get_mut(&*callee) else { return };
        if callers.remove(&*caller) {
            self.blocks = self.blocks.saturating_sub(1);
        }
        if callers.is_empty() {
            self.blocked.remove(&*callee);
        }
    }

    pub(super) fn is_blocked(&self, callee: &[u8], caller: &str) -> bool {
        let Ok(callee) = core::str::from_utf8(callee) else { return false };
        let callers = self.blocked.get(&*canonical_name(callee));
        callers.is_some_and(|callers| callers.contains(&*canonical_name(caller)))
    }
}

impl Server {
    /// A Handshake without a user name: the peer names itself.
    pub(super) fn register<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        handshake: Handshake<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let registration = Registration::parse(handshake.optional);
        let Registration { secret, samples, .. } = registration;
        let Some(state) = self.peers.get(peer) else { return Err(Violation::UnknownPeer) };
        if state.pending.is_some() {
            return Err(self.unexpected(peer, "a second registration"));
        }
        if state.call().is_some() {
            // It crossed a call to this peer on the way: void, as the peer learns from the call.
            return if self.is_ringing(peer) {
                Ok(None)
            } else {
                Err(self.unexpected(peer, "a registration"))
            };
        }
        // Asking for names is how they are guessed, and secrets with them.
        if !self.may_try(now, peer) {
            self.send_drop(peer, reason::TOO_MANY_ATTEMPTS);
            return Err(Violation::TooMany(Resource::Attempts));
        }
        let max = self.settings.limits.max_text;
        let text = match registration.check() {
            Ok(text) if text.len() <= max => text,
            Ok(text) => return Err(self.refuse_name(peer, NameError::TooLong { len: text.len(), max })),
            Err(error) => return Err(self.refuse_name(peer, error)),
        };
        if let Some(state) = self.peers.get_mut(peer) {
            state.pending = Some(Pending { name: text.into(), samples, admitted: false });
        }
        if self.settings.ask {
            return Ok(Some(ServerEvent::Registering {
                peer,
                name: text,
                secret,
                preferred: handshake.parameters,
            }));
        }
        let admitted = self.admit(now, peer, false);
        debug_assert!(admitted.is_ok(), "it is pending");
        let registered = self.peers.get(peer).is_some_and(|state| state.pending.is_none());
        Ok(registered.then_some(ServerEvent::Registered { peer }))
    }

    /// Tells `peer` what is wrong with the name it asked for.
    fn refuse_name(&mut self, peer: PeerId, error: NameError) -> Violation {
        self.send_drop(peer, &format!("{}: {error}", reason::NAME_INVALID));
        Violation::InvalidName(error)
    }

    /// Gives `peer` the name it asked for; if another client may keep it, it waits a moment for that one to go.
    pub(super) fn admit(&mut self, now: Instant, peer: PeerId, proven: bool) -> Result<(), Refusal> {
        let state = self.peers.get_mut(peer).ok_or(Refusal::UnknownPeer)?;
        let command = "admit a registration";
        let pending = state.pending.as_mut().filter(|pending| !pending.admitted);
        let pending = pending.ok_or(Refusal::Unexpected { state: "not registering", command })?;
        pending.admitted = true;
        let name = pending.name.clone();
        if self.may_take(now, peer, &name, proven) {
            self.grant(now, peer);
        } else {
            // Where no client holds it, it is kept for a client: there is nothing to wait for.
            let held = self.names.find(name.as_bytes()).is_some();
            self.contenders.set(peer, if held { now.saturating_add(self.settings.grace) } else { now });
        }
        Ok(())
    }

    /// The wait of a peer for its name is over, one way or the other.
    pub(super) fn contend<'a>(&mut self, now: Instant, peer: PeerId) -> Option<ServerEvent<'a>> {
        let name = self.peers.get(peer)?.pending.as_ref()?.name.clone();
        if self.may_take(now, peer, &name, false) {
            self.grant(now, peer);
            return Some(ServerEvent::Registered { peer });
        }
        self.peers.get_mut(peer)?.pending = None;
        self.send_drop(peer, reason::NAME_TAKEN);
        Some(ServerEvent::NameRefused { peer, name })
    }

    fn grant(&mut self, now: Instant, peer: PeerId) {
        let Some(pending) = self.peers.get_mut(peer).and_then(|state| state.pending.take()) else { return };
        self.give(now, peer, pending.name, true, false);
        if let Some(state) = self.peers.get_mut(peer) {
            state.samples = pending.samples;
        }
        self.send(peer, &crate::Packet::Accept { optional: &[] });
    }

    /// Gives `peer` a name of the application's choice.
    pub(super) fn introduce(
        &mut self,
        now: Instant,
        peer: PeerId,
        name: &str,
        reachable: bool,
        order: Option<ByteOrder>,
    ) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        check_name(name.as_bytes())?;
        self.give(now, peer, name.into(), reachable, true);
        if let Some(state) = self.peers.get_mut(peer) {
            state.assumed = order;
        }
        Ok(())
    }

    fn give(&mut self, now: Instant, peer: PeerId, name: Box<str>, reachable: bool, gently: bool) {
        if let Some(holder) = self.names.find(name.as_bytes()).filter(|&holder| reachable && holder != peer) {
            // The name passes on: the old connection goes without it, or stays without it.
            if let Some(state) = self.peers.get_mut(holder) {
                state.name = None;
            }
            if gently && self.same_address(peer, holder) {
                self.watch(now, holder);
            } else {
                self.expel(now, holder, Some(reason::DISPLACED));
            }
        }
        if let Some(Name { text, reachable: true }) =
            self.peers.get_mut(peer).and_then(|state| state.name.take())
        {
            // Changed by its own connection: free for every client at once.
            self.names.release(now, text.as_bytes(), None, now);
        }
        if reachable {
            self.names.take(name.as_bytes(), peer);
        }
        if let Some(state) = self.peers.get_mut(peer) {
            state.name = Some(Name { text: name, reachable });
        }
        self.watch(now, peer);
    }

    /// Whether `peer` may have `name`: no client holds it, or the holder has to give way.
    fn may_take(&mut self, now: Instant, peer: PeerId, name: &str, proven: bool) -> bool {
        let address = self.peers.ip(peer);
        match self.names.find(name.as_bytes()) {
            _ if proven => true,
            Some(holder) if holder == peer => true,
            Some(holder) => {
                self.settings.same_address_displaces
                    && self.attempts.exempt_addresses().is_one_user(address, self.peers.ip(holder))
            }
            None => !self.names.is_kept(now, name.as_bytes(), address),
        }
    }

    fn same_address(&self, one: PeerId, other: PeerId) -> bool {
        let ip = |peer| self.peers.ip(peer);
        ip(one).is_some() && ip(one) == ip(other)
    }
}
