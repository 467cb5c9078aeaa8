use crate::{
    Error,
    net::{SocketOptions, Stream, TcpStream, prepare, within},
    queue::Queue,
};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use core::{fmt, ops::Range};
use tokio::time::Sleep;
use voxwire_core::{
    Clock, Cut, DialId, FrameBuf, Framing, Input, Instant, Lane, Output, PeerId, PeerIds, Session, Via,
};

/// Bytes asked for at a time.
const READ: usize = 16 * 1024;

/// One TCP connection of a client, driving its [`Session`].
///
/// Reading, writing and timers all happen inside [`next`](Self::next): call it in a loop, if need be in a `select!` with
/// whatever else the client waits for. Commands go in through [`call`](Self::call) and are sent by the next `next`.
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
    peer: PeerId,
    stream: Stream,
    framing: S::Framing,
    buffer: FrameBuf,
    needed: usize,
    queue: Queue,
    out: Vec<u8>,
    written: usize,
    paused_until: Option<Instant>,
    state: State,
    timer: Pin<Box<Sleep>>,
    error: Option<Error>,
}

/// Limits of a [`Connection`]. Build it with `..ConnectionSettings::DEFAULT`.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// How long connecting may take, a TLS handshake included.
    pub connect: Duration,
    /// How much may wait for the server to take it, in bytes, where the session sets no budget.
    pub backlog: usize,
    /// As for [`HubSettings::keepalive`](crate::HubSettings::keepalive).
    pub keepalive: Option<(Duration, Duration, u32)>,
    /// How long sent bytes may stay unacknowledged (Linux).
    pub unacknowledged: Option<Duration>,
}

impl ConnectionSettings {
    /// 10 s to connect, 1 MiB waiting, dead peers noticed after 25 s.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        backlog: 1024 * 1024,
        keepalive: Some((Duration::from_secs(10), Duration::from_secs(5), 3)),
        unacknowledged: Some(Duration::from_secs(25)),
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
    /// The session has not heard of the connection yet.
    New,
    Open,
    /// The session closed it; what waits is being written.
    Closing,
    /// The session has been told that it is gone, or knows.
    Ended,
}

/// What the next turn is about.
enum Step {
    Opened,
    Frame(Range<usize>),
    Timeout,
    Closed,
    Ended,
}

impl<S: Session> Connection<S> {
    /// Connects to `server`, a `host:port`; all its addresses are tried in turn.
    ///
    /// # Errors
    /// The system's, or that it took too long.
    pub async fn connect(server: &str, session: S, settings: ConnectionSettings) -> Result<Self, Error> {
        let stream = within(settings.connect, "connecting", TcpStream::connect(server)).await?;
        prepare(&stream, socket_options(settings))?;
        Ok(Self::over(Stream::Plain(stream), session, settings))
    }

    /// Connects to `server` and speaks TLS with it; `name` is what its certificate has to say.
    ///
    /// # Errors
    /// The system's, those of TLS, or that it took too long.
    #[cfg(feature = "tls")]
    pub async fn connect_tls(
        server: &str,
        name: tokio_rustls::rustls::pki_types::ServerName<'static>,
        config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
        session: S,
        settings: ConnectionSettings,
    ) -> Result<Self, Error> {
        let connector = tokio_rustls::TlsConnector::from(config);
        let connect = async { connector.connect(name, TcpStream::connect(server).await?).await };
        let stream = within(settings.connect, "connecting", connect).await?;
        prepare(stream.get_ref().0, socket_options(settings))?;
        Ok(Self::over(Stream::Tls(Box::new(stream.into())), session, settings))
    }

