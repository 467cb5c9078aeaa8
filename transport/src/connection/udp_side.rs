//! The UDP side of a client's connection.

use super::dial::LanesSettings;
use super::direct::{Direct, DirectNews};
use crate::lanes::{self, BEAT, Control, Cookie, HEAD, SILENCE, ServerHello, Tag, datagram};
use core::net::SocketAddr;
use core::ops::Range;
use core::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use voxwire_core::{Instant, Lane, PeerId, PeerIds};

/// When to knock again after the system did not take it.
const SOON: core::time::Duration = core::time::Duration::from_millis(50);
/// Largest datagram.
const SIZE: usize = 2048;

pub(super) struct UdpSide {
    socket: UdpSocket,
    server: SocketAddr,
    /// Ways to others, if they are wanted; the socket is not connected then.
    direct: Option<Direct>,
    tag: Tag,
    cookie: Cookie,
    /// The server knows where we are, and we hear from it.
    up: bool,
    /// When anything came in last.
    heard: Instant,
    /// When to knock or ping next.
    next_beat: Instant,
    received: Box<[u8; SIZE]>,
    out: Vec<u8>,
    /// Send by TCP what may be lost, where UDP is blocked.
    pub(super) fallback: bool,
    /// Frames that were not sent.
    pub(super) dropped: u64,
}

/// What has come in, or happened.
pub(super) enum News {
    /// A frame, and where it is.
    Frame(Range<usize>),
    /// On a direct way.
    Direct(DirectNews),
    /// To be said by TCP.
    Say(Control),
    /// UDP has gone silent: to be said by TCP.
    Down,
}

impl UdpSide {
    pub(super) fn new(
        (socket, server): (UdpSocket, SocketAddr),
        hello: ServerHello,
        settings: &LanesSettings,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            server,
            direct: settings.direct.is_wanted().then(|| Direct::new(&settings.direct, now)),
            tag: hello.tag,
            cookie: hello.cookie,
            up: false,
            heard: now,
            next_beat: now,
            received: Box::new([0; SIZE]),
            out: Vec::new(),
            fallback: settings.fallback,
            dropped: 0,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    /// The server has bound us.
    pub(super) fn bound(&mut self, now: Instant) -> bool {
        (self.heard, self.next_beat) = (now, now.saturating_add(BEAT));
        !core::mem::replace(&mut self.up, true)
    }

    pub(super) fn next_beat(&self) -> Instant {
        let direct = self.direct.as_ref().and_then(Direct::next);
        direct.map_or(self.next_beat, |direct| direct.min(self.next_beat))
    }

    /// The frame that came in last.
    pub(super) fn frame(&self, range: Range<usize>) -> &[u8] {
        self.received.get(range).unwrap_or(&[])
    }

    /// Sends a frame directly.
    pub(super) fn send_direct(&mut self, now: Instant, to: PeerId, lane: Lane, frame: &[u8]) {
        let Self { direct: Some(direct), socket, .. } = self else { return };
        direct.send(now, socket, to, lane, frame);
    }

    /// The session does not want this way.
    pub(super) fn refuse(&mut self, peer: PeerId, ids: &mut PeerIds, now: Instant) {
        self.direct.iter_mut().for_each(|direct| direct.refuse(peer, ids, now));
    }

    /// The direct ways that are up.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.direct.iter().flat_map(Direct::peers)
    }

    /// What the server says of direct ways. Returns the one that is gone.
    pub(super) fn introduced(&mut self, control: Control, now: Instant) -> Option<PeerId> {
        let direct = self.direct.as_mut()?;
        match control {
            Control::Peer(key, at) => direct.add(key, at, true, now),
            Control::Gone(key) => return direct.remove(key),
            _ => {}
        }
        None
    }

    /// Sends a frame, or loses it.
    pub(super) fn send(&mut self, frame: &[u8]) {
        if !self.say(datagram::DATA, frame) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn say(&mut self, kind: u8, body: &[u8]) -> bool {
        self.out.clear();
        self.out.extend(lanes::head(kind, self.tag));
        self.out.extend_from_slice(body);
        // A full socket, a network that is down for the moment: what may be lost is lost.
        let sent = if self.direct.is_some() {
            self.socket.try_send_to(&self.out, self.server)
        } else {
            self.socket.try_send(&self.out)
        };
        sent.is_ok()
    }

    /// Knocks or pings if it is time, and takes what has come in.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: Instant, ids: &mut PeerIds) -> Poll<News> {
        if self.next_beat <= now {
            // Registers the socket for sending, too: a fresh one takes nothing before.
            let _ = self.socket.poll_send_ready(cx);
            self.next_beat = now.saturating_add(BEAT);
            if self.up && now.saturating_duration_since(self.heard) > SILENCE {
                self.up = false;
                return Poll::Ready(News::Down);
            }
            if self.up {
                self.say(datagram::PING, &now.as_nanos().to_be_bytes());
            } else {
                let cookie = self.cookie;
                if !self.say(datagram::BIND, &cookie) {
                    // Try again soon.
                    self.next_beat = now.saturating_add(SOON);
                }
            }
        }
        if let Some(news) = self.direct.as_mut().and_then(|direct| direct.expire(now, &self.socket, ids)) {
            return Poll::Ready(News::Direct(news));
        }
        loop {
            let mut buffer = ReadBuf::new(&mut self.received[..]);
            let from = match self.socket.poll_recv_from(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                // A refusal by the system is about what was sent, and shows as silence.
                Poll::Ready(Err(_)) => continue,
                Poll::Ready(Ok(from)) => from,
            };
            let Some((kind, tag, body)) = lanes::read_head(buffer.filled()) else { continue };
            if let Some(direct) = self.direct.as_mut().filter(|_| kind >= datagram::KNOCK) {
                match direct.receive(now, &self.socket, ids, (kind, tag, body), from) {
                    None => continue,
                    Some(news) => return Poll::Ready(News::Direct(news)),
                }
            }
            if tag != self.tag || (from.ip(), from.port()) != (self.server.ip(), self.server.port()) {
                continue;
            }
            match kind {
                datagram::DATA if self.up => {
                    self.heard = now;
                    return Poll::Ready(News::Frame(HEAD..HEAD.saturating_add(body.len())));
                }
                datagram::PONG => self.heard = now,
                datagram::CHALLENGE => {
                    if let Some(nonce) = body.first_chunk() {
                        return Poll::Ready(News::Say(Control::Confirm(*nonce)));
                    }
                }
                _ => {}
            }
        }
    }
}
