//! Dissonance's counters, as an operator sees them.
#![allow(clippy::disallowed_methods)]

mod kit;

use core::net::SocketAddr;
use kit::raw::{encode, join, metrics, pause, reluctant, sample, unit};
use kit::{Server, file};
use std::io::Write;
use std::net::TcpStream;
use voxwire_core::List;
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, CodecSettings, HandshakeRequest, Options, Packet, Profile,
    Recipient, ServerRelay, TextData, VoiceData,
};

/// A server that serves Dissonance alone.
fn serve(name: &str) -> Server {
    let settings = "only = [\"dissonance\"]\n[dissonance]\nquic = false\n";
    let path = file(&format!("dissonance-{name}.toml"), settings);
    let free = ["--dissonance-port", "0", "--http", "127.0.0.1:0"];
    Server::start(&[&["--config", path.to_str().unwrap()], &free[..]].concat())
}

/// Waits until a counter is at least `least`.
#[track_caller]
fn counted(server: &Server, name: &str, least: u64) {
    let http = server.address("http tcp");
    let name = sample("dissonance", name);
    let mut last = String::new();
    for _ in 0..300 {
        last = metrics(http)[&name].clone();
        if last.parse::<u64>().unwrap() >= least {
            return;
        }
        pause(20);
    }
    panic!("{name} is {last}, at least {least} expected");
}

/// A frame of a client's for another client, relayed.
fn voice(session: u32, sender: ClientId, to: ClientId, sequence: u16, len: usize) -> Vec<u8> {
    let (options, channels) = (Options::new(0, Profile::Later), [Channel::new(Recipient::Player(to))]);
    let frame = &vec![7; len][..];
    let voice = VoiceData { session, sender, options, sequence, channels: &channels, frame };
    let payload = encode(&Packet::VoiceData(voice));
    let relay = ServerRelay { session, destinations: &[to, ClientId::new(9999)], payload: &payload };
    unit(&Packet::ServerRelayUnreliable(relay))
}

fn text(session: u32, sender: ClientId, to: ClientId, len: usize) -> Vec<u8> {
    let body = "x".repeat(len);
    let text = TextData { session, sender, recipient: Recipient::Player(to), text: body.as_str().into() };
    let payload = encode(&Packet::TextData(text));
    unit(&Packet::ServerRelayReliable(ServerRelay { session, destinations: &[to], payload: &payload }))
}

/// Joins, and takes nothing any more.
fn listener(address: SocketAddr) -> (TcpStream, ClientId) {
    let mut stream = reluctant(address);
    stream.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
    let codec = CodecSettings::DEFAULT;
    stream
        .write_all(&unit(&Packet::HandshakeRequest(HandshakeRequest { codec, name: "ben".into() })))
        .unwrap();
    (stream, ClientId::new(0))
}

/// F-37: voice beyond what may wait for a slow listener is counted, and so is a listener that takes nothing at all. (The
/// other counters: `metrics.rs`.)
#[test]
fn f_37_what_is_dropped_and_who_is_too_slow_is_counted() {
    let server = serve("slow");
    let address = server.address("dissonance tcp");
    let (_ben, ben) = listener(address);
    counted(&server, "sessions_begun_total", 1);
    // Many who are within their rates, and one who takes nothing.
    let mut many: Vec<_> =
        (0..150_u32).map(|n| join(address, format!("{n:03}").as_bytes().try_into().unwrap())).collect();
    for first in [0, 60] {
        for (stream, session, client) in &mut many[..5] {
            let said = (first..first + 60).flat_map(|n| voice(*session, *client, ben, n, 900));
            stream.write_all(&said.collect::<Vec<u8>>()).unwrap();
        }
        // Longer than a listener may take its time before it is held to its budget.
        pause(500);
    }
    counted(&server, "dropped_packets_total{reason=\"slow-listener\"}", 1);
    let many: Vec<TcpStream> = many
        .into_iter()
        .map(|(mut stream, session, client)| {
            let texts: Vec<u8> = (0..17).flat_map(|_| text(session, client, ben, 900)).collect();
            stream.write_all(&texts).unwrap();
            stream
        })
        .collect();
    counted(&server, "disconnects_total{reason=\"slow\"}", 1);
    counted(&server, "sessions_begun_total", 151);
    drop(many);
}

/// F-37: a client that leaves and comes back has joined twice.
#[test]
fn f_37_joining_again_is_counted_again() {
    let server = serve("again");
    let address = server.address("dissonance tcp");
    for times in 1..=3 {
        let (mut ann, session, id) = join(address, b"ann");
        counted(&server, "sessions_begun_total", times);
        let client = ClientInfo { name: "ann".into(), id, codec: CodecSettings::DEFAULT };
        let rooms = List::from(&[][..]);
        ann.write_all(&unit(&Packet::ClientState(ClientState { session, client, rooms }))).unwrap();
    }
}
