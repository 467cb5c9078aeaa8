//! C-07 for echo: its settings have an effect, and what happens is counted.
#![cfg(feature = "echo")]
#![allow(clippy::disallowed_methods)]

mod kit;

use core::net::SocketAddr;
use core::time::Duration;
use kit::raw::{connect, metrics, sample};
use kit::user::runtime;
use kit::watch::Watch;
use kit::{Server, file, folder};
use std::io::{Read, Write};
use voxwire_core::{Lane, Message, Session};
use voxwire_echo::{Ask, Client, ClientEvent, Packet};
use voxwire_transport::{Connection, ConnectionSettings, Remote, TcpUdpSettings};

const SETTINGS: &str = "
only = ['echo']
[echo]
port = 0
";

/// Asks as often as that at once, on the reliable lane; returns how many are answered.
async fn ask(address: SocketAddr, requests: usize) -> usize {
    let remote = Remote::tcp_udp(address.to_string(), TcpUdpSettings::default());
    let client = Client::new(Duration::from_secs(2));
    let mut connection = Connection::connect(remote, client, ConnectionSettings::DEFAULT).await.unwrap();
    let (mut answered, mut lost) = (0, 0);
    while answered + lost < requests {
        let turn = connection.next().await.unwrap();
        match turn.result.unwrap() {
            Some(ClientEvent::Connected) => {
                for _ in 0..requests {
                    turn.session.handle_command(turn.now, Ask(Lane::Reliable, b"back?")).unwrap();
                }
            }
            Some(ClientEvent::Answer { answer, .. }) => {
                assert_eq!(answer.payload, b"back?");
                answered += 1;
            }
            Some(ClientEvent::Lost(_)) => lost += 1,
            None => {}
            other => panic!("{other:?}"),
        }
    }
    answered
}

#[test]
fn c_07_requests_over_the_rate_are_counted_and_not_answered() {
    let (path, data) = (file("echo.toml", SETTINGS), folder("echo"));
    let data = data.to_str().unwrap();
    let server =
        Server::start(&["--config", path.to_str().unwrap(), "--data", data, "--http", "127.0.0.1:0"]);
    let answered = runtime().block_on(ask(server.address("echo tcp"), 256));
    // Two hundred at once, and those of the time that it takes to ask.
    assert!((200..256).contains(&answered), "{answered}");
    let metrics = metrics(server.address("http tcp"));
    for (name, expected) in [("answers_total", answered), ("refusals_total{rule=\"rate\"}", 256 - answered)] {
        assert_eq!(metrics[&sample("echo", name)], expected.to_string(), "{name}");
    }
}

/// F-37: every number of `/metrics` moves when what it counts happens.
#[test]
fn every_metric_of_echo_moves() {
    let path = file("echo-metrics.toml", SETTINGS);
    let server = Server::start(&["--config", path.to_str().unwrap(), "--http", "127.0.0.1:0"]);
    let mut watch = Watch::new(server.address("http tcp"));
    let mut client = connect(server.address("echo tcp"));
    client.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
    client.read_exact(&mut [0; 32]).unwrap();
    // An answer is what a server does not expect; then more requests than two hundred at once.
    for sequence in 0..300 {
        let packet = Packet { answer: sequence == 0, sequence, payload: b"" };
        let mut bytes = Vec::new();
        packet.encode(&(), &mut bytes).unwrap();
        let length = u16::try_from(bytes.len() + 1).unwrap();
        client.write_all(&[&length.to_be_bytes()[..], &[0], &bytes].concat()).unwrap();
    }
    watch.see("echo", &["connections", "answers_total", "refusals_total{rule=\"rate\"}", "violations_total"]);
    connect(server.address("echo tcp")).write_all(b"GET / HTTP/1.1").unwrap();
    watch.see("echo", &["connections_accepted_total", "disconnects_total{reason=\"broken-stream\"}"]);
    assert_eq!(watch.still(&["echo"]), [""; 0]);
}
