mod common;
mod conn;
mod core;
mod counters;
#[cfg(feature = "tls")]
mod handshakes;
mod load;
mod partial;
mod peers;
mod quotas;
mod rendezvous;
mod settings;
mod shared;
mod stats;
mod tasks;
mod udp_binding;
mod udp_peers;
mod write_stall;

use crate::listener::Bound;
use crate::stream::socket::Stream;
use crate::{Connection, Error, Listener};
use ::core::net::{Ipv4Addr, SocketAddr};
use ::core::{fmt, time::Duration};
use common::Common;
use peers::Transport;
pub use settings::HubSettings;
use shared::Shared;
pub use stats::HubStats;
use std::sync::Arc;
use tasks::{accept, stream, timer, udp};
#[cfg(all(feature = "realtime", unix))]
pub(crate) use udp_peers::{UdpPeer, UdpPeers};
use voxwire_core::{Framing as _, Handler, Instant, Session, Via};

/// Serves one [`Session`] to any number of connections: over TCP, over TCP and UDP
/// ([`Listener::bind_tcp_udp`](crate::Listener::bind_tcp_udp)), over QUIC, or over UDP alone
/// ([`Listener::bind_udp`](crate::Listener::bind_udp)).
///
/// - One task per connection reads and writes. The session is locked only while it handles an input.
/// - A frame is copied once from the session into each addressee's queue. A queue of up to 64 KiB is written with one call.
/// - A warm hub allocates nothing per frame, but for QUIC, and for reliable frames of 1 KiB or more (256 bytes or more for blocked peers): each is
///   allocated once, and all queues that hold it share it. Up to 64 of them are written with one call.
/// - A connection with nothing to read or write holds no buffer.
#[derive(Debug)]
pub struct Hub;

impl Hub {
    /// Starts serving `session` on `listeners`, on the current tokio runtime. `handler` hears of every event.
    ///
    /// # Errors
    /// [`Error::WrongListener`] for a listener that cannot carry the session's frames. [`Error::Io`] where QUIC does not take the times of
    /// `settings`. Nothing is served then, and all listeners are closed.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without time (`Builder::enable_all`).
    pub fn spawn<S, H>(
        mut listeners: Vec<Listener>,
        session: S,
        handler: H,
        settings: HubSettings,
    ) -> Result<Handle<S>, Error>
    where
        S: Session + Send + 'static,
        S::Framing: Send + 'static,
        H: Handler<S> + Send + 'static,
    {
        let framing = session.framing();
        for listener in &mut listeners {
            listener.check(&framing)?;
            #[cfg(feature = "quic")]
            if let Bound::Quic(quic) = &mut listener.socket {
                quic.limit(&settings.quic_limits())?;
            }
        }
        let (mut sockets, mut accepting) = (Vec::new(), Vec::new());
        let home = listeners.first().and_then(|listener| Some(listener.local_addr().ok()?.ip()));
        let gate = listeners.first().and_then(|listener| listener.gate.clone());
        for mut listener in listeners {
            let first = sockets.len();
            listener.udp.iter_mut().for_each(|udp| udp.group = first);
            sockets.append(&mut listener.udp);
            accepting.push((listener, first..sockets.len()));
        }
        let common = Common::new(settings, sockets, (home, gate));
        let shared = Arc::new(Shared::new(session, Box::new(handler), common));
        tokio::spawn(timer::run(shared.clone()));
        for (listener, udp) in accepting {
            let socket = (!udp.is_empty()).then_some(udp.start);
            for socket in udp {
                tokio::spawn(udp::receive(shared.clone(), socket));
            }
            match listener.socket {
                Bound::Tcp(_) => drop(tokio::spawn(accept::accept(shared.clone(), listener, socket))),
                Bound::Udp(_) => {}
                #[cfg(feature = "quic")]
                Bound::Quic(quic) => {
                    let Listener { admission, gate, .. } = listener;
                    tokio::spawn(accept::accept_quic(shared.clone(), *quic, admission, gate));
                }
            }
        }
        Ok(Handle { shared })
    }
}

