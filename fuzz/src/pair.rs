//! A script for both sessions of a protocol, and the network between them.

use crate::{Driver, Script};
use core::time::Duration;
use std::collections::BTreeSet;
use voxwire_core::{DialId, Instant, Lane, Output, PeerId, Session, Via};

/// The two sessions of a protocol whose client has one server, and what holds beyond the contract of `Session`.
pub trait Pair {
    /// The client.
    type Client: Session;
    /// The server.
    type Server: Session;
    /// The most clients of [`server`](Self::server).
    const PLACES: usize;
    /// Whether each command ends with one event.
    const COMMANDS_END: bool = false;

    /// A client that is not connected.
    fn client() -> Self::Client;

    /// A server without clients.
    fn server() -> Self::Server;

    /// The command that bytes of a script stand for.
    fn command(lane: Lane, bytes: &[u8]) -> <Self::Client as Session>::Command<'_>;

    /// Which command this event ends, and how: commands that were not refused are counted from 0.
    fn ended(_event: &<Self::Client as Session>::Event<'_>) -> Option<(u32, End)> {
        None
    }

    /// Fails where a session sends what it must not.
    fn law(_server: &Self::Server, _step: &Step<'_>) {}
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an answer.
    Answered,
    /// Without one.
    Lost,
}

/// A frame that was sent, and its lane.
pub type Sent = (Lane, Vec<u8>);

/// What one session was told, and what it has sent for that.
#[derive(Debug)]
pub struct Step<'a> {
    /// Whether it is the client, which is given commands; or the server.
    pub is_client: bool,
    /// When.
    pub now: Instant,
    /// The lane of the command or the frame.
    pub lane: Lane,
    /// What the command of a client was made of, or the frame that came to the server. Empty for all else.
    pub bytes: &'a [u8],
    /// Whether there was such a command or frame, and it was neither refused nor ignored.
    pub accepted: bool,
    /// What it has sent.
    pub sent: &'a [Sent],
    /// How many frames it has sent since the start, these included.
    pub total: usize,
}

/// What a script came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Commands that ended with an answer, by its lane: reliable, droppable.
    pub answers: [usize; 2],
    /// Commands that ended without one.
    pub lost: usize,
    /// Frames that the client ignored.
    pub ignored: usize,
    /// Most peers of the server at a time.
    pub peers: usize,
    /// Peers that the server closed before the script ended.
    pub closed: usize,
}

/// Both ends. What they send waits until the script delivers it; the network loses what it likes.
struct Ends<P: Pair> {
    client: P::Client,
    server: P::Server,
    here: Driver,
    there: Driver,
    to_server: Vec<Sent>,
    to_client: Vec<Sent>,
    totals: [usize; 2],
    /// The commands that have not ended.
    waiting: BTreeSet<u32>,
    commands: u32,
    reached: Reached,
}

/// Obeys all outputs. Returns the frames that were sent.
fn sent(driver: &mut Driver, session: &mut impl Session) -> Vec<Sent> {
    let mut frames = Vec::new();
    driver.obey(session, |output| {
        if let Output::Send { lane, frame, .. } = output {
            frames.push((lane, frame.to_vec()));
        }
    });
    frames
}

