//! The driver of one session in a script: who is connected, what time it is, and what the contract of `Session` says of outputs.

use crate::Script;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The first three bytes of the addresses from which [`Driver::step`] has peers connect.
    pub network: [u8; 3],
    ids: PeerIds,
    /// The peers that have disconnected, each with the number of outputs that waited then: those may be for it, and no later ones.
    gone: BTreeMap<PeerId, usize>,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            now: START,
            alive: Vec::new(),
            drains: true,
            network: [10, 0, 0],
            ids: PeerIds::new(),
            gone: BTreeMap::new(),
        }
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
        self.gone.insert(peer, session.outputs().count());
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

    /// A frame comes in.
    ///
    /// # Errors
    /// The session's.
    pub fn frame<'a, S: Session>(
        &self,
        session: &mut S,
        peer: PeerId,
        lane: Lane,
        bytes: &'a [u8],
    ) -> Result<Option<S::Event<'a>>, S::Violation> {
        session.handle_input(self.now, Input::Frame { peer, lane, bytes })
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
    /// place (where `established` counts whom that may not cost theirs), 3 any bytes come in on the reliable lane, 4 `unit` passes up to 255 times. False
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
                let [a, b, c] = self.network;
                let _ = self.open(session, Via::Accepted, Some(([a, b, c, operation >> 6], 1).into()));
            }
            (2, Some(peer)) => {
                // Where outputs wait, the session may have closed it before.
                let known = !closing(session).contains(&peer);
                let result = self.close(session, peer);
                assert!(result.is_ok() || !known, "a peer that is there can go: {result:?}");
            }
            (2, None) => self.evict(session, 0, established),
            (3, Some(peer)) => {
                let len = usize::from(script.byte());
                let _ = self.frame(session, peer, Lane::Reliable, script.bytes(len));
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

    /// Obeys all outputs. Frames go to peers that are there, or were when the frame was queued; none is behind the peer's close. A close is of a
    /// peer that is there, or has gone since outputs were taken, and no second one. `seen` gets each output.
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
        for (index, output) in session.outputs().take(first).enumerate() {
            match output {
                Output::Send { to: peer, .. } | Output::Validate { peer } => {
                    assert!(!closed.contains(&peer), "behind a close: {output:?}");
                    let in_time = self.gone.get(&peer).is_some_and(|&waited| index < waited);
                    assert!(in_time || self.alive.contains(&peer), "for nobody: {output:?}");
                }
                Output::Close { peer } => {
                    assert!(closed.insert(peer), "closed twice: {output:?}");
                    let known = self.gone.contains_key(&peer) || self.alive.contains(&peer);
                    assert!(known, "for nobody: {output:?}");
                }
                _ => {}
            }
            seen(output);
        }
        session.advance(first);
        self.gone.values_mut().for_each(|waited| *waited = waited.saturating_sub(first));
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use voxwire_core::{Datagram, EncodeError, Outbox};
    use voxwire_echo::Packet;

    /// Answers its peers, and the one that leaves as well, if it is told so.
    struct Careless {
        answers_gone: bool,
        outbox: Outbox,
    }

    impl Session for Careless {
        type Framing = Datagram;
        type Command<'a> = Infallible;
        type Event<'a> = Infallible;
        type Violation = EncodeError;
        type Refusal = Infallible;

        fn framing(&self) -> Datagram {
            Datagram { max: 1000 }
        }

        fn handle_input<'a>(
            &mut self,
            _: Instant,
            input: Input<'a>,
        ) -> Result<Option<Infallible>, EncodeError> {
            let to = match input {
                Input::Frame { peer, .. } => Some(peer),
                Input::Closed { peer } => Some(peer).filter(|_| self.answers_gone),
                _ => None,
            };
            let packet = Packet { answer: true, sequence: 0, payload: b"" };
            self.outbox.send(to, Lane::Reliable, &packet, &()).map(|_| None)
        }

        fn handle_command(&mut self, _: Instant, command: Infallible) -> Result<(), Infallible> {
            match command {}
        }

        fn outbox(&mut self) -> &mut Outbox {
            &mut self.outbox
        }

        fn shutdown(&mut self, _: Instant) {}
    }

    /// A peer connects, asks, and disconnects before the outputs are taken.
    fn ask_and_leave(answers_gone: bool) {
        let (mut session, mut driver) =
            (Careless { answers_gone, outbox: Outbox::new(1000) }, Driver::default());
        driver.open(&mut session, Via::Accepted, None).expect("connected");
        let peer = driver.alive[0];
        driver.frame(&mut session, peer, Lane::Reliable, b"?").expect("answered");
        driver.close(&mut session, peer).expect("closed");
        let mut frames = 0;
        driver.obey(&mut session, |_| frames += 1);
        assert_eq!(frames, 1);
    }

    #[test]
    fn a_frame_may_wait_for_a_peer_that_leaves() {
        ask_and_leave(false);
    }

    #[test]
    #[should_panic(expected = "for nobody: Send")]
    fn no_frame_is_queued_for_a_peer_that_has_left() {
        ask_and_leave(true);
    }
}
