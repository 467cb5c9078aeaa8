//! Everything that a client's session reaches: its server, by a stream and by UDP; other clients, by direct paths; connections that it dials
//! or accepts.

use super::direct::DirectEvent;
use super::path::PathStats;
use super::remote::{Dialling, Established, Remote};
use super::settings::ConnectionSettings;
use super::stream_conn::{ConnEvent, StreamConn};
use super::streams::{StreamEvent, Streams};
use super::udp_side::UdpSide;
use crate::Error;
use crate::grace::Grace;
use crate::stream::framing::StreamFraming;
use core::net::IpAddr;
use core::task::{Context, Poll, ready};
use tokio::task::coop;
use voxwire_core::{Clock, DialId, Framing, Input, Instant, Lane, Output, PeerId, PeerIds, Via};

pub(super) struct Network<F> {
    pub(super) clock: Clock,
    settings: ConnectionSettings,
    ids: PeerIds,
    /// By this id the session knows the server. Each new connection gets a new one.
    server: PeerId,
    /// Where to connect again, if the session dials the server.
    remote: Option<Remote>,
    dialling: Option<Dialling>,
    conn: Option<StreamConn<F>>,
    pub(super) state: State,
    /// When to look again whether the handshake is over.
    handshake_due: Option<Instant>,
    handshake_grace: Grace,
    /// Connections of the session's own making.
    streams: Streams<F>,
    /// Whether `streams` are polled before the server this time.
    streams_first: bool,
    /// Our address on the connection to the server. The session's listeners are opened there.
    home: Option<IpAddr>,
    /// Why the last connection to the server has ended.
    pub(super) error: Option<Error>,
    /// A frame has come in on the last connection to the server.
    pub(super) received: bool,
    /// Direct paths that ended with their connection, and of whose end the session has not heard yet.
    gone: Vec<PeerId>,
    /// Droppable frames dropped on connections before this one.
    dropped_before: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The session has not heard of the connection yet. The framing's handshake has to be over by then.
    New(Instant),
    Open,
    /// The session has closed it. What is queued is being written.
    Closing,
    /// There is none, and the session knows that.
    Ended,
}

/// What the next turn is about.
pub(super) enum Step {
    Opened,
    /// Something happened on the connection to the server.
    Server(ConnEvent),
    /// Something happened on a connection of the session's own making.
    Stream(StreamEvent),
    /// A frame that the session put off.
    Deferred,
    Timeout,
    Closed,
    DialFailed,
    Ended,
}

impl<F: Framing> Network<F> {
    /// `is_stream`: whether the session's framing finds the frames in a byte stream.
    pub(super) fn new(remote: Option<Remote>, settings: ConnectionSettings, is_stream: bool) -> Self {
        Self {
            clock: Clock::start(),
            settings,
            ids: PeerIds::new(),
            server: PeerId { slot: 0, generation: 0 },
            remote,
            dialling: None,
            conn: None,
            state: State::Ended,
            handshake_due: None,
            handshake_grace: Grace::default(),
            streams: Streams::new(settings, is_stream),
            streams_first: false,
            home: None,
            error: None,
            received: false,
            gone: Vec::new(),
            dropped_before: 0,
        }
    }

    /// Makes this the connection to the server.
    pub(super) fn install(&mut self, established: Established, framing: F) {
        let Established { stream, units, .. } = established;
        let now = self.clock.now();
        self.home = stream.local_ip();
        // The connection before this one may still have direct paths.
        self.leave_conn();
        self.ids.retire(self.server);
        self.server = self.ids.mint().unwrap_or(self.server);
        let tcp_udp = self.remote.as_ref().and_then(|remote| remote.units.clone()).unwrap_or_default();
        let (framing, udp) = match units {
            None => (StreamFraming::Session(framing), None),
            Some((hello, socket)) => {
                let udp = socket.map(|socket| UdpSide::new(socket, hello, &tcp_udp, now));
                (StreamFraming::units(framing), udp)
            }
        };
        let conn = self.conn.insert(StreamConn::new(stream, framing, self.settings));
        conn.udp = udp;
        #[cfg(feature = "quic")]
        {
            conn.quic = established.quic;
        }
        self.error = None;
        self.received = false;
        self.handshake_grace = Grace::default();
        self.state = State::New(now.saturating_add(self.settings.connect));
    }

