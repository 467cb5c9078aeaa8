mod direct;
mod network;
mod path;
mod remote;
mod settings;
mod stream_conn;
mod streams;
mod udp_side;

use crate::Error;
use crate::grace::{Grace, MAX_STEPS, in_time, is_event};
use crate::stream::socket::Stream;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
pub use direct::DirectSettings;
use network::{Network, Step};
pub use path::PathStats;
use remote::Established;
pub use remote::{Remote, TcpUdpSettings};
pub use settings::ConnectionSettings;
use tokio::task::coop;
use tokio::time::Sleep;
use udp_side::UdpSide;
pub use udp_side::UdpState;
use voxwire_core::{Deferred, Framing as _, Input, Instant, Session};

/// A client's connection to its server, which drives the client's [`Session`]: over TCP, over TCP and UDP, or over QUIC.
///
/// Reading, writing and timers all happen inside [`next`](Self::next). Call it in a loop, or in a `select!` with other things that the client
/// waits for. Commands go in through [`call`](Self::call) or [`Turn::session`]. Their frames are sent by the next call of `next`.
///
/// **A lost connection.** The session decides. If it dials [`DialId::FIRST`](voxwire_core::DialId::FIRST), as those of Dissonance and msgpack
/// do, this connects again to the same [`Remote`], and `next` goes on. Otherwise `next` returns `None`, and [`error`](Self::error) says why.
///
/// Other connections that a session dials or accepts, for calls from client to client, are served beside this one, by TCP.
///
/// ```no_run
/// # use voxwire_transport::{Connection, ConnectionSettings};
/// # use voxwire_voicelink::{Client, ClientSettings};
/// # async fn run() -> Result<(), voxwire_transport::Error> {
/// let client = Client::new(ClientSettings::DEFAULT);
/// let mut connection = Connection::connect("127.0.0.1:4240", client, ConnectionSettings::DEFAULT).await?;
/// while let Some(turn) = connection.next().await {
///     match turn.result {
///         Ok(Some(event)) => println!("{event:?}"), // `turn.session` takes commands here
///         Ok(None) => {}
///         Err(violation) => eprintln!("ignored: {violation}"),
///     }
/// }
/// # Ok(()) }
/// ```
pub struct Connection<S: Session> {
    session: S,
    network: Network<S::Framing>,
    timer: Pin<Box<Sleep>>,
    /// Steps since a timer of the session became due.
    overdue: u32,
    grace: Grace,
    /// An input that the session put off, and takes now.
    deferred: Option<Deferred>,
}

/// One turn of a connection: the session has handled an input or a timer.
#[derive(Debug)]
pub struct Turn<'a, S: Session> {
    /// The session. It takes commands even while the event is in use.
    pub session: &'a mut S,
    /// When the turn was handled.
    pub now: Instant,
    /// An event for the application, or the violation for which the input was ignored. `Ok(None)`: the turn does not concern the application.
    pub result: Result<Option<S::Event<'a>>, S::Violation>,
}

impl<S: Session> Connection<S> {
    /// Connects to `remote`. A string is an address for TCP.
    ///
    /// # Errors
    /// - [`Error::Io`]: an error of the system or of TLS; of the kind `PermissionDenied` if the server does not admit the
    ///   [token](Remote::token). Later, when the session connects again, the session is told of a connection that could not be made.
    /// - [`Error::TooSlow`]: it took longer than [`ConnectionSettings::connect`].
    /// - [`Error::SpeaksTls`] and [`Error::NoHello`] for a server that speaks something else.
    /// - [`Error::NotAStream`] where `remote` is TCP alone and the session's frames are datagrams: these need [`Remote::tcp_udp`] or
    ///   [`Remote::quic`].
    /// - [`Error::NeedsStream`] where `remote` is TCP + UDP or QUIC and the session's framing shakes hands, as ZMTP does.
    /// - [`Error::TokenOnTcp`] and [`Error::TokenTooLong`] for a token that cannot be shown.
    pub async fn connect(
        remote: impl Into<Remote>,
        session: S,
        settings: ConnectionSettings,
    ) -> Result<Self, Error> {
        let remote = remote.into();
        remote.check(&session.framing())?;
        let established = remote.clone().dial(settings).await?;
        let mut connection = Self::new(Some(remote), settings, session);
        connection.network.install(established, connection.session.framing());
        let ready = poll_fn(|cx| connection.network.poll_ready(cx));
        in_time(settings.connect, ready).await.ok_or(Error::TooSlow("the handshake"))??;
        Ok(connection)
    }

    /// A connection to a hub in the same process. With `units` its frames lie in units, otherwise as the session's framing has them.
    pub(crate) async fn inside(stream: Stream, session: S, units: bool) -> Result<Self, Error> {
        let established = Established::inside(stream, units).await?;
        let mut connection = Self::new(None, ConnectionSettings::DEFAULT, session);
        connection.network.install(established, connection.session.framing());
        Ok(connection)
    }

    fn new(remote: Option<Remote>, settings: ConnectionSettings, session: S) -> Self {
        let is_stream = session.framing().is_stream();
        Self {
            session,
            network: Network::new(remote, settings, is_stream),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            overdue: 0,
            grace: Grace::default(),
            deferred: None,
        }
    }

    /// The session, to read from.
    pub const fn session(&self) -> &S {
        &self.session
    }

    /// The present moment on the connection's time line.
    pub fn now(&self) -> Instant {
        self.network.clock.now()
    }

    /// Runs `f` on the session, for commands for example. The frames are sent by the next call of [`next`](Self::next).
    pub fn call<R>(&mut self, f: impl FnOnce(&mut S, Instant) -> R) -> R {
        let now = self.now();
        let result = f(&mut self.session, now);
        self.collect();
        result
    }

