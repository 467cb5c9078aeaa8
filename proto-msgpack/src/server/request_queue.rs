//! Requests whose turn has not come: they wait behind one that the application works on, or for their connection's rate. Live audio
//! does not wait with them, nor does what the transport answers by itself.

use super::{Peer, Server};
use crate::message::head;
use crate::{Code, MAX_BEFORE_LOGIN, MAX_QUEUED_BYTES, ServerMessage, Text};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{boxed::Box, vec::Vec};
use core::{net::IpAddr, time::Duration};
use voxwire_core::{Deferred, Instant, Lane, PeerId, source};

/// What those of each connection have of their own, in bytes: only more than that comes out of the ceiling of all.
const OWN: usize = MAX_BEFORE_LOGIN;

/// When its stream ends, the requests of a connection are done at once that would have had their turn within this time.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// The requests of one connection that wait, in order.
#[derive(Debug, Default)]
pub(super) struct RequestQueue {
    requests: VecDeque<Request>,
    bytes: usize,
    /// There are too many: reading pauses.
    pub(super) full: bool,
    /// The turn of the next one has come.
    ready: bool,
}

#[derive(Debug)]
enum Request {
    Frame(Vec<u8>),
    /// One for which there was no room, by its action: it is refused when its turn comes.
    Refused(Box<[u8]>),
}

impl RequestQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes that count towards the ceiling.
    const fn counted(&self) -> usize {
        self.bytes.saturating_sub(OWN)
    }
}

/// What waiting requests hold beyond what each connection has of its own, in bytes: in all, and by source.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    total: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

impl Ledger {
    /// Counts `more` bytes of `from`, which pays (`None` where its address stands for many people); false if there is no room. Those of
    /// one source have a quarter of `max`, but where no other user has anything.
    fn take(&mut self, from: Option<IpAddr>, more: usize, max: usize) -> bool {
        if more == 0 {
            return true;
        }
        let total = self.total.saturating_add(more);
        if total > max {
            return false;
        }
        if let Some(from) = from.map(source) {
            let here = self.by_source.get(&from).copied().unwrap_or(0);
            let sum = here.saturating_add(more);
            if sum > max / 4 && self.total > 0 {
                return false;
            }
            self.by_source.insert(from, sum);
        }
        self.total = total;
        true
    }

    fn give(&mut self, from: Option<IpAddr>, less: usize) {
        if less == 0 {
            return;
        }
        self.total = self.total.saturating_sub(less);
        let Some(from) = from.map(source) else { return };
        if let Some(here) = self.by_source.get_mut(&from) {
            *here = here.saturating_sub(less);
            if *here == 0 {
                self.by_source.remove(&from);
            }
        }
    }
}

impl Peer {
    /// Whether a request that comes in now has to wait for its turn.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.in_work.is_some() || !self.queued.is_empty() || self.rests > now
    }
}

impl Server {
    /// The address that pays for what `peer` has waiting; none where it stands for many people.
    fn payer(&self, peer: PeerId) -> Option<IpAddr> {
        self.creations.limited(self.peers.ip(peer))
    }

    /// Has a request of `peer` wait for its turn.
    pub(super) fn put_off(&mut self, now: Instant, peer: PeerId, bytes: &[u8]) {
        let from = self.payer(peer);
        let Some(state) = self.peers.get_mut(peer) else { return };
        let queue = &mut state.queued;
        let before = queue.counted();
        let held = queue.bytes.saturating_add(bytes.len());
        let more = held.saturating_sub(OWN).saturating_sub(before);
        if self.ledger.take(from, more, self.settings.max_queued_request_bytes) {
            queue.bytes = held;
            queue.requests.push_back(Request::Frame(bytes.into()));
        } else {
            queue.requests.push_back(Request::Refused(action_of(bytes).0.into()));
        }
        if queue.requests.len() >= self.settings.max_queued_requests || queue.bytes >= MAX_QUEUED_BYTES {
            queue.full = true;
            // Longer than all that it waits for may take, after which it has its turn.
            let until = now
                .max(state.rests)
                .saturating_add(self.settings.answer_timeout.max(self.settings.admission_timeout));
            self.outbox.pause(peer, until.saturating_add(Duration::from_secs(1)));
        }
        self.arrange_turn(now, peer);
    }

    /// Sees to it that the next request of `peer` has its turn as soon as nothing is in the way.
    pub(super) fn arrange_turn(&mut self, now: Instant, peer: PeerId) {
        match self.peers.get(peer) {
            Some(state) if state.in_work.is_none() && !state.queued.is_empty() && !state.queued.ready => {
                self.turns.set(peer, now.max(state.rests));
            }
            _ => self.turns.clear(peer),
        }
        self.idle(peer);
    }

    /// A log-in has been answered, and none is left: what the driver holds back may be looked at.
    pub(super) fn idle(&mut self, peer: PeerId) {
        let state = self.peers.get(peer).filter(|state| state.entering && state.gone.is_none());
        let state = state.filter(|state| state.in_work.is_none() && state.queued.is_empty());
        if let Some(max_frame) = state.map(|state| state.max_frame) {
            self.limit(peer, max_frame);
        }
    }