    /// Goes on with the framing's handshake.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.conn.as_mut().map_or(Poll::Ready(Ok(())), |conn| conn.poll_ready(cx))
    }

    /// Writes all that is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut written = self.streams.write(cx);
        if let Some(conn) = &mut self.conn {
            conn.check()?;
            conn.write(cx)?;
            written &= conn.is_written();
        }
        if written { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped_before.saturating_add(self.conn.as_ref().map_or(0, StreamConn::dropped))
    }

    pub(super) fn udp_side(&self) -> Option<&UdpSide> {
        self.conn.as_ref()?.udp.as_ref()
    }

    pub(super) fn path(&self) -> Option<PathStats> {
        #[cfg(feature = "quic")]
        if let Some(quic) = self.conn.as_ref().and_then(|conn| conn.quic.as_ref()) {
            return Some(quic.datagrams.path());
        }
        self.udp_side().map(UdpSide::stats)
    }

    /// The input that a step is for the session; `None` where the session need not know of it.
    pub(super) fn input(&self, step: Step) -> Option<Input<'_>> {
        let datagram = |range| self.conn.as_ref().map_or(&[][..], |conn| conn.datagram(range));
        Some(match step {
            Step::Opened => Input::Opened { peer: self.server, via: Via::Dialled(DialId::FIRST), from: None },
            Step::Closed => Input::Closed { peer: self.server },
            Step::DialFailed => Input::DialFailed(DialId::FIRST),
            Step::Server(ConnEvent::Frame(lane, range)) => {
                let bytes = self.conn.as_ref().map_or(&[][..], |conn| conn.buffer.frame(range));
                Input::Frame { peer: self.server, lane, bytes }
            }
            Step::Server(ConnEvent::Datagram(range)) => {
                Input::Frame { peer: self.server, lane: Lane::Droppable, bytes: datagram(range) }
            }
            Step::Server(ConnEvent::Direct(DirectEvent::Up(peer, from))) => {
                Input::Opened { peer, via: Via::Accepted, from: Some(from) }
            }
            Step::Server(ConnEvent::Direct(DirectEvent::Down(peer))) => Input::Closed { peer },
            Step::Server(ConnEvent::Direct(DirectEvent::Frame(peer, lane, range))) => {
                Input::Frame { peer, lane, bytes: datagram(range) }
            }
            Step::Stream(StreamEvent::Frame(peer, lane, range)) => {
                Input::Frame { peer, lane, bytes: self.streams.frame(peer, range) }
            }
            Step::Stream(event) => return event.input(),
            Step::Deferred | Step::Timeout | Step::Server(ConnEvent::Changed) | Step::Ended => return None,
        })
    }

    /// Finishes the handshake of a new connection, of which the session then hears. Then tells the end of direct paths that ended with the
    /// connection before.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.handshake_due = None;
        if let State::New(until) = self.state {
            let ready = self.poll_ready(cx);
            // A handshake that has come in counts, however late this looks; received data may not have been read yet.
            let now = self.clock.now();
            let failed = match ready {
                Poll::Ready(Ok(())) => {
                    self.state = State::Open;
                    return Poll::Ready(Step::Opened);
                }
                Poll::Ready(Err(error)) => Some(error),
                Poll::Pending => {
                    self.handshake_due = if until <= now {
                        self.handshake_grace.hold(until, now, !coop::has_budget_remaining())
                    } else {
                        Some(until)
                    };
                    self.handshake_due.is_none().then_some(Error::TooSlow("the handshake"))
                }
            };
            if failed.is_some() {
                self.state = State::Ended;
                self.conn = None;
                self.error = failed;
                return Poll::Ready(Step::DialFailed);
            }
        }
        match self.gone.pop() {
            Some(peer) => {
                self.ids.retire(peer);
                Poll::Ready(Step::Server(ConnEvent::Direct(DirectEvent::Down(peer))))
            }
            None => Poll::Pending,
        }
    }

    /// Writes, reads, and returns the next step. `timeout` is the session's next timer: without one and without connections, that is the end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        timeout: Option<Instant>,
        framing: impl Fn() -> F,
    ) -> Poll<Step> {
        if let Some(step) = self.poll_dialling(cx, &framing) {
            return step;
        }
        if self.is_over(timeout) {
            return Poll::Ready(Step::Ended);
        }
        // In turn, so that neither can starve the other.
        self.streams_first = !self.streams_first;
        for streams in [self.streams_first, !self.streams_first] {
            let step = if streams {
                self.streams.poll(cx, now, &mut self.ids, &framing).map(Step::Stream)
            } else {
                self.poll_server(cx, now, timeout)
            };
            if step.is_ready() {
                return step;
            }
        }
        Poll::Pending
    }

    /// Goes on with dialling the server. `None` while there is no result.
    fn poll_dialling(&mut self, cx: &mut Context<'_>, framing: impl Fn() -> F) -> Option<Poll<Step>> {
        let Poll::Ready(result) = self.dialling.as_mut()?.as_mut().poll(cx) else { return None };
        self.dialling = None;
        Some(match result {
            Ok(established) => {
                self.install(established, framing());
                self.poll_handshake(cx)
            }
            Err(error) => {
                self.error = Some(error);
                Poll::Ready(Step::DialFailed)
            }
        })
    }

    fn poll_server(&mut self, cx: &mut Context<'_>, now: Instant, timeout: Option<Instant>) -> Poll<Step> {
        let closing = match self.state {
            State::Open => false,
            State::Closing => true,
            State::New(_) | State::Ended => return Poll::Pending,
        };
        let Some(conn) = &mut self.conn else { return Poll::Pending };
        match ready!(conn.poll(cx, now, closing, &mut self.ids)) {
            Ok(Some(step)) => {
                self.received |= matches!(step, ConnEvent::Frame(..) | ConnEvent::Datagram(_));
                Poll::Ready(Step::Server(step))
            }
            Ok(None) => Poll::Ready(self.end(None, timeout)),
            Err(error) => Poll::Ready(self.end(Some(error), timeout)),
        }
    }

    /// Whether there is no connection, none is being dialled, and the session has no timer that could dial one.
    fn is_over(&self, timeout: Option<Instant>) -> bool {
        self.state == State::Ended && self.dialling.is_none() && timeout.is_none() && self.streams.is_empty()
    }

    /// When this is to be polled again, even if nothing comes in.
    pub(super) fn due(&self) -> Option<Instant> {
        // A connection that is being closed reads nothing more.
        let conn = self.conn.as_ref().filter(|_| self.state == State::Open);
        let [paused, probe] = conn.map_or([None; 2], |conn| [conn.paused_until, conn.next_probe()]);
        [self.handshake_due, paused, probe, self.streams.due()].into_iter().flatten().min()
    }

    /// The connection is over.
    fn end(&mut self, error: Option<Error>, timeout: Option<Instant>) -> Step {
        let told = self.state == State::Closing;
        self.state = State::Ended;
        self.leave_conn();
        if told {
            return if self.is_over(timeout) { Step::Ended } else { Step::Server(ConnEvent::Changed) };
        }
        self.error = Some(error.unwrap_or(Error::Closed));
        Step::Closed
    }

    /// Drops the connection. Its direct paths end with it, of which the session hears later.
    fn leave_conn(&mut self) {
        self.dropped_before = self.dropped();
        if let Some(udp) = self.conn.take().and_then(|conn| conn.udp) {
            self.gone.extend(udp.peers());
        }
    }

    /// Carries out an output of the session.
    pub(super) fn apply(&mut self, output: Output<'_>) {
        match output {
            Output::Send { to, lane, frame, .. } => self.send(to, lane, frame),
            Output::Close { peer } => self.close(peer),
            Output::Dial { id: DialId::FIRST, .. } => {
                if let Some(remote) = self.remote.clone() {
                    self.dialling = Some(Box::pin(remote.dial(self.settings)));
                }
            }
            Output::Dial { id, host, port } => self.streams.dial(id, host, port),
            Output::Listen { id } => self.streams.listen(id, self.home),
            Output::StopListening { id } => self.streams.stop_listening(id),
            Output::Limit { peer, max_frame } => {
                self.conn_of(peer).into_iter().for_each(|conn| conn.framing.set_max(max_frame));
            }
            Output::Budget { peer, bytes } => {
                let default = self.settings.droppable_budget;
                self.conn_of(peer).into_iter().for_each(|conn| conn.queue.set_budget(bytes, default));
            }
            Output::Pause { peer, until } => {
                self.conn_of(peer).into_iter().for_each(|conn| conn.paused_until = Some(until));
            }
            Output::Resume { peer } => {
                self.conn_of(peer).into_iter().for_each(|conn| conn.paused_until = None);
            }
            _ => {}
        }
    }

    /// The stream to a peer, if it has one.
    fn conn_of(&mut self, peer: PeerId) -> Option<&mut StreamConn<F>> {
        if peer == self.server { self.conn.as_mut() } else { self.streams.conn(peer) }
    }

    fn send(&mut self, to: PeerId, lane: Lane, frame: &[u8]) {
        if let Some(conn) = self.conn_of(to) {
            conn.push(lane, frame);
        } else if let Some(StreamConn { udp: Some(udp), .. }) = &mut self.conn {
            udp.send_direct(self.clock.now(), to, lane, frame);
        }
    }

    fn close(&mut self, peer: PeerId) {
        if peer == self.server {
            if self.state != State::Ended {
                self.state = State::Closing;
            }
        } else if self.streams.conn(peer).is_some() {
            self.streams.close(peer, self.clock.now());
        } else if let Some(StreamConn { udp: Some(udp), .. }) = &mut self.conn {
            udp.refuse(peer, &mut self.ids, self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::socket::Stream;
    use voxwire_core::Datagram;

    /// C-06: a budget of 0 is the driver's own again, here as in a hub.
    #[tokio::test]
    async fn c_06_a_budget_of_nothing_restores_the_default() {
        let (stream, _other) = tokio::io::duplex(64);
        let mut network = Network::new(None, ConnectionSettings::DEFAULT, false);
        let established = Established::inside(Stream::Inside(stream), false).await.unwrap();
        network.install(established, Datagram { max: 1000 });
        let peer = network.server;
        for (bytes, dropped) in [(1000, 9), (0, 9)] {
            network.apply(Output::Budget { peer, bytes });
            (0..10).for_each(|_| network.send(peer, Lane::Droppable, &[7; 1000]));
            assert_eq!(network.dropped(), dropped, "{bytes}");
        }
    }
}
