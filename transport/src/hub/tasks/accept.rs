//! Accepts connections: checks the caps first, then does TLS, then the hello.

use super::stream;
use crate::gate::Gate;
use crate::grace::within;
#[cfg(feature = "tls")]
use crate::hub::handshakes::{Handshakes, Place};
use crate::hub::peers::Transport;
use crate::hub::quotas::ConnPermit;
use crate::hub::shared::Shared;
use crate::listener::{Admission, Bound, Listener};
#[cfg(feature = "quic")]
use crate::quic::NoRoom;
#[cfg(feature = "tls")]
use crate::records::Records;
use crate::socket_options::prepare_if_possible;
use crate::stream::socket::Stream;
use crate::tcp_udp::{self, ClientWants};
use core::future::Future;
use core::net::SocketAddr;
#[cfg(feature = "tls")]
use core::pin::Pin;
#[cfg(feature = "tls")]
use core::task::Poll;
#[cfg(feature = "quic")]
use core::time::Duration;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use voxwire_core::{Session, Via};

pub(in crate::hub) async fn accept<S>(shared: Arc<Shared<S>>, listener: Listener, udp: Option<usize>)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let Bound::Tcp(socket) = &listener.socket else { return };
    #[cfg(feature = "tls")]
    let large = Handshakes::new(shared.common.settings.handshakes);
    while let Some(accepted) = shared.unless_draining(socket.accept()).await {
        match accepted {
            // Closed as it is dropped.
            Ok((_, from)) if !listener.lets_in(from) => shared.common.counters.refused.count(),
            Ok((stream, from)) => {
                if let Some(permit) = shared.admit(from.ip()) {
                    let units = listener.units.then(|| (udp, listener.admission.clone()));
                    #[cfg(feature = "tls")]
                    let tls = listener.tls.clone().map(|tls| (tls, large.clone()));
                    #[cfg(feature = "tls")]
                    let entrance = enter(shared.clone(), stream, from, units, tls);
                    #[cfg(not(feature = "tls"))]
                    let entrance = enter(shared.clone(), stream, from, units);
                    let gate = listener.gate.clone();
                    tokio::spawn(welcome(shared.clone(), (from, gate), (permit, false), entrance));
                }
            }
            Err(error) => shared.not_accepted(&error).await,
        }
    }
}

/// Lets a connection in by `enter`, which does TLS and the hello. The memory of that is free once the connection has a task of its own. The
/// gate is asked once more: the address may have been banned during the handshake.
async fn welcome<S>(
    shared: Arc<Shared<S>>,
    (from, gate): (SocketAddr, Option<Gate>),
    (permit, quic): (ConnPermit, bool),
    enter: impl Future<Output = Option<(Stream, Transport)>>,
) where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let entrance = shared.common.quotas.enter(permit, quic, shared.common.clock.now());
    let entered = tokio::select! {
        biased;
        () = entrance.evicted() => None,
        entered = enter => entered,
    };
    // Without a permit the connection has been evicted.
    let Some(permit) = entrance.leave() else {
        drop(entered);
        return shared.common.quotas.notify_ended();
    };
    match entered {
        Some(_) if gate.is_some_and(|gate| !gate.lets_in(from.ip())) => {
            shared.common.counters.refused.count();
            drop(permit);
            shared.common.quotas.notify_ended();
        }
        Some((stream, transport)) => {
            stream::serve(shared, stream, (from, Via::Accepted), transport, permit);
        }
        None => {
            shared.common.counters.broken.count();
            drop(permit);
            shared.common.quotas.notify_ended();
        }
    }
}

/// Does TLS and the hello, where the listener has them. `None` for a client that may not come in.
async fn enter<S: Session>(
    shared: Arc<Shared<S>>,
    stream: TcpStream,
    from: SocketAddr,
    units: Option<(Option<usize>, Option<Admission>)>,
    #[cfg(feature = "tls")] tls: Option<(tokio_rustls::TlsAcceptor, Arc<Handshakes>)>,
) -> Option<(Stream, Transport)> {
    prepare_if_possible(&stream, shared.common.settings.socket_options(), from);
    #[cfg(feature = "tls")]
    let mut stream = match tls {
        None => Stream::Plain(stream),
        Some((tls, large)) => match within(
            shared.common.settings.handshake_timeout,
            "TLS handshake",
            tls_handshake(tls.accept(stream.into()), || {
                large.take(shared.common.quotas.payer(from.ip()), shared.common.clock.now())
            }),
        )
        .await
        {
            Ok(mut stream) => {
                let (records, tls) = stream.get_mut();
                tls.set_buffer_limit(Some(crate::stream::socket::MAX_UNSENT));
                // What has come in so far were handshakes.
                records.delivered();
                Stream::Tls(Box::new(stream.into()))
            }
            Err(error) => {
                crate::log::debug!(%from, %error, "TLS handshake failed");
                return None;
            }
        },
    };
    #[cfg(not(feature = "tls"))]
    let mut stream = Stream::Plain(stream);
    let transport = negotiate(&shared, &mut stream, from, units).await?;
    Some((stream, transport))
}

