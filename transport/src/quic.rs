//! QUIC: one stream for reliable frames, datagrams for droppable ones, all of it encrypted.

pub(crate) mod alert;
mod budgets;
mod pace;

use crate::PathStats;
use crate::grace::StuckLooks;
use crate::socket_options::Keepalive;
use budgets::{FIRST_WINDOW, var_int};
pub(crate) use budgets::{NoRoom, QuicBudgets, Reserved};
use core::future::Future;
use core::net::SocketAddr;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use pace::{Pace, Paced};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, RecvStream, SendStream, TransportConfig,
    VarInt,
};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use voxwire_core::Clock;
use voxwire_core::bytes::Bytes;

/// The application protocol (ALPN) that both sides name.
const ALPN: &[u8] = b"voxwire-lanes/1";
/// Bytes of datagrams that may wait to be sent. Beyond it the oldest are dropped.
const SEND_DATAGRAMS: usize = 16 * 1024;
/// Bytes of received datagrams that may wait to be read.
const RECEIVE_DATAGRAMS: usize = 32 * 1024;
/// Bytes that QUIC is handed at a time.
const CHUNK: usize = 4096;
/// Memory that QUIC and the allocator need for a chunk or a datagram, beside its bytes.
const OVERHEAD: usize = 128;
/// Bytes that QUIC may hold for each connection while all queues together hold too much.
const QUIC_FREE_BYTES: usize = 8 * 1024;
/// CRYPTO frames that a client may send in all. A handshake has some ten, repeated ones included, and none come later. QUIC keeps frames behind
/// a gap, so without this limit they would take as much memory as the stream.
const MAX_CRYPTO: u64 = 256;
/// Connections that have begun and that the hub has not accepted. It is more than `pace` lets wait, with a token and without one.
const MAX_INCOMING: usize = 1024;

/// Limits of one QUIC connection, on either side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuicLimits {
    /// A connection ends when nothing has come in for so long, whether something has been sent or not.
    pub(crate) silence: Option<Duration>,
    /// Bytes of the stream that may have been sent and not have arrived.
    pub(crate) send: usize,
    /// Bytes of the stream that may have come in and not have been read.
    pub(crate) receive: usize,
}

impl QuicLimits {
    /// `window`: how many bytes the other side may send at first.
    fn transport(&self, window: u32) -> io::Result<TransportConfig> {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(1_u8.into())
            .max_concurrent_uni_streams(0_u8.into())
            .stream_receive_window(var_int(self.receive))
            .receive_window(window.into())
            // More than `Held` ever hands over: that counts what QUIC holds, and bounds it.
            .send_window(self.send.saturating_mul(2) as u64)
            .datagram_receive_buffer_size(Some(RECEIVE_DATAGRAMS))
            .datagram_send_buffer_size(SEND_DATAGRAMS);
        // The first packet that a side sends after it has heard the other one restarts its idle time. So both sides probe early: what they send
        // after that does not restart it again.
        let (probe, idle) = match self.silence {
            None => (None, None),
            Some(all) => {
                let probe = all.checked_div(5).unwrap_or(all);
                let idle = IdleTimeout::try_from(all.saturating_sub(probe)).map_err(|_| {
                    let why = format!(
                        "QUIC cannot wait {all:?} for a silent peer: the times of `keepalive` and `unacknowledged` are too long together"
                    );
                    io::Error::new(io::ErrorKind::InvalidInput, why)
                })?;
                (Some(probe), Some(idle))
            }
        };
        transport.keep_alive_interval(probe).max_idle_timeout(idle);
        Ok(transport)
    }
}

