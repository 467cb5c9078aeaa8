use super::{Exchange, RequestError};
use crate::{Bucket, Connections, Datagram, Deadlines, EncodeError, Input, Instant, Lane, Message};
use crate::{Outbox, PeerId, Rate, Session};
use core::{convert::Infallible, time::Duration};

/// Settings of a [`Responder`].
#[derive(Debug, Clone, Copy)]
pub struct ResponderSettings {
    /// Clients at a time. Default: 1024. For one more, the oldest is closed that has never sent a request.
    pub max_peers: usize,
    /// Requests of one client that are answered; further ones are ignored. Default: 100 a second, 200 at once.
    pub rate: Rate,
    /// How long a client may send no request before it is closed. Default: 60 s.
    pub idle_timeout: Duration,
}

impl ResponderSettings {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        max_peers: 1024,
        rate: Rate { per_second: 100, burst: 200 },
        idle_timeout: Duration::from_secs(60),
    };
}

impl Default for ResponderSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counters of a [`Responder`], since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderStats {
    /// Requests answered.
    pub answered: u64,
    /// Requests that were not answered because of the rate.
    pub over_rate: u64,
    /// Other packets that were ignored.
    pub violations: u64,
}

/// The server of a protocol of requests and answers, on the lanes of datagrams: each request is answered on the lane that it came on.
/// It has no commands and no events. Where all places are taken, the oldest client that has never sent a request makes room; silent clients are
/// closed.
///
/// ```
/// use voxwire_core::{DecodeError, EncodeError, Exchange, Input, Instant, Lane, Limits, Message, Output};
/// use voxwire_core::{PeerId, Responder, ResponderSettings, Session, Via, bytes::BufMut};
///
/// /// A byte, which comes back with the next value.
/// #[derive(Debug)]
/// struct Next(u8);
///
/// impl<'a> Message<'a> for Next {
///     type Wire = ();
///     type At<'b> = Next;
///
///     fn decode(frame: &'a [u8], (): &()) -> Result<Self, DecodeError> {
///         let [byte] = frame else { return Err(DecodeError::limit("Byte", 0, frame.len() as u64, 1)) };
///         Ok(Self(*byte))
///     }
///
///     fn encoded_len(&self, (): &()) -> Result<usize, EncodeError> {
///         Ok(1)
///     }
///
///     fn write_unchecked(&self, (): &(), out: &mut impl BufMut) {
///         out.put_u8(self.0);
///     }
/// }
///
/// impl Exchange for Next {
///     const LIMITS: Limits = Limits { max_frame: 1, ..Limits::DEFAULT };
///
///     fn request(sequence: u32, _payload: &[u8]) -> Self::At<'_> {
///         Next(sequence as u8)
///     }
///
///     fn answer(_now: Instant, request: Self::At<'_>) -> Option<Self::At<'_>> {
///         request.0.checked_add(1).map(Next)
///     }
///
///     fn answers(answer: &Self::At<'_>) -> Option<u32> {
///         Some(u32::from(answer.0.checked_sub(1)?))
///     }
/// }
///
/// let mut server = Responder::<Next>::new(ResponderSettings::DEFAULT);
/// let (now, peer) = (Instant::ZERO, PeerId { slot: 0, generation: 0 });
/// server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from: None })?;
/// server.handle_input(now, Input::Frame { peer, lane: Lane::Droppable, bytes: &[7] })?;
/// let answer = server.outputs().next();
/// assert!(matches!(answer, Some(Output::Send { frame: [8], lane: Lane::Droppable, .. })), "{answer:?}");
/// # Ok::<(), voxwire_core::RequestError>(())
/// ```
#[derive(Debug)]
pub struct Responder<M: Exchange> {
    settings: ResponderSettings,
    wire: M::Wire,
    /// Each with its rate; evictable until it has asked something.
    peers: Connections<Bucket>,
    /// When each has said nothing for too long.
    idle: Deadlines<PeerId>,
    outbox: Outbox,
    stats: ResponderStats,
}

impl<M: Exchange> Responder<M> {
    /// Without clients.
    pub fn new(settings: ResponderSettings) -> Self {
        let (peers, outbox) = (Connections::new(settings.max_peers), Outbox::new(M::LIMITS.max_outbox));
        let (wire, stats) = (M::Wire::default(), ResponderStats::default());
        Self { settings, wire, peers, idle: Deadlines::new(), outbox, stats }
    }

    /// What has been counted.
    pub const fn stats(&self) -> ResponderStats {
        self.stats
    }

    fn forget(&mut self, peer: PeerId) {
        self.idle.clear(peer);
        self.peers.remove(peer);
    }

    fn close(&mut self, peer: PeerId) {
        self.outbox.close(peer);
        self.forget(peer);
    }

    fn request(&mut self, now: Instant, peer: PeerId, lane: Lane, bytes: &[u8]) -> Result<(), RequestError> {
        let bucket = self.peers.get_mut(peer).ok_or(RequestError::UnknownPeer)?;
        // Before anything is counted: what is refused for lack of room can be handed in again.
        self.outbox.check_capacity(bytes.len(), 1)?;
        bucket.take(now, self.settings.rate, 1).map_err(|_| RequestError::OverRate)?;
        let request = M::At::<'_>::decode(bytes, &self.wire)?;
        let answer = M::answer(now, request).ok_or(RequestError::Unexpected)?;
        // A server sends no more than was sent to it.
        EncodeError::check_len("answer", answer.encoded_len(&self.wire)?, bytes.len())?;
        self.outbox.send([peer], lane, &answer, &self.wire)?;
        self.peers.keep(peer);
        self.idle.set(peer, now.saturating_add(self.settings.idle_timeout));
        Ok(())
    }
}

impl<M: Exchange> Session for Responder<M> {
    type Framing = Datagram;
    type Command<'a> = Infallible;
    type Event<'a> = Infallible;
    type Violation = RequestError;
    type Refusal = Infallible;

    fn framing(&self) -> Datagram {
        Datagram { max: M::LIMITS.max_frame }
    }

    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<Infallible>, RequestError> {
        match input {
            Input::Opened { peer, from, .. } => {
                if let Some(silent) = self.peers.to_evict() {
                    self.close(silent);
                }
                self.peers.open_or_close(now, peer, from, Bucket::default(), &mut self.outbox)?;
                self.idle.set(peer, now.saturating_add(self.settings.idle_timeout));
            }
            Input::Frame { peer, lane, bytes } => {
                let result = self.request(now, peer, lane, bytes);
                let count = match result {
                    // It can be handed in again.
                    Err(RequestError::Encode(EncodeError::NoRoom { .. })) => return result.map(|()| None),
                    Ok(()) => &mut self.stats.answered,
                    Err(RequestError::OverRate) => &mut self.stats.over_rate,
                    Err(_) => &mut self.stats.violations,
                };
                *count = count.saturating_add(1);
                result?;
            }
            Input::Closed { peer } => self.forget(peer),
            _ => {}
        }
        Ok(None)
    }

    fn handle_command(&mut self, _now: Instant, command: Infallible) -> Result<(), Infallible> {
        match command {}
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<Self::Event<'a>> {
        let peer = self.idle.pop(now)?;
        self.close(peer);
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.idle.next()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.peers.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {
        while let Some((_, peer)) = self.idle.first() {
            self.close(peer);
        }
    }
}
