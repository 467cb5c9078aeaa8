mod direct;
mod remote;
mod stream_conn;
mod streams;
mod udp_side;

use crate::grace::{Grace, is_event};
use crate::net::{Keepalive, Stream, in_time};
use crate::tcp_udp::StreamFraming;
use crate::{Error, queue::Queue};
use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use core::{fmt, ops::Range};
use direct::DirectNews;
pub use direct::DirectSettings;
use remote::{Dialling, Established};
pub use remote::{Remote, TcpUdpSettings};
use stream_conn::{Stall, StreamConn};
use streams::{StreamNews, Streams};
use tokio::task::coop;
use tokio::time::Sleep;
use udp_side::UdpSide;
pub use udp_side::UdpState;
use voxwire_core::{
    Clock, Deferred, DialId, FrameBuf, Framing as _, Input, Instant, Lane, Output, PeerId, PeerIds, Session,
    Via,
};

/// Steps in a row while a timer is due, before it fires whatever still comes in.
const BURST: u32 = 256;

/// A client's connection to its server, driving its [`Session`]: over TCP, or over TCP and UDP.
///
/// Reading, writing and timers all happen inside [`next`](Self::next): call it in a loop, if need be in a `select!` with
/// whatever else the client waits for. Commands go in through [`call`](Self::call) and are sent by the next `next`. A
/// session that dials [`DialId::FIRST`] after a loss is connected once more, in the same way. Whatever else a session dials,
/// and who connects to where it listens, is served beside it, by TCP.
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
    clock: Clock,
    ids: PeerIds,
    /// The server, as the session knows it; another one for each connection.
    peer: PeerId,
    /// Where it goes once more if the session asks for that.
    remote: Option<Remote>,
    settings: ConnectionSettings,
    dialling: Option<Dialling>,
    conn: Option<StreamConn<S::Framing>>,
    /// Connections of the session's own making.
    streams: Streams<S::Framing>,
    /// Which of the two is looked at first this time.
    streams_first: bool,
    /// The address that we have towards the server: the session's listeners are opened there.
    home: Option<IpAddr>,
    state: State,
    timer: Pin<Box<Sleep>>,
    /// Steps taken since a timer of the session was due.
    overdue: u32,
    grace: Grace,
    /// The same for the handshake.
    handshake_grace: Grace,
    error: Option<Error>,
    /// Direct paths that went with their connection, and of which the session does not know that yet.
    gone: Vec<PeerId>,
    /// Droppable frames dropped on connections before this one.
    dropped_before: u64,
    /// What the session put off, and takes now.
    deferred: Option<Deferred>,
}

/// Limits of a [`Connection`]. Build it with `..ConnectionSettings::DEFAULT`.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// How long connecting may take, a TLS handshake included.
    pub connect: Duration,
    /// How much of what may be lost may wait for the server to take it, in bytes, where the session sets no budget. 1 MiB by default.
    pub backlog: usize,
    /// How much of what must arrive may wait for the server to take it, in bytes, or one packet; beyond it the connection ends with
    /// [`Error::Untaken`]. 32 MiB by default.
    pub max_unsent: usize,
    /// How long the server may take nothing of what waits for it, though it acknowledges what it gets; then the connection ends with
    /// [`Error::Stalled`]. The same holds for [`flush`](Connection::flush), and for last words. A server may have to wait for memory,
    /// half a minute by default, before it reads on. Under TLS, and on QUIC when the connection ends, the last of it (64 KiB) counts as a
    /// whole: it has to be taken in this time. On Linux `unacknowledged` comes first. 60 s by default.
    pub write_timeout: Duration,
    /// As for [`HubSettings::keepalive`](crate::HubSettings::keepalive).
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged (Linux). The system applies it as well to a server that acknowledges everything and has
    /// no room for more, as one that waits for memory (30 s by default) or does not read before a log-in (36 s): it should be longer than
    /// either. It is also what the system waits for after the first unanswered probe, instead of as many as `keepalive` says. On QUIC a
    /// server is gone after the silence that `keepalive` allows and this, but twice the former at most: 28 s. 40 s by default.
    pub unacknowledged: Option<Duration>,
    /// The first and the last of the ports that the session may listen on, by
    /// [`Output::Listen`](voxwire_core::Output::Listen); `None` for any that is free.
    pub ports: Option<(u16, u16)>,
}