/// Accepts a connection whose memory is `reserved` until QUIC has forgotten it. Returns it, and a future that completes with its handshake.
pub(crate) fn accept_reserved(
    incoming: Incoming,
    mut config: quinn::ServerConfig,
    limits: &QuicLimits,
    reserved: &mut Reserved,
) -> io::Result<(Connection, quinn::ZeroRttAccepted)> {
    let mut transport = limits.transport(FIRST_WINDOW)?;
    transport.congestion_controller_factory(Arc::new(reserved.for_quic()));
    config.transport_config(Arc::new(transport));
    let connecting = incoming.accept_with(Arc::new(config))?;
    // A connection that comes in always allows this. No data of a client is read before the handshake is done.
    let (connection, done) = connecting.into_0rtt().map_err(|_| io::ErrorKind::NotConnected)?;
    reserved.bind_to(connection.clone());
    Ok((connection, done))
}

/// The silence after which a peer on QUIC is gone: the silence that `keepalive` allows, and the time for which sent bytes may stay unacknowledged.
/// A vanished peer on TCP takes no longer.
pub(crate) fn silence(keepalive: Option<Keepalive>, unacknowledged: Option<Duration>) -> Option<Duration> {
    Some(keepalive?.limit().saturating_add(unacknowledged.unwrap_or_default()))
}

/// A bound socket for QUIC.
#[derive(Debug)]
pub(crate) struct QuicListener {
    pub(crate) endpoint: Endpoint,
    pace: Arc<Pace>,
    config: quinn::ServerConfig,
}

impl QuicListener {
    /// Binds `address`.
    pub(crate) fn bind(address: SocketAddr, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut config = ServerConfig::clone(config);
        config.alpn_protocols = vec![ALPN.to_vec()];
        let tls = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        config
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(16 * 1024)
            .incoming_buffer_size_total(8 * 1024 * 1024);
        let socket = crate::udp::bind(address, None)?;
        let pace = Arc::new(Pace::new());
        let runtime = Arc::new(Paced(pace.clone()));
        // Only first packets that `pace` recognizes: it would not count those of other versions, or without the fixed bit.
        let mut general = EndpointConfig::default();
        general.supported_versions(vec![1]).grease_quic_bit(false);
        let endpoint = Endpoint::new(general, Some(config.clone()), socket.into(), runtime)?;
        Ok(Self { endpoint, pace, config })
    }

    /// Holds every connection that comes in from now on to these limits.
    pub(crate) fn limit(&mut self, limits: &QuicLimits) -> io::Result<()> {
        self.config.transport_config(Arc::new(limits.transport(FIRST_WINDOW)?));
        self.endpoint.set_server_config(Some(self.config.clone()));
        Ok(())
    }

    /// The configuration of connections that come in.
    pub(crate) fn config(&self) -> quinn::ServerConfig {
        self.config.clone()
    }

    /// The next connection that comes in; `None` once the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        let mut accept = pin!(self.endpoint.accept());
        core::future::poll_fn(|cx| {
            let poll = accept.as_mut().poll(cx);
            if poll.is_pending() {
                self.pace.caught_up();
            }
            poll
        })
        .await
    }
}

/// Connects to the first of the server's addresses that answers.
pub(crate) async fn connect(
    server: &str,
    name: &str,
    config: &Arc<ClientConfig>,
    limits: &QuicLimits,
) -> io::Result<(Endpoint, Connection)> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    let window = u32::try_from(limits.receive).unwrap_or(u32::MAX);
    config.transport_config(Arc::new(limits.transport(window)?));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in tokio::net::lookup_host(server).await? {
        let any: SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let endpoint = Endpoint::client(any)?;
        let connecting = endpoint.connect_with(config.clone(), address, name).map_err(io::Error::other)?;
        match connecting.await {
            Ok(connection) => return Ok((endpoint, connection)),
            Err(error) => last = io::Error::new(io::ErrorKind::ConnectionRefused, error),
        }
    }
    Err(last)
}

/// Counts the bytes of one connection that QUIC holds, until they have arrived or are given up.
#[derive(Debug)]
pub(crate) struct Held {
    own: AtomicUsize,
    /// The part of `own` that is in datagrams.
    datagrams: AtomicUsize,
    dropped: AtomicU64,
    budgets: QuicBudgets,
    /// `None` on a client, and once the connection has ended.
    reserved: Mutex<Option<Reserved>>,
    /// Bytes that the stream may have in QUIC.
    limit: usize,
    /// The task that waits until less is held.
    writer: Mutex<Option<Waker>>,
    clock: Clock,
    stream: Mutex<Lent>,
}