/// Reaches a [`Hub`] that runs: to give its session commands, to read counters, to end it. Cheap to clone.
///
/// Dropping the last handle does not end the hub: it goes on until the tokio runtime ends. [`drain`](Self::drain) ends it.
pub struct Handle<S: Session> {
    shared: Arc<Shared<S>>,
}

impl<S: Session> Handle<S> {
    /// Runs `f` with the session locked, then carries out the session's outputs. Keep it short: all connections wait meanwhile. A
    /// [`Handler`](voxwire_core::Handler) runs with the session locked, too: it must not call this, or it waits for itself for ever.
    pub fn call<R>(&self, f: impl FnOnce(&mut S, Instant) -> R) -> R {
        self.shared.call(f)
    }

    /// Connects a client in the same process, without a socket: a player that is host and client, for instance. The hub treats it as any other
    /// client: [`HubSettings::max_queued`] and `max_queued_total` hold for it, and only `unacknowledged` does not. Its frames lie in a byte stream as
    /// they do on TCP; frames that are datagrams lie in units, as on the TCP side of [`Listener::bind_tcp_udp`](crate::Listener::bind_tcp_udp).
    ///
    /// # Errors
    /// [`Error::Full`] if the hub has no place for one more connection, [`Error::Closed`] while it ends.
    pub async fn connect<C: Session>(&self, session: C) -> Result<Connection<C>, Error>
    where
        S: Send + 'static,
        S::Framing: Send + 'static,
    {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let quotas = &self.shared.common.quotas;
        let permit = self.shared.admit(from.ip()).ok_or_else(|| match quotas.is_draining() {
            true => Error::Closed,
            false => Error::Full { max: quotas.max_connections() },
        })?;
        let (here, there) = tokio::io::duplex(64 * 1024);
        let units = !session.framing().is_stream();
        let transport = if units { Transport::TcpUdp { udp: None, direct: false } } else { Transport::Tcp };
        let from = (from, Via::Accepted);
        if !stream::serve(self.shared.clone(), Stream::Inside(there), from, transport, permit) {
            return Err(Error::Closed);
        }
        Connection::inside(Stream::Inside(here), session, units).await
    }

    /// Changes [`HubSettings::max_connections`], where several hubs share the descriptors of a process. Connections beyond the new number stay. A
    /// new connection may still displace one that has not logged in.
    pub fn set_max_connections(&self, most: usize) {
        self.shared.common.quotas.set_max_connections(most);
    }

    /// What the hub has counted so far.
    pub fn stats(&self) -> HubStats {
        self.shared.stats()
    }

    /// Ends the hub. It accepts no more connections, and the session says goodbye. This waits until everything is written and every connection
    /// is closed, but for no longer than `deadline`. Then the remaining connections are cut off. To clients that connect again by themselves
    /// (Dissonance, msgpack) a drain is a restart of the server.
    ///
    /// Connections that have not finished a handshake are reset at once. They do not count in [`Drained::told`], nor do those that have not
    /// logged in ([`Session::evictable`]).
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let before = self.shared.begin_drain();
        let all_gone = async {
            loop {
                let released = self.shared.common.quotas.released();
                if self.shared.is_empty() {
                    return;
                }
                released.await;
            }
        };
        let in_time = tokio::time::timeout(deadline, all_gone).await.is_ok();
        let cut_off = if in_time { 0 } else { self.shared.end_all() };
        Drained { told: before.saturating_sub(cut_off), cut_off }
    }
}

impl<S: Session> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S: Session> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// How a [`Handle::drain`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had logged in, took everything that was sent to them, and closed. A lower bound if some connections were cut off.
    pub told: usize,
    /// Connections still open at the deadline.
    pub cut_off: usize,
}
