//! The life of a call: put through, answered, up, over; and the audio in between.

use super::{Line, Peer, Server, ServerSettings, reason};
use crate::{
    ByteOrder, Cause, Ended, Handshake, Packet, Parameters, Resource, ServerEvent, Unreachable, Violation,
    voice::swap_samples,
    wire::{ECHO, MAX_DATA, MAX_STRAY_DATA},
};
use alloc::string::{String, ToString};
use core::{net::IpAddr, time::Duration};
use voxwire_core::{Instant, Lane, Payer, PeerId};

/// How long what a peer sends may still belong to a call that is over.
const LATE: Duration = Duration::from_secs(10);

/// A call; its key is the caller.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) callee: PeerId,
    /// As proposed last.
    pub(super) parameters: Parameters,
    /// Since when it is up.
    pub(super) up: Option<Instant>,
    /// The callee made a counter-proposal; the caller's answer is awaited.
    countered: bool,
    /// The two declared different orders of samples.
    swap: bool,
    last_data: Instant,
    packets: u64,
    bytes: u64,
    caller: PeerId,
    /// Since when it rings, and who pays for that.
    rung: Instant,
    payer: Payer,
}

impl Call {
    /// One that rings.
    const fn new(
        now: Instant,
        (caller, callee): (PeerId, PeerId),
        parameters: Parameters,
        payer: Payer,
    ) -> Self {
        Self {
            callee,
            parameters,
            up: None,
            countered: false,
            swap: false,
            last_data: now,
            packets: 0,
            bytes: 0,
            caller,
            rung: now,
            payer,
        }
    }

    pub(super) fn other(&self, peer: PeerId) -> PeerId {
        if peer == self.caller { self.callee } else { self.caller }
    }

    pub(super) const fn state(&self) -> &'static str {
        match self {
            Self { up: Some(_), .. } => "in a call",
            Self { countered: true, .. } => "a counter-proposal waits",
            Self { .. } => "a call rings",
        }
    }
}

impl Server {
    /// Relays audio to the other side of the sender's call. Whether the application is to be told of it.
    #[inline]
    pub(super) fn relay(
        &mut self,
        now: Instant,
        peer: PeerId,
        raw: &[u8],
        data: &[u8],
    ) -> Result<bool, Violation> {
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let pause = state.voice.charge(now, self.settings.voice, 1);
        let state = &*state;
        let call =
            state.call().and_then(|caller| self.calls.get_mut(caller)).filter(|call| call.up.is_some());
        let Some(call) = call else { return self.stray(now, peer, data.len()).map(|()| false) };
        let to = call.other(peer);
        if state.muted || (to != peer && !self.hearing.hears(to, peer)) {
            call.last_data = now;
            self.stats.muted = self.stats.muted.saturating_add(1);
            if let Some(until) = pause {
                self.outbox.pause(peer, until);
            }
            return Ok(false);
        }
        let (from, watched) = (state.order, state.watched);
        let other = self.peers.get(to);
        let watched = watched || other.is_some_and(|other| other.watched);
        let order = other.and_then(Peer::order).unwrap_or_default();
        let frame = if from == Some(order) {
            self.outbox.forward([to], Lane::Droppable, raw)?
        } else {
            let [big, little] = &self.wires;
            let wire = if order == ByteOrder::LittleEndian { little } else { big };
            self.outbox.send([to], Lane::Droppable, &Packet::Data(data), wire)?
        };
        if call.swap {
            if let Some(samples) = crate::voice::data_mut(frame, order) {
                swap_samples(samples, call.parameters.format);
            }
        }
        if let Some(until) = pause {
            self.outbox.pause(peer, until);
        }
        call.last_data = now;
        call.packets = call.packets.saturating_add(1);
        call.bytes = call.bytes.saturating_add(data.len() as u64);
        self.stats.packets = self.stats.packets.saturating_add(1);
        self.stats.bytes = self.stats.bytes.saturating_add(data.len() as u64);
        Ok(watched)
    }