/// The chunks of the stream that QUIC holds. QUIC gives them back in order, as the other side acknowledges them.
#[derive(Debug, Default)]
struct Lent {
    chunks: usize,
    /// When the last one came back; or when the first was lent, if none has.
    moved: voxwire_core::Instant,
    looks: StuckLooks,
}

impl Held {
    fn new(budgets: QuicBudgets, reserved: Option<Reserved>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            own: AtomicUsize::new(0),
            datagrams: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            budgets,
            reserved: Mutex::new(reserved),
            limit,
            writer: Mutex::new(None),
            clock: Clock::start(),
            stream: Mutex::default(),
        })
    }

    fn stream(&self) -> MutexGuard<'_, Lent> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the peer is stuck: it has acknowledged nothing of the stream for `limit`, now and at the call before this one.
    fn confirm_stuck(&self, limit: Duration) -> bool {
        let now = self.clock.now();
        let mut stream = self.stream();
        let since = (stream.chunks > 0).then_some(stream.moved);
        stream.looks.confirm(since, limit, now)
    }

    /// The connection is given up. Bytes that QUIC holds for it count as queued no more. Its reservation shrinks to what QUIC may keep.
    fn write_off(&self) {
        let lent = self.own.swap(0, Relaxed);
        self.budgets.queued.fetch_sub(lent, Relaxed);
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.as_mut().into_iter().for_each(|reserved| reserved.ends_with(lent));
        drop(reserved);
        self.end();
    }

    /// The connection has ended.
    fn end(&self) {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(reserved);
    }

    /// Bytes that QUIC holds for this connection, with the memory that they need beside.
    pub(crate) fn bytes(&self) -> usize {
        self.own.load(Relaxed)
    }

    /// Whether all queues together hold too much, and this connection more than [`QUIC_FREE_BYTES`].
    fn is_over_total(&self) -> bool {
        self.bytes() >= QUIC_FREE_BYTES && self.budgets.queued.load(Relaxed) > self.budgets.max_queued_total
    }

    fn is_full(&self) -> bool {
        let stream = self.bytes().saturating_sub(self.datagrams.load(Relaxed));
        stream >= self.limit || self.is_over_total()
    }

    /// Waits until something may be written.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        *writer = Some(cx.waker().clone());
        // Bytes that arrived before that found no task to wake.
        if self.is_full() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Hands out `bytes`, which count until they are dropped.
    fn lend(self: &Arc<Self>, bytes: Box<[u8]>, datagram: bool) -> Bytes {
        let cost = bytes.len().saturating_add(OVERHEAD);
        // In this order: otherwise `write_off` could subtract from the total what has not been added to it.
        self.budgets.queued.fetch_add(cost, Relaxed);
        self.own.fetch_add(cost, Relaxed);
        if datagram {
            self.datagrams.fetch_add(cost, Relaxed);
        } else {
            let mut stream = self.stream();
            if stream.chunks == 0 {
                stream.moved = self.clock.now();
            }
            stream.chunks = stream.chunks.saturating_add(1);
        }
        Bytes::from_owner(Loan { bytes, cost, datagram, held: self.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A loan from before `write_off` may have been subtracted in place of one from after it.
        self.budgets.queued.fetch_sub(self.own.load(Relaxed), Relaxed);
    }
}

struct Loan {
    bytes: Box<[u8]>,
    cost: usize,
    datagram: bool,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Unless it has been written off.
        if self.held.own.fetch_update(Relaxed, Relaxed, |own| own.checked_sub(self.cost)).is_ok() {
            self.held.budgets.queued.fetch_sub(self.cost, Relaxed);
        }
        if self.datagram {
            self.held.datagrams.fetch_sub(self.cost, Relaxed);
        } else {
            let mut stream = self.held.stream();
            stream.chunks = stream.chunks.saturating_sub(1);
            stream.moved = self.held.clock.now();
        }
        let mut writer = self.held.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = writer.take();
        writer.into_iter().for_each(Waker::wake);
    }
}

