//! The UDP side of connections: binding a source to its TCP connection, and the datagrams of those that are bound.

use super::direct::Introduced;
use super::shared::{Core, Shared, count};
use super::sources::Source;
use crate::lanes::{self, Control, Cookie, Nonce, ServerHello, Tag, Wishes, datagram};
use crate::udp::{Destination, Path, Received, Udp};
use core::future::poll_fn;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;
use voxwire_core::{Bucket, Input, Instant, Lane, PeerId, Session};

/// How what may be lost reaches a connection, if not as units.
#[derive(Debug)]
pub(super) enum Route {
    Udp(UdpRoute),
    /// All it is sent, as it is.
    Source(Source),
    #[cfg(feature = "quic")]
    Quic(crate::quic::Datagrams),
}

/// The UDP side of one connection.
#[derive(Debug)]
pub(super) struct UdpRoute {
    /// Index of the socket.
    socket: usize,
    tag: Tag,
    cookie: Cookie,
    /// Where the client is; `None` until it has shown that it is there.
    pub(super) bound: Option<Path>,
    /// When a PING came from there last: nothing is sent there that nobody has asked for in `LAPSE`.
    pinged: Instant,
    /// What was sent to an address that knocked, and which.
    challenge: Option<(Nonce, Path)>,
    ingress: Bucket,
    /// If it wants direct ways.
    pub(super) introduced: Option<Introduced>,
}

impl UdpRoute {
    /// The route of a new connection, and what its client is told of it; `None` without randomness.
    pub(super) fn new(
        socket: usize,
        udp_port: u16,
        peer: PeerId,
        direct: bool,
    ) -> Option<(Self, ServerHello)> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).ok()?;
        let (secret, cookie) = random.split_first_chunk::<4>()?;
        let (tag, cookie) = (lanes::tag(peer.slot, *secret), *cookie.first_chunk()?);
        let hello = ServerHello { accepted: true, udp_port, tag, cookie };
        let ingress = Bucket::default();
        let introduced = direct.then(Introduced::default);
        Some((
            Self {
                socket,
                tag,
                cookie,
                bound: None,
                pinged: Instant::ZERO,
                challenge: None,
                ingress,
                introduced,
            },
            hello,
        ))
    }

    /// Where what may be lost goes, if the client can be reached so.
    pub(super) fn destination(&self, peer: PeerId, now: Instant) -> Option<Destination> {
        let lapsed = now.saturating_duration_since(self.pinged) > lanes::LAPSE;
        self.to(peer, self.bound.filter(|_| !lapsed)?, datagram::DATA)
    }

    fn to(&self, peer: PeerId, to: Path, kind: u8) -> Option<Destination> {
        Some(Destination {
            socket: self.socket,
            slot: peer.slot,
            to,
            head: Some(lanes::head(kind, self.tag)),
        })
    }
}

impl<S: Session> Shared<S> {
    /// Hands on what one call has received.
    fn datagrams(&self, socket: usize, received: &Received) {
        self.locked(|shared, core, now| {
            let plain = shared.sockets.get(socket).is_some_and(Udp::is_plain);
            for (bytes, from) in received.iter() {
                if plain {
                    core.plain_datagram(shared, now, (socket, from), bytes);
                } else {
                    core.datagram(shared, now, socket, from, bytes);
                }
            }
            core.settle(shared, now);
        });
    }
}

impl<S: Session> Core<S> {
    fn datagram(&mut self, shared: &Shared<S>, now: Instant, socket: usize, from: Path, bytes: &[u8]) {
        let Some((kind, tag, body)) = lanes::read_head(bytes) else { return };
        let Some(peer) = self.routes.peer_at(lanes::slot(tag)) else { return };
        let Some(Route::Udp(route)) = self.routes.get_mut(peer) else { return };
        if route.tag != tag || route.socket != socket {
            return;
        }
        let bound = route.bound.filter(|bound| bound.remote == from.remote);
        let is_its_own = match kind {
            datagram::DATA | datagram::PING => bound.is_some(),
            datagram::BIND => body.get(..16) == Some(&route.cookie[..]),
            _ => false,
        };
        if !is_its_own {
            return;
        }
        // What is to be answered costs no less than what is to be passed on.
        if route.ingress.take(now, shared.settings.frames, 1).is_err() {
            count(&shared.counters.dropped_frames);
            return;
        }
        match kind {
            datagram::DATA => {
                self.handle(now, Input::Frame { peer, lane: Lane::Droppable, bytes: body });
            }
            datagram::PING => {
                route.pinged = now;
                // As many bytes as came in.
                let pong = bound.and_then(|bound| route.to(peer, bound, datagram::PONG));
                pong.into_iter().for_each(|pong| self.batch.push(pong, body));
                if route.introduced.as_ref().is_some_and(Introduced::is_late) {
                    self.introduce(shared, now, peer);
                }
            }
            // An address is believed only once its owner has said on the TCP side what was sent there.
            datagram::BIND => {
                let nonce = match route.challenge {
                    Some((nonce, to)) if to == from => nonce,
                    _ => {
                        let mut nonce = Nonce::default();
                        if getrandom::fill(&mut nonce).is_err() {
                            return;
                        }
                        route.challenge = Some((nonce, from));
                        nonce
                    }
                };
                // Sixteen bytes for twenty-four.
                let challenge = route.to(peer, from, datagram::CHALLENGE);
                challenge.into_iter().for_each(|challenge| self.batch.push(challenge, &nonce));
                self.batch.forget();
            }
            _ => {}
        }
    }

