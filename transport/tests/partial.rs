//! Frames that come in bit by bit: who holds memory for them, who waits, and who goes; with msgpack on top.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::disallowed_methods
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use tokio::runtime::Runtime;
use voxwire_core::{Handler, Instant, Message, Session};
use voxwire_msgpack::zmtp::{SocketType, put_greeting, put_message_head, put_ready};
use voxwire_msgpack::{ClientMessage, Server, ServerCommand, ServerEvent, ServerSettings, Wire};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

const MIB: usize = 1024 * 1024;
const TOKEN: &str = "00000000-0000-4000-8000-000000000000";

/// Admits every user, and keeps every recording.
struct Door;

impl Handler<Server> for Door {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let command = match event {
            ServerEvent::LoggingIn { ticket, .. } => ServerCommand::Admit { ticket, token: TOKEN.into() },
            ServerEvent::Registering { ticket, .. } => ServerCommand::Allow { ticket },
            _ => return,
        };
        server.handle_command(now, command).unwrap();
    }
}

fn serve(settings: HubSettings) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(ServerSettings::DEFAULT, 1, |_| [7; 32]);
    (Hub::spawn(vec![listener], server, Door, settings).unwrap(), address)
}

fn encoded(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

/// A recording of 1.2 MB.
fn recording(username: &str) -> Vec<u8> {
    let samples = vec![30_000_i16; 400_000];
    encoded(&ClientMessage::VoiceMsg {
        username: username.into(),
        token: TOKEN.into(),
        recipient: "sink".into(),
        channels: 1,
        sample_rate: 44_100,
        samples: samples[..].into(),
    })
}

fn login(username: &str) -> Vec<u8> {
    encoded(&ClientMessage::Login { username: username.into(), password: "x".into() })
}

/// A client on a thread of its own: how it comes in has nothing to do with what the hub is busy with.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream
}

/// Logged in, without ZMTP: messages one behind the other, whose length is not announced.
fn plain(address: SocketAddr, username: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&login(username)).unwrap();
    answer(&mut stream);
    stream
}

/// Logged in, over ZMTP.
fn zmtp(address: SocketAddr, username: &str) -> TcpStream {
    let mut stream = connect(address);
    let mut bytes = Vec::new();
    put_greeting(&mut bytes);
    put_ready(SocketType::Dealer, &mut bytes);
    stream.write_all(&bytes).unwrap();
    stream.read_exact(&mut [0; 64 + 43]).unwrap();
    stream.write_all(&unit(&login(username))).unwrap();
    answer(&mut stream);
    stream
}

fn unit(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message_head(body.len(), &mut bytes);
    bytes.extend(body);
    bytes
}

/// What the server says next.
fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let n = stream.read(&mut bytes).unwrap();
    assert_ne!(n, 0, "closed");
    bytes.truncate(n);
    bytes
}

/// Sends a recording, which is answered.
fn send(mut stream: TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let answer = answer(&mut stream);
    assert!(answer.windows(9).any(|window| window == b"voice_msg"), "{}", answer.escape_ascii());
}

