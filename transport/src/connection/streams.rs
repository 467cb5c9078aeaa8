//! Connections of a session beside the one to its server: those that it dials, and those that it accepts where it listens.

use super::remote::socket_options;
use super::settings::ConnectionSettings;
use super::stream_conn::{ConnEvent, StreamConn};
use crate::Error;
use crate::grace::within;
use crate::listener::{Bound, Listener};
use crate::socket_options::{connect, prepare_if_possible};
use crate::stream::framing::StreamFraming;
use crate::stream::socket::Stream;
use core::future::Future;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use tokio::net::TcpStream;
use voxwire_core::{DialId, Framing, Input, Instant, Lane, ListenId, PeerId, PeerIds, Via};

/// How long a closed connection may take to write what is queued.
const LINGER: Duration = Duration::from_secs(2);
/// How long to wait after accepting has failed.
const REST: Duration = Duration::from_millis(50);
/// Most connections at a time; further ones wait to be accepted.
const MAX_STREAMS: usize = 256;

pub(super) struct Streams<F> {
    settings: ConnectionSettings,
    /// Whether the session's framing finds the frames in a byte stream. Otherwise none of these connections is possible.
    is_stream: bool,
    listeners: Vec<(ListenId, Listener)>,
    dialling: Vec<(DialId, Dialling)>,
    open: Vec<Open<F>>,
    /// Ports that were opened (or not, `None`), of which the session has not heard yet.
    unreported_ports: Vec<(ListenId, Option<u16>)>,
    /// What cannot be dialled, of which the session has not heard yet.
    unreported_failures: Vec<DialId>,
    /// The connection that is polled first next time, so that none starves.
    turn: usize,
    /// No connection is accepted until then.
    rest: Option<Instant>,
}

/// A new connection, and the address of its other end.
type NewStream = (TcpStream, SocketAddr);
type Dialling = Pin<Box<dyn Future<Output = Result<NewStream, Error>> + Send>>;

struct Open<F> {
    peer: PeerId,
    conn: StreamConn<F>,
    /// The session has closed it. What is queued is being written, until then at the latest.
    closing: Option<Instant>,
}

/// Something happened on one of them.
pub(super) enum StreamEvent {
    Listening(ListenId, Option<u16>),
    Opened(PeerId, SocketAddr, Via),
    DialFailed(DialId),
    Frame(PeerId, Lane, Range<usize>),
    Closed(PeerId),
    /// Nothing of which the session has to hear.
    Quiet,
}

impl<F: Framing> Streams<F> {
    pub(super) const fn new(settings: ConnectionSettings, is_stream: bool) -> Self {
        Self {
            settings,
            is_stream,
            listeners: Vec::new(),
            dialling: Vec::new(),
            open: Vec::new(),
            unreported_ports: Vec::new(),
            unreported_failures: Vec::new(),
            turn: 0,
            rest: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
            && self.dialling.is_empty()
            && self.listeners.is_empty()
            && self.unreported_ports.is_empty()
            && self.unreported_failures.is_empty()
    }

    pub(super) fn listen(&mut self, id: ListenId, home: Option<IpAddr>) {
        if !self.is_stream {
            return self.unreported_ports.push((id, None));
        }
        let ip = home.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (first, end) = self.settings.ports.unwrap_or((0, 0));
        let bound = Listener::bind_first(ip, first..=end);
        let port = bound.as_ref().ok().map(|(_, port)| *port);
        match bound {
            Ok((listener, _)) => self.listeners.push((id, listener)),
            Err(error) => crate::log::debug!(%error, "cannot listen"),
        }
        self.unreported_ports.push((id, port));
    }

    pub(super) fn stop_listening(&mut self, id: ListenId) {
        self.listeners.retain(|(listener, _)| *listener != id);
        self.unreported_ports.retain(|(listener, _)| *listener != id);
    }

    pub(super) fn dial(&mut self, id: DialId, host: &str, port: u16) {
        if !self.is_stream {
            return self.unreported_failures.push(id);
        }
        let (host, limit) = (host.to_owned(), self.settings.connect);
        self.dialling.push((id, Box::pin(within(limit, "connecting", connect((host, port))))));
    }

    /// Adds a new connection.
    fn add(
        &mut self,
        ids: &mut PeerIds,
        stream: TcpStream,
        framing: F,
        from: SocketAddr,
        via: Via,
    ) -> StreamEvent {
        let Some(peer) = ids.mint() else { return StreamEvent::Quiet };
        prepare_if_possible(&stream, socket_options(self.settings), from);
        let framing = StreamFraming::Session(framing);
        let conn = StreamConn::new(Stream::Plain(stream), framing, self.settings);
        self.open.push(Open { peer, conn, closing: None });
        StreamEvent::Opened(peer, from, via)
    }

    /// The connection of a peer, as long as the session has not closed it.
    pub(super) fn conn(&mut self, peer: PeerId) -> Option<&mut StreamConn<F>> {
        self.open
            .iter_mut()
            .find(|open| open.peer == peer && open.closing.is_none())
            .map(|open| &mut open.conn)
    }

    pub(super) fn close(&mut self, peer: PeerId, now: Instant) {
        if let Some(open) = self.open.iter_mut().find(|open| open.peer == peer) {
            open.closing = Some(now.saturating_add(LINGER));
        }
    }

    pub(super) fn frame(&self, peer: PeerId, range: Range<usize>) -> &[u8] {
        let open = self.open.iter().find(|open| open.peer == peer);
        open.map_or(&[], |open| open.conn.buffer.frame(range))
    }

    /// When a paused connection is read again, accepting goes on, or a closed connection is given up.
    pub(super) fn due(&self) -> Option<Instant> {
        let rest = self.rest.filter(|_| !self.listeners.is_empty());
        self.open.iter().filter_map(|open| open.closing.or(open.conn.paused_until)).chain(rest).min()
    }

    /// Writes what is queued on all connections; true if nothing is left.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> bool {
        // A connection that fails ends when it is polled next.
        self.open.iter_mut().all(|open| open.conn.write(cx).is_err() || open.conn.is_written())
    }

