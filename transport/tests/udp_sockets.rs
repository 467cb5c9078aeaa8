//! Several UDP sockets at one address: one receives for each source.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../../tests/kit/syfala_echo.rs"]
mod syfala_echo;

use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;
use syfala_echo::Echo;
use voxwire_core::{Instant, Message, Session as _};
use voxwire_syfala::{
    Audio, ClientMessage, Format, Network, Server, ServerCommand, ServerMessage, ServerSettings, Timing, Wire,
};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

fn echo(listener: Listener) -> Handle<Server> {
    let format = [Format::STANDARD];
    // They are silent while the others come in.
    let timing = Timing { deadline: Duration::from_secs(60), ..Timing::DEFAULT };
    let settings = ServerSettings { max_clients: 100, timing, ..ServerSettings::DEFAULT };
    let mut server = Server::new(&format, &format, settings, 1).unwrap();
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &Network::LOOPBACK }).unwrap();
    Hub::spawn(vec![listener], server, Echo, HubSettings::DEFAULT).unwrap()
}

/// How many UDP sockets of the system have this port.
fn sockets_at(port: u16) -> usize {
    let suffix = format!(":{port:04X}");
    let all =
        ["/proc/net/udp", "/proc/net/udp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let local = |line: &str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&suffix));
    all.iter().flat_map(|table| table.lines()).filter(|line| local(line)).count()
}

fn say(socket: &UdpSocket, message: &ClientMessage<'_>) {
    let mut bytes = Vec::new();
    message.encode(&Wire::DEFAULT, &mut bytes).unwrap();
    socket.send(&bytes).unwrap();
}

/// A client with a socket of its own, once its audio is echoed.
fn client(address: SocketAddr) -> UdpSocket {
    let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let hear = |wanted: fn(&ServerMessage<'_>) -> bool| {
        let mut bytes = [0; 2048];
        loop {
            let len = socket.recv(&mut bytes).unwrap();
            if wanted(&ServerMessage::decode(&bytes[..len], &Wire::DEFAULT).unwrap()) {
                return;
            }
        }
    };
    say(&socket, &ClientMessage::Discovery);
    hear(|message| matches!(message, ServerMessage::Connect(_)));
    say(&socket, &ClientMessage::ConnectionSuccess);
    say(&socket, &ClientMessage::StartIo);
    hear(|message| matches!(message, ServerMessage::StartIoSuccess));
    socket
}

/// Says numbered blocks, a few at a time, and hears all of them in order.
fn speak(socket: &UdpSocket, blocks: u32) {
    const AT_ONCE: u32 = 8;
    let mut heard = 0;
    for n in 0..blocks {
        let mut block = [0; 256];
        block[..4].copy_from_slice(&n.to_be_bytes());
        say(socket, &ClientMessage::Audio(Audio::new(0, u64::from(n) * 256, &block)));
        let rest = if n + 1 == blocks { 0 } else { AT_ONCE };
        let mut bytes = [0; 2048];
        while n + 1 - heard > rest {
            let len = socket.recv(&mut bytes).unwrap();
            if let Ok(ServerMessage::Audio(audio)) = ServerMessage::decode(&bytes[..len], &Wire::DEFAULT) {
                assert_eq!(audio.payload[..4], heard.to_be_bytes(), "in order, and none is missing");
                heard += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g_u6_on_several_sockets_each_speaker_is_heard_in_order_and_answered_from_the_port_it_knows() {
    for bind in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
        let listener = Listener::bind_udp(bind.parse().unwrap()).unwrap().with_udp_sockets(4).unwrap();
        let bound = listener.local_addr().unwrap();
        assert_eq!(sockets_at(bound.port()), 4);
        let ip = if bound.is_ipv4() { [127, 0, 0, 1].into() } else { bound.ip() };
        let address = SocketAddr::new(ip, bound.port());
        let hub = echo(listener);
        // Sixteen sources: that all of them fall to one of four sockets is as good as impossible.
        let speakers = tokio::task::spawn_blocking(move || {
            // One after the other: until they are validated, sources displace each other.
            let sockets: Vec<UdpSocket> = (0..16).map(|_| client(address)).collect();
            std::thread::scope(|scope| {
                for socket in &sockets {
                    scope.spawn(|| speak(socket, 1000));
                }
            });
        });
        speakers.await.unwrap();
        assert_eq!(hub.call(|server, _| server.stats().messages_received), 16_000);
        hub.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn g_u6_a_second_server_at_the_same_port_is_refused() {
    let any = "127.0.0.1:0".parse().unwrap();
    let first = Listener::bind_udp(any).unwrap().with_udp_sockets(3).unwrap();
    let address = first.local_addr().unwrap();
    assert_eq!(Listener::bind_udp(address).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    Listener::bind_udp(address).unwrap();
    // Without a UDP side there is nothing to multiply.
    assert!(Listener::bind(any).unwrap().with_udp_sockets(3).is_ok());
    let one = Listener::bind_udp(any).unwrap().with_udp_sockets(0).unwrap();
    assert_eq!(sockets_at(one.local_addr().unwrap().port()), 1);
}