/// The most bytes that a client may send for a TLS handshake. rustls reads each message whole, and would keep 64 KiB of one. Real clients send
/// some 500 bytes, with post-quantum shares 2 KiB, with a client's certificates some KiB more.
#[cfg(feature = "tls")]
const TLS_HANDSHAKE: usize = 16 * 1024;
/// A handshake with more bytes than this needs one of the [`HubSettings::handshakes`](crate::HubSettings::handshakes) places.
#[cfg(feature = "tls")]
const TLS_HANDSHAKE_OWN: usize = 4 * 1024;

/// Waits for a TLS handshake; `take` takes a place for a large one.
#[cfg(feature = "tls")]
async fn tls_handshake(
    mut accept: tokio_rustls::Accept<Records>,
    take: impl FnOnce() -> Option<Place>,
) -> io::Result<tokio_rustls::server::TlsStream<Records>> {
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    // The bytes are counted only when there is nothing more to read: data right behind the handshake is no part of it.
    let mut until = async |most: usize| {
        core::future::poll_fn(|cx| match Pin::new(&mut accept).poll(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending if accept.get_ref().map_or(0, Records::received) > most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    if let Some(accepted) = until(TLS_HANDSHAKE_OWN).await {
        return accepted;
    }
    let Some(place) = take() else {
        return refused("4 KiB at most expected, as other large handshakes go on");
    };
    let accepted = tokio::select! {
        biased;
        () = place.lost() => return refused("it has stalled, and its place is taken"),
        accepted = until(TLS_HANDSHAKE) => accepted,
    };
    accepted.unwrap_or_else(|| refused("16 KiB at most expected of a client"))
}

/// Does the hello of TCP + UDP, where the listener has it. `None` for a client that may not come in.
async fn negotiate<S: Session>(
    shared: &Shared<S>,
    stream: &mut Stream,
    from: SocketAddr,
    units: Option<(Option<usize>, Option<Admission>)>,
) -> Option<Transport> {
    let Some((udp, admission)) = units else { return Some(Transport::Tcp) };
    let ClientWants { udp: wanted, direct } = hello(shared, stream, from, admission).await?;
    Some(Transport::TcpUdp { udp: udp.filter(|_| wanted), direct })
}

/// Waits for a client's hello. Returns what the client asks for; `None` for a client that may not come in, which is told so.
async fn hello<S: Session>(
    shared: &Shared<S>,
    stream: &mut Stream,
    from: SocketAddr,
    admission: Option<Admission>,
) -> Option<ClientWants> {
    let hello = within(shared.common.settings.handshake_timeout, "hello", client_hello(stream)).await;
    let (wants, token) = match hello {
        Ok(Some(hello)) => hello,
        Ok(None) => {
            crate::log::debug!(%from, "not a hello");
            return None;
        }
        Err(error) => {
            crate::log::debug!(%from, %error, "no hello");
            return None;
        }
    };
    if admission.is_some_and(|admits| !admits(&token, from)) {
        crate::log::debug!(%from, "not admitted");
        let refused = tcp_udp::ServerHello::refused();
        let last_words = async {
            stream.write_all(&refused.to_bytes()).await?;
            core::future::poll_fn(|cx| stream.poll_shutdown(cx)).await
        };
        let _ = within(shared.common.settings.linger, "refusal", last_words).await;
        return None;
    }
    Some(wants)
}

/// Reads a client's hello and its token; `None` if the bytes are no hello.
async fn client_hello(stream: &mut Stream) -> io::Result<Option<(ClientWants, Vec<u8>)>> {
    let mut head = [0; tcp_udp::CLIENT_HELLO];
    stream.read_exact(&mut head).await?;
    let Some((wants, len)) = tcp_udp::read_client_hello(&head) else { return Ok(None) };
    let mut token = vec![0; len];
    stream.read_exact(&mut token).await?;
    Ok(Some((wants, token)))
}

/// Accepts QUIC connections until the hub drains.
#[cfg(feature = "quic")]
pub(in crate::hub) async fn accept_quic<S>(
    shared: Arc<Shared<S>>,
    quic: crate::quic::QuicListener,
    admission: Option<Admission>,
    gate: Option<Gate>,
) where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let handshakes = Handshakes::new(shared.common.settings.handshakes);
    while let Some(Some(incoming)) = shared.unless_draining(quic.accept()).await {
        if gate.as_ref().is_some_and(|gate| !gate.lets_in(incoming.remote_address().ip())) {
            shared.common.counters.refused.count();
            incoming.ignore();
            continue;
        }
        // A client that invents addresses gets an answer shorter than the question, and no place in a table.
        if !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().ignore();
            }
            continue;
        }
        let from = incoming.remote_address();
        let payer = shared.common.quotas.payer(from.ip());
        let Some(place) = handshakes.take(payer, shared.common.clock.now()) else {
            // It sends its first packet again, and its token stays good.
            incoming.ignore();
            continue;
        };
        let Some(permit) = shared.admit(from.ip()) else {
            incoming.refuse();
            continue;
        };
        let config = quic.config();
        let admission = (admission.clone(), gate.clone());
        tokio::spawn(enter_quic(shared.clone(), incoming, (config, permit), admission, place));
    }
}