impl<P: Pair> Ends<P> {
    fn new() -> Self {
        let (mut client, mut here) = (P::client(), Driver::default());
        here.open(&mut client, Via::Dialled(DialId::FIRST), None).expect("connected");
        Self {
            client,
            server: P::server(),
            here,
            there: Driver::default(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            totals: [0; 2],
            waiting: BTreeSet::new(),
            commands: 0,
            reached: Reached::default(),
        }
    }

    /// The law of what was sent.
    fn check(&mut self, is_client: bool, lane: Lane, bytes: &[u8], accepted: bool, sent: &[Sent]) {
        let total = &mut self.totals[usize::from(is_client)];
        *total += sent.len();
        let now = self.there.now;
        P::law(&self.server, &Step { is_client, now, lane, bytes, accepted, sent, total: *total });
    }

    /// The client is given a command.
    fn command(&mut self, lane: Lane, bytes: &[u8]) {
        let accepted = self.here.command(&mut self.client, P::command(lane, bytes)).is_ok();
        let sent = sent(&mut self.here, &mut self.client);
        self.check(true, lane, bytes, accepted, &sent);
        if accepted && P::COMMANDS_END {
            self.waiting.insert(self.commands);
        }
        self.commands += u32::from(accepted);
        self.to_server.extend(sent);
    }

    /// A frame comes to the server.
    fn serve(&mut self, peer: PeerId, lane: Lane, bytes: &[u8]) {
        let accepted = self.there.frame(&mut self.server, peer, lane, bytes).is_ok();
        let sent = sent(&mut self.there, &mut self.server);
        self.check(false, lane, bytes, accepted, &sent);
        self.to_client.extend(sent);
    }

    /// A frame comes to the client.
    fn answer(&mut self, lane: Lane, bytes: &[u8]) {
        let Some(&peer) = self.here.alive.first() else { return };
        match self.here.frame(&mut self.client, peer, lane, bytes) {
            Ok(event) => {
                let ended = event.as_ref().and_then(P::ended);
                end(&mut self.waiting, &mut self.reached, lane, ended);
            }
            Err(_) => self.reached.ignored += 1,
        }
        let sent = sent(&mut self.here, &mut self.client);
        self.check(true, lane, &[], false, &sent);
        self.to_server.extend(sent);
    }

    /// Timers fire, and outputs are obeyed.
    fn settle(&mut self) {
        self.here.now = self.there.now;
        let (waiting, reached) = (&mut self.waiting, &mut self.reached);
        self.here.timers(&mut self.client, |_, event| {
            end(waiting, reached, Lane::Reliable, event.as_ref().and_then(P::ended));
        });
        self.there.timers(&mut self.server, |_, _| {});
        let before = self.there.alive.len();
        let unasked = sent(&mut self.here, &mut self.client);
        self.check(true, Lane::Reliable, &[], false, &unasked);
        self.to_server.extend(unasked);
        let unasked = sent(&mut self.there, &mut self.server);
        self.check(false, Lane::Reliable, &[], false, &unasked);
        self.to_client.extend(unasked);
        self.reached.closed += before - self.there.alive.len();
        self.reached.peers = self.reached.peers.max(self.there.alive.len());
        assert!(self.there.alive.len() <= P::PLACES, "more peers than places");
    }
}

/// A command ends, once.
fn end(waiting: &mut BTreeSet<u32>, reached: &mut Reached, lane: Lane, ended: Option<(u32, End)>) {
    let Some((command, how)) = ended else { return };
    assert!(waiting.remove(&command), "it has ended before, or was never given");
    match how {
        End::Answered => reached.answers[usize::from(lane == Lane::Droppable)] += 1,
        End::Lost => reached.lost += 1,
    }
}

/// A script for a client and a server:
///
/// - all outputs go to live peers, and there are no more peers than places;
/// - each command ends once, where commands end at all;
/// - what the protocol's own law says;
/// - silent peers are closed, nothing waits for ever, and a shutdown closes every peer.
///
/// Returns what the script came to, and the server.
pub fn pair<P: Pair>(data: &[u8]) -> (Reached, P::Server) {
    let (mut script, mut ends) = (Script(data), Ends::<P>::new());
    while !script.is_empty() {
        let operation = script.byte();
        let lane = if operation & 16 == 0 { Lane::Reliable } else { Lane::Droppable };
        match (operation % 16, ends.there.peer(operation)) {
            (0..=2 | 4, _) => {
                let unit = Duration::from_millis(20);
                ends.there.step(&mut ends.server, operation, &mut script, unit, |_| 0);
            }
            // Any bytes, to both.
            (3, peer) => {
                let len = usize::from(script.byte());
                let bytes = script.bytes(len);
                if let Some(peer) = peer {
                    ends.serve(peer, lane, bytes);
                }
                ends.answer(lane, bytes);
            }
            (5..=7, _) => {
                let len = usize::from(script.byte());
                ends.command(lane, script.bytes(len));
            }
            (8..=11, Some(peer)) if !ends.to_server.is_empty() => {
                let choice = usize::from(script.byte()) % ends.to_server.len();
                let (lane, bytes) = ends.to_server.swap_remove(choice);
                ends.serve(peer, lane, &bytes);
            }
            (12.., _) if !ends.to_client.is_empty() => {
                let choice = usize::from(script.byte()) % ends.to_client.len();
                let (lane, bytes) = ends.to_client.swap_remove(choice);
                ends.answer(lane, &bytes);
            }
            _ => {}
        }
        ends.settle();
    }
    let closed = ends.reached.closed;
    ends.there.pass(Duration::from_secs(100));
    ends.settle();
    assert!(ends.waiting.is_empty(), "a command has not ended");
    assert!(ends.there.alive.is_empty(), "a silent peer stays for ever");
    shut_down(&mut ends.there, &mut ends.server);
    shut_down(&mut ends.here, &mut ends.client);
    (Reached { closed, ..ends.reached }, ends.server)
}

/// Where a session is shut down, its peers are closed, and no timer is left.
fn shut_down(driver: &mut Driver, session: &mut impl Session) {
    let _ = driver.open(session, Via::Accepted, None);
    driver.obey(session, |_| {});
    session.shutdown(driver.now);
    driver.timers(session, |_, _| {});
    driver.obey(session, |_| {});
    assert!(driver.alive.is_empty(), "a peer is left behind by the shutdown");
    assert_eq!(session.poll_timeout(), None, "a timer is left behind by the shutdown");
}