    /// What the application is told of audio that was relayed.
    #[cold]
    pub(super) fn told<'a>(&self, peer: PeerId, data: &'a [u8]) -> Option<ServerEvent<'a>> {
        let state = self.peers.get(peer)?;
        let call = self.calls.get(state.call()?)?;
        let order = state.samples.or(state.order).unwrap_or_default();
        Some(ServerEvent::Voice { peer, to: call.other(peer), parameters: call.parameters, order, data })
    }

    /// Data without a call: dropped and counted, large packets as several. A flood of it closes the connection.
    #[cold]
    fn stray(&mut self, now: Instant, peer: PeerId, len: usize) -> Result<(), Violation> {
        self.stats.stray = self.stats.stray.saturating_add(1);
        self.expire_late(now, peer);
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let blocks = u32::try_from(len / 4096).unwrap_or(u32::MAX);
        if state.stray.take(now, self.settings.stray, blocks.saturating_add(1)).is_err() {
            self.stats.violations = self.stats.violations.saturating_add(1);
            self.expel(now, peer, None);
        }
        Err(Violation::StrayData)
    }

    /// A call that has one side: each packet of audio goes back to its sender.
    fn echo(
        &mut self,
        now: Instant,
        caller: PeerId,
        payer: Payer,
        parameters: Parameters,
    ) -> ServerEvent<'static> {
        let call = Call::new(now, (caller, caller), parameters, payer);
        self.calls.insert(caller, Call { up: Some(now), ..call });
        self.outbox.limit(caller, MAX_DATA.min(self.settings.limits.max_frame));
        self.outbox.budget(caller, budget(&parameters, self.settings.droppable_budget));
        if let Some(state) = self.peers.get_mut(caller) {
            state.line = Line::Busy(caller);
        }
        self.watch(now, caller);
        self.send(caller, &Packet::Accept { optional: b"" });
        self.call_deadlines.set(caller, now.saturating_add(self.settings.call_idle_timeout));
        self.stats.established = self.stats.established.saturating_add(1);
        ServerEvent::Established { caller, callee: caller, parameters }
    }

    /// A Handshake with a user name: puts the call through, or says why not.
    pub(super) fn call<'a>(
        &mut self,
        now: Instant,
        caller: PeerId,
        handshake: Handshake<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let Handshake { parameters, user_name, .. } = handshake;
        let Some(state) = self.peers.get(caller) else { return Err(Violation::UnknownPeer) };
        if state.pending.is_some() {
            return Err(self.unexpected(caller, "Handshake"));
        }
        if state.call().is_some() {
            // It crossed a call to this peer on the way: void, as the peer learns from that call.
            return if self.is_ringing(caller) {
                Ok(None)
            } else {
                Err(self.unexpected(caller, "Handshake"))
            };
        }
        if let Err(error) = parameters.check(&self.settings.ranges) {
            self.send_drop(caller, &error.to_string());
            return Err(error.into());
        }
        let callee = self.callee(caller, user_name);
        // Calling is how names are guessed and people are pestered.
        if !self.may_try(now, caller) {
            self.send_drop(caller, reason::TOO_MANY_ATTEMPTS);
            return Err(Violation::TooMany(Resource::Attempts));
        }
        let source = self.peers.ip(caller);
        let payer = self.attempts.payer(caller, source);
        if callee == Err(Unreachable::NotFound) && self.settings.echo && user_name == ECHO.as_bytes() {
            return Ok(Some(self.echo(now, caller, payer, parameters)));
        }
        let callee = callee.and_then(|callee| self.may_ring(now, callee, payer, source));
        match callee {
            Ok(callee) => {
                self.put_through(now, (caller, callee), payer, handshake);
                Ok(Some(ServerEvent::Ringing { caller, callee, parameters }))
            }
            Err(cause) => {
                match cause {
                    Unreachable::NotFound if !self.settings.hide_unknown => {
                        self.send(caller, &Packet::UserNotFound);
                    }
                    Unreachable::Oneself => self.send_drop(caller, reason::ONESELF),
                    _ => self.send_drop(caller, reason::BUSY),
                }
                Ok(Some(ServerEvent::Unreachable { caller, user: user_name, cause }))
            }
        }
    }

    /// The peer of that name, if it can be called now.
    fn callee(&self, caller: PeerId, user_name: &[u8]) -> Result<PeerId, Unreachable> {
        let callee = self.names.find(user_name).ok_or(Unreachable::NotFound)?;
        let state = self.peers.get(callee).ok_or(Unreachable::NotFound)?;
        if callee == caller {
            return Err(Unreachable::Oneself);
        }
        if state.call().is_some() || state.pending.is_some() {
            return Err(Unreachable::Busy);
        }
        if self.blocks.is_blocked(user_name, &self.shown_name(caller)) {
            return Err(Unreachable::Blocked);
        }
        Ok(callee)
    }

    /// No client is rung without end, by however many; and what one source does leaves room for others.
    fn may_ring(
        &mut self,
        now: Instant,
        callee: PeerId,
        payer: Payer,
        source: Option<IpAddr>,
    ) -> Result<PeerId, Unreachable> {
        let ServerSettings { rings, source_rings, source_ringing, .. } = self.settings;
        let state = self.peers.get_mut(callee).ok_or(Unreachable::NotFound)?;
        let allowed = state.ringing.take(now, source_ringing, payer, 1)
            && state.rings.take(now, rings, source_rings, payer, source);
        if allowed { Ok(callee) } else { Err(Unreachable::Busy) }
    }

    fn put_through(
        &mut self,
        now: Instant,
        (caller, callee): (PeerId, PeerId),
        payer: Payer,
        handshake: Handshake<'_>,
    ) {
        let Handshake { parameters, user_name, optional } = handshake;
        // A callee with a fixed name may never have said anything.
        if let Some(state) = self.peers.get_mut(callee) {
            state.assumed.get_or_insert_default();
        }
        let shown = self.shown_name(caller);
        let name = if self.settings.forward_callee_name { user_name } else { shown.as_bytes() };
        self.send(callee, &Packet::Handshake(Handshake { parameters, user_name: name, optional }));
        self.calls.insert(caller, Call::new(now, (caller, callee), parameters, payer));
        // From here on, for either side may believe the call to be up before it is, or after it was.
        let max_frame = MAX_DATA.min(self.settings.limits.max_frame);
        for peer in [caller, callee] {
            self.outbox.limit(peer, max_frame);
            if let Some(state) = self.peers.get_mut(peer) {
                state.line = Line::Busy(caller);
            }
            self.watch(now, peer);
        }
        self.call_deadlines.set(caller, now.saturating_add(self.settings.answer_timeout));
        self.stats.calls = self.stats.calls.saturating_add(1);
    }

    /// What others see of `peer`: its name, or its address.
    pub(super) fn shown_name(&self, peer: PeerId) -> String {
        match (self.name(peer), self.peers.address(peer)) {
            (Some(name), _) => name.into(),
            (None, Some(from)) => from.to_string(),
            (None, None) => "unknown".into(),
        }
    }

    /// Accept: from the callee of a call that rings, or from the caller of one with a counter-proposal.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: Packet<'_>,
    ) -> Result<Option<ServerEvent<'static>>, Violation> {
        let Some(caller) = self.call_awaiting(peer) else { return self.misplaced(now, peer, packet) };
        let Some(call) = self.calls.get_mut(caller) else { return Ok(None) };
        call.up = Some(now);
        call.last_data = now;
        let (callee, parameters) = (call.callee, call.parameters);
        let samples = |peer| self.peers.get(peer).and_then(|peer| peer.samples);
        if let (Some(a), Some(b)) = (samples(caller), samples(callee)) {
            call.swap = a != b;
        }
        let budget = budget(&parameters, self.settings.droppable_budget);
        for peer in [caller, callee] {
            self.outbox.budget(peer, budget);
        }
        self.send(if peer == caller { callee } else { caller }, &packet);
        self.call_deadlines.set(caller, now.saturating_add(self.settings.call_idle_timeout));
        self.stats.established = self.stats.established.saturating_add(1);
        Ok(Some(ServerEvent::Established { caller, callee, parameters }))
    }

    /// Parameters: from the callee of a call that rings.
    pub(super) fn counter(
        &mut self,
        now: Instant,
        peer: PeerId,
        parameters: Parameters,
        packet: Packet<'_>,
    ) -> Result<Option<ServerEvent<'static>>, Violation> {
        let caller = self.call_awaiting(peer).filter(|&caller| caller != peer);
        let Some(caller) = caller else { return self.misplaced(now, peer, packet) };
        if let Err(error) = parameters.check(&self.settings.ranges) {
            let ended = self.refuse_counter(now, caller, peer, &error.to_string());
            return Ok(ended.map(ServerEvent::Ended));
        }
        if let Some(call) = self.calls.get_mut(caller) {
            call.parameters = parameters;
            call.countered = true;
        }
        self.send(caller, &packet);
        self.call_deadlines.set(caller, now.saturating_add(self.settings.answer_timeout));
        Ok(None)
    }

    /// A counter-proposal that no client could take ends the call.
    pub(super) fn refuse_counter(
        &mut self,
        now: Instant,
        caller: PeerId,
        callee: PeerId,
        why: &str,
    ) -> Option<Ended> {
        let ended = self.end_for_both(now, caller, Cause::Dropped { by: callee }, why);
        self.count_violation(now, callee);
        ended
    }

    /// Drop, at any time, or Close. The document has Close only as the caller's answer to Parameters; clients that use it
    /// for any refusal are understood.
    pub(super) fn hang_up(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: Packet<'_>,
    ) -> Result<Option<ServerEvent<'static>>, Violation> {
        let caller = self.peers.get(peer).and_then(Peer::call);
        let Some(caller) = caller else {
            // It crossed the end of its call, or the answer to one.
            return Ok(None);
        };
        let Some(call) = self.calls.get(caller) else { return Ok(None) };
        let other = call.other(peer);
        let refused = call.countered && call.up.is_none() && peer == caller;
        let closed = matches!(packet, Packet::Close { .. }) && refused;
        if other != peer {
            self.send(other, &packet);
        }
        let cause = if closed { Cause::Closed } else { Cause::Dropped { by: peer } };
        let ended = self.end(now, caller, cause, Some(other));
        Ok(ended.map(ServerEvent::Ended))
    }

    /// Ends a call and tells both sides why.
    pub(super) fn end_for_both(
        &mut self,
        now: Instant,
        caller: PeerId,
        cause: Cause,
        why: &str,
    ) -> Option<Ended> {
        let callee = self.calls.get(caller)?.callee;
        self.send_drop(caller, why);
        if callee != caller {
            self.send_drop(callee, why);
        }
        self.end(now, caller, cause, None)
    }

    /// Ends a call whose sides have been told by us: both, or the `other` of the one that ended it. What was on the way
    /// then is let pass.
    pub(super) fn end(
        &mut self,
        now: Instant,
        caller: PeerId,
        cause: Cause,
        other: Option<PeerId>,
    ) -> Option<Ended> {
        let call = self.calls.remove(caller)?;
        self.call_deadlines.clear(caller);
        if let Some(callee) = self.peers.get_mut(call.callee).filter(|_| call.up.is_none()) {
            let rung = now.saturating_duration_since(call.rung).as_millis();
            let rung = u32::try_from(rung).unwrap_or(u32::MAX);
            callee.ringing.charge(now, self.settings.source_ringing, call.payer, rung);
        }
        for peer in [caller, call.callee] {
            let Some(state) = self.peers.get_mut(peer) else { continue };
            let told = other.is_none_or(|other| other == peer);
            state.line = Line::Over { until: now.saturating_add(LATE), told };
            self.outbox.budget(peer, 0);
            self.watch(now, peer);
        }
        Some(Ended {
            caller,
            callee: call.callee,
            cause,
            lasted: call.up.map(|up| now.saturating_duration_since(up)),
            packets: call.packets,
            bytes: call.bytes,
        })
    }

    /// A deadline of a call: no client answered, or it has been silent for long.
    pub(super) fn call_timeout(&mut self, now: Instant, caller: PeerId) -> Option<Ended> {
        let call = self.calls.get(caller)?;
        if call.up.is_none() {
            return self.end_for_both(now, caller, Cause::NoAnswer, reason::NO_ANSWER);
        }
        let due = call.last_data.saturating_add(self.settings.call_idle_timeout);
        if due > now {
            self.call_deadlines.set(caller, due);
            return None;
        }
        self.end_for_both(now, caller, Cause::Idle, reason::IDLE)
    }

    /// Whether `peer` is the callee of a call that it has not answered.
    pub(super) fn is_ringing(&self, peer: PeerId) -> bool {
        let call = self.peers.get(peer).and_then(Peer::call).and_then(|caller| self.calls.get(caller));
        call.is_some_and(|call| call.callee == peer && call.up.is_none() && !call.countered)
    }

    /// The caller of the call in which the answer of `peer` is awaited.
    pub(super) fn call_awaiting(&self, peer: PeerId) -> Option<PeerId> {
        let caller = self.peers.get(peer)?.call()?;
        let call = self.calls.get(caller)?;
        (call.up.is_none() && (peer == caller) == call.countered).then_some(caller)
    }

    /// An answer that belongs to no call, or not to this point of it.
    fn misplaced(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: Packet<'_>,
    ) -> Result<Option<ServerEvent<'static>>, Violation> {
        self.expire_late(now, peer);
        match self.peers.get(peer).map(|state| state.line) {
            // It was on the way when the call ended, as the peer has been told.
            Some(Line::Over { told: true, .. }) => Ok(None),
            // It believes in a call that there is not: one may have been ended by its hanging up an older one.
            Some(Line::Over { told: false, .. }) => {
                self.send(peer, &Packet::Drop { optional: &[] });
                Ok(None)
            }
            Some(Line::Free) => {
                self.send(peer, &Packet::Drop { optional: &[] });
                Err(self.unexpected(peer, packet.name()))
            }
            Some(Line::Busy(_)) | None => Err(self.unexpected(peer, packet.name())),
        }
    }

    /// What was on the way when the last call of `peer` ended has arrived after a while: large Data is no longer
    /// expected then.
    fn expire_late(&mut self, now: Instant, peer: PeerId) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        if matches!(state.line, Line::Over { until, .. } if until <= now) {
            state.line = Line::Free;
            self.outbox.limit(peer, MAX_STRAY_DATA.min(self.settings.limits.max_frame));
        }
    }
}

/// How much audio may wait for a listener: that of `queue`.
fn budget(parameters: &Parameters, queue: Duration) -> usize {
    let bytes = u128::from(parameters.bytes_per_second()).saturating_mul(queue.as_millis()) / 1000;
    usize::try_from(bytes).unwrap_or(usize::MAX).clamp(1, MAX_DATA)
}
