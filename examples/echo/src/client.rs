use crate::{Error, LIMITS, Packet};
use alloc::collections::VecDeque;
use core::time::Duration;
use voxwire_core::{Datagram, Input, Instant, Lane, Message, Outbox, PeerId, Session};

/// Requests that may wait for their answers at a time.
const MAX_WAITING: usize = 256;

/// A request: what is to come back, and the lane, which the answer takes, too. On the droppable one either may be lost.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a>(pub Lane, pub &'a [u8]);

/// What a client learns. Its requests are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// The server is connected.
    Connected,
    /// A payload is back.
    Answer {
        /// Which request.
        sequence: u32,
        /// The round trip.
        rtt: Duration,
        /// As it was sent.
        payload: &'a [u8],
    },
    /// This request was not answered in time.
    Lost(u32),
    /// The server is gone, and no answer will come.
    Disconnected,
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    timeout: Duration,
    server: Option<PeerId>,
    next: u32,
    /// What has been asked and when, the oldest first.
    waiting: VecDeque<(u32, Instant)>,
    outbox: Outbox,
}

impl Client {
    /// Not connected yet. A request that has no answer after `timeout` is lost.
    pub const fn new(timeout: Duration) -> Self {
        let outbox = Outbox::new(LIMITS.max_outbox);
        Self { timeout, server: None, next: 0, waiting: VecDeque::new(), outbox }
    }

    /// Whether there is a connection to the server.
    pub const fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    fn answer<'a>(&mut self, now: Instant, bytes: &'a [u8]) -> Result<ClientEvent<'a>, Error> {
        let Packet { answer, sequence, payload } = Packet::decode(bytes, &())?;
        let asked = self.waiting.iter().position(|(asked, _)| answer && *asked == sequence);
        let (_, sent) = asked.and_then(|at| self.waiting.remove(at)).ok_or(Error::Unexpected)?;
        Ok(ClientEvent::Answer { sequence, rtt: now.saturating_duration_since(sent), payload })
    }
}

impl Session for Client {
    type Framing = Datagram;
    type Command<'a> = Ask<'a>;
    type Event<'a> = ClientEvent<'a>;
    type Violation = Error;
    type Refusal = Error;

    fn framing(&self) -> Datagram {
        Datagram { max: LIMITS.max_frame }
    }

    fn handle_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Result<Option<ClientEvent<'a>>, Error> {
        match input {
            Input::Opened { peer, .. } => {
                self.server.replace(peer).into_iter().for_each(|before| self.outbox.close(before));
                Ok(Some(ClientEvent::Connected))
            }
            Input::Frame { peer, bytes, .. } if self.server == Some(peer) => {
                self.answer(now, bytes).map(Some)
            }
            Input::Frame { .. } => Err(Error::NoPeer),
            Input::Closed { peer } if self.server == Some(peer) => {
                (self.server, self.waiting) = (None, VecDeque::new());
                Ok(Some(ClientEvent::Disconnected))
            }
            _ => Ok(None),
        }
    }

    fn handle_command(&mut self, now: Instant, Ask(lane, payload): Ask<'_>) -> Result<(), Error> {
        let (server, sequence) = (self.server.ok_or(Error::NoPeer)?, self.next);
        if self.waiting.len() >= MAX_WAITING {
            return Err(Error::OverRate);
        }
        let packet = Packet { answer: false, sequence, payload };
        self.outbox.send([server], lane, &packet, &())?;
        self.waiting.push_back((sequence, now));
        self.next = sequence.wrapping_add(1);
        Ok(())
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ClientEvent<'a>> {
        self.poll_timeout().filter(|at| *at <= now)?;
        self.waiting.pop_front().map(|(sequence, _)| ClientEvent::Lost(sequence))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, sent)| sent.saturating_add(self.timeout))
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {
        self.waiting.clear();
        self.server.take().into_iter().for_each(|server| self.outbox.close(server));
    }
}
