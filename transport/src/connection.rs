mod direct;
mod network;
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
use remote::Established;
pub use remote::{Remote, TcpUdpSettings};
pub use settings::ConnectionSettings;
use tokio::task::coop;
use tokio::time::Sleep;
use udp_side::UdpSide;
pub use udp_side::UdpState;
use voxwire_core::{Deferred, Input, Instant, Session};

/// A client's connection to its server, driving its [`Session`]: over TCP, or over TCP and UDP.
///
/// Reading, writing and timers all happen inside [`next`](Self::next): call it in a loop, if need be in a `select!` with
/// other things that the client waits for. Commands go in through [`call`](Self::call) and are sent by the next `next`. A
/// session that dials [`DialId::FIRST`](voxwire_core::DialId::FIRST) after a loss is connected once more, in the same way. Other
/// connections that a session dials, and those that it accepts, are served beside it, by TCP.
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
    /// Steps taken since a timer of the session was due.
    overdue: u32,
    grace: Grace,
    /// What the session put off, and takes now.
    deferred: Option<Deferred>,
}

/// One turn of a connection: something was handled by the session.
#[derive(Debug)]
pub struct Turn<'a, S: Session> {
    /// Free for commands, even while the event is held.
    pub session: &'a mut S,
    /// When it was handled.
    pub now: Instant,
    /// What the session made of it. `Ok(None)`: nothing that concerns the application.
    pub result: Result<Option<S::Event<'a>>, S::Violation>,
}

impl<S: Session> Connection<S> {
    /// Connects to `remote`; of a string, by TCP.
    ///
    /// # Errors
    /// - The system's, those of TLS, that the server does not admit us, or that it took too long.
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
        let mut connection = Self::new(Network::new(Some(remote), settings), session);
        connection.network.install(established, connection.session.framing());
        let ready = poll_fn(|cx| connection.network.poll_ready(cx));
        in_time(settings.connect, ready).await.ok_or(Error::TooSlow("the handshake"))??;
        Ok(connection)
    }

    /// A connection to a hub in the same process; with `units` its frames are put into units, or else lie in the stream as they are.
    pub(crate) async fn inside(stream: Stream, session: S, units: bool) -> Result<Self, Error> {
        let established = Established::inside(stream, units).await?;
        let mut connection = Self::new(Network::new(None, ConnectionSettings::DEFAULT), session);
        connection.network.install(established, connection.session.framing());
        Ok(connection)
    }

    fn new(network: Network<S::Framing>, session: S) -> Self {
        Self {
            session,
            network,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            overdue: 0,
            grace: Grace::default(),
            deferred: None,
        }
    }

    /// The session, to look at.
    pub const fn session(&self) -> &S {
        &self.session
    }

    /// The present moment on the connection's time line.
    pub fn now(&self) -> Instant {
        self.network.clock.now()
    }

    /// Runs `f` on the session, with commands for example. What it wants sent is sent by the next [`next`](Self::next).
    pub fn call<R>(&mut self, f: impl FnOnce(&mut S, Instant) -> R) -> R {
        let now = self.now();
        let result = f(&mut self.session, now);
        self.collect();
        result
    }

    /// Lets the session say goodbye. `next` goes on until everything is written, then returns `None`.
    pub fn shutdown(&mut self) {
        self.call(|session, now| session.shutdown(now));
    }

    /// Waits until everything that commands have queued is written. Cancel-safe. Nothing is read meanwhile, so do not wait
    /// here for long.
    ///
    /// # Errors
    /// The system's, or that the server takes nothing more, or nothing for too long; the next [`next`](Self::next) then ends the connection.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            self.collect();
            self.network.poll_flush(cx)
        })
        .await
    }

    /// Why the connection ended, if not by the session's own will.
    pub const fn error(&self) -> Option<&Error> {
        self.network.error.as_ref()
    }

    /// Whether a frame of the server's has come in on the connection that there is, or was last.
    pub const fn has_received(&self) -> bool {
        self.network.received
    }

    /// Droppable frames that were dropped because the server did not take them in time, or UDP was blocked.
    pub fn dropped(&self) -> u64 {
        self.network.dropped()
    }

    /// Whether what may be lost goes by UDP at the moment. [`next`](Self::next) has a turn whenever this changes. `None` for a
    /// connection without a UDP side.
    pub fn udp(&self) -> Option<bool> {
        self.network.udp_side().map(UdpSide::is_up)
    }

    /// Where the UDP side stands: the same, and whether there is still hope. [`next`](Self::next) has a turn whenever this changes.
    pub fn udp_state(&self) -> Option<UdpState> {
        self.network.udp_side().map(UdpSide::state)
    }

    /// Where the server takes datagrams. `None` for a connection without a UDP side.
    pub fn udp_server(&self) -> Option<SocketAddr> {
        self.network.udp_side().map(UdpSide::server)
    }

    /// Waits until something has been handled; `None` once the connection has ended and the session does not want another
    /// one. Cancel-safe: what has been read or written stays so.
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

    /// What the next turn is about: what the session has put off or tells by itself, then what has come in, then timers.
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
        // What has come in is read before timers fire, unless more and more of it comes.
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

    /// A timer of the session has been due since `at`, and nothing is known to have come in.
    fn poll_overdue(&mut self, cx: &mut Context<'_>, now: Instant, at: Instant) -> Poll<Step> {
        match self.grace.hold(at, now, !coop::has_budget_remaining()) {
            // Sockets may have been looked at before the system told of what waits in them, but not if it has told of the time.
            None if self.poll_timer(cx, at) => self.fire(),
            None => Poll::Pending,
            again => self.wake_at(cx, [again, self.network.due().filter(|due| *due > now)]),
        }
    }

    /// Has this task woken at the first of `due`. Bytes and room to write wake it, too.
    fn wake_at(&mut self, cx: &mut Context<'_>, due: [Option<Instant>; 2]) -> Poll<Step> {
        let first = due.into_iter().flatten().min();
        if first.is_some_and(|at| self.poll_timer(cx, at)) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether it is `at` yet, as the runtime has it; if not, this task is woken then.
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

    /// Carries the session's outputs out.
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
