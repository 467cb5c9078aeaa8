use crate::{FrameError, Framing, Input, Instant, Lane, Outbox, PeerId, Session};
use alloc::vec::Vec;

/// Bytes of outputs that wait.
const MAX_OUTBOX: usize = 8 << 20;

/// A session for tests of drivers, without a protocol: a test says what it does with an input. It has no events, commands or timers, and
/// closes all its peers when it is shut down.
///
/// ```
/// use voxwire_core::testing::TestSession;
/// use voxwire_core::{Datagram, Input, Instant, Lane, PeerId, Session, Via};
///
/// // Sends every peer what another one has sent, and counts.
/// let mut relay = TestSession::new(Datagram { max: 100 }, 0, |session, _, input| {
///     if let Input::Frame { peer, lane, bytes } = input {
///         session.state += 1;
///         session.relay(peer, lane, bytes);
///     }
/// });
/// for slot in 0..3 {
///     let opened = Input::Opened { peer: PeerId { slot, generation: 0 }, via: Via::Accepted, from: None };
///     relay.handle_input(Instant::ZERO, opened)?;
/// }
/// let frame = Input::Frame { peer: relay.peers[0], lane: Lane::Droppable, bytes: b"hello" };
/// relay.handle_input(Instant::ZERO, frame)?;
/// assert_eq!((relay.state, relay.outputs().count()), (1, 2));
/// # Ok::<(), voxwire_core::FrameError>(())
/// ```
#[derive(Debug)]
pub struct TestSession<T, F> {
    /// What the test keeps.
    pub state: T,
    /// The peers that are connected, in the order in which they came.
    pub peers: Vec<PeerId>,
    /// How many peers it has learned to be gone.
    pub closed: usize,
    /// Its outputs.
    pub outbox: Outbox,
    framing: F,
    on_input: fn(&mut Self, Instant, Input<'_>),
}

impl<T, F> TestSession<T, F> {
    /// Without peers. `on_input` gets every input, once [`peers`](Self::peers) and [`closed`](Self::closed) are up to date.
    pub const fn new(framing: F, state: T, on_input: fn(&mut Self, Instant, Input<'_>)) -> Self {
        let outbox = Outbox::new(MAX_OUTBOX);
        Self { state, peers: Vec::new(), closed: 0, outbox, framing, on_input }
    }

    /// Sends all peers a frame.
    pub fn say(&mut self, lane: Lane, frame: &[u8]) {
        self.outbox.forward(self.peers.iter().copied(), lane, frame).expect("room in the outbox");
    }

    /// Sends all peers but one a frame.
    pub fn relay(&mut self, from: PeerId, lane: Lane, frame: &[u8]) {
        let others = self.peers.iter().copied().filter(|&other| other != from);
        self.outbox.forward(others, lane, frame).expect("room in the outbox");
    }
}

impl<T, F: Framing + Clone> Session for TestSession<T, F> {
    type Framing = F;
    type Command<'a> = ();
    type Event<'a> = ();
    type Violation = FrameError;
    type Refusal = FrameError;

    fn framing(&self) -> F {
        self.framing.clone()
    }

    fn handle_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Result<Option<()>, FrameError> {
        match input {
            Input::Opened { peer, .. } => self.peers.push(peer),
            Input::Closed { peer } => {
                self.peers.retain(|&known| known != peer);
                self.closed += 1;
            }
            _ => {}
        }
        (self.on_input)(self, now, input);
        Ok(None)
    }

    fn handle_command(&mut self, _now: Instant, (): ()) -> Result<(), FrameError> {
        Ok(())
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {
        self.peers.drain(..).for_each(|peer| self.outbox.close(peer));
    }
}
