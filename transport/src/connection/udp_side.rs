//! The UDP side of a client's connection.

use super::direct::{Direct, DirectEvent};
use super::path::PathStats;
use super::remote::TcpUdpSettings;
use crate::grace::{EXCUSE, MAX_STEPS};
use crate::tcp_udp::{self, Control, Cookie, HEAD, PATH_TIMEOUT, PROBE_INTERVAL, ServerHello, Tag, datagram};
use core::net::SocketAddr;
use core::ops::Range;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::coop;
use voxwire_core::{Instant, Lane, PeerId, PeerIds};

/// How soon to send a BIND again that the system did not take.
const SOON: Duration = Duration::from_millis(50);
/// Largest datagram.
const SIZE: usize = 2048;
/// The number of PINGs that a PONG may still answer: those of the last four seconds. So a slow network does not count as dead.
const PROBES: usize = 8;

/// UDP is blocked after so many PINGs in a row without an answer, if there has been none for `PATH_TIMEOUT` either.
const MISSED: usize = 3;
/// A probe that is sent so late shows that this task did not run: received datagrams have not been read. It is twice `grace::LATE`, because a
/// probe has no timer of its own.
const LATE_PROBE: Duration = Duration::from_millis(100);
/// How long a server may leave all BINDs unanswered before UDP counts as blocked: six BINDs, with half a second for each. Only BINDs that were
/// sent count.
const UNANSWERED: Duration = Duration::from_secs(3);

/// The state of a connection's UDP side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpState {
    /// The client asks the server to bind its UDP address. Without an answer this lasts for 3 s. Droppable frames go by TCP, or are dropped
    /// without [`TcpUdpSettings::fallback`].
    Binding,
    /// Droppable frames go by UDP.
    Up,
    /// The server has not answered by UDP, or has stopped answering. Droppable frames go as while binding. The client asks again twice a second.
    Blocked,
}

/// The body of a PING, which its PONG repeats. It is random, so that only a host that has seen the PING can answer it.
type Probe = [u8; 8];

pub(super) struct UdpSide {
    socket: UdpSocket,
    server: SocketAddr,
    /// Direct paths, if they are wanted. The socket is not connected then.
    direct: Option<Direct>,
    tag: Tag,
    cookie: Cookie,
    state: UdpState,
    /// For how long in all the BINDs so far have been left unanswered.
    unanswered: Duration,
    /// When a PING was last answered. DATA proves only that the client hears the server.
    proven: Instant,
    /// PINGs without an answer, and when they were sent, oldest first.
    probes: VecDeque<(Probe, Instant)>,
    /// Counts PINGs.
    stats: PathStats,
    /// When to send a BIND or a PING next.
    next_probe: Instant,
    /// PINGs, or all BINDs so far, have no answer. It counts only after the socket has been read empty.
    silent: bool,
    /// No answer counts as missing before then: this task did not run for some time.
    excused_until: Instant,
    /// Datagrams read in a row.
    taken: u32,
    received: Box<[u8; SIZE]>,
    out: Vec<u8>,
    /// Whether droppable frames go by TCP while UDP is blocked.
    pub(super) fallback: bool,
    /// Droppable frames that were not sent.
    pub(super) dropped: u64,
}

/// Something has come in, or happened.
pub(super) enum UdpEvent {
    /// A frame, and where it is.
    Frame(Range<usize>),
    /// Something happened on a direct path.
    Direct(DirectEvent),
    /// A control message is to be sent by TCP.
    Control(Control),
    /// The server does not answer PINGs any more. It is to be told so by TCP.
    Down,
    /// The server has answered no BIND so far.
    Unanswered,
}

impl UdpSide {
    pub(super) fn new(
        (socket, server): (UdpSocket, SocketAddr),
        hello: ServerHello,
        settings: &TcpUdpSettings,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            server,
            direct: settings.direct.is_wanted().then(|| Direct::new(&settings.direct, now)),
            tag: hello.tag,
            cookie: hello.cookie,
            state: UdpState::Binding,
            unanswered: Duration::ZERO,
            proven: now,
            probes: VecDeque::with_capacity(PROBES),
            stats: PathStats::default(),
            next_probe: now,
            silent: false,
            excused_until: now,
            taken: 0,
            received: Box::new([0; SIZE]),
            out: Vec::new(),
            fallback: settings.fallback,
            dropped: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == UdpState::Up
    }

    pub(super) const fn state(&self) -> UdpState {
        self.state
    }

    /// How PINGs fare.
    pub(super) const fn stats(&self) -> PathStats {
        self.stats
    }

