use crate::{Framing, Instant, Outbox, PeerId};
use alloc::vec::Vec;
use core::{error::Error, net::SocketAddr};

/// What the network did to a session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A peer is connected, or a datagram source has become one.
    Opened {
        /// The new peer's id, chosen by the driver.
        peer: PeerId,
        /// Who called whom.
        via: Via,
        /// The peer's address, as a value: it is never looked up.
        from: Option<SocketAddr>,
    },
    /// One whole frame came in.
    Frame {
        /// The sender.
        peer: PeerId,
        /// The lane it came on.
        lane: Lane,
        /// The frame, length field included.
        bytes: &'a [u8],
    },
    /// The peer's transport has read everything that was sent to it before an [`Output::Probe`]; they are answered in order. A hub gives
    /// this, `Written`, and `AnswersOnly`; a client's connection does not.
    Answered {
        /// Which peer.
        peer: PeerId,
    },
    /// Everything that was sent to the peer before an [`Output::Probe`], which its transport cannot answer, has been written, and so has
    /// all that was sent after it: nothing waits for the peer, and its connection takes more. Once for each.
    Written {
        /// Which peer.
        peer: PeerId,
    },
    /// The peer's transport takes nothing but answers: frames that are none are dropped, see [`Framing::takes`]. Comes before the frame
    /// that shows it.
    AnswersOnly {
        /// Which peer.
        peer: PeerId,
    },
    /// A peer is gone. Never follows an [`Output::Close`] of that peer.
    Closed {
        /// The peer that is gone.
        peer: PeerId,
    },
    /// An [`Output::Dial`] came to nothing.
    DialFailed(DialId),
    /// An [`Output::Listen`] came to nothing.
    ListenFailed(ListenId),
    /// An [`Output::Listen`] succeeded.
    Listening {
        /// Which one.
        id: ListenId,
        /// The port bound.
        port: u16,
    },
}

impl<'a> From<&'a Deferred> for Input<'a> {
    fn from(deferred: &'a Deferred) -> Self {
        let Deferred { peer, lane, bytes } = deferred;
        Self::Frame { peer: *peer, lane: *lane, bytes }
    }
}

/// What a session wants done. Drivers obey in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output<'s> {
    /// Send a frame.
    Send {
        /// The addressee.
        to: PeerId,
        /// How it may travel.
        lane: Lane,
        /// Names the frame: all its addressees have the same.
        id: FrameId,
        /// The frame, length field included; a framing's own header comes before it.
        frame: &'s [u8],
    },
    /// Send a datagram to every host on the local network.
    Broadcast {
        /// The datagram.
        frame: &'s [u8],
    },
    /// Connect to another peer; answered by [`Input::Opened`] with [`Via::Dialled`], or [`Input::DialFailed`].
    Dial {
        /// Chosen by the session.
        id: DialId,
        /// Host name or address.
        host: &'s str,
        /// Port.
        port: u16,
    },
    /// Listen on a port of the driver's choice; answered by [`Input::Listening`] or [`Input::ListenFailed`].
    Listen {
        /// Chosen by the session.
        id: ListenId,
    },
    /// Stop listening.
    StopListening {
        /// Which one.
        id: ListenId,
    },
    /// The largest frame accepted from a peer from now on, see [`Framing::set_max`].
    Limit {
        /// The peer.
        peer: PeerId,
        /// In bytes.
        max_frame: usize,
    },
    /// Bytes of droppable frames that may be queued for a slow peer. The oldest is dropped first. A hub lets up to 1 MiB wait for a peer
    /// that is not slow (`HubSettings::slow_after`).
    Budget {
        /// The peer.
        peer: PeerId,
        /// In bytes: about 200 ms of its audio; 0 restores the driver's own default.
        bytes: usize,
    },
    /// Nothing more is read from a peer until then. Nothing is dropped: the peer's own sending stalls.
    Pause {
        /// The peer.
        peer: PeerId,
        /// On the driver's time line.
        until: Instant,
    },
    /// Read from a peer again, however long an [`Output::Pause`] was to last.
    Resume {
        /// The peer.
        peer: PeerId,
    },
    /// Ask the peer's transport whether it has read everything sent so far: on a hub, [`Input::Answered`] follows. Where the transport
    /// cannot answer that, [`Input::Written`] follows, as soon as nothing at all waits for the peer any more: not while more is sent
    /// than it takes. Neither follows where the connection ends before, nor on a client's connection, which asks nothing.
    Probe {
        /// The peer.
        peer: PeerId,
    },
    /// This datagram source is validated: keep it apart from unknown ones.
    Validate {
        /// The peer.
        peer: PeerId,
    },
    /// Whether a client may be introduced to others, to reach them without the server. Where not, those who know of it are told that it is
    /// gone. Until something is said, a client may.
    Direct {
        /// The peer.
        peer: PeerId,
        /// It may.
        allowed: bool,
    },
    /// Send what is waiting, then close. The session has forgotten the peer: no further input of it, not even
    /// [`Input::Closed`]. Where it comes from another peer's [`Input::Opened`] with [`Via::Accepted`], the peer makes room: its connection
    /// is reset, and so are the connections that carry its calls.
    Close {
        /// The peer.
        peer: PeerId,
    },
}

