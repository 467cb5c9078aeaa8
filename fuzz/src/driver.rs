//! The driver of one session in a script: who is connected, what time it is, and what the contract of `Session` says of outputs.

use crate::Script;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use voxwire_core::testing::law_timers;
use voxwire_core::{Input, Instant, Lane, Output, PeerId, PeerIds, Session, Via};

/// When a script begins. Not at the origin of the time line, where a timer that is due cannot be told from an event that waits.
pub const START: Instant = Instant::from_nanos(1);

/// What a driver knows of its session.
#[derive(Debug)]
pub struct Driver {
    /// The time.
    pub now: Instant,
    /// The peers that are connected, in the order in which they came.
    pub alive: Vec<PeerId>,
    /// Whether outputs are taken after each step.
    pub drains: bool,
    ids: PeerIds,
    /// The peers that have gone since outputs were taken: what waited may be for them.
    gone: BTreeSet<PeerId>,
}

impl Default for Driver {
    fn default() -> Self {
        Self { now: START, alive: Vec::new(), drains: true, ids: PeerIds::new(), gone: BTreeSet::new() }
    }
}

impl Driver {
    /// The peer that the upper half of an operation names.
    pub fn peer(&self, operation: u8) -> Option<PeerId> {
        self.alive.get(usize::from(operation >> 4)).copied()
    }

    /// A peer connects.
    ///
    /// # Errors
    /// The session's.
    pub fn open<'a, S: Session>(
        &mut self,
        session: &mut S,
        via: Via,
        from: Option<SocketAddr>,
    ) -> Result<Option<S::Event<'a>>, S::Violation> {
        let peer = self.ids.mint().expect("a free slot");
        self.alive.push(peer);
        session.handle_input(self.now, Input::Opened { peer, via, from })
    }

    /// A peer disconnects.
    ///
    /// # Errors
    /// The session's.
    pub fn close<'a, S: Session>(
        &mut self,
        session: &mut S,
        peer: PeerId,
    ) -> Result<Option<S::Event<'a>>, S::Violation> {
        self.forget(peer);
        self.gone.insert(peer);
        session.handle_input(self.now, Input::Closed { peer })
    }

    /// F-19: the driver is out of places, and the first of its peers goes that is worth less than a new one: with it at most `carried`
    /// connections that carry its calls, and none of those that `established` counts.
    pub fn evict<S: Session>(&mut self, session: &mut S, carried: usize, established: impl Fn(&S) -> usize) {
        let Some(first) = session.evictable().find(|peer| self.alive.contains(peer)) else { return };
        let (before, were) = (closing(session), established(session));
        self.close(session, first).expect("a peer that is there can go");
        let mut closed = closing(session);
        closed.retain(|peer| !before.contains(peer));
        assert!(closed.len() <= carried, "{closed:?}");
        assert!(closed.iter().all(|peer| self.alive.contains(peer)), "{closed:?} of {:?}", self.alive);
        assert_eq!(established(session), were, "an established peer was closed");
    }

    /// A frame comes in on the reliable lane.
    ///
    /// # Errors
    /// The session's.
    pub fn frame<'a, S: Session>(
        &self,
        session: &mut S,
        peer: PeerId,
        bytes: &'a [u8],
    ) -> Result<Option<S::Event<'a>>, S::Violation> {
        session.handle_input(self.now, Input::Frame { peer, lane: Lane::Reliable, bytes })
    }

    /// The application commands: [`command`].
    ///
    /// # Errors
    /// The session's.
    pub fn command<S: Session>(&self, session: &mut S, command: S::Command<'_>) -> Result<(), S::Refusal> {
        crate::command(session, self.now, command)
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    /// What happens to any server, by the lower half of an operation: 0 and 1 a peer connects, 2 one disconnects, or the driver needs a
    /// place (where `established` counts whom that may not cost theirs), 3 any bytes come in, 4 `unit` passes up to 255 times. False
    /// for any other operation, or one that names a peer that is not there.
    pub fn step<S: Session>(
        &mut self,
        session: &mut S,
        operation: u8,
        script: &mut Script<'_>,
        unit: Duration,
        established: impl Fn(&S) -> usize,
    ) -> bool {
        match (operation % 16, self.peer(operation)) {
            (0 | 1, _) => {
                let from = Some(([10, 0, 0, operation >> 6], 1).into());
                let _ = self.open(session, Via::Accepted, from);
            }
            (2, Some(peer)) => drop(self.close(session, peer)),
            (2, None) => self.evict(session, 0, established),
            (3, Some(peer)) => {
                let len = usize::from(script.byte());
                let _ = self.frame(session, peer, script.bytes(len));
            }
            (4, _) => self.pass(unit.saturating_mul(script.byte().into())),
            _ => return false,
        }
        true
    }

    /// Fires the timers that are due.
    pub fn timers<S: Session>(&self, session: &mut S, seen: impl FnMut(&S, Option<S::Event<'_>>)) {
        law_timers(session, self.now, seen);
    }

    /// Obeys all outputs: frames go to peers that are there, or were when they were queued; no peer is closed twice, and none gets a frame
    /// behind its close. `seen` gets each.
    pub fn obey<S: Session>(&mut self, session: &mut S, seen: impl FnMut(Output<'_>)) {
        let all = session.outputs().count();
        self.obey_first(session, all, seen);
        self.gone.clear();
    }

    /// The same up to the last close: drivers obey those at once.
    pub fn obey_closes<S: Session>(&mut self, session: &mut S) {
        let closes = session.outputs().enumerate().filter(|(_, it)| matches!(it, Output::Close { .. }));
        let first = closes.last().map_or(0, |(index, _)| index + 1);
        self.obey_first(session, first, |_| {});
    }

    fn obey_first<S: Session>(&mut self, session: &mut S, first: usize, mut seen: impl FnMut(Output<'_>)) {
        let mut closed = BTreeSet::new();
        for output in session.outputs().take(first) {
            match output {
                Output::Send { to, .. } => {
                    assert!(!closed.contains(&to), "a frame behind a close");
                    assert!(self.alive.contains(&to) || self.gone.contains(&to), "a frame for nobody");
                }
                Output::Close { peer } => assert!(closed.insert(peer), "closed twice"),
                _ => {}
            }
            seen(output);
        }
        session.advance(first);
        closed.into_iter().for_each(|peer| self.forget(peer));
    }

    fn forget(&mut self, peer: PeerId) {
        self.alive.retain(|&known| known != peer);
        self.ids.retire(peer);
    }
}

/// Has the session carry out a command. Point 6 of its contract: what is refused has queued nothing.
///
/// # Errors
/// The session's.
pub fn command<S: Session>(session: &mut S, now: Instant, command: S::Command<'_>) -> Result<(), S::Refusal> {
    let before = session.outputs().count();
    let result = session.handle_command(now, command);
    assert!(result.is_ok() || session.outputs().count() == before, "a refusal queues nothing");
    result
}

fn closing(session: &mut impl Session) -> Vec<PeerId> {
    let closed = session.outputs().filter_map(|output| match output {
        Output::Close { peer } => Some(peer),
        _ => None,
    });
    closed.collect()
}