    /// Finds the next event. `framing` makes the framing of a new connection.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        ids: &mut PeerIds,
        framing: impl Fn() -> F,
    ) -> Poll<StreamEvent> {
        self.rest = self.rest.filter(|until| *until > now);
        if let Some((id, port)) = self.unreported_ports.pop() {
            return Poll::Ready(StreamEvent::Listening(id, port));
        }
        if let Some(id) = self.unreported_failures.pop() {
            return Poll::Ready(StreamEvent::DialFailed(id));
        }
        if let Poll::Ready((id, result)) = self.poll_dialling(cx) {
            return Poll::Ready(match result {
                Ok((stream, to)) => self.add(ids, stream, framing(), to, Via::Dialled(id)),
                Err(error) => {
                    crate::log::debug!(%error, "cannot connect");
                    StreamEvent::DialFailed(id)
                }
            });
        }
        if let Poll::Ready((id, (stream, from))) = self.poll_accept(cx, now) {
            return Poll::Ready(self.add(ids, stream, framing(), from, Via::AcceptedOn(id)));
        }
        self.poll_open(cx, now, ids)
    }

    /// The next result of dialling.
    fn poll_dialling(&mut self, cx: &mut Context<'_>) -> Poll<(DialId, Result<NewStream, Error>)> {
        for at in 0..self.dialling.len() {
            let Some((id, dialling)) = self.dialling.get_mut(at) else { continue };
            let (id, Poll::Ready(result)) = (*id, dialling.as_mut().poll(cx)) else { continue };
            drop(self.dialling.remove(at));
            return Poll::Ready((id, result));
        }
        Poll::Pending
    }

    /// The next connection to one of the listeners.
    fn poll_accept(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<(ListenId, NewStream)> {
        for (id, listener) in &self.listeners {
            let Bound::Tcp(socket) = &listener.socket else { continue };
            // Further connections wait in the system.
            if self.open.len() >= MAX_STREAMS || self.rest.is_some_and(|until| until > now) {
                continue;
            }
            match socket.poll_accept(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(accepted)) => return Poll::Ready((*id, accepted)),
                Poll::Ready(Err(error)) => {
                    // The system does not wake this task for the next connection after an error.
                    crate::log::debug!(%error, "cannot accept");
                    self.rest = Some(now.saturating_add(REST));
                }
            }
        }
        Poll::Pending
    }

    /// Something happened on an open connection.
    fn poll_open(&mut self, cx: &mut Context<'_>, now: Instant, ids: &mut PeerIds) -> Poll<StreamEvent> {
        let count = self.open.len();
        for n in 0..count {
            let at = self.turn.wrapping_add(n).checked_rem(count).unwrap_or(0);
            let Some(open) = self.open.get_mut(at) else { continue };
            let peer = open.peer;
            if let Some(until) = open.closing {
                if until > now && open.conn.poll_close(cx).is_pending() {
                    continue;
                }
                self.open.remove(at);
                ids.retire(peer);
                return Poll::Ready(StreamEvent::Quiet);
            }
            let Poll::Ready(result) = open.conn.poll(cx, now, false, ids) else { continue };
            self.turn = at.wrapping_add(1);
            if let Ok(Some(step)) = result {
                return Poll::Ready(match step {
                    ConnEvent::Frame(lane, range) => StreamEvent::Frame(peer, lane, range),
                    _ => StreamEvent::Quiet,
                });
            }
            self.open.remove(at);
            ids.retire(peer);
            return Poll::Ready(StreamEvent::Closed(peer));
        }
        Poll::Pending
    }
}

impl StreamEvent {
    /// The input that this is for the session; `None` for frames, which need the buffer.
    pub(super) const fn input(&self) -> Option<Input<'static>> {
        Some(match self {
            Self::Listening(id, Some(port)) => Input::Listening { id: *id, port: *port },
            Self::Listening(id, None) => Input::ListenFailed(*id),
            Self::DialFailed(id) => Input::DialFailed(*id),
            Self::Closed(peer) => Input::Closed { peer: *peer },
            Self::Opened(peer, from, via) => Input::Opened { peer: *peer, via: *via, from: Some(*from) },
            Self::Frame(..) | Self::Quiet => return None,
        })
    }
}
