//! Kept messages on their way to a connection, until they are shown to have arrived.

use crate::server::chat::is_kept;
use crate::server::{Server, ServerEvent, What};
use crate::{Refusal, Resource, ServerMessage};
use alloc::collections::VecDeque;
use core::time::Duration;
use voxwire_core::{Instant, Lane, PeerId};

/// The slowest that a delivery is thought to go, in bytes per second.
const SLOWEST: usize = 16 * 1024;

/// Kept messages that were delivered to a connection and are not shown to have arrived, oldest first. Each has one probe.
#[derive(Debug, Default)]
pub(in crate::server) struct Delivered {
    messages: VecDeque<Sent>,
    /// How many of them came before the answer to the log-in: the token shows that they have arrived.
    first: usize,
    /// How many of them came before the answer that was given last.
    answered: usize,
    /// How many probes have not been answered: those of the last messages.
    probes: usize,
    /// Bytes of the messages that the peer's transport has not been shown to have read.
    bytes: usize,
    /// The peer's transport cannot be asked what it has read, only whether its connection takes more.
    written_only: bool,
}

#[derive(Debug)]
struct Sent {
    /// Its part of [`Delivered::bytes`].
    bytes: usize,
    /// When it must have arrived.
    until: Instant,
}

impl Delivered {
    fn push(&mut self, now: Instant, bytes: usize, receipt: Duration, first: bool) {
        self.bytes = self.bytes.saturating_add(bytes);
        let until = arrival(now, receipt, self.bytes);
        // Nothing arrives before what was sent before it.
        let until = self.messages.back().map_or(until, |before| until.max(before.until));
        self.messages.push_back(Sent { bytes, until });
        self.probes = self.probes.saturating_add(1);
        if first {
            self.first = self.messages.len();
        }
    }

    /// An answer to a request follows what was delivered so far.
    pub(in crate::server) fn answer(&mut self) {
        self.answered = self.messages.len();
    }

    /// The oldest unanswered probe is answered: the transport has `read` what came before it, or else the connection has taken it. True
    /// if it was the last one; `None` if there was none.
    fn probed(&mut self, now: Instant, read: bool, receipt: Duration) -> Option<bool> {
        let taken = self.taken();
        let probed = self.messages.len() >= self.probes;
        self.probes = self.probes.checked_sub(1)?;
        self.written_only = !read;
        if !probed {
            return Some(self.probes == 0);
        }
        // What the connection has taken is on its way from now on, not from when it began to wait for that.
        let ahead = self.messages.iter().take(taken.saturating_add(1));
        let ahead = ahead.fold(0, |sum: usize, sent| sum.saturating_add(sent.bytes));
        if let Some(sent) = self.messages.get_mut(taken) {
            if read {
                self.bytes = self.bytes.saturating_sub(core::mem::take(&mut sent.bytes));
            } else {
                sent.until = sent.until.max(arrival(now, receipt, ahead));
            }
        }
        Some(self.probes == 0)
    }

    /// How many of them have had their probe answered.
    fn taken(&self) -> usize {
        self.messages.len().saturating_sub(self.probes)
    }

    pub(in crate::server) const fn before_login(&self) -> usize {
        self.first
    }

    /// How many have arrived, as a request with the token comes in now.
    pub(super) fn shown(&self, stale: bool) -> usize {
        let taken = if self.written_only { self.taken().min(self.answered) } else { self.taken() };
        if stale { self.first } else { taken.max(self.first) }
    }

    /// How many have arrived, as a log-out comes in now: its answer follows them.
    pub(super) fn shown_by_log_out(&self, stale: bool) -> usize {
        if stale { self.first } else { self.taken().max(self.first) }
    }

    /// How many must have arrived by now. Time alone shows nothing of what still waits for the connection, or has not been read.
    pub(in crate::server) fn due(&self, now: Instant) -> usize {
        self.messages.iter().take(self.taken()).take_while(|sent| sent.until <= now).count()
    }

    /// When the next one must have arrived, once its probe is answered.
    fn next_due(&self) -> Option<Instant> {
        self.messages.front().filter(|_| self.taken() > 0).map(|sent| sent.until)
    }

