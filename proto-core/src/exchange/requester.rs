use super::{Exchange, RequestError};
use crate::{Datagram, EncodeError, Input, Instant, Lane, Message, NoPlace, Outbox, PeerId, Session, Via};
use alloc::collections::VecDeque;
use core::{fmt, time::Duration};

/// Requests that may wait for their answers at a time.
const MAX_WAITING: usize = 256;

/// A request: its payload, and the lane, which the answer takes, too. On the droppable one either may be lost.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a>(pub Lane, pub &'a [u8]);

/// What a [`Requester`] tells. `A` is the packet. Requests are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequesterEvent<A> {
    /// The server is connected.
    Connected,
    /// An answer has come.
    Answer {
        /// Which request.
        sequence: u32,
        /// The round trip.
        rtt: Duration,
        /// As it came.
        answer: A,
    },
    /// This request was not answered in time.
    Lost(u32),
    /// The server is gone, and no answer will come.
    Disconnected,
}

/// The client of one server, which answers requests. At most 256 of them wait for their answers; further ones are refused. The server is the
/// first peer that the driver has dialled; other peers are closed.
pub struct Requester<M: Exchange> {
    timeout: Duration,
    wire: M::Wire,
    server: Option<PeerId>,
    next: u32,
    /// What has been asked and when, the oldest first.
    waiting: VecDeque<(u32, Instant)>,
    outbox: Outbox,
}

impl<M: Exchange> fmt::Debug for Requester<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, next, waiting, .. } = self;
        let mut fields = f.debug_struct("Requester");
        fields.field("server", server).field("next", next).field("waiting", waiting).finish_non_exhaustive()
    }
}

impl<M: Exchange> Requester<M> {
    /// Not connected yet. A request that has no answer after `timeout` is lost.
    pub fn new(timeout: Duration) -> Self {
        let (wire, outbox) = (M::Wire::default(), Outbox::new(M::LIMITS.max_outbox));
        Self { timeout, wire, server: None, next: 0, waiting: VecDeque::new(), outbox }
    }

    /// Whether there is a connection to the server.
    pub const fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    fn answer<'a>(
        &mut self,
        now: Instant,
        bytes: &'a [u8],
    ) -> Result<RequesterEvent<M::At<'a>>, RequestError> {
        let answer = M::At::<'a>::decode(bytes, &self.wire)?;
        let asked = M::answers(&answer).and_then(|sequence| {
            let at = self.waiting.iter().position(|(asked, _)| *asked == sequence)?;
            self.waiting.remove(at)
        });
        let (sequence, sent) = asked.ok_or(RequestError::Unexpected)?;
        Ok(RequesterEvent::Answer { sequence, rtt: now.saturating_duration_since(sent), answer })
    }
}

impl<M: Exchange> Session for Requester<M> {
    type Framing = Datagram;
    type Command<'a> = Ask<'a>;
    type Event<'a> = RequesterEvent<M::At<'a>>;
    type Violation = RequestError;
    type Refusal = RequestError;

    fn framing(&self) -> Datagram {
        Datagram { max: M::LIMITS.max_frame }
    }

    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<Self::Event<'a>>, RequestError> {
        match input {
            Input::Opened { peer, via: Via::Dialled(_), .. } if self.server.is_none() => {
                self.server = Some(peer);
                Ok(Some(RequesterEvent::Connected))
            }
            // A second server, or a peer that has connected by itself.
            Input::Opened { peer, .. } => {
                self.outbox.close(peer);
                Err(NoPlace.into())
            }
            Input::Frame { peer, bytes, .. } if self.server == Some(peer) => {
                self.answer(now, bytes).map(Some)
            }
            Input::Frame { .. } => Err(RequestError::UnknownPeer),
            Input::Closed { peer } if self.server == Some(peer) => {
                (self.server, self.waiting) = (None, VecDeque::new());
                Ok(Some(RequesterEvent::Disconnected))
            }
            _ => Ok(None),
        }
    }

    fn handle_command(&mut self, now: Instant, Ask(lane, payload): Ask<'_>) -> Result<(), RequestError> {
        let (server, sequence) = (self.server.ok_or(RequestError::UnknownPeer)?, self.next);
        if self.waiting.len() >= MAX_WAITING {
            return Err(RequestError::OverRate);
        }
        let request = M::request(sequence, payload);
        EncodeError::check_len("request", request.encoded_len(&self.wire)?, M::LIMITS.max_frame)?;
        self.outbox.send([server], lane, &request, &self.wire)?;
        self.waiting.push_back((sequence, now));
        self.next = sequence.wrapping_add(1);
        Ok(())
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<Self::Event<'a>> {
        self.poll_timeout().filter(|at| *at <= now)?;
        self.waiting.pop_front().map(|(sequence, _)| RequesterEvent::Lost(sequence))
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