    /// Lets the session say goodbye. Go on calling `next`: it returns `None` once everything is written.
    pub fn shutdown(&mut self) {
        self.call(|session, now| session.shutdown(now));
    }

    /// Waits until everything that is queued is written. Cancel-safe. Nothing is read meanwhile, so do not wait here for long.
    ///
    /// # Errors
    /// The system's; [`Error::Untaken`] or [`Error::Stalled`] if the server does not take what is queued. The next [`next`](Self::next) then
    /// ends the connection.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            self.collect();
            self.network.poll_flush(cx)
        })
        .await
    }

    /// Why the last connection ended; `None` if the session closed it, or while it lasts.
    pub const fn error(&self) -> Option<&Error> {
        self.network.error.as_ref()
    }

    /// Whether a frame of the server has come in on the present connection, or on the last one.
    pub const fn has_received(&self) -> bool {
        self.network.received
    }

    /// How many droppable frames were dropped, because the server did not take them in time or UDP was blocked.
    pub fn dropped(&self) -> u64 {
        self.network.dropped()
    }

    /// Whether droppable frames go by UDP at present. [`next`](Self::next) has a turn whenever this changes. `None` for a connection without a
    /// UDP side.
    pub fn udp(&self) -> Option<bool> {
        self.network.udp_side().map(UdpSide::is_up)
    }

    /// The state of the UDP side. [`next`](Self::next) has a turn whenever it changes. `None` for a connection without a UDP side.
    pub fn udp_state(&self) -> Option<UdpState> {
        self.network.udp_side().map(UdpSide::state)
    }

    /// What is known of the network between this client and its server: by the PINGs of the UDP side, or by QUIC. `None` for a connection
    /// by TCP alone.
    pub fn path(&self) -> Option<PathStats> {
        self.network.path()
    }

    /// The server's UDP address. `None` for a connection without a UDP side.
    pub fn udp_server(&self) -> Option<SocketAddr> {
        self.network.udp_side().map(UdpSide::server)
    }

    /// Waits for the next turn. `None` once the connection has ended and the session does not connect again. Cancel-safe: no frame is lost, and
    /// none is sent twice.
    pub async fn next(&mut self) -> Option<Turn<'_, S>> {
        let step = poll_fn(|cx| self.poll_step(cx)).await;
        let now = self.now();
        let Self { session, network, deferred, .. } = self;
        let result = match step {
            Step::Ended => return None,
            Step::Timeout => Ok(session.handle_timeout(now)),
            Step::Deferred => match deferred {
                Some(deferred) => session.handle_input(now, Input::from(&*deferred)),
                None => Ok(None),
            },
            step => match network.input(step) {
                Some(input) => session.handle_input(now, input),
                None => Ok(None),
            },
        };
        Some(Turn { session, now, result })
    }

    /// Finds the next turn: first an input that the session has put off, then an event that it has to tell, then received data, then timers.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.collect();
        self.deferred = self.session.take_deferred();
        if self.deferred.is_some() {
            return Poll::Ready(Step::Deferred);
        }
        if let Poll::Ready(step) = self.network.poll_handshake(cx) {
            return Poll::Ready(step);
        }
        if is_event(self.session.poll_timeout()) {
            return Poll::Ready(Step::Timeout);
        }
        let now = self.now();
        // Received data is read before timers fire, but not without end.
        let overdue = self.session.poll_timeout().filter(|at| *at <= now);
        if overdue.is_none() {
            self.grace.end();
        }
        self.overdue = if overdue.is_some() { self.overdue.saturating_add(1) } else { 0 };
        if self.overdue > MAX_STEPS && overdue.is_some_and(|at| Grace::is_over(at, now)) {
            return self.fire();
        }
        let session = &self.session;
        if let Poll::Ready(step) = self.network.poll(cx, now, session.poll_timeout(), || session.framing()) {
            return Poll::Ready(step);
        }
        match overdue {
            Some(at) => self.poll_overdue(cx, now, at),
            None => self.wake_at(cx, [self.session.poll_timeout(), self.network.due()]),
        }
    }

    /// A timer of the session has been due since `at`, and no received data is known.
    fn poll_overdue(&mut self, cx: &mut Context<'_>, now: Instant, at: Instant) -> Poll<Step> {
        match self.grace.hold(at, now, !coop::has_budget_remaining()) {
            // The runtime tells of received data no later than of the time. So the timer fires only when the runtime's own timer has.
            None if self.poll_timer(cx, at) => self.fire(),
            None => Poll::Pending,
            again => self.wake_at(cx, [again, self.network.due().filter(|due| *due > now)]),
        }
    }

    /// Has this task woken at the earliest of `due`. Received bytes and room to write wake it, too.
    fn wake_at(&mut self, cx: &mut Context<'_>, due: [Option<Instant>; 2]) -> Poll<Step> {
        let first = due.into_iter().flatten().min();
        if first.is_some_and(|at| self.poll_timer(cx, at)) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether the runtime's clock has reached `at`. If not, this task is woken then.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        let at = self.network.clock.to_std(at).into();
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn fire(&mut self) -> Poll<Step> {
        (self.overdue, self.grace) = (0, Grace::default());
        Poll::Ready(Step::Timeout)
    }

    /// Carries out the session's outputs.
    fn collect(&mut self) {
        let mut done: usize = 0;
        for output in self.session.outputs() {
            done = done.saturating_add(1);
            self.network.apply(output);
        }
        if done > 0 {
            self.session.advance(done);
        }
    }
}

impl<S: Session + fmt::Debug> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("session", &self.session)
            .field("state", &self.network.state)
            .finish_non_exhaustive()
    }
}