    /// What a client's transport says on the TCP side.
    pub(super) fn control(&mut self, shared: &Shared<S>, now: Instant, peer: PeerId, body: &[u8]) {
        let Some(Route::Udp(route)) = self.routes.get_mut(peer) else { return };
        match Control::read(body) {
            Some(Control::Confirm(nonce)) => {
                if let Some((_, to)) = route.challenge.take_if(|(sent, _)| *sent == nonce) {
                    (route.bound, route.pinged) = (Some(to), now);
                    if self.say(shared, peer, Control::Bound) {
                        self.introduce(shared, now, peer);
                    }
                }
            }
            Some(Control::Down) => {
                route.bound = None;
                route.challenge = None;
                self.part(shared, peer);
            }
            _ => {}
        }
    }
}

/// Receives on one socket for as long as the hub lives.
pub(super) async fn receive<S: Session>(shared: Arc<Shared<S>>, socket: usize) {
    let Some(udp) = shared.sockets.get(socket) else { return };
    let mut received = Received::new(udp);
    if poll_fn(|cx| udp.poll_send_ready(cx)).await.is_ok() {
        // What the session wanted to say before it was spawned.
        shared.call(|_, _| ());
    }
    loop {
        let gone = shared.gone.notified();
        tokio::pin!(gone);
        gone.as_mut().enable();
        let drain = shared.drain.notified();
        tokio::pin!(drain);
        drain.as_mut().enable();
        if shared.draining.load(Relaxed) && shared.live() == 0 {
            return;
        }
        let got = tokio::select! {
            got = poll_fn(|cx| udp.poll_recv(cx, &mut received)) => got,
            () = gone => continue,
            // A hub that drains without anybody there.
            () = drain => continue,
        };
        match got {
            Ok(()) => shared.datagrams(socket, &received),
            Err(error) => {
                tracing::warn!(%error, "cannot receive datagrams");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Others get their turn between bursts.
        tokio::task::yield_now().await;
    }
}

/// Receives a connection's own datagrams until it ends.
#[cfg(feature = "quic")]
pub(super) async fn receive_quic<S: Session>(
    shared: &Shared<S>,
    peer: PeerId,
    datagrams: crate::quic::Datagrams,
) {
    let mut ingress = Bucket::default();
    while let Some(frame) = datagrams.receive().await {
        let now = shared.clock.now();
        if ingress.take(now, shared.settings.frames, 1).is_err() {
            count(&shared.counters.dropped_frames);
            continue;
        }
        shared.locked(|shared, core, now| {
            if core.routes.get(peer).is_none() {
                return;
            }
            core.handle(now, Input::Frame { peer, lane: Lane::Droppable, bytes: &frame });
            core.settle(shared, now);
        });
    }
}

/// Where a socket can be knocked at.
pub(super) fn port(sockets: &[Udp], socket: usize) -> u16 {
    sockets.get(socket).map_or(0, |udp| udp.local_addr().port())
}

/// Waits for the hello of a client and returns its token; `None` if it is none.
pub(super) async fn client_hello(
    stream: &mut crate::net::Stream,
) -> std::io::Result<Option<(Wishes, Vec<u8>)>> {
    let mut head = [0; lanes::CLIENT_HELLO];
    read_exact(stream, &mut head).await?;
    let Some((wishes, len)) = lanes::read_client_hello(&head) else { return Ok(None) };
    let mut token = vec![0; len];
    read_exact(stream, &mut token).await?;
    Ok(Some((wishes, token)))
}

/// Reads until `into` is full.
pub(crate) async fn read_exact(stream: &mut crate::net::Stream, into: &mut [u8]) -> std::io::Result<()> {
    let mut filled: usize = 0;
    poll_fn(|cx| {
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match stream.poll_read(cx, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(n)) => filled = filled.saturating_add(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-20, the server's side of it: DATA is no reason to go on sending to an address, and neither is its having been bound.
    #[test]
    fn f_20_nothing_is_sent_to_an_address_from_which_no_ping_has_come_for_five_seconds() {
        let peer = PeerId { slot: 7, generation: 0 };
        let (mut route, _) = UdpRoute::new(0, 4244, peer, false).unwrap();
        let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
        assert!(route.destination(peer, at(0)).is_none());
        let to = Path::from(core::net::SocketAddr::from(([192, 0, 2, 1], 5000)));
        (route.bound, route.pinged) = (Some(to), at(1000));
        assert_eq!(route.destination(peer, at(6000)).map(|destination| destination.to), Some(to));
        assert!(route.destination(peer, at(6001)).is_none());
        route.pinged = at(6500);
        assert!(route.destination(peer, at(6501)).is_some(), "the next PING restores it");
    }
}