impl ConnectionSettings {
    /// 10 s to connect, 1 MiB of audio and 32 MiB of the rest waiting, 60 s without any of it taken (on Linux 40 s);
    /// a dead server is noticed after 14 s, on Linux after 41 s, or 40 s after something has been sent to it.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        backlog: 1024 * 1024,
        max_unsent: 32 * 1024 * 1024,
        write_timeout: Duration::from_secs(60),
        keepalive: Some(Keepalive::DEFAULT),
        unacknowledged: Some(Duration::from_secs(40)),
        ports: None,
    };
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The session has not heard of the connection yet: there is a handshake to be over by then.
    New(Instant),
    Open,
    /// The session closed it; what waits is being written.
    Closing,
    /// There is none. The session has been told, or knows.
    Ended,
}

/// What the next turn is about.
enum Step {
    Opened,
    Frame(Lane, Range<usize>),
    /// A frame came in by UDP.
    Datagram(Range<usize>),
    /// Something happened on a direct path.
    Direct(DirectNews),
    /// Something happened on a connection of the session's own making.
    Stream(StreamNews),
    /// A frame that the session put off.
    Deferred,
    Timeout,
    Closed,
    DialFailed,
    /// The UDP side has changed.
    Changed,
    Ended,
}

impl<S: Session> Connection<S> {
    /// Connects to `remote`; of a string, by TCP.
    ///
    /// # Errors
    /// The system's, those of TLS, that the server does not admit us, or that it took too long.
    pub async fn connect(
        remote: impl Into<Remote>,
        session: S,
        settings: ConnectionSettings,
    ) -> Result<Self, Error> {
        let remote = remote.into();
        let established = remote.clone().dial(settings).await?;
        let mut connection = Self::over(Some(remote), session, settings);
        connection.install(established);
        let ready = poll_fn(|cx| match &mut connection.conn {
            Some(conn) => conn.poll_ready(cx),
            None => Poll::Ready(Ok(())),
        });
        in_time(settings.connect, ready).await.ok_or(Error::TooSlow("the handshake"))??;
        Ok(connection)
    }

    /// A connection to a hub in the same process; with `units` its frames are put into units, or else lie in the stream as they are.
    pub(crate) async fn inside(mut stream: Stream, session: S, units: bool) -> Result<Self, Error> {
        let units = if units { Some((remote::server_hello(&mut stream).await?, None)) } else { None };
        let mut connection = Self::over(None, session, ConnectionSettings::DEFAULT);
        connection.install(Established {
            stream,
            units,
            #[cfg(feature = "quic")]
            quic: None,
        });
        Ok(connection)
    }

    fn over(remote: Option<Remote>, session: S, settings: ConnectionSettings) -> Self {
        Self {
            session,
            clock: Clock::start(),
            ids: PeerIds::new(),
            peer: PeerId { slot: 0, generation: 0 },
            remote,
            settings,
            dialling: None,
            conn: None,
            streams: Streams::new(settings),
            streams_first: false,
            home: None,
            state: State::Ended,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            overdue: 0,
            grace: Grace::default(),
            handshake_grace: Grace::default(),
            error: None,
            gone: Vec::new(),
            dropped_before: 0,
            deferred: None,
        }
    }

    fn install(&mut self, established: Established) {
        let Established { stream, units, .. } = established;
        self.home = stream.local_ip();
        // The one before may still be writing its last words, and have direct paths.
        self.leave_conn();
        self.ids.retire(self.peer);
        self.peer = self.ids.mint().unwrap_or(self.peer);
        let framing = self.session.framing();
        let settings = self.settings;
        let tcp_udp = self.remote.as_ref().and_then(|remote| remote.units.clone()).unwrap_or_default();
        let now = self.clock.now();
        let (framing, udp) = match units {
            None => (StreamFraming::Session(framing), None),
            Some((hello, socket)) => {
                let udp = socket.map(|socket| UdpSide::new(socket, hello, &tcp_udp, now));
                (StreamFraming::units(framing), udp)
            }
        };
        self.conn = Some(StreamConn {
            stream,
            framing,
            buffer: FrameBuf::new(),
            needed: 1,
            queue: Queue::with_limits(settings.backlog, settings.max_unsent),
            out: Vec::new(),
            written: 0,
            stall: Stall::new(settings.write_timeout),
            shut: false,
            paused_until: None,
            udp,
            #[cfg(feature = "quic")]
            quic: established.quic,
            changed: false,
            failed: None,
            said: stream_conn::Said::default(),
        });
        self.error = None;
        self.handshake_grace = Grace::default();
        self.state = State::New(self.clock.now().saturating_add(settings.connect));
    }

