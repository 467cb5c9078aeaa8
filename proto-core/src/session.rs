use crate::{Framing, Instant, Outbox, PeerId};
use alloc::vec::Vec;
use core::{error::Error, net::SocketAddr};

/// What the network did to a session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A peer is connected, or a first datagram has come from an address.
    Opened {
        /// The new peer's id, chosen by the driver.
        peer: PeerId,
        /// Which side connected.
        via: Via,
        /// The peer's address, if the driver knows it. Sessions only compare it.
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
    /// The peer's transport has read everything that was sent to it before an [`Output::Probe`]. Probes are answered in order. Hubs give this,
    /// `Written` and `AnswersOnly`; a client's connection does not.
    Answered {
        /// Which peer.
        peer: PeerId,
    },
    /// Nothing is queued for the peer any more, and its connection takes more. It follows an [`Output::Probe`] that the peer's transport cannot
    /// answer, once for each.
    Written {
        /// Which peer.
        peer: PeerId,
    },
    /// The peer's transport takes nothing but answers. Other frames for it are dropped, see [`Framing::takes`]. It comes before the peer's first
    /// frame.
    AnswersOnly {
        /// Which peer.
        peer: PeerId,
    },
    /// A peer is gone. Never follows an [`Output::Close`] of that peer.
    Closed {
        /// The peer that is gone.
        peer: PeerId,
    },
    /// An [`Output::Dial`] has failed.
    DialFailed(DialId),
    /// An [`Output::Listen`] has failed.
    ListenFailed(ListenId),
    /// An [`Output::Listen`] succeeded.
    Listening {
        /// Which one.
        id: ListenId,
        /// The port bound.
        port: u16,
    },
}

impl Input<'_> {
    /// The peer that it comes from, or is about. `None` for what a [`Output::Dial`] or [`Output::Listen`] has come to.
    pub const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Opened { peer, .. }
            | Self::Frame { peer, .. }
            | Self::Answered { peer }
            | Self::Written { peer }
            | Self::AnswersOnly { peer }
            | Self::Closed { peer } => Some(*peer),
            Self::DialFailed(_) | Self::ListenFailed(_) | Self::Listening { .. } => None,
        }
    }
}

impl<'a> From<&'a Deferred> for Input<'a> {
    fn from(deferred: &'a Deferred) -> Self {
        let Deferred { peer, lane, bytes } = deferred;
        Self::Frame { peer: *peer, lane: *lane, bytes }
    }
}

/// An instruction of a session to its driver. Drivers carry outputs out in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// Send a datagram to the driver's broadcast addresses; nowhere if it has none.
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
    /// Bytes of droppable frames that may be queued for a slow peer. Beyond it the oldest is dropped. For a peer that is not slow
    /// (`HubSettings::slow_after`) a hub queues up to 1 MiB.
    Budget {
        /// The peer.
        peer: PeerId,
        /// In bytes; 0 restores the driver's own default. A session that knows the rate of its audio sets what lasts some 200 ms.
        bytes: usize,
    },
    /// Read nothing more from a peer until then. Nothing is dropped: the peer cannot send on meanwhile.
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
    /// Ask the peer's transport to answer once it has read everything that was sent so far.
    ///
    /// - On a hub [`Input::Answered`] follows.
    /// - If the transport cannot answer, [`Input::Written`] follows, as soon as nothing is queued for the peer any more.
    /// - Nothing follows if the connection ends before, or on a client's connection, which does not ask.
    Probe {
        /// The peer.
        peer: PeerId,
    },
    /// The peer, a source of datagrams, is no forgery: keep it apart from unknown sources, which displace each other.
    Validate {
        /// The peer.
        peer: PeerId,
    },
    /// Whether a client may be introduced to others, for direct paths: to introduce two clients is to tell each the other's address. Where it may
    /// not, clients that know of it are told that it is gone. At first each client may.
    Direct {
        /// The peer.
        peer: PeerId,
        /// Whether it may.
        allowed: bool,
    },
    /// Close a peer, after everything that is queued for it has been sent. The session has forgotten the peer: no input of it follows, not even
    /// [`Input::Closed`].
    ///
    /// If this output comes from another peer's [`Input::Opened`] with [`Via::Accepted`], the peer is closed to make room for that one. Its
    /// connection is reset then, and so are the connections that carry its calls.
    Close {
        /// The peer.
        peer: PeerId,
    },
}

/// How a frame may travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Lane {
    /// All frames arrive, in order. A receiver that is too slow for them is disconnected.
    Reliable,
    /// A frame may be lost: dropped for a slow receiver, or lost on the network (UDP).
    Droppable,
}

/// How a peer came to be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Via {
    /// It connected to a port on which the driver listens by itself.
    Accepted,
    /// It connected to a port of an [`Output::Listen`].
    AcceptedOn(ListenId),
    /// We connected to it: by an [`Output::Dial`], or with [`DialId::FIRST`] because the application told the driver to.
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

/// Identifies an [`Output::Dial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DialId(u32);