    /// Forgets the oldest `n`; returns how many there were.
    pub(super) fn forget(&mut self, n: usize) -> usize {
        let n = n.min(self.messages.len());
        for sent in self.messages.drain(..n) {
            self.bytes = self.bytes.saturating_sub(sent.bytes);
        }
        self.first = self.first.saturating_sub(n);
        self.answered = self.answered.saturating_sub(n);
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        n
    }
}

/// When `bytes` must have arrived that are on their way from `now` on.
fn arrival(now: Instant, receipt: Duration, bytes: usize) -> Instant {
    now.saturating_add(receipt).saturating_add(Duration::from_secs((bytes / SLOWEST) as u64))
}

impl Server {
    /// The transport of `peer` has `read` all that was delivered before one of the probes, or its connection has taken it.
    pub(in crate::server) fn has_taken(
        &mut self,
        now: Instant,
        peer: PeerId,
        read: bool,
    ) -> Option<ServerEvent<'static>> {
        let all = self.peers.get_mut(peer)?.delivered.probed(now, read, self.settings.receipt_timeout)?;
        self.await_receipt(peer);
        all.then_some(ServerEvent::Taken { peer })
    }

    /// Looks again when the next message that `peer` has taken must have arrived.
    fn await_receipt(&mut self, peer: PeerId) {
        match self.peers.get(peer).and_then(|state| state.delivered.next_due()) {
            Some(until) => self.receipts.set(peer, until),
            None => self.receipts.clear(peer),
        }
    }

    /// `peer` has the oldest `n` messages that were delivered to it.
    pub(in crate::server) fn received(&mut self, peer: PeerId, n: usize) -> Option<ServerEvent<'static>> {
        let state = self.peers.get_mut(peer)?;
        let messages = state.delivered.forget(n);
        self.await_receipt(peer);
        (messages > 0).then_some(ServerEvent::Received { peer, messages })
    }

    /// Whether what is kept for a user, by its name as it is [known](Self::key), can be delivered to `peer` now: that user is logged in
    /// there, or logging in, and not for requests alone. To be asked before kept messages are read.
    pub fn may_deliver(&self, peer: PeerId, username: &[u8]) -> bool {
        self.check_delivery(peer, "").is_ok_and(|whose| *self.users.key(whose) == *username)
    }

    /// Checks that `peer` can be sent what is kept; returns for whom.
    fn check_delivery(&self, peer: PeerId, command: &'static str) -> Result<&[u8], Refusal> {
        let state = self.peers.get(peer).filter(|state| state.gone.is_none()).ok_or(Refusal::UnknownPeer)?;
        let logging_in = state.in_work.and_then(|ticket| match &self.asked.get(&ticket)?.what {
            What::Login { username, requests_only } => Some((username, *requests_only)),
            _ => None,
        });
        let (username, requests_only) = match (&state.login, logging_in) {
            (Some(login), _) => (&login.username, login.requests_only),
            (None, Some(logging_in)) => logging_in,
            (None, None) => {
                return Err(Refusal::Unexpected { state: "nobody is logged in, or logging in", command });
            }
        };
        if requests_only || state.answers_only {
            return Err(Refusal::Unexpected { state: "it is there for requests alone", command });
        }
        if state.login.is_none() && self.is_crowded(username) {
            return Err(Refusal::Full {
                what: Resource::UserConnections,
                max: self.settings.max_connections,
            });
        }
        Ok(username)
    }

    pub(in crate::server) fn deliver(
        &mut self,
        now: Instant,
        peer: PeerId,
        update: &ServerMessage<'_>,
    ) -> Result<(), Refusal> {
        let command = "deliver what was kept";
        if !is_kept(update) {
            return Err(Refusal::Unexpected { state: "it is no message that is kept", command });
        }
        self.check_delivery(peer, command)?;
        let len = self.outbox.send([peer], Lane::Reliable, update, &self.wire)?.len();
        let Some(state) = self.peers.get_mut(peer) else { return Ok(()) };
        let first = state.login.is_none();
        state.delivered.push(now, len, self.settings.receipt_timeout, first);
        self.outbox.probe(peer);
        Ok(())
    }
}