/// How a frame may travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// In order and complete. A receiver too slow for it is disconnected.
    Reliable,
    /// A slow receiver may lose the whole frame (on TCP), the network may lose it (on UDP).
    Droppable,
}

/// How a peer came to be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// It connected to us, where the driver listens of its own accord.
    Accepted,
    /// It connected to us, where the session had asked for an [`Output::Listen`].
    AcceptedOn(ListenId),
    /// We connected to it; [`DialId::FIRST`] where the driver was told to connect rather than the session asking.
    Dialled(DialId),
}

/// A frame that a session has put off, and can handle now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// The sender.
    pub peer: PeerId,
    /// The lane it came on.
    pub lane: Lane,
    /// The frame, length field included.
    pub bytes: Vec<u8>,
}

/// Names an [`Output::Dial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(u32);

impl DialId {
    /// The connection that a client's driver makes of its own accord. Sessions number their own from 1; a session that
    /// has lost this one and dials it, with no host and port, wants its driver to make it once more.
    pub const FIRST: Self = Self(0);

    /// The dial of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The one after it; never [`FIRST`](Self::FIRST).
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self(1),
        }
    }
}

/// Names an [`Output::Listen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenId(u32);

impl ListenId {
    /// The port of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Names a frame among a session's outputs, so that a driver copies it once for all its addressees. A session has no two frames of the
/// same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameId(u64);

impl FrameId {
    /// The frame of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// A protocol's state machine: a hub or a client, with any number of peers, and no input or output of its own.
///
/// # Contract
///
/// 1. One call, at most one event.
/// 2. Hot events borrow only from the input passed in, so the session is free again when the call returns: an
///    application can answer with a command while it holds the payload. Cold events own what they carry, or carry an id
///    that can be looked up.
/// 3. Outputs may be drained after every call, or later, in order. Nothing breaks if they are not: memory is bounded by
///    the outbox's limit, beyond which inputs and commands are refused unchanged.
/// 4. [`handle_timeout`](Self::handle_timeout) fires *one* expired timer; call it while [`poll_timeout`](Self::poll_timeout)
///    is not after now, once what has come in has been handed in: a driver that did not run for some time must not take its
///    own stall for the silence of its peers. A call that is too early does nothing.
/// 5. `Err(Violation)` means: the input had no effect of its own; it may have cost quota or closed the peer. If the protocol demands an answer
///    or a close, it is already among the outputs. Drivers log the error and obey the outputs; they never interpret it.
/// 6. `Err(Refusal)` means that the command was not carried out and nothing was queued.
/// 7. No clock, no randomness, no name resolution, no thread and no lock inside. `now` never goes back.
/// 8. A session may put frames off, behind others of the same peer that take long. When their turn has come,
///    [`take_deferred`](Self::take_deferred) gives them back, to be handed in like any other: after an input or a time-out,
///    before the next input, until there is none. It gives none while the outbox is full: drivers ask again once they have
///    drained it.
/// 9. An input may cause more than one event. The further ones are queued: [`poll_timeout`](Self::poll_timeout) is [`Instant::ZERO`] as
///    long as one waits, and each [`handle_timeout`](Self::handle_timeout) gives one, and fires no timer. No input puts them off.
///
/// # A driver
///
/// ```
/// use voxwire_core::{Input, Instant, Output, Session};
///
/// fn deliver<S: Session>(session: &mut S, now: Instant, input: Input<'_>, mut send: impl FnMut(Output<'_>)) {
///     match session.handle_input(now, input) {
///         Ok(Some(_event)) => { /* the application's turn */ }
///         Ok(None) => {}
///         Err(violation) => eprintln!("ignored: {violation}"),
///     }
///     while session.poll_timeout().is_some_and(|at| at <= now) {
///         session.handle_timeout(now);
///     }
///     loop {
///         let done = session.outputs().map(&mut send).count();
///         session.advance(done);
///         let Some(frame) = session.take_deferred() else { break };
///         let _ = session.handle_input(now, Input::from(&frame));
///     }
/// }
/// ```
pub trait Session {
    /// Cuts this protocol's byte streams into frames.
    type Framing: Framing;
    /// What an application can ask for.
    type Command<'a>;
    /// What an application learns.
    type Event<'a>: core::fmt::Debug;
    /// Why an input was ignored: the peer's fault, or a limit that it met.
    type Violation: Error + Send + Sync + 'static;
    /// Why a command was not carried out: the caller's fault, or no peer's.
    type Refusal: Error + Send + Sync + 'static;