impl DialId {
    /// The connection that a client's driver makes first, to the server. Sessions number their own dials from 1. A session that dials this id,
    /// without a host and a port, wants its driver to connect to the server again.
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

/// Identifies an [`Output::Listen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

/// Identifies a frame among a session's outputs, so that a driver copies it once for all its addressees. No two frames of a session have the
/// same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FrameId(u64);

impl FrameId {
    /// The frame of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// A protocol's state machine: a server or a client, with any number of peers, and no input or output of its own. The
/// [glossary](crate#glossary) has the words.
///
/// # Contract
///
/// 1. One call, at most one event.
/// 2. Hot events borrow only from the input passed in, so the session is free again when the call returns: an
///    application can answer with a command while it holds the payload. Cold events own what they carry, or carry an id
///    that can be looked up.
/// 3. Outputs may be drained after every call, or later, in order. If they are not drained, memory stays bounded: at the outbox's limit inputs
///    and commands are refused, and change nothing.
/// 4. [`handle_timeout`](Self::handle_timeout) fires *one* expired timer. Call it while [`poll_timeout`](Self::poll_timeout)
///    is not after now. Hand in received data first: a driver that did not run for some time must not take its own stall for the
///    silence of its peers. A call that is too early does nothing.
/// 5. `Err(Violation)` means: the input had no effect of its own; it may have cost quota or closed the peer. If the protocol demands an answer
///    or a close, it is already among the outputs. Drivers log the error and obey the outputs; they never interpret it.
/// 6. `Err(Refusal)` means that the command was not carried out and nothing was queued.
/// 7. No clock, no randomness, no name resolution, no thread and no lock inside. `now` never goes back.
/// 8. A session may put off a frame, behind others of the same peer that take long. Later [`take_deferred`](Self::take_deferred) gives
///    the frame back, and the driver hands it in as any other. Drivers call it after each input and each time-out, until it returns
///    `None`. It returns `None` while the outbox is full; drivers call it again once they have drained the outbox.
/// 9. An input may cause more than one event. Further events are queued. While one waits, [`poll_timeout`](Self::poll_timeout) is
///    [`Instant::ZERO`], and each [`handle_timeout`](Self::handle_timeout) returns one event and fires no timer. No input puts them off.
///
/// # A driver
///
/// ```
/// use voxwire_core::{Input, Instant, Output, Session};
///
/// fn deliver<S: Session>(
///     session: &mut S,
///     now: Instant,
///     input: Input<'_>,
///     mut send: impl FnMut(Output<'_>),
///     mut on_event: impl FnMut(&mut S, S::Event<'_>),
/// ) {
///     let mut handle = |session: &mut S, input: Input<'_>| match session.handle_input(now, input) {
///         Ok(Some(event)) => on_event(session, event),
///         Ok(None) => {}
///         Err(violation) => eprintln!("ignored: {violation}"),
///     };
///     handle(session, input);
///     loop {
///         let done = session.outputs().map(&mut send).count();
///         session.advance(done);
///         let Some(frame) = session.take_deferred() else { break };
///         handle(session, Input::from(&frame));
///     }
///     while session.poll_timeout().is_some_and(|at| at <= now) {
///         if let Some(event) = session.handle_timeout(now) {
///             on_event(session, event);
///         }
///     }
///     let done = session.outputs().map(&mut send).count();
///     session.advance(done);
/// }
/// ```
pub trait Session {
    /// Cuts this protocol's byte streams into frames.
    type Framing: Framing;
    /// What an application can ask for.
    type Command<'a>;
    /// What an application learns.
    type Event<'a>: core::fmt::Debug;
    /// Why an input was ignored: the peer's fault, a limit, or an input that was on its way when something changed.
    type Violation: Error + Send + Sync + 'static;
    /// Why a command was not carried out: the caller's fault, or a limit.
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

    /// Fires one expired timer. Its event borrows from nothing. By default there is no timer: a session overrides both this and
    /// [`poll_timeout`](Self::poll_timeout), or neither.
    fn handle_timeout<'a>(&mut self, _now: Instant) -> Option<Self::Event<'a>> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; `None` if there is no timer. [`Instant::ZERO`] means that an event waits:
    /// drivers call it at once.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Returns a frame that was put off and can be handled now, see point 8 of the contract. Most sessions put nothing off.
    fn take_deferred(&mut self) -> Option<Deferred> {
        None
    }

    /// The peers that may be closed to make room for a new one, the least valuable first: those that have not logged in, for instance, the oldest
    /// first. A driver without room for a new connection closes the first of them whose connection frees a place, and hands in
    /// [`Input::Closed`].
    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        core::iter::empty()
    }

    /// The outbox, where outputs wait for the driver.
    fn outbox(&mut self) -> &mut Outbox;

    /// All outputs that wait, in order.
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

/// An application on top of a session. The transports and the simulator call it with each event.
///
/// It is a trait and not a closure, because events borrow. The application may give commands at once. The unit type `()` ignores everything.
///
/// A hub calls it with the session locked: it must neither block nor call the hub's handle. Slow work goes to a task, by a channel.
pub trait Handler<S: Session> {
    /// An event; `session` is free for commands.
    fn on_event(&mut self, session: &mut S, now: Instant, event: S::Event<'_>);

    /// An input of `peer` was ignored. Nothing is left to be done: this is for logs and counters.
    fn on_violation(&mut self, _now: Instant, _peer: PeerId, _violation: S::Violation) {}
}

/// Hands an input to a session, and its event or violation to the application. For drivers that have a [`Handler`]. A violation of an input without
/// a peer ([`Input::peer`]) is dropped.
pub fn dispatch<S: Session>(
    session: &mut S,
    handler: &mut (impl Handler<S> + ?Sized),
    now: Instant,
    input: Input<'_>,
) {
    let peer = input.peer();
    match (session.handle_input(now, input), peer) {
        (Ok(Some(event)), _) => handler.on_event(session, now, event),
        (Err(violation), Some(peer)) => handler.on_violation(now, peer, violation),
        (Ok(None) | Err(_), _) => {}
    }
}

impl<S: Session> Handler<S> for () {
    fn on_event(&mut self, _session: &mut S, _now: Instant, _event: S::Event<'_>) {}
}
