//! Addresses that are not let in: nothing is done for them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use voxwire_core::Message as _;
use voxwire_opcode::{CallRequest, Packet, RelayAddress, ServerSettings, Wire};
use voxwire_syfala::{Format, ServerCommand};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

const BANNED: [u8; 4] = [127, 0, 0, 9];

fn gate() -> impl Fn(IpAddr) -> bool + Send + Sync {
    |from| from != IpAddr::from(BANNED)
}

async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// C-31: a connection from a banned address is closed at once, before the session hears of it; others come in.
#[tokio::test]
async fn c_31_a_connection_from_a_banned_address_never_reaches_the_session() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_gate(gate());
    let address = listener.local_addr().unwrap();
    let server = voxwire_voicelink::Server::new(voxwire_voicelink::ServerSettings::DEFAULT, 1);
    let hub = Hub::spawn(vec![listener], server, (), HubSettings::DEFAULT).unwrap();
    let mut banned = connect(BANNED, address).await;
    let ended = timeout(Duration::from_secs(10), banned.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let _welcome = connect([127, 0, 0, 1], address).await;
    let mut peers = 0;
    for _ in 0..1000 {
        peers = hub.call(|server, _| server.peers());
        if peers > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((peers, hub.stats().refused), (1, 1));
}

/// C-31: datagrams of a banned address make no peer. A ban that comes later holds for sources that are known already, too.
#[tokio::test]
async fn c_31_datagrams_from_a_banned_address_make_no_peer() {
    let (asked, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_closed) = (asked.clone(), closed.clone());
    let listener = Listener::bind_udp("127.0.0.1:0".parse().unwrap()).unwrap().with_gate(move |from| {
        count.fetch_add(1, Relaxed);
        !is_closed.load(Relaxed) && from != IpAddr::from(BANNED)
    });
    let address = listener.local_addr().unwrap();
    let mut server =
        voxwire_syfala::Server::new(&[Format::STANDARD], &[], voxwire_syfala::ServerSettings::DEFAULT, 1)
            .unwrap();
    let networks = ["127.0.0.0/8".parse().unwrap()];
    voxwire_core::Session::handle_command(
        &mut server,
        voxwire_core::Instant::ZERO,
        ServerCommand::Serve { networks: &networks },
    )
    .unwrap();
    let hub: Handle<_> = Hub::spawn(vec![listener], server, (), HubSettings::DEFAULT).unwrap();
    let discover = async |socket: &UdpSocket| {
        socket.send_to(&[0], address).await.unwrap();
        timeout(Duration::from_millis(500), socket.recv(&mut [0; 2048])).await.is_ok()
    };
    let bound = async |from: [u8; 4]| UdpSocket::bind(SocketAddr::from((from, 0))).await.unwrap();
    let known = bound([127, 0, 0, 1]).await;
    assert!(!discover(&bound(BANNED).await).await && discover(&known).await);
    closed.store(true, Relaxed);
    assert!(!discover(&known).await && !discover(&bound([127, 0, 0, 1]).await).await);
    assert_eq!((asked.load(Relaxed), hub.call(|server, _| server.stats().offers)), (4, 1));
}

/// C-31: a ban that comes during a handshake keeps the connection out once the handshake ends.
#[tokio::test]
async fn c_31_a_ban_holds_for_a_connection_in_its_handshake() {
    let closed = Arc::new(AtomicBool::new(false));
    let is_closed = closed.clone();
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.with_gate(move |_| !is_closed.load(Relaxed));
    let address = listener.local_addr().unwrap();
    let server = voxwire_dissonance::Server::new(voxwire_dissonance::ServerSettings::DEFAULT, 1);
    let hub = Hub::spawn(vec![listener], server, (), HubSettings::DEFAULT).unwrap();
    let mut banned = connect([127, 0, 0, 1], address).await;
    while hub.stats().accepted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    closed.store(true, Relaxed);
    // The hello of a client without a token that does not want UDP.
    banned.write_all(b"VOXL\x01\0\0\0").await.unwrap();
    // The hub may close with what it has not read.
    let _ = timeout(Duration::from_secs(10), banned.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!((hub.stats().connections, hub.stats().refused), (0, 1));
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&Wire::SERVER, &mut bytes).unwrap();
    bytes
}

/// The port of the first CallRequest among these packets.
fn port_of(mut bytes: &[u8]) -> Option<u16> {
    loop {
        let length = u64::from_le_bytes(*bytes.first_chunk()?);
        let (packet, rest) = bytes.split_at_checked(usize::try_from(length).unwrap() + 8)?;
        if let Ok(Packet::CallRequest(request)) = Packet::decode(packet, &Wire::CLIENT) {
            return Some(request.port);
        }
        bytes = rest;
    }
}

/// C-31: a port that the session opens for a call is closed to banned addresses, as the listener is.
#[tokio::test]
async fn c_31_a_port_of_the_session_is_closed_to_banned_addresses() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_gate(gate());
    let address = listener.local_addr().unwrap();
    let relay = RelayAddress { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
    let settings = ServerSettings { relay: Some(relay), ..ServerSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], voxwire_opcode::Server::new(settings, 1), (), HubSettings::DEFAULT)
        .unwrap();
    let mut clients = Vec::new();
    for name in ["ann", "bob"] {
        let mut client = connect([127, 0, 0, 1], address).await;
        client.write_all(&encoded(&Packet::Login { name: name.into() })).await.unwrap();
        clients.push(client);
    }
    while hub.call(|server, _| server.logged_in()) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = CallRequest { contact: "bob".into(), host: "127.0.0.1".into(), port: 4000 };
    clients[0].write_all(&encoded(&Packet::CallRequest(request))).await.unwrap();
    let (mut got, mut part) = (Vec::new(), [0; 256]);
    let port = loop {
        let len = timeout(Duration::from_secs(10), clients[1].read(&mut part)).await.unwrap().unwrap();
        assert_ne!(len, 0);
        got.extend_from_slice(&part[..len]);
        if let Some(port) = port_of(&got) {
            break port;
        }
    };
    let mut banned = connect(BANNED, (Ipv4Addr::LOCALHOST, port).into()).await;
    let ended = timeout(Duration::from_secs(10), banned.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert_eq!(hub.stats().refused, 1);
}
