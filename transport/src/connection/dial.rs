//! Making a connection, and making it once more.

use super::direct::DirectSettings;
use crate::lanes::{self, SERVER_HELLO, ServerHello, Wishes};
use crate::net::{SocketOptions, Stream, TcpStream, prepare, within};
use crate::{ConnectionSettings, Error};
use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use std::io;
use tokio::net::UdpSocket;

/// Where a connection goes, and how.
#[derive(Clone)]
pub(super) struct Target {
    /// `host:port`; all addresses are tried in turn.
    pub(super) server: String,
    pub(super) settings: ConnectionSettings,
    pub(super) lanes: Option<LanesSettings>,
    /// Over QUIC rather than TCP.
    #[cfg(feature = "quic")]
    pub(super) quic: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<(
        tokio_rustls::rustls::pki_types::ServerName<'static>,
        std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
    )>,
}

/// How to use TCP + UDP, see `PROTOCOL.md` of this crate. Build it with `..LanesSettings::default()`.
#[derive(Clone)]
pub struct LanesSettings {
    /// Shown to the server before anything else; at most 1024 bytes.
    pub token: Vec<u8>,
    /// Use UDP at all.
    pub udp: bool,
    /// Where UDP is blocked, send what may be lost by TCP until it is not, rather than not at all.
    pub fallback: bool,
    /// Direct ways to other clients.
    pub direct: DirectSettings,
}

impl Default for LanesSettings {
    fn default() -> Self {
        Self { token: Vec::new(), udp: true, fallback: true, direct: DirectSettings::default() }
    }
}

/// Shows no token.
impl fmt::Debug for LanesSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanesSettings")
            .field("udp", &self.udp)
            .field("fallback", &self.fallback)
            .field("announce", &self.direct.announce)
            .finish_non_exhaustive()
    }
}

/// A connection that is up.
pub(super) struct Established {
    pub(super) stream: Stream,
    /// The server's hello, and a socket for the UDP side and where its other end is, if there is one.
    pub(super) lanes: Option<(ServerHello, Option<(UdpSocket, SocketAddr)>)>,
    #[cfg(feature = "quic")]
    pub(super) quic: Option<crate::quic::Inbox>,
}

pub(super) type Dialling = Pin<Box<dyn Future<Output = Result<Established, Error>> + Send>>;

impl Target {
    /// A server to be reached by TCP alone.
    pub(super) fn new(server: &str, settings: ConnectionSettings) -> Self {
        Self {
            server: server.into(),
            settings,
            lanes: None,
            #[cfg(feature = "quic")]
            quic: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    pub(super) async fn dial(self) -> Result<Established, Error> {
        let limit = self.settings.connect;
        within(limit, "connecting", self.connect()).await
    }

    async fn connect(self) -> io::Result<Established> {
        #[cfg(feature = "quic")]
        if self.quic {
            return self.connect_quic().await;
        }
        let tcp = TcpStream::connect(&self.server).await?;
        prepare(&tcp, socket_options(self.settings))?;
        let server = tcp.peer_addr()?;
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
        let lanes = match self.lanes {
            None => None,
            Some(settings) => Some(hello(&mut stream, server, &settings).await?),
        };
        Ok(Established {
            stream,
            lanes,
            #[cfg(feature = "quic")]
            quic: None,
        })
    }

    #[cfg(feature = "quic")]
    async fn connect_quic(self) -> io::Result<Established> {
        let Some((name, config)) = &self.tls else { return Err(io::Error::other("QUIC needs TLS settings")) };
        let limits = quic_limits(self.settings);
        let (endpoint, connection) =
            crate::quic::connect(&self.server, &name.to_str(), config, &limits).await?;
        let ways = connection.open_bi().await.map_err(io::Error::other)?;
        let server = connection.remote_address();
        let (stream, datagrams) = crate::quic::split(connection, ways, &limits, None);
        let mut stream = Stream::Quic(Box::new(stream));
        let settings = LanesSettings { udp: false, ..self.lanes.unwrap_or_default() };
        let (hello, _) = hello(&mut stream, server, &settings).await?;
        let quic = Some(crate::quic::Inbox::new(endpoint, datagrams));
        Ok(Established { stream, lanes: Some((hello, None)), quic })
    }
}

/// Says hello, and opens the UDP side.
async fn hello(
    stream: &mut Stream,
    server: SocketAddr,
    settings: &LanesSettings,
) -> io::Result<(ServerHello, Option<(UdpSocket, SocketAddr)>)> {
    let wishes = Wishes { udp: settings.udp, direct: settings.direct.announce };
    stream.write_all(&lanes::client_hello(wishes, &settings.token)).await?;
    let hello = server_hello(stream).await?;
    if !hello.accepted {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server does not admit this token"));
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
        // From the server only: the system sorts out everything else.
        socket.connect(server).await?;
    }
    Ok((hello, Some((socket, server))))
}

/// Waits for a server's hello.
pub(super) async fn server_hello(stream: &mut Stream) -> io::Result<ServerHello> {
    let mut bytes = [0; SERVER_HELLO];
    stream.read_exact(&mut bytes).await?;
    ServerHello::read(&bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a server of this transport"))
}

#[cfg(feature = "quic")]
fn quic_limits(settings: ConnectionSettings) -> crate::quic::QuicLimits {
    // A server that has no room is heard all the same: there is no need to wait for longer than a hub does.
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