/// The stream of a connection, both ways.
#[derive(Debug)]
pub(crate) struct QuicStream {
    send: SendStream,
    recv: RecvStream,
    held: Arc<Held>,
    /// The rest of the last chunk, which QUIC has not taken yet.
    rest: Bytes,
    ending: Option<Ending>,
}

/// Waits until everything sent has arrived. A connection that is dropped before that loses the rest.
struct Ending(Pin<Box<dyn Future<Output = ()> + Send>>);

impl core::fmt::Debug for Ending {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ending")
    }
}

/// A connection's stream and datagrams.
pub(crate) fn split(
    connection: Connection,
    (send, recv): (SendStream, RecvStream),
    limits: &QuicLimits,
    budgets: Option<(QuicBudgets, Reserved)>,
) -> (QuicStream, Datagrams) {
    let (budgets, reserved) = budgets.unzip();
    let held = Held::new(budgets.unwrap_or_else(QuicBudgets::alone), reserved, limits.send);
    let stream = QuicStream { send, recv, held: held.clone(), rest: Bytes::new(), ending: None };
    (stream, Datagrams { connection, held })
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        // Otherwise quinn keeps received bytes that were not read for as long as the connection.
        let _ = self.recv.stop(VarInt::from_u32(0));
        self.held.end();
    }
}

impl QuicStream {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buffer)
    }

    /// Takes one chunk from `bytes`. The part that QUIC does not take at once is handed over at the next call.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// The same for several pieces. One chunk is filled from as many of them as fit.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        core::task::ready!(self.poll_flush(cx))?;
        if self.held.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let len = pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.len())).min(CHUNK);
        let mut chunk = Vec::with_capacity(len);
        for piece in pieces {
            let room = len.saturating_sub(chunk.len());
            chunk.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        self.rest = self.held.lend(chunk.into_boxed_slice(), false);
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(len)),
        }
    }

    /// Hands the rest of the last chunk to QUIC.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = pin!(self.send.write_chunks(core::slice::from_mut(&mut self.rest))).poll(cx);
            core::task::ready!(written).map_err(io::Error::from)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        core::task::ready!(self.poll_flush(cx))?;
        let Self { send, ending, .. } = self;
        let ending = ending.get_or_insert_with(|| {
            let stopped = send.finish().is_ok().then(|| send.stopped());
            Ending(Box::pin(async move {
                if let Some(stopped) = stopped {
                    let _ = stopped.await;
                }
            }))
        });
        ending.0.as_mut().poll(cx).map(Ok)
    }
}

/// The datagrams of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Datagrams {
    connection: Connection,
    held: Arc<Held>,
}

impl Datagrams {
    /// Sends a frame. Where datagrams wait, the oldest is dropped for it. While all queues together hold too much, the frame itself may be
    /// dropped. Returns how many frames were; `None` if the frame is too long for a datagram, or the other side takes no datagrams.
    pub(crate) fn send(&self, frame: &[u8]) -> Option<u64> {
        if self.held.is_over_total() {
            self.held.dropped.fetch_add(1, Relaxed);
            return Some(self.take_dropped());
        }
        // The connection is asked only where its buffer may be full.
        let full = self.held.datagrams.load(Relaxed) > SEND_DATAGRAMS / 2
            && self.connection.datagram_send_buffer_space() < frame.len();
        let sent = self.connection.send_datagram(self.held.lend(frame.into(), true)).is_ok();
        if sent && full {
            self.held.dropped.fetch_add(1, Relaxed);
        }
        sent.then(|| self.take_dropped())
    }

    /// The client has sent its hello. It may have up to `most` unread bytes under way now, if there is room for so many.
    pub(crate) fn grant(&self, most: usize) {
        let reserved = self.held.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.as_ref().inspect(|reserved| reserved.grant(most));
    }