/// Lets in a client on QUIC that has a permit, if memory can be reserved for it.
#[cfg(feature = "quic")]
async fn enter_quic<S>(
    shared: Arc<Shared<S>>,
    incoming: quinn::Incoming,
    (config, permit): (quinn::ServerConfig, ConnPermit),
    (admission, gate): (Option<Admission>, Option<Gate>),
    place: Place,
) where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let from = incoming.remote_address();
    let Some(mut reserved) = reserve(&shared, from).await else {
        shared.common.counters.refused.count();
        incoming.refuse();
        return;
    };
    let limits = shared.common.settings.quic_limits();
    let connecting = crate::quic::accept_reserved(incoming, config, &limits, &mut reserved);
    let entrance = handshake(shared.clone(), from, connecting, admission, place, reserved);
    welcome(shared, (from, gate), (permit, true), entrance).await;
}

/// Reserves the memory that a client on QUIC may take. Where too little is left, up to `EVICTED` other clients on QUIC are evicted. Their
/// memory is free when QUIC has forgotten them, some round trips later.
#[cfg(feature = "quic")]
async fn reserve<S: Session>(shared: &Shared<S>, from: SocketAddr) -> Option<crate::quic::Reserved> {
    const TRIES: usize = 16;
    const PAUSE: Duration = Duration::from_millis(50);
    /// QUIC may keep as much of an evicted client as that client had, so one eviction may not suffice.
    const EVICTED: usize = 3;
    let (budgets, payer) = (&shared.common.quic, shared.common.quotas.payer(from.ip()));
    let (mut tries, mut evicted) = (0_usize, 0_usize);
    while tries < TRIES && !shared.common.quotas.is_draining() {
        match budgets.reserve(payer) {
            Ok(reserved) => return Some(reserved),
            Err(NoRoom::Source) => return None,
            Err(NoRoom::All) if evicted < EVICTED => {
                // Where no client can be evicted now, this does not look again.
                evicted = if shared.make_place_on_quic() { evicted.saturating_add(1) } else { EVICTED };
            }
            Err(NoRoom::All) => {
                tokio::time::sleep(PAUSE).await;
                tries = tries.saturating_add(1);
            }
        }
    }
    None
}

/// Waits for the handshake, the stream and the hello. `None` for a client that may not come in.
#[cfg(feature = "quic")]
async fn handshake<S: Session>(
    shared: Arc<Shared<S>>,
    from: SocketAddr,
    connecting: io::Result<(quinn::Connection, quinn::ZeroRttAccepted)>,
    admission: Option<Admission>,
    place: Place,
    reserved: crate::quic::Reserved,
) -> Option<(Stream, Transport)> {
    use crate::quic::without_datagrams;
    let opening = within(shared.common.settings.handshake_timeout, "QUIC handshake", async {
        let (connection, done) = connecting?;
        done.await;
        let (send, recv) = without_datagrams(&connection, connection.accept_bi()).await?;
        Ok((connection, send, recv))
    });
    let opened = tokio::select! {
        biased;
        opened = opening => opened,
        () = place.lost() => {
            crate::log::debug!(%from, "a QUIC handshake has stalled, and its place is taken");
            return None;
        }
    };
    drop(place);
    match opened {
        Ok((connection, send, recv)) => {
            let (limits, budgets) = (shared.common.settings.quic_limits(), shared.common.quic.clone());
            let budgets = Some((budgets, reserved));
            let (stream, datagrams) = crate::quic::split(connection.clone(), (send, recv), &limits, budgets);
            let mut stream = Stream::Quic(Box::new(stream));
            without_datagrams(&connection, hello(&shared, &mut stream, from, admission)).await?;
            // More than the first bytes only after its hello.
            datagrams.grant(limits.receive);
            Some((stream, Transport::Quic(datagrams)))
        }
        Err(error) => {
            crate::log::debug!(%from, %error, "QUIC handshake failed");
            None
        }
    }
}
