//! The UDP side of a connection on TCP: `PROTOCOL.md`, section 4. An address is bound to a connection once the client has repeated on the TCP
//! side what the server sent to that address.

use crate::tcp_udp::{self, Cookie, Nonce, ServerHello, Tag, datagram};
use crate::udp::{Destination, Path};
use voxwire_core::{Bucket, Instant, PeerId, Rate};

/// The UDP side of one connection.
#[derive(Debug)]
pub(super) struct UdpBinding {
    /// Index of the socket.
    socket: usize,
    tag: Tag,
    cookie: Cookie,
    /// The client's address; `None` until the client has proven that it receives there.
    bound: Option<Path>,
    /// When the last PING came from there. Without one for `LAPSE`, nothing is sent there.
    pinged: Instant,
    /// The challenge that was sent last, and to which address.
    challenge: Option<(Nonce, Path)>,
    ingress: Bucket,
}

/// What the hub does with a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BindAction {
    /// Nothing: the datagram does not belong to the connection.
    Ignore,
    /// Nothing: the connection sends too many.
    Drop,
    /// Hands its frame to the session.
    Deliver,
    /// Sends its body back, if an address is bound.
    Pong(Option<Destination>),
    /// Sends the nonce to the address that the datagram came from.
    Challenge(Destination, Nonce),
}