    /// Bytes that QUIC holds for this connection, with the memory that they need beside.
    pub(crate) fn held(&self) -> usize {
        self.held.bytes()
    }

    /// Whether the peer is stuck: it has acknowledged nothing of the stream for `limit`, at two calls in a row.
    pub(crate) fn confirm_stuck(&self, limit: Duration) -> bool {
        self.held.confirm_stuck(limit)
    }

    /// Whether the client has sent more handshake data than any handshake has.
    pub(crate) fn is_never_ready(&self) -> bool {
        self.connection.stats().frame_rx.crypto > MAX_CRYPTO
    }

    /// Bytes that QUIC may keep of the connection if it ends now; `None` if it has ended.
    pub(crate) fn leaves(&self) -> Option<usize> {
        let reserved = self.held.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.as_ref().map(Reserved::leaves)
    }

    /// What QUIC knows of the network.
    pub(crate) fn path(&self) -> PathStats {
        let stats = self.connection.stats();
        PathStats {
            round_trip: (stats.frame_rx.acks > 0).then_some(stats.path.rtt),
            sent: stats.path.sent_packets,
            answered: stats.frame_rx.acks,
            lost: stats.path.lost_packets,
        }
    }

    /// Whether the connection has ended. There may still be something to read.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Ends the connection at once. Bytes that QUIC holds for it count no more.
    pub(crate) fn abandon(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
        self.held.write_off();
    }

    /// The next frame that comes in; `None` once the connection has ended.
    pub(crate) async fn receive(&self) -> Option<Bytes> {
        self.connection.read_datagram().await.ok()
    }

    /// How many frames have been dropped since the last call.
    fn take_dropped(&self) -> u64 {
        self.held.dropped.swap(0, Relaxed)
    }
}

/// The result of `coming_in`. Datagrams that come before that are discarded: each would keep the packet that it came in.
pub(crate) async fn without_datagrams<T>(connection: &Connection, coming_in: impl Future<Output = T>) -> T {
    let discarding = async {
        while connection.read_datagram().await.is_ok() {}
        // The connection has ended. `coming_in` hears of that itself.
        core::future::pending::<core::convert::Infallible>().await
    };
    tokio::select! {
        biased;
        never = discarding => match never {},
        came_in = coming_in => came_in,
    }
}

/// A client's datagrams, to be polled.
pub(crate) struct Inbox {
    pub(crate) datagrams: Datagrams,
    /// Kept between polls: a new future at each poll would miss its wake-up.
    receiving: Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>,
    pub(crate) last: Bytes,
    /// Keeps the socket open.
    _endpoint: Endpoint,
}

impl Inbox {
    pub(crate) fn new(endpoint: Endpoint, datagrams: Datagrams) -> Self {
        Self {
            receiving: Self::receive(datagrams.clone()),
            datagrams,
            last: Bytes::new(),
            _endpoint: endpoint,
        }
    }

    fn receive(datagrams: Datagrams) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send>> {
        Box::pin(async move { datagrams.receive().await })
    }

    /// Waits for a frame, which is then in `last`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.receiving.as_mut().poll(cx) {
            Poll::Ready(Some(frame)) => {
                self.last = frame;
                self.receiving = Self::receive(self.datagrams.clone());
                Poll::Ready(())
            }
            // The end of the connection shows on the stream.
            Poll::Ready(None) => {
                self.receiving = Box::pin(core::future::pending());
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-46: what is lent after a connection has been written off, and in any order in which it comes back, nothing of it counts for good.
    #[test]
    fn f_46_what_is_lent_after_it_was_written_off_does_not_count_for_good() {
        let budgets = QuicBudgets::alone();
        let held = Held::new(budgets.clone(), None, usize::MAX);
        let before = held.lend([1; 100].into(), false);
        held.write_off();
        let after = held.lend([2; 200].into(), true);
        drop(before);
        drop(after);
        drop(held);
        assert_eq!(budgets.queued.load(Relaxed), 0);
    }
}
