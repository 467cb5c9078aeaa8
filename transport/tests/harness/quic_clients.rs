//! A server on QUIC, and clients of it: players, connections by hand, and those of another process, which can be stopped.
#![allow(dead_code, reason = "each test uses a part of it")]

use crate::certificates;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::time::{Instant, timeout};
use voxwire_dissonance::{Client, ClientSettings, Server, ServerSettings, SessionState};
use voxwire_transport::tls::rustls::ServerConfig;
use voxwire_transport::{Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener, Remote};

pub(crate) type Player = Connection<Client>;
const ROLE: &str = "VOXWIRE_TEST_ROLE";

pub(crate) fn serve(config: &Arc<ServerConfig>, settings: HubSettings) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_quic("127.0.0.1:0".parse().unwrap(), config).unwrap();
    let address = listener.local_addr().unwrap();
    // No client is kicked for what it says: what counts here is what it costs to hear it.
    let session = ServerSettings { max_violations: u32::MAX, ..ServerSettings::DEFAULT };
    (Hub::spawn(vec![listener], Server::new(session, 5), (), settings).unwrap(), address)
}

pub(crate) async fn player(
    address: SocketAddr,
    name: &str,
    certificate: &[u8],
) -> Result<Player, voxwire_transport::Error> {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let (host, config) = ("game.example".try_into().unwrap(), certificates::trusting(certificate).into());
    let settings = ConnectionSettings::DEFAULT;
    Connection::connect(Remote::quic(address.to_string(), host, config), client, settings).await
}

/// A client by hand: a connection without a stream.
pub(crate) async fn handshake(
    address: SocketAddr,
    certificate: &[u8],
) -> (quinn::Endpoint, quinn::Connection) {
    handshake_with(address, certificate, quinn::TransportConfig::default()).await
}

pub(crate) async fn handshake_with(
    address: SocketAddr,
    certificate: &[u8],
    transport: quinn::TransportConfig,
) -> (quinn::Endpoint, quinn::Connection) {
    let endpoint = endpoint(certificate, transport);
    let connection = endpoint.connect(address, "game.example").unwrap().await.unwrap();
    (endpoint, connection)
}

/// A socket of clients by hand. Each takes some MiB of this process.
pub(crate) fn endpoint(certificate: &[u8], transport: quinn::TransportConfig) -> quinn::Endpoint {
    let mut config = certificates::trusting(certificate);
    config.alpn_protocols = vec![b"voxwire-lanes/1".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// A client by hand: a connection and its stream, the hello said.
pub(crate) async fn raw(
    address: SocketAddr,
    certificate: &[u8],
) -> (quinn::Endpoint, quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    raw_with(address, certificate, quinn::TransportConfig::default()).await
}

pub(crate) async fn raw_with(
    address: SocketAddr,
    certificate: &[u8],
    transport: quinn::TransportConfig,
) -> (quinn::Endpoint, quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    let (endpoint, connection) = handshake_with(address, certificate, transport).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"VOXL\x01\x00\x00\x00").await.unwrap();
    recv.read_exact(&mut [0; 32]).await.unwrap();
    (endpoint, connection, send, recv)
}

pub(crate) async fn until(what: &str, player: &mut Player, mut done: impl FnMut(&Player) -> bool) {
    let wait = async {
        while !done(player) {
            player.next().await.expect("the connection goes on");
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
    player.flush().await.unwrap();
}

pub(crate) async fn joined(player: &mut Player) {
    until("joins", player, |player| player.session().state() == SessionState::Connected).await;
}

/// This test's other process. Ends with it.
pub(crate) struct Peers(pub(crate) Child);

impl Peers {
    /// Runs `test` of this program in another process, in a role, and waits until it says that it is ready.
    pub(crate) fn start(test: &str, role: &str, address: SocketAddr, certificate: &[u8]) -> Self {
        let certificate: String = certificate.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{role} {address} {certificate}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        assert!(said.lines().any(|line| line.unwrap().ends_with("ready")), "the peers are not ready");
        Self(child)
    }

    pub(crate) fn stop(&self) {
        let status = Command::new("kill").args(["-STOP", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the other process: what it is to do, if this is it.
pub(crate) fn role() -> Option<(String, SocketAddr, Vec<u8>)> {
    let role = std::env::var(ROLE).ok()?;
    let mut words = role.split(' ');
    let (role, address, hex) = (words.next()?, words.next()?, words.next()?);
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let certificate = (0..hex.len()).step_by(2).map(byte).collect();
    Some((role.to_owned(), address.parse().unwrap(), certificate))
}

pub(crate) fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
}

pub(crate) async fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
