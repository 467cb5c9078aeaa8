//! QUIC: one stream for what must arrive, datagrams for what may be lost, all of it encrypted.

use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream, TokioRuntime, TransportConfig,
};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use voxwire_core::bytes::Bytes;

/// What both sides have to name.
const ALPN: &[u8] = b"voxwire-lanes/1";
/// A peer from which nothing is heard for so long is gone.
const IDLE: Duration = Duration::from_secs(25);
/// How often a client says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How much voice may wait to be sent: older datagrams go first.
const SEND_BUFFER: usize = 16 * 1024;
/// How much voice may wait to be taken.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Binds `address` for QUIC.
pub(crate) fn serve(address: SocketAddr, config: &Arc<ServerConfig>) -> io::Result<Endpoint> {
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport(None)?).max_incoming(1024);
    let socket = std::net::UdpSocket::bind(address)?;
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Connects to the first of the server's addresses that answers.
pub(crate) async fn connect(
    server: &str,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<(Endpoint, Connection)> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(transport(Some(KEEP_ALIVE))?);
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

fn transport(keep_alive: Option<Duration>) -> io::Result<Arc<TransportConfig>> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1_u8.into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).map_err(io::Error::other)?))
        .keep_alive_interval(keep_alive)
        .datagram_receive_buffer_size(Some(RECEIVE_BUFFER))
        .datagram_send_buffer_size(SEND_BUFFER);
    Ok(Arc::new(transport))
}

/// The stream of a connection, both ways.
#[derive(Debug)]
pub(crate) struct QuicStream {
    send: SendStream,
    recv: RecvStream,
    ending: Option<Ending>,
}

/// Waits until everything sent has arrived: whoever lets go of a connection before loses the rest.
struct Ending(Pin<Box<dyn Future<Output = ()> + Send>>);

impl core::fmt::Debug for Ending {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ending")
    }
}

impl QuicStream {
    pub(crate) const fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv, ending: None }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buffer)
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
pub(crate) struct Datagrams(Connection);

impl Datagrams {
    pub(crate) const fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// Sends a frame; false if it is too long for a datagram, or the other side takes none.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        let fits = self.0.max_datagram_size().is_some_and(|max| frame.len() <= max);
        fits && self.0.send_datagram(Bytes::copy_from_slice(frame)).is_ok()
    }

    /// The next frame that comes in; `None` once the connection has ended.
    pub(crate) async fn receive(&self) -> Option<Bytes> {
        self.0.read_datagram().await.ok()
    }
}

/// A client's datagrams, to be polled.
pub(crate) struct Inbox {
    pub(crate) datagrams: Datagrams,
    /// Kept between polls: a future made anew each time would miss its wake-up.
    receiving: Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>,
    pub(crate) last: Bytes,
    /// Keeps the socket.
    _endpoint: Endpoint,
}

impl Inbox {
    pub(crate) fn new(endpoint: Endpoint, connection: Connection) -> Self {
        let datagrams = Datagrams::new(connection);
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
            // The stream says so, too.
            Poll::Ready(None) => {
                self.receiving = Box::pin(core::future::pending());
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
