//! Where a connection goes, and how it gets there.

use super::direct::DirectSettings;
use super::settings::ConnectionSettings;
use crate::Error;
use crate::grace::in_time;
use crate::socket_options::{self, SocketOptions, prepare};
use crate::stream::io::is_tls_alert;
use crate::stream::socket::Stream;
use crate::tcp_udp::{self, ClientWants, MAX_TOKEN, SERVER_HELLO, ServerHello};
use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use std::io;
use tokio::net::UdpSocket;
use voxwire_core::Framing;

/// Where a [`Connection`](crate::Connection) goes, and by which transport.
///
/// ```no_run
/// # use voxwire_transport::{Remote, TcpUdpSettings};
/// let plain = Remote::tcp("chat.example:4240");
/// let game = Remote::tcp_udp("game.example:4244", TcpUdpSettings::default());
/// ```
#[derive(Clone)]
pub struct Remote {
    /// `host:port`; all its addresses are tried in turn.
    server: String,
    /// Set where the byte stream carries hellos and units: on TCP + UDP and on QUIC.
    pub(super) units: Option<TcpUdpSettings>,
    /// A token was given where there are no units.
    token_on_tcp: bool,
    #[cfg(feature = "quic")]
    quic: bool,
    #[cfg(feature = "tls")]
    tls: Option<(
        tokio_rustls::rustls::pki_types::ServerName<'static>,
        std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
    )>,
}

impl Remote {
    /// `server`, a `host:port`, by TCP: the session's own byte stream. All addresses of the host are tried in turn. Not for sessions whose frames
    /// are datagrams, as those of Dissonance are: these need [`tcp_udp`](Self::tcp_udp) or [`quic`](Self::quic).
    pub fn tcp(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            units: None,
            token_on_tcp: false,
            #[cfg(feature = "quic")]
            quic: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// By TCP for reliable frames, and by UDP for droppable ones: see [`protocol`](crate::protocol).
    pub fn tcp_udp(server: impl Into<String>, settings: TcpUdpSettings) -> Self {
        Self { units: Some(settings), ..Self::tcp(server) }
    }

    /// By QUIC, all of it encrypted. The server's certificate has to be valid for `name`.
    #[cfg(feature = "quic")]
    pub fn quic(
        server: impl Into<String>,
        name: tokio_rustls::rustls::pki_types::ServerName<'static>,
        config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
    ) -> Self {
        let remote = Self::tcp_udp(server, TcpUdpSettings::default()).tls(name, config);
        Self { quic: true, ..remote }
    }

    /// The same with TLS. The server's certificate has to be valid for `name`. Frames by UDP stay in the clear. A server of
    /// [`Listener::bind_tcp_units`](crate::Listener::bind_tcp_units) has no UDP. With [`TcpUdpSettings::udp`] off this client sends nothing by UDP.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(
        self,
        name: tokio_rustls::rustls::pki_types::ServerName<'static>,
        config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
    ) -> Self {
        Self { tls: Some((name, config)), ..self }
    }

    /// The same with a token of at most 1024 bytes: a secret of the server's operator, which the client's hello shows.
    /// [`Connection::connect`](crate::Connection::connect) returns an error for a longer one, and by TCP alone for any.
    #[must_use]
    pub fn token(mut self, token: Vec<u8>) -> Self {
        match &mut self.units {
            Some(units) => units.token = token,
            None => self.token_on_tcp = !token.is_empty(),
        }
        self
    }

    /// Whether the frames of a session, and the token, can go this way.
    pub(super) fn check(&self, framing: &impl Framing) -> Result<(), Error> {
        match &self.units {
            None if self.token_on_tcp => Err(Error::TokenOnTcp),
            None if !framing.is_stream() => Err(Error::NotAStream),
            Some(units) if units.token.len() > MAX_TOKEN => {
                Err(Error::TokenTooLong { len: units.token.len(), max: MAX_TOKEN })
            }
            Some(_) if !framing.is_ready() => Err(Error::NeedsStream),
            _ => Ok(()),
        }
    }
}

impl From<&str> for Remote {
    /// By [TCP](Self::tcp).
    fn from(server: &str) -> Self {
        Self::tcp(server)
    }
}

impl From<String> for Remote {
    /// By [TCP](Self::tcp).
    fn from(server: String) -> Self {
        Self::tcp(server)
    }
}

impl From<&String> for Remote {
    /// By [TCP](Self::tcp).
    fn from(server: &String) -> Self {
        Self::tcp(server)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("server", &self.server)
            .field("units", &self.units)
            .finish_non_exhaustive()
    }
}

/// How to use TCP + UDP, see [`protocol`](crate::protocol). Build it with `..TcpUdpSettings::default()`.
#[derive(Clone)]
pub struct TcpUdpSettings {
    /// A secret of the server's operator, which the client's hello shows; at most [`MAX_TOKEN`](Self::MAX_TOKEN) bytes. Empty by default.
    pub token: Vec<u8>,
    /// Whether to use UDP. True by default.
    pub udp: bool,
    /// Whether droppable frames go by TCP while UDP is blocked; otherwise they are dropped. True by default.
    pub fallback: bool,
    /// Direct paths to other clients. None by default.
    pub direct: DirectSettings,
}

impl TcpUdpSettings {
    /// The longest token, in bytes.
    pub const MAX_TOKEN: usize = MAX_TOKEN;
}

impl Default for TcpUdpSettings {
    fn default() -> Self {
        Self { token: Vec::new(), udp: true, fallback: true, direct: DirectSettings::default() }
    }
}