/// Takes the recordings of all.
fn sink(address: SocketAddr) {
    let mut stream = plain(address, "sink");
    thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while matches!(stream.read(&mut bytes), Ok(1..)) {}
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let clock = voxwire_core::Clock::start();
    while !condition() {
        assert!(clock.now() < Instant::ZERO.saturating_add(limit), "{what}: not within {limit:?}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// F-15: three that grow bit by bit at once, in a budget for one, neither lock each other out nor the others.
#[test]
fn f_15_three_large_frames_of_unknown_length_at_once_are_all_answered() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let (hub, address) = serve(HubSettings { partial_frames: 4 * MIB, ..HubSettings::DEFAULT });
    sink(address);
    let threads = ["ann", "bob", "cat"].map(|name| {
        let stream = plain(address, name);
        thread::spawn(move || send(stream, &recording(name)))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((hub.stats().broken, hub.stats().partial), (0, 0));
}

/// F-15: a peer that announces a lot and sends nothing has nothing; one that sends a lot and then nothing gives way.
#[test]
fn f_15_silent_strangers_hold_nothing_that_another_needs() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let (hub, address) = serve(HubSettings { partial_frames: 8 * MIB, ..HubSettings::DEFAULT });
    sink(address);
    let (ours, theirs) = (recording("ann"), recording("eve"));
    let mut silent = Vec::new();
    for n in 0..84 {
        let mut stream = zmtp(address, &format!("eve{n}"));
        let mut bytes = unit(&theirs);
        bytes.truncate(3000);
        stream.write_all(&bytes).unwrap();
        silent.push(stream);
    }
    for n in 0..3 {
        let mut stream = plain(address, &format!("mallory{n}"));
        // The system may not take it all while it is not read.
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.write_all(&theirs[..1_150_000]);
        silent.push(stream);
    }
    let stats = hub.stats();
    assert!(stats.partial <= 10 * MIB, "{stats:?}");
    send(zmtp(address, "ann"), &unit(&ours));
    send(plain(address, "ann"), &ours);
    drop(silent);
}

/// F-15: the end of a connection is noticed while its frame waits for memory, and frees what it holds at once.
#[test]
fn f_15_a_connection_that_closes_while_it_waits_is_gone_and_frees_its_part() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let (hub, address) = serve(HubSettings { partial_frames: 3 * MIB, ..HubSettings::DEFAULT });
    let part = &recording("eve")[..1_150_000];
    let streams = ["eve0", "eve1", "eve2", "eve3"].map(|name| {
        let mut stream = plain(address, name);
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let _ = stream.write_all(part);
        stream
    });
    for (n, stream) in streams.into_iter().enumerate() {
        if n % 2 == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(stream);
    }
    until("all gone", Duration::from_secs(5), || hub.stats().connections == 0);
    assert_eq!(hub.stats().partial, 0);
}

/// F-15: waiting has an end.
#[test]
fn f_15_a_frame_does_not_wait_for_memory_for_ever() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let partial_wait = Duration::from_millis(500);
    let (hub, address) = serve(HubSettings { partial_frames: MIB, partial_wait, ..HubSettings::DEFAULT });
    // More than there can be.
    let mut stream = plain(address, "ann");
    let _ = stream.write_all(&recording("ann"));
    until("closed", Duration::from_secs(5), || hub.stats().connections == 0);
    assert_eq!((hub.stats().broken, hub.stats().partial), (1, 0));
}

/// F-24: what came in while the hub did not run is read before anything is too late; and a peer that has to answer has the time for it.
#[test]
fn f_24_after_a_stall_of_the_hub_frames_and_handshakes_that_have_come_in_are_not_too_late() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let second = Duration::from_secs(1);
    let (hub, address) =
        serve(HubSettings { handshake_timeout: second, frame_timeout: second, ..HubSettings::DEFAULT });
    let mut greeted = Vec::new();
    put_greeting(&mut greeted);
    put_ready(SocketType::Dealer, &mut greeted);
    let message = unit(&login("ann"));
    let (mut half_greeted, mut half_said, mut silent) =
        (connect(address), connect(address), connect(address));
    half_greeted.write_all(&greeted[..30]).unwrap();
    half_said.write_all(&greeted).unwrap();
    half_said.read_exact(&mut [0; 64 + 43]).unwrap();
    half_said.write_all(&message[..10]).unwrap();
    silent.write_all(&greeted[..30]).unwrap();
    thread::sleep(Duration::from_millis(300));
    // The hub's only thread has something else to do.
    runtime.spawn(async { thread::sleep(Duration::from_millis(2500)) });
    thread::sleep(Duration::from_millis(500));
    half_greeted.write_all(&greeted[30..]).unwrap();
    half_said.write_all(&message[10..]).unwrap();
    half_greeted.read_exact(&mut [0; 64 + 43]).unwrap();
    half_greeted.write_all(&message).unwrap();
    answer(&mut half_greeted);
    answer(&mut half_said);
    // A peer that sends nothing is too late all the same.
    until("one is closed", Duration::from_secs(5), || hub.stats().broken == 1);
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert_eq!(hub.stats().connections, 2);
}