    /// The next request whose turn has come. None as long as the outbox has no room for what comes of it: refused then, it would be lost.
    pub(super) fn next_turn(&mut self) -> Option<Deferred> {
        while let Some(&peer) = self.ready.front() {
            let next = self.peers.get(peer).and_then(|state| state.queued.requests.front());
            let len = match next {
                Some(Request::Frame(bytes)) => bytes.len(),
                _ => 0,
            };
            self.check_capacity(len).ok()?;
            self.ready.pop_front();
            let Some(state) = self.peers.get_mut(peer) else { continue };
            state.queued.ready = false;
            let gone = state.gone;
            // Who connects anew for every few requests is no faster than who stays: its log-in takes the rate along.
            if gone.is_some_and(|since| state.rests > since.saturating_add(LEFT_BEHIND)) {
                self.drop_waiting(peer);
            }
            match self.next_request(peer) {
                Some(Request::Frame(bytes)) => {
                    if let Some(state) = self.peers.get_mut(peer) {
                        state.turn = true;
                    }
                    return Some(Deferred { peer, lane: Lane::Reliable, bytes });
                }
                Some(Request::Refused(action)) => {
                    let action = Text(&action);
                    self.send(peer, &ServerMessage::Response { action, code: Code::REQUEST_OVER_LIMIT });
                    self.refused(peer);
                }
                None => {
                    if let Some(since) = gone {
                        let event = self.forget(since, peer, true);
                        self.later.extend(event);
                    }
                }
            }
        }
        None
    }

    /// The turn of `peer` has come. It has one, however long it has to wait for room.
    pub(super) fn make_ready(&mut self, peer: PeerId) {
        if let Some(state) = self.peers.get_mut(peer).filter(|state| !state.queued.ready) {
            state.queued.ready = true;
            self.ready.push_back(peer);
        }
    }

    /// What had its turn was refused, which costs no time: the next request of `peer` has its turn at once.
    fn refused(&mut self, peer: PeerId) {
        match self.peers.get(peer) {
            Some(state) if state.gone.is_some() || !state.queued.is_empty() => self.make_ready(peer),
            _ => self.idle(peer),
        }
    }

    /// The turn of `peer` is over.
    pub(super) fn turn_over(&mut self, now: Instant, peer: PeerId) {
        match self.peers.get(peer) {
            // Now, as long as no other user can have its place.
            Some(Peer { gone: Some(_), .. }) => self.make_ready(peer),
            _ => self.arrange_turn(now, peer),
        }
    }

    fn next_request(&mut self, peer: PeerId) -> Option<Request> {
        // The same that paid: an exempt address has neighbours in its /64 that are not.
        let from = self.payer(peer);
        let state = self.peers.get_mut(peer)?;
        let before = state.queued.counted();
        let request = state.queued.requests.pop_front()?;
        if let Request::Frame(bytes) = &request {
            state.queued.bytes = state.queued.bytes.saturating_sub(bytes.len());
        }
        self.ledger.give(from, before.saturating_sub(state.queued.counted()));
        let RequestQueue { requests, bytes, full, .. } = &mut state.queued;
        if *full && requests.len() < self.settings.max_queued_requests && *bytes < MAX_QUEUED_BYTES {
            *full = false;
            self.outbox.resume(peer);
        }
        Some(request)
    }

    /// The stream of `peer` has ended. What came in before is done: no user waits for answers any more, so nothing has to wait for its
    /// turn, but for what is far beyond the rate of requests ([`LEFT_BEHIND`]). False if there is nothing.
    pub(super) fn do_the_rest(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(state) = self.peers.get_mut(peer).filter(|state| !state.queued.is_empty()) else {
            return false;
        };
        state.gone = Some(now);
        let ticket = state.in_work.take();
        if let Some(login) = &state.login {
            // Others are told at once: what they send it is kept.
            self.users.remove(&login.username, peer);
        }
        self.stop_hearing(peer);
        if let Some(ticket) = ticket {
            self.wait_no_longer(ticket);
        }
        self.turns.clear(peer);
        self.make_ready(peer);
        true
    }

    /// Forgets what waits; returns the actions, in order, of what is never answered.
    pub(super) fn drop_waiting(&mut self, peer: PeerId) -> Vec<Box<[u8]>> {
        self.turns.clear(peer);
        let mut actions = Vec::new();
        while let Some(request) = self.next_request(peer) {
            actions.push(match request {
                Request::Frame(bytes) => action_of(&bytes).0.into(),
                Request::Refused(action) => action,
            });
        }
        actions
    }
}

/// The action of a request, as far as it can be read: what its response says.
pub(super) fn action_of(bytes: &[u8]) -> Text<'_> {
    let (first, action) = head(bytes);
    if first.0 == crate::objects::kind::REQUEST { action } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-06: an exempt address pays for nothing.
    #[test]
    fn one_source_has_a_quarter_where_others_wait_and_who_is_exempt_all() {
        let mut ledger = Ledger::default();
        let [one, two, here] = ["192.0.2.1", "192.0.2.2", "exempt"].map(|it| it.parse::<IpAddr>().ok());
        assert!(ledger.take(one, 1000, 1000), "it is alone");
        assert!(!ledger.take(two, 1, 1000));
        ledger.give(one, 1000);
        assert!(ledger.take(one, 200, 1000) && ledger.take(one, 50, 1000) && !ledger.take(one, 1, 1000));
        assert!(ledger.take(two, 250, 1000) && ledger.take(here, 500, 1000) && !ledger.take(here, 1, 1000));
        ledger.give(one, 250);
        ledger.give(two, 250);
        ledger.give(here, 500);
        assert!(ledger.total == 0 && ledger.by_source.is_empty());
    }
}