/// Shows no token.
impl fmt::Debug for TcpUdpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpUdpSettings")
            .field("udp", &self.udp)
            .field("fallback", &self.fallback)
            .field("announce", &self.direct.announce)
            .finish_non_exhaustive()
    }
}

/// A connection that is up.
pub(super) struct Established {
    pub(super) stream: Stream,
    /// The server's hello; and where there is a UDP side, its socket and the server's address.
    pub(super) units: Option<(ServerHello, Option<(UdpSocket, SocketAddr)>)>,
    #[cfg(feature = "quic")]
    pub(super) quic: Option<crate::quic::Inbox>,
}

impl Established {
    /// A connection within the process.
    pub(super) async fn inside(mut stream: Stream, units: bool) -> Result<Self, Error> {
        let units = if units { Some((server_hello(&mut stream).await?, None)) } else { None };
        Ok(Self {
            stream,
            units,
            #[cfg(feature = "quic")]
            quic: None,
        })
    }
}

pub(super) type Dialling = Pin<Box<dyn Future<Output = Result<Established, Error>> + Send>>;

impl Remote {
    pub(super) async fn dial(self, settings: ConnectionSettings) -> Result<Established, Error> {
        in_time(settings.connect, self.connect(settings)).await.ok_or(Error::TooSlow("connecting"))?
    }

    async fn connect(self, settings: ConnectionSettings) -> Result<Established, Error> {
        #[cfg(feature = "quic")]
        if self.quic {
            return self.connect_quic(settings).await;
        }
        let (tcp, server) = socket_options::connect(&self.server).await?;
        prepare(&tcp, socket_options(settings))?;
        #[cfg(feature = "tls")]
        let mut stream = match self.tls {
            None => Stream::Plain(tcp),
            Some((name, config)) => {
                let tls = tokio_rustls::TlsConnector::from(config)
                    .connect(name, crate::records::Records::from(tcp))
                    .await?;
                Stream::Tls(Box::new(tls.into()))
            }
        };
        #[cfg(not(feature = "tls"))]
        let mut stream = Stream::Plain(tcp);
        let units = match self.units {
            None => None,
            Some(settings) => Some(hello(&mut stream, server, &settings).await?),
        };
        Ok(Established {
            stream,
            units,
            #[cfg(feature = "quic")]
            quic: None,
        })
    }

    #[cfg(feature = "quic")]
    async fn connect_quic(self, settings: ConnectionSettings) -> Result<Established, Error> {
        let Some((name, config)) = &self.tls else {
            return Err(io::Error::other("QUIC needs TLS settings").into());
        };
        let limits = quic_limits(settings);
        let (endpoint, connection) =
            crate::quic::connect(&self.server, &name.to_str(), config, &limits).await?;
        let streams = connection.open_bi().await.map_err(io::Error::other)?;
        let server = connection.remote_address();
        let (stream, datagrams) = crate::quic::split(connection, streams, &limits, None);
        let mut stream = Stream::Quic(Box::new(stream));
        let settings = TcpUdpSettings { udp: false, ..self.units.unwrap_or_default() };
        let (hello, _) = hello(&mut stream, server, &settings).await?;
        let quic = Some(crate::quic::Inbox::new(endpoint, datagrams));
        Ok(Established { stream, units: Some((hello, None)), quic })
    }
}

/// Exchanges hellos, and opens the UDP side.
async fn hello(
    stream: &mut Stream,
    server: SocketAddr,
    settings: &TcpUdpSettings,
) -> Result<(ServerHello, Option<(UdpSocket, SocketAddr)>), Error> {
    let wants = ClientWants { udp: settings.udp, direct: settings.direct.announce };
    stream.write_all(&tcp_udp::client_hello(wants, &settings.token)).await?;
    let hello = server_hello(stream).await?;
    if !hello.accepted {
        let refused = "the server does not admit this token";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused).into());
    }
    if hello.udp_port == 0 || !settings.udp {
        return Ok((hello, None));
    }
    let port = settings.direct.port;
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], port).into() } else { ([0_u16; 8], port).into() };
    let socket = UdpSocket::bind(any).await?;
    let server = SocketAddr::new(server.ip(), hello.udp_port);
    if !settings.direct.is_wanted() {
        // The system drops datagrams that do not come from the server.
        socket.connect(server).await?;
    }
    Ok((hello, Some((socket, server))))
}

/// Waits for a server's hello.
async fn server_hello(stream: &mut Stream) -> Result<ServerHello, Error> {
    let mut bytes = [0; SERVER_HELLO];
    // A server of another protocol may send fewer bytes, and close.
    let begin = stream.read_exact(bytes.get_mut(..3).unwrap_or_default()).await;
    if is_tls_alert(&bytes) {
        return Err(Error::SpeaksTls);
    }
    begin?;
    stream.read_exact(bytes.get_mut(3..).unwrap_or_default()).await?;
    ServerHello::read(&bytes).ok_or(Error::NoHello)
}

#[cfg(feature = "quic")]
fn quic_limits(settings: ConnectionSettings) -> crate::quic::QuicLimits {
    // A server without room still answers probes. So a client need not wait for longer than a hub does.
    let probed = crate::quic::silence(settings.keepalive, None);
    let silence = crate::quic::silence(settings.keepalive, settings.unacknowledged.min(probed));
    crate::quic::QuicLimits { silence, send: 64 * 1024, receive: 256 * 1024 }
}

pub(super) const fn socket_options(settings: ConnectionSettings) -> SocketOptions {
    SocketOptions {
        keepalive: settings.keepalive,
        unacknowledged: settings.unacknowledged,
        send_buffer: None,
    }
}