    fn over(stream: Stream, session: S, settings: ConnectionSettings) -> Self {
        let clock = Clock::start();
        let peer = PeerIds::new().mint().unwrap_or(PeerId { slot: 0, generation: 0 });
        Self {
            framing: session.framing(),
            session,
            clock,
            peer,
            stream,
            buffer: FrameBuf::new(),
            needed: 1,
            queue: Queue::new(settings.backlog),
            out: Vec::new(),
            written: 0,
            paused_until: None,
            state: State::New,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            error: None,
        }
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
    /// The system's; the next [`next`](Self::next) then ends the connection.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            self.collect();
            self.write(cx)?;
            if self.queue.is_empty() && self.written == self.out.len() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Why the connection ended, if not by the session's own will.
    pub const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Droppable frames that were dropped because the server did not take them in time.
    pub const fn dropped(&self) -> u64 {
        self.queue.dropped
    }

    /// Waits until something has been handled; `None` once the connection has ended. Cancel-safe: whatever has been read
    /// or written stays so.
    pub async fn next(&mut self) -> Option<Turn<'_, S>> {
        let step = poll_fn(|cx| self.poll_step(cx)).await;
        let now = self.clock.now();
        let peer = self.peer;
        let Self { session, buffer, .. } = self;
        let result = match step {
            Step::Ended => return None,
            Step::Opened => session
                .handle_input(now, Input::Opened { peer, via: Via::Dialled(DialId::FIRST), from: None }),
            Step::Closed => session.handle_input(now, Input::Closed { peer }),
            Step::Timeout => Ok(session.handle_timeout(now)),
            Step::Frame(range) => session
                .handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: buffer.frame(range) }),
        };
        Some(Turn { session, now, result })
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.collect();
        match self.state {
            State::New => {
                self.state = State::Open;
                return Poll::Ready(Step::Opened);
            }
            State::Ended => return Poll::Ready(Step::Ended),
            State::Open | State::Closing => {}
        }
        let now = self.clock.now();
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            return Poll::Ready(Step::Timeout);
        }
        if let Err(error) = self.write(cx) {
            return self.end(Some(error.into()));
        }
        if self.state == State::Closing && self.queue.is_empty() && self.written == self.out.len() {
            // Whether the peer answers does not matter any more.
            if self.stream.poll_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
            self.state = State::Ended;
            return Poll::Ready(Step::Ended);
        }
        if self.paused_until.is_none_or(|until| until <= now) {
            self.paused_until = None;
            match self.read(cx) {
                Poll::Ready(Ok(Some(range))) => return Poll::Ready(Step::Frame(range)),
                Poll::Ready(Ok(None)) => return self.end(None),
                Poll::Ready(Err(error)) => return self.end(Some(error)),
                Poll::Pending => {}
            }
        }
        // Whatever comes first wakes this task: bytes, room to write, or the time.
        if let Some(at) = [self.session.poll_timeout(), self.paused_until].into_iter().flatten().min() {
            let at = self.clock.to_std(at).into();
            if self.timer.deadline() != at {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn end(&mut self, error: Option<Error>) -> Poll<Step> {
        let told = self.state == State::Closing;
        self.state = State::Ended;
        if !told {
            self.error = Some(error.unwrap_or(Error::Closed));
        }
        Poll::Ready(if told { Step::Ended } else { Step::Closed })
    }

    /// Moves the session's outputs to the queue.
    fn collect(&mut self) {
        let mut done: usize = 0;
        let mut full = false;
        for output in self.session.outputs() {
            done = done.saturating_add(1);
            match output {
                Output::Send { lane, frame, .. } => {
                    full |= self.queue.push(&self.framing, lane, frame, true, Vec::new).is_err()
                }
                Output::Close { .. } => {
                    self.state = if self.state == State::Ended { State::Ended } else { State::Closing };
                }
                Output::Limit { max_frame, .. } => self.framing.set_max(max_frame),
                Output::Budget { bytes, .. } => self.queue.set_budget(bytes),
                Output::Pause { until, .. } => self.paused_until = Some(until),
                _ => {}
            }
        }
        if done > 0 {
            self.session.advance(done);
        }
        if full {
            tracing::debug!("the server takes nothing more");
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        loop {
            if self.written == self.out.len() {
                self.queue.push_pending(&mut self.framing);
                if self.queue.is_empty() {
                    return match self.stream.poll_flush(cx) {
                        Poll::Ready(Err(error)) => Err(error),
                        _ => Ok(()),
                    };
                }
                let mut spent = core::mem::replace(&mut self.out, self.queue.take());
                spent.clear();
                self.queue.lend(spent);
                self.written = 0;
            }
            match self.stream.poll_write(cx, self.out.get(self.written..).unwrap_or(&[])) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(n)) => self.written = self.written.saturating_add(n),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
    }

    /// The next whole frame; `None` at the end of the stream.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Range<usize>>, Error>> {
        loop {
            match self.buffer.next_frame(&mut self.framing)? {
                Cut::Frame(range) => return Poll::Ready(Ok(Some(range))),
                Cut::NeedMore(needed) => self.needed = needed.get(),
            }
            // Memory grows with what has come in, not with what was announced.
            let most = READ.max(self.buffer.unread().len());
            let spare = self.buffer.spare(if self.buffer.is_empty() { READ } else { self.needed.min(most) });
            match self.stream.poll_read(cx, spare) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(n)) => self.buffer.filled(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

const fn socket_options(settings: ConnectionSettings) -> SocketOptions {
    SocketOptions {
        keepalive: settings.keepalive,
        unacknowledged: settings.unacknowledged,
        send_buffer: None,
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