    /// The session, to look at.
    pub const fn session(&self) -> &S {
        &self.session
    }

    /// The present moment on the connection's time line.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Runs `f` on the session, with commands for example. What it wants sent is sent by the next [`next`](Self::next).
    pub fn call<R>(&mut self, f: impl FnOnce(&mut S, Instant) -> R) -> R {
        let now = self.clock.now();
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
            let mut written = self.streams.write(cx);
            if let Some(conn) = &mut self.conn {
                conn.check()?;
                conn.write(cx)?;
                written &= conn.is_written();
            }
            if written { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Why the connection ended, if not by the session's own will.
    pub const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Droppable frames that were dropped because the server did not take them in time, or UDP was blocked.
    pub fn dropped(&self) -> u64 {
        self.dropped_before.saturating_add(self.conn.as_ref().map_or(0, StreamConn::dropped))
    }

    /// Whether what may be lost goes by UDP at the moment. [`next`](Self::next) has a turn whenever this changes. `None` for a
    /// connection without a UDP side.
    pub fn udp(&self) -> Option<bool> {
        self.conn.as_ref()?.udp.as_ref().map(UdpSide::is_up)
    }

    /// Where the UDP side stands: the same, and whether there is still hope. [`next`](Self::next) has a turn whenever this changes.
    pub fn udp_state(&self) -> Option<UdpState> {
        self.conn.as_ref()?.udp.as_ref().map(UdpSide::state)
    }

    /// Where the server takes datagrams. `None` for a connection without a UDP side.
    pub fn udp_server(&self) -> Option<SocketAddr> {
        self.conn.as_ref()?.udp.as_ref().map(UdpSide::server)
    }

    /// Waits until something has been handled; `None` once the connection has ended and the session does not want another
    /// one. Cancel-safe: whatever has been read or written stays so.
    pub async fn next(&mut self) -> Option<Turn<'_, S>> {
        let step = poll_fn(|cx| self.poll_step(cx)).await;
        let now = self.clock.now();
        let peer = self.peer;
        let Self { session, conn, streams, ids, deferred, .. } = self;
        let conn = conn.as_ref();
        let result = match step {
            Step::Ended => return None,
            Step::Opened => session
                .handle_input(now, Input::Opened { peer, via: Via::Dialled(DialId::FIRST), from: None }),
            Step::Closed => session.handle_input(now, Input::Closed { peer }),
            Step::DialFailed => session.handle_input(now, Input::DialFailed(DialId::FIRST)),
            Step::Timeout => Ok(session.handle_timeout(now)),
            Step::Changed => Ok(None),
            Step::Deferred => match deferred {
                Some(deferred) => session.handle_input(now, Input::from(&*deferred)),
                None => Ok(None),
            },
            Step::Frame(lane, range) => {
                let bytes = conn.map_or(&[][..], |conn| conn.buffer.frame(range));
                session.handle_input(now, Input::Frame { peer, lane, bytes })
            }
            Step::Datagram(range) => {
                let bytes = conn.map_or(&[][..], |conn| conn.datagram(range));
                session.handle_input(now, Input::Frame { peer, lane: Lane::Droppable, bytes })
            }
            Step::Direct(DirectNews::Up(peer, from)) => {
                session.handle_input(now, Input::Opened { peer, via: Via::Accepted, from: Some(from) })
            }
            Step::Direct(DirectNews::Down(peer)) => session.handle_input(now, Input::Closed { peer }),
            Step::Direct(DirectNews::Frame(peer, lane, range)) => {
                let bytes = conn.map_or(&[][..], |conn| conn.datagram(range));
                session.handle_input(now, Input::Frame { peer, lane, bytes })
            }
            Step::Stream(StreamNews::Frame(peer, lane, range)) => {
                let bytes = streams.frame(peer, range);
                session.handle_input(now, Input::Frame { peer, lane, bytes })
            }
            Step::Stream(StreamNews::Arrived(stream, from, via)) => match ids.mint() {
                Some(peer) => {
                    streams.add(peer, stream, session.framing());
                    session.handle_input(now, Input::Opened { peer, via, from: Some(from) })
                }
                None => Ok(None),
            },
            Step::Stream(news) => {
                if let StreamNews::Closed(peer) = news {
                    ids.retire(peer);
                }
                match news.input() {
                    Some(input) => session.handle_input(now, input),
                    None => Ok(None),
                }
            }
        };
        Some(Turn { session, now, result })
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.collect();
        self.deferred = self.session.take_deferred();
        if self.deferred.is_some() {
            return Poll::Ready(Step::Deferred);
        }
        let mut shaking = None;
        if let State::New(until) = self.state {
            let ready = match &mut self.conn {
                Some(conn) => conn.poll_ready(cx),
                None => Poll::Ready(Ok(())),
            };
            // What is here already counts, however late it is looked at, and so does what may be.
            let now = self.clock.now();
            let again = match ready {
                Poll::Pending if until <= now => {
                    self.handshake_grace.hold(until, now, !coop::has_budget_remaining())
                }
                _ => Some(until),
            };
            match ready {
                Poll::Pending if again.is_some() => shaking = again,
                Poll::Pending => {
                    self.state = State::Ended;
                    self.conn = None;
                    self.error = Some(Error::TooSlow("the handshake"));
                    return Poll::Ready(Step::DialFailed);
                }
                Poll::Ready(Ok(())) => {
                    self.state = State::Open;
                    return Poll::Ready(Step::Opened);
                }
                Poll::Ready(Err(error)) => {
                    self.state = State::Ended;
                    self.conn = None;
                    self.error = Some(error);
                    return Poll::Ready(Step::DialFailed);
                }
            }
        }
        if let Some(peer) = self.gone.pop() {
            self.ids.retire(peer);
            return Poll::Ready(Step::Direct(DirectNews::Down(peer)));
        }
        if is_event(self.session.poll_timeout()) {
            return Poll::Ready(Step::Timeout);
        }
        let now = self.clock.now();
        // What has come in is read before timers fire, unless more and more of it comes.
        let overdue = self.session.poll_timeout().filter(|at| *at <= now);
        if overdue.is_none() {
            self.grace.end();
        }
        self.overdue = if overdue.is_some() { self.overdue.saturating_add(1) } else { 0 };
        if self.overdue > BURST && overdue.is_some_and(|at| Grace::is_over(at, now)) {
            return self.fire();
        }
        let mut due = [self.session.poll_timeout(), shaking].into_iter().flatten().min();
        if let Some(dialling) = &mut self.dialling {
            match dialling.as_mut().poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(established)) => {
                    self.dialling = None;
                    self.install(established);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => {
                    self.dialling = None;
                    self.error = Some(error);
                    return Poll::Ready(Step::DialFailed);
                }
            }
        } else if self.state == State::Ended && due.is_none() && self.streams.is_empty() {
            return Poll::Ready(Step::Ended);
        }
        // In turn, so that neither can keep the other from being heard.
        self.streams_first = !self.streams_first;
        if self.streams_first {
            if let Poll::Ready(news) = self.streams.poll(cx, now, &mut self.ids) {
                return Poll::Ready(Step::Stream(news));
            }
        }
        if let Some(conn) = self.conn.as_mut().filter(|_| matches!(self.state, State::Open | State::Closing))
        {
            match conn.poll(cx, now, self.state == State::Closing, &mut self.ids) {
                Poll::Ready(Ok(Some(step))) => return Poll::Ready(step),
                Poll::Ready(Ok(None)) => return self.end(None),
                Poll::Ready(Err(error)) => return self.end(Some(error)),
                // Nothing is read any more while the last words are written.
                Poll::Pending if self.state == State::Closing => {}
                Poll::Pending => {
                    due = [due, conn.paused_until, conn.next_probe()].into_iter().flatten().min()
                }
            }
        }
        if !self.streams_first {
            if let Poll::Ready(news) = self.streams.poll(cx, now, &mut self.ids) {
                return Poll::Ready(Step::Stream(news));
            }
        }
        if let Some(at) = overdue {
            match self.grace.hold(at, now, !coop::has_budget_remaining()) {
                // Sockets may have been looked at before the system told of what waits in them, but not if it has told of the time.
                None if self.poll_timer(cx, at) => return self.fire(),
                None => return Poll::Pending,
                Some(again) => due = due.filter(|due| *due > now).into_iter().chain([again]).min(),
            }
        }
        due = [due, self.streams.due()].into_iter().flatten().min();
        // Whatever comes first wakes this task: bytes, room to write, or the time.
        if due.is_some_and(|at| self.poll_timer(cx, at)) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Whether it is `at` yet, as the runtime has it; if not, this task is woken then.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        let at = self.clock.to_std(at).into();
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn fire(&mut self) -> Poll<Step> {
        (self.overdue, self.grace) = (0, Grace::default());
        Poll::Ready(Step::Timeout)
    }

    /// The connection has ended. Its direct paths go with it, and the session will hear of that.
    fn leave_conn(&mut self) {
        self.dropped_before = self.dropped();
        if let Some(udp) = self.conn.take().and_then(|conn| conn.udp) {
            self.gone.extend(udp.peers());
        }
    }

    /// The connection is over.
    fn end(&mut self, error: Option<Error>) -> Poll<Step> {
        let told = self.state == State::Closing;
        self.state = State::Ended;
        self.leave_conn();
        if told {
            // The session may want another one.
            let more =
                self.dialling.is_some() || self.session.poll_timeout().is_some() || !self.streams.is_empty();
            return Poll::Ready(if more { Step::Changed } else { Step::Ended });
        }
        self.error = Some(error.unwrap_or(Error::Closed));
        Poll::Ready(Step::Closed)
    }

    /// Moves the session's outputs to the queue.
    fn collect(&mut self) {
        let mut done: usize = 0;
        for output in self.session.outputs() {
            done = done.saturating_add(1);
            match (output, &mut self.conn) {
                (Output::Send { to, lane, frame, .. }, Some(conn)) if to == self.peer => {
                    conn.push(lane, frame);
                }
                (Output::Send { to, lane, frame, .. }, _) if self.streams.conn(to).is_some() => {
                    if let Some(conn) = self.streams.conn(to) {
                        conn.push(lane, frame);
                    }
                }
                (Output::Send { to, lane, frame, .. }, Some(StreamConn { udp: Some(udp), .. })) => {
                    udp.send_direct(self.clock.now(), to, lane, frame);
                }
                (Output::Close { peer }, _) if peer == self.peer && self.state != State::Ended => {
                    self.state = State::Closing;
                }
                (Output::Close { peer }, _) if self.streams.conn(peer).is_some() => {
                    self.streams.close(peer, self.clock.now());
                }
                (Output::Close { peer }, Some(StreamConn { udp: Some(udp), .. })) => {
                    udp.refuse(peer, &mut self.ids, self.clock.now());
                }
                (Output::Dial { id: DialId::FIRST, .. }, _) => {
                    if let Some(remote) = self.remote.clone() {
                        self.dialling = Some(Box::pin(remote.dial(self.settings)));
                    }
                }
                (Output::Dial { id, host, port }, _) => self.streams.dial(id, host, port),
                (Output::Listen { id }, _) => self.streams.listen(id, self.home),
                (Output::StopListening { id }, _) => self.streams.stop_listening(id),
                (Output::Limit { peer, max_frame }, conn) => {
                    if let Some(conn) = self.streams.conn_or(conn, peer == self.peer, peer) {
                        conn.framing.set_max(max_frame);
                    }
                }
                (Output::Budget { peer, bytes }, conn) => {
                    if let Some(conn) = self.streams.conn_or(conn, peer == self.peer, peer) {
                        conn.queue.set_budget(bytes);
                    }
                }
                (Output::Resume { peer }, conn) => {
                    if let Some(conn) = self.streams.conn_or(conn, peer == self.peer, peer) {
                        conn.paused_until = None;
                    }
                }
                (Output::Pause { peer, until }, conn) => {
                    if let Some(conn) = self.streams.conn_or(conn, peer == self.peer, peer) {
                        conn.paused_until = Some(until);
                    }
                }
                _ => {}
            }
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
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