    /// The server's UDP address.
    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// The server has bound our address. True if it was not bound before.
    pub(super) fn bound(&mut self, now: Instant) -> bool {
        (self.proven, self.next_probe, self.silent) = (now, now, false);
        self.probes.clear();
        core::mem::replace(&mut self.state, UdpState::Up) != UdpState::Up
    }

    pub(super) fn next_probe(&self) -> Instant {
        let direct = self.direct.as_ref().and_then(Direct::next);
        let direct = direct.map(|direct| direct.max(self.excused_until));
        direct.map_or(self.next_probe, |direct| direct.min(self.next_probe))
    }

    /// The frame that came in last.
    pub(super) fn frame(&self, range: Range<usize>) -> &[u8] {
        self.received.get(range).unwrap_or(&[])
    }

    /// Sends a frame on a direct path.
    pub(super) fn send_direct(&mut self, now: Instant, to: PeerId, lane: Lane, frame: &[u8]) {
        let Self { direct: Some(direct), socket, .. } = self else { return };
        direct.send(now, socket, to, lane, frame);
    }

    /// The session refuses a direct path.
    pub(super) fn refuse(&mut self, peer: PeerId, ids: &mut PeerIds, now: Instant) {
        self.direct.iter_mut().for_each(|direct| direct.refuse(peer, ids, now));
    }

