//! A session whose frames are datagrams, and which sends what a test says to all its peers.
#![allow(dead_code, reason = "each test uses a part of it")]

use core::time::Duration;
use voxwire_core::{Datagram, FrameError, Input, Instant, Lane, Outbox, PeerId, Session};

#[derive(Debug)]
pub(crate) struct Shouting {
    pub(crate) peers: Vec<PeerId>,
    pub(crate) outbox: Outbox,
    /// The largest frame, in bytes.
    pub(crate) max: usize,
    /// Reads no peer for a minute.
    pub(crate) pauses: bool,
    /// The first byte of each droppable frame that came in.
    pub(crate) heard: Vec<u8>,
    /// How many peers it has learned to be gone.
    pub(crate) closed: usize,
    /// How often it has learned that all is written.
    pub(crate) written: usize,
}

impl Default for Shouting {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            outbox: Outbox::new(8 << 20),
            max: 1000,
            pauses: false,
            heard: Vec::new(),
            closed: 0,
            written: 0,
        }
    }
}

impl Shouting {
    pub(crate) fn shout(&mut self, frame: &[u8]) {
        self.outbox.forward(self.peers.iter().copied(), Lane::Reliable, frame).unwrap();
    }
}

impl Session for Shouting {
    type Framing = Datagram;
    type Command<'a> = ();
    type Event<'a> = ();
    type Violation = FrameError;
    type Refusal = FrameError;

    fn framing(&self) -> Datagram {
        Datagram { max: self.max }
    }

    fn handle_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Result<Option<()>, FrameError> {
        match input {
            Input::Opened { peer, .. } => {
                self.peers.push(peer);
                if self.pauses {
                    self.outbox.pause(peer, now.saturating_add(Duration::from_secs(60)));
                }
            }
            Input::Frame { lane: Lane::Droppable, bytes, .. } => self.heard.extend(bytes.first()),
            Input::Closed { peer } => {
                self.peers.retain(|&known| known != peer);
                self.closed += 1;
            }
            Input::Written { .. } => self.written += 1,
            _ => {}
        }
        Ok(None)
    }

    fn handle_command(&mut self, _now: Instant, _command: ()) -> Result<(), FrameError> {
        Ok(())
    }

    fn handle_timeout<'a>(&mut self, _now: Instant) -> Option<Self::Event<'a>> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {}
}