impl UdpBinding {
    /// The binding of a new connection, and the hello for its client; `None` if the system has no random bytes.
    pub(super) fn new(socket: usize, udp_port: u16, peer: PeerId) -> Option<(Self, ServerHello)> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).ok()?;
        let (secret, cookie) = random.split_first_chunk::<4>()?;
        let (tag, cookie) = (tcp_udp::tag(peer.slot, *secret), *cookie.first_chunk()?);
        let hello = ServerHello { accepted: true, udp_port, tag, cookie };
        let (bound, challenge, ingress) = (None, None, Bucket::default());
        Some((Self { socket, tag, cookie, bound, pinged: Instant::ZERO, challenge, ingress }, hello))
    }

    /// The address that is bound.
    pub(super) const fn bound(&self) -> Option<Path> {
        self.bound
    }

    /// Where droppable frames go; `None` if the client is not reached by UDP at present.
    pub(super) fn destination(&self, peer: PeerId, now: Instant) -> Option<Destination> {
        let lapsed = now.saturating_duration_since(self.pinged) > tcp_udp::LAPSE;
        Some(self.to(peer, self.bound.filter(|_| !lapsed)?, datagram::DATA))
    }

    const fn to(&self, peer: PeerId, to: Path, kind: u8) -> Destination {
        Destination { socket: self.socket, slot: peer.slot, to, head: Some(tcp_udp::head(kind, self.tag)) }
    }

    /// A datagram has come in on `socket` from `from`. `nonce` makes the bytes of a challenge.
    pub(super) fn on_datagram(
        &mut self,
        (now, rate): (Instant, Rate),
        peer: PeerId,
        (socket, from): (usize, Path),
        (kind, tag, body): (u8, Tag, &[u8]),
        nonce: impl FnOnce() -> Option<Nonce>,
    ) -> BindAction {
        if self.tag != tag || self.socket != socket {
            return BindAction::Ignore;
        }
        let bound = self.bound.filter(|bound| bound.remote == from.remote);
        let is_its_own = match kind {
            datagram::DATA | datagram::PING => bound.is_some(),
            datagram::BIND => body.get(..16) == Some(&self.cookie[..]),
            _ => false,
        };
        if !is_its_own {
            return BindAction::Ignore;
        }
        // A datagram that is answered costs no less than one that is passed on.
        if self.ingress.take(now, rate, 1).is_err() {
            return BindAction::Drop;
        }
        match kind {
            datagram::DATA => BindAction::Deliver,
            datagram::PING => {
                self.pinged = now;
                // As many bytes as came in.
                BindAction::Pong(bound.map(|bound| self.to(peer, bound, datagram::PONG)))
            }
            _ => {
                let nonce = match self.challenge {
                    Some((nonce, to)) if to == from => nonce,
                    _ => {
                        let Some(nonce) = nonce() else { return BindAction::Ignore };
                        self.challenge = Some((nonce, from));
                        nonce
                    }
                };
                // Sixteen bytes for twenty-four.
                BindAction::Challenge(self.to(peer, from, datagram::CHALLENGE), nonce)
            }
        }
    }

    /// The client repeats on the TCP side the challenge that it has received by UDP. Returns the address that is bound now.
    pub(super) fn confirm(&mut self, nonce: Nonce, now: Instant) -> Option<Path> {
        let (_, to) = self.challenge.take_if(|(sent, _)| *sent == nonce)?;
        self.pinged = now;
        Some(*self.bound.insert(to))
    }

    /// The client says that it receives nothing by UDP.
    pub(super) const fn unbind(&mut self) {
        self.bound = None;
        self.challenge = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const PEER: PeerId = PeerId { slot: 7, generation: 0 };
    const RATE: Rate = Rate { per_second: 2, burst: 2 };

    fn at(ms: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_millis(ms))
    }

    fn path(port: u16) -> Path {
        core::net::SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    /// F-20, the server's side of it: DATA is no reason to go on sending to an address, and neither is its having been bound.
    #[test]
    fn f_20_nothing_is_sent_to_an_address_from_which_no_ping_has_come_for_five_seconds() {
        let (mut binding, _) = UdpBinding::new(0, 4244, PEER).unwrap();
        assert!(binding.destination(PEER, at(0)).is_none());
        let to = path(5000);
        (binding.bound, binding.pinged) = (Some(to), at(1000));
        assert_eq!(binding.destination(PEER, at(6000)).map(|destination| destination.to), Some(to));
        assert!(binding.destination(PEER, at(6001)).is_none());
        binding.pinged = at(6500);
        assert!(binding.destination(PEER, at(6501)).is_some(), "the next PING restores it");
    }

    /// F-20: only the owner of the connection binds an address, by what was sent there; and no more is answered than its rate allows.
    #[test]
    fn f_20_an_address_is_bound_by_what_was_sent_to_it() {
        let (mut binding, hello) = UdpBinding::new(0, 4244, PEER).unwrap();
        let (home, elsewhere) = (path(5000), path(6000));
        let mut on = |ms: u64, from, socket, kind, body: &[u8]| {
            let made = || Some([3; 8]);
            binding.on_datagram((at(ms), RATE), PEER, (socket, from), (kind, hello.tag, body), made)
        };
        let bind = datagram::BIND;
        assert_eq!(on(0, home, 0, bind, &[0; 16]), BindAction::Ignore, "without the cookie");
        assert_eq!(on(0, home, 1, bind, &hello.cookie), BindAction::Ignore, "on another socket");
        assert_eq!(on(0, home, 0, datagram::DATA, b"voice"), BindAction::Ignore, "before it is bound");
        let challenge = on(0, home, 0, bind, &hello.cookie);
        assert!(matches!(challenge, BindAction::Challenge(to, [3, ..]) if to.to == home), "{challenge:?}");
        assert!(matches!(on(0, home, 0, bind, &hello.cookie), BindAction::Challenge(..)));
        assert_eq!(on(0, home, 0, bind, &hello.cookie), BindAction::Drop);
        assert_eq!(binding.confirm([4; 8], at(1)), None);
        assert_eq!(binding.confirm([3; 8], at(1)), Some(home));
        assert_eq!(binding.confirm([3; 8], at(1)), None, "once");
        let mut on = |ms: u64, from, kind| {
            binding.on_datagram((at(ms), RATE), PEER, (0, from), (kind, hello.tag, b"voice"), || None)
        };
        assert_eq!(on(1000, home, datagram::DATA), BindAction::Deliver);
        assert_eq!(on(1000, elsewhere, datagram::DATA), BindAction::Ignore);
        assert!(matches!(on(1000, home, datagram::PING), BindAction::Pong(Some(to)) if to.to == home));
        binding.unbind();
        assert_eq!((binding.bound(), binding.destination(PEER, at(1000))), (None, None));
    }
}