    /// The direct paths that are up.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.direct.iter().flat_map(Direct::peers)
    }

    /// The server introduces another client, or says that one is gone. Returns the peer of a path that ends.
    pub(super) fn introduced(&mut self, control: Control, now: Instant) -> Option<PeerId> {
        let direct = self.direct.as_mut()?;
        match control {
            Control::Peer(key, at) => direct.add(key, at, true, now),
            Control::Gone(key) => return direct.remove(key),
            _ => {}
        }
        None
    }

    /// Sends a frame, or drops it.
    pub(super) fn send(&mut self, frame: &[u8]) {
        if !self.send_datagram(datagram::DATA, frame) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn send_datagram(&mut self, kind: u8, body: &[u8]) -> bool {
        self.out.clear();
        self.out.extend(tcp_udp::head(kind, self.tag));
        self.out.extend_from_slice(body);
        // With a full socket, or a network that is down, the frame is lost.
        let sent = if self.direct.is_some() {
            self.socket.try_send_to(&self.out, self.server)
        } else {
            self.socket.try_send(&self.out)
        };
        sent.is_ok()
    }

    /// The oldest PINGs will not be answered any more.
    fn lose_probes(&mut self, count: usize) {
        self.probes.drain(..count);
        self.stats.lost = self.stats.lost.saturating_add(count as u64);
    }

    /// Sends a PING.
    fn ping(&mut self, now: Instant) {
        let mut probe = Probe::default();
        if getrandom::fill(&mut probe).is_err() {
            return;
        }
        if self.probes.len() == PROBES {
            self.lose_probes(1);
        }
        self.probes.push_back((probe, now));
        self.stats.sent = self.stats.sent.saturating_add(1);
        self.send_datagram(datagram::PING, &probe);
    }

    /// Sends a BIND or a PING if one is due, and reads the socket. Missing answers count only after that, and not at once after a stall: they may
    /// still wait in the socket.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, ids: &mut PeerIds) -> Poll<UdpEvent> {
        if now.saturating_duration_since(self.next_probe()) > LATE_PROBE {
            self.excused_until = now.saturating_add(EXCUSE);
        }
        if self.next_probe <= now {
            // Registers the socket for sending, too: a new one takes nothing before that.
            let _ = self.socket.poll_send_ready(cx);
            self.next_probe = now.saturating_add(PROBE_INTERVAL);
            if self.is_up() {
                self.silent = self.probes.len() >= MISSED
                    && now.saturating_duration_since(self.proven) > PATH_TIMEOUT
                    && now >= self.excused_until;
                self.ping(now);
            } else {
                self.silent = self.state == UdpState::Binding
                    && self.unanswered >= UNANSWERED
                    && now >= self.excused_until;
                let cookie = self.cookie;
                // A BIND that the system does not take is sent again soon.
                let wait = if self.send_datagram(datagram::BIND, &cookie) { PROBE_INTERVAL } else { SOON };
                self.next_probe = now.saturating_add(wait);
                self.unanswered = self.unanswered.saturating_add(wait);
            }
        }
        // A flood must not delay what is due.
        if self.taken < MAX_STEPS {
            if let Poll::Ready(event) = self.receive(cx, now, ids) {
                self.taken = self.taken.saturating_add(1);
                return Poll::Ready(event);
            }
        }
        let more = core::mem::take(&mut self.taken) >= MAX_STEPS || !coop::has_budget_remaining();
        if more {
            cx.waker().wake_by_ref();
        }
        if core::mem::take(&mut self.silent) {
            let before = core::mem::replace(&mut self.state, UdpState::Blocked);
            if before == UdpState::Up {
                self.next_probe = now;
                self.lose_probes(self.probes.len());
                return Poll::Ready(UdpEvent::Down);
            }
            return Poll::Ready(UdpEvent::Unanswered);
        }
        if now >= self.excused_until {
            let Self { direct, socket, .. } = self;
            if let Some(event) = direct.as_mut().and_then(|direct| direct.expire(now, socket, ids)) {
                return Poll::Ready(UdpEvent::Direct(event));
            }
        }
        Poll::Pending
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant, ids: &mut PeerIds) -> Poll<UdpEvent> {
        loop {
            let mut buffer = ReadBuf::new(&mut self.received[..]);
            let from = match self.socket.poll_recv_from(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                // An error here concerns a datagram that was sent. It shows as silence.
                Poll::Ready(Err(_)) => continue,
                Poll::Ready(Ok(from)) => from,
            };
            let Some((kind, tag, body)) = tcp_udp::read_head(buffer.filled()) else { continue };
            if let Some(direct) = self.direct.as_mut().filter(|_| kind >= datagram::PROBE) {
                match direct.receive(now, &self.socket, ids, (kind, tag, body), from) {
                    None => continue,
                    Some(event) => return Poll::Ready(UdpEvent::Direct(event)),
                }
            }
            if tag != self.tag || (from.ip(), from.port()) != (self.server.ip(), self.server.port()) {
                continue;
            }
            match kind {
                datagram::DATA if self.state == UdpState::Up => {
                    return Poll::Ready(UdpEvent::Frame(HEAD..HEAD.saturating_add(body.len())));
                }
                datagram::PONG => {
                    // Each PING is answered once. PINGs before the answered one count no more.
                    if let Some(at) = self.probes.iter().position(|(probe, _)| body == probe) {
                        self.lose_probes(at);
                        (self.proven, self.silent) = (now, false);
                        if let Some((_, sent)) = self.probes.pop_front() {
                            self.stats.answered = self.stats.answered.saturating_add(1);
                            self.stats.round_trip = Some(now.saturating_duration_since(sent));
                        }
                    }
                }
                datagram::CHALLENGE if self.state != UdpState::Up => {
                    (self.unanswered, self.silent) = (Duration::ZERO, false);
                    if let Some(nonce) = body.first_chunk() {
                        return Poll::Ready(UdpEvent::Control(Control::Confirm(*nonce)));
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that does not run for some time has not asked meanwhile; and a server that answers is not blocked.
    #[tokio::test]
    async fn udp_is_blocked_only_after_six_binds_that_were_sent_and_not_answered() {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (ours, theirs) = (bind().await.unwrap(), bind().await.unwrap());
        let server = theirs.local_addr().unwrap();
        ours.connect(server).await.unwrap();
        ours.writable().await.unwrap();
        let hello = ServerHello { accepted: true, udp_port: server.port(), tag: [1; 7], cookie: [2; 16] };
        let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
        let client = ours.local_addr().unwrap();
        let mut side = UdpSide::new((ours, server), hello, &TcpUdpSettings::default(), at(0));
        let mut ids = PeerIds::new();
        let mut poll = async |ms| {
            core::future::poll_fn(|cx| {
                Poll::Ready(match side.poll(cx, at(ms), &mut ids) {
                    Poll::Pending => "nothing",
                    Poll::Ready(UdpEvent::Unanswered) => "unanswered",
                    Poll::Ready(UdpEvent::Control(Control::Confirm(_))) => "challenged",
                    Poll::Ready(_) => "something else",
                })
            })
            .await
        };
        assert_eq!(poll(0).await, "nothing");
        // It does not run for a minute.
        for ms in [60_000, 60_500, 61_000, 61_500] {
            assert_eq!(poll(ms).await, "nothing", "{ms}");
        }
        let challenge = [&tcp_udp::head(datagram::CHALLENGE, [1; 7])[..], &[3; 8]].concat();
        theirs.send_to(&challenge, client).await.unwrap();
        while poll(61_600).await == "nothing" {
            tokio::task::yield_now().await;
        }
        // From then on, six more.
        for ms in [62_000, 62_500, 63_000, 63_500, 64_000, 64_500] {
            assert_eq!(poll(ms).await, "nothing", "{ms}");
        }
        assert_eq!(poll(65_000).await, "unanswered");
    }
}