    /// A framing for one new connection.
    fn framing(&self) -> Self::Framing;

    /// Takes one input.
    ///
    /// # Errors
    /// See point 5 of the contract.
    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<Self::Event<'a>>, Self::Violation>;

    /// Carries out one command.
    ///
    /// # Errors
    /// See point 6 of the contract.
    fn handle_command(&mut self, now: Instant, command: Self::Command<'_>) -> Result<(), Self::Refusal>;

    /// Fires one expired timer. Its event borrows from nothing.
    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<Self::Event<'a>>;

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next; `None` means no timer. [`Instant::ZERO`] means that an event
    /// waits to be told, which no input can put off: drivers ask for it at once.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Gives back a frame that was put off and whose turn has come, see point 8 of the contract. Most sessions put nothing off.
    fn take_deferred(&mut self) -> Option<Deferred> {
        None
    }

    /// The peers that are worth less than a new one, the least valuable first, such as those that have not logged in, the oldest first.
    /// A driver without a place or descriptor for a new connection closes the first of them that frees one, and hands in
    /// [`Input::Closed`].
    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        core::iter::empty()
    }

    /// Where this session's outputs wait for the driver.
    fn outbox(&mut self) -> &mut Outbox;

    /// All outputs waiting, in order. Many are lent at a time, so that a driver can batch.
    fn outputs(&mut self) -> impl Iterator<Item = Output<'_>> {
        self.outbox().outputs()
    }

    /// Drops the first `n` outputs.
    fn advance(&mut self, n: usize) {
        self.outbox().advance(n);
    }

    /// Says goodbye to every peer in the protocol's way.
    fn shutdown(&mut self, now: Instant);
}

/// An application on top of a session: what the transports and the simulator call with each event.
///
/// A trait and not a closure, because events borrow; the application may issue commands at once. The unit type ignores
/// everything.
pub trait Handler<S: Session> {
    /// An event; `session` is free for commands.
    fn on_event(&mut self, session: &mut S, now: Instant, event: S::Event<'_>);

    /// An input of `peer` was ignored. For logs and counters: all that had to be done is done.
    fn on_violation(&mut self, _now: Instant, _peer: PeerId, _violation: S::Violation) {}
}

impl<S: Session> Handler<S> for () {
    fn on_event(&mut self, _session: &mut S, _now: Instant, _event: S::Event<'_>) {}
}
