//! ZMTP on real sockets, with libzmq at the other end: what is not in the program's own hands, a hub of its own stands for.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use core::net::SocketAddr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use voxwire_core::{Handler, Instant, Message as _, Session as _};
use voxwire_msgpack::{Server, ServerCommand, ServerEvent, ServerMessage, ServerSettings, Ticket, Wire};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

/// A Python that has zmq, Debian's if there is one; without it the test says that it is skipped.
fn python(mode: &str, address: SocketAddr) -> Option<Output> {
    for python in ["/usr/bin/python3", "python3"] {
        let works = Command::new(python).args(["-c", "import zmq"]).stderr(Stdio::null()).status();
        if works.is_ok_and(|status| status.success()) {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zmtp.py");
            let mut command = Command::new(python);
            command.args(["-B", script, mode, &address.to_string()]);
            return Some(command.output().unwrap());
        }
    }
    println!("skipped: no Python with zmq here; install the Debian package python3-zmq");
    None
}

/// The program for `python`, to be run beside the test.
fn spawned(mode: &str, address: SocketAddr) -> Option<std::process::Child> {
    let works = Command::new("/usr/bin/python3").args(["-c", "import zmq"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: no Python with zmq here; install the Debian package python3-zmq");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zmtp.py");
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-B", script, mode, &address.to_string()]).stdout(Stdio::piped());
    Some(command.spawn().unwrap())
}

fn all_is_well(output: Option<Output>) {
    let Some(output) = output else { return };
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), out.trim()), (Some(0), "all is well"), "{errors}");
}

/// Admits every user, after a while.
struct SlowDesk {
    tickets: tokio::sync::mpsc::UnboundedSender<Ticket>,
}

impl Handler<Server> for SlowDesk {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        match event {
            ServerEvent::LoggingIn { ticket, .. } => self.tickets.send(ticket).unwrap(),
            ServerEvent::Registering { ticket, .. } | ServerEvent::Keeping { ticket, .. } => {
                server.handle_command(now, ServerCommand::Allow { ticket }).unwrap();
            }
            _ => {}
        }
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    token.iter().enumerate().for_each(|(at, byte)| digest[at % 32] ^= byte);
    digest
}

/// A hub whose log-ins take `delay`.
fn slow_hub(runtime: &tokio::runtime::Runtime, delay: Duration) -> (Handle<Server>, SocketAddr) {
    let _inside = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (tickets, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let desk = SlowDesk { tickets };
    let hub = Hub::spawn(
        vec![listener],
        Server::new(ServerSettings::DEFAULT, 1, digest),
        desk,
        HubSettings::DEFAULT,
    )
    .unwrap();
    let door = hub.clone();
    runtime.spawn(async move {
        while let Some(ticket) = asked.recv().await {
            tokio::time::sleep(delay).await;
            let token = b"00000000-0000-4000-8000-000000000001"[..].into();
            door.call(|server, now| server.handle_command(now, ServerCommand::Admit { ticket, token }))
                .unwrap();
        }
    });
    (hub, address)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// F-25: a peer whose heartbeats wait for less than its log-in takes keeps its connection, and has its answers in order.
#[test]
fn f_25_heartbeats_are_answered_while_a_log_in_is_in_work() {
    let runtime = runtime();
    let (_hub, address) = slow_hub(&runtime, Duration::from_millis(2500));
    all_is_well(python("slow", address));
}

/// F-38: a REQ socket has its answers, with the empty frame that it waits for, and updates are not taken for them.
#[test]
fn f_38_a_req_socket_has_its_answers() {
    let runtime = runtime();
    let (_hub, address) = slow_hub(&runtime, Duration::ZERO);
    all_is_well(python("req", address));
}

/// F-83: sockets that are none of this protocol are refused; those that ask for a mechanism, too.
#[test]
fn f_83_other_sockets_and_mechanisms_are_refused() {
    let runtime = runtime();
    let (hub, address) = slow_hub(&runtime, Duration::ZERO);
    let output = python("refused", address);
    let is_here = output.is_some();
    all_is_well(output);
    // (One of them may have seen first that it is wrong here.)
    assert!(!is_here || hub.stats().broken >= 1, "{:?}", hub.stats());
}

/// F-88: a client that said for how long it is silent at most, and is stopped, is gone after that.
#[test]
fn f_88_a_stopped_client_is_gone_after_the_time_that_it_gave() {
    let runtime = runtime();
    let (hub, address) = slow_hub(&runtime, Duration::ZERO);
    let Some(mut client) = spawned("silent", address) else { return };
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    let kill = |signal: &str| Command::new("kill").args([signal, &client.id().to_string()]).status().unwrap();
    std::thread::park_timeout(Duration::from_millis(500));
    assert_eq!(hub.stats().connections, 1, "as long as it beats it stays");
    kill("-STOP");
    let clock = voxwire_core::Clock::start();
    let since = || clock.now().saturating_duration_since(Instant::ZERO);
    while hub.stats().connections > 0 && since() < Duration::from_secs(10) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let gone = since();
    kill("-KILL");
    client.wait().unwrap();
    assert!(gone > Duration::from_secs(2) && gone < Duration::from_secs(9), "{gone:?}");
}

/// Reads so many bytes.
fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// F-83: what libzmq 3.2.6 and 2.2.1 do on the wire, each waiting for the other side where they wait.
#[test]
fn f_83_libzmq_3_2_and_2_2_are_served_step_by_step() {
    let runtime = runtime();
    let (_hub, address) = slow_hub(&runtime, Duration::ZERO);
    let signature = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];
    let register = b"\xa7request\xa8register\xa3ann\xa1x";
    let answer = b"\xa8response\xa8register\x00";
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let mut new = connect();
    new.write_all(&signature).unwrap();
    assert_eq!(read(&mut new, 11), [&signature[..], &[3]].concat());
    new.write_all(&[1, 5]).unwrap();
    assert_eq!(read(&mut new, 3), [6, 0, 0]);
    new.write_all(&[&[0, 0, 0, register.len() as u8], &register[..]].concat()).unwrap();
    assert_eq!(read(&mut new, answer.len() + 2), [&[0, answer.len() as u8], &answer[..]].concat());
    let mut old = connect();
    old.write_all(&[1, 0]).unwrap();
    assert_eq!(read(&mut old, 2), [1, 0]);
    old.write_all(&[&[register.len() as u8 + 1, 0], &register[..]].concat()).unwrap();
    assert_eq!(read(&mut old, answer.len() + 2), [&[answer.len() as u8 + 1, 0], &answer[..]].concat());
}

/// F-80: a recording of 20 MB costs its sender an answer and no memory; what follows is heard.
#[test]
fn f_80_a_recording_that_is_too_large_is_answered_and_the_connection_lives() {
    let runtime = runtime();
    let (hub, address) = slow_hub(&runtime, Duration::ZERO);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let objects = |words: &[&[u8]]| -> Vec<u8> {
        words.iter().flat_map(|word| [&[0xa0 | word.len() as u8], *word].concat()).collect()
    };
    let send = |stream: &mut TcpStream, message: &[u8]| {
        let mut head = Vec::new();
        voxwire_msgpack::zmtp::put_message_head(message.len(), &mut head);
        stream.write_all(&[&head, message].concat()).unwrap();
    };
    let mut greeted = Vec::new();
    voxwire_msgpack::zmtp::put_greeting(&mut greeted);
    voxwire_msgpack::zmtp::put_ready(voxwire_msgpack::zmtp::SocketType::Dealer, &mut greeted);
    stream.write_all(&greeted).unwrap();
    read(&mut stream, 64 + 43);
    send(&mut stream, &objects(&[b"request", b"login", b"ann", b"x"]));
    read(&mut stream, 2 + 16 + 4 + 38);
    let recording = [objects(&[b"request", b"voice_msg"]), vec![0x11; 20_000_000]].concat();
    send(&mut stream, &recording);
    assert_eq!(read(&mut stream, 15)[2..], *b"\xa8response\xa0\xcd\x03\xff");
    send(&mut stream, &objects(&[b"request", b"logout", b"bob"]));
    assert_eq!(read(&mut stream, 21)[2..], *b"\xa8response\xa6logout\xcd\x02\x00");
    assert_eq!((hub.stats().broken, hub.stats().partial), (0, 0));
}

/// Delivers so many texts of a mebibyte to each user that logs in, each when there is room for it.
struct Postman {
    left: Arc<AtomicUsize>,
    update: Vec<u8>,
}

impl Handler<Server> for Postman {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let (peer, ticket) = match event {
            ServerEvent::LoggingIn { peer, ticket, .. } => (peer, Some(ticket)),
            ServerEvent::Taken { peer } => (peer, None),
            _ => return,
        };
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            let update = ServerMessage::decode(&self.update, &Wire::CLIENT).unwrap();
            server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
        }
        if let Some(ticket) = ticket {
            let token = b"00000000-0000-4000-8000-000000000001"[..].into();
            server.handle_command(now, ServerCommand::Admit { ticket, token }).unwrap();
        }
    }
}

/// F-33: a peer that cannot be asked what it has read, in ZMTP before 3.1 and in plain objects, gets the next part as soon as its
/// connection has taken the one before; one that does not read gets no more than its connection takes.
#[test]
fn f_33_the_next_part_follows_as_fast_as_the_connection_takes_it() {
    let runtime = runtime();
    let samples = [&b"\xdd\x00\x10\x00\x00"[..], &vec![7; 1 << 20]].concat();
    let update = [&b"\xa6update\xa9voice_msg\xa3ann\x01\xcd\xac\x44"[..], &samples].concat();
    let login = b"\xa7request\xa5login\xa3bob\xa1x";
    let zmtp = [
        &b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL"[..],
        &[0; 48],
        b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0\0\x14",
        login,
    ]
    .concat();
    const PARTS: usize = 64;
    for hello in [login.to_vec(), zmtp] {
        let _inside = runtime.enter();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let left = Arc::new(AtomicUsize::new(PARTS));
        let postman = Postman { left: left.clone(), update: update.clone() };
        let server = Server::new(ServerSettings::DEFAULT, 1, digest);
        let settings = HubSettings { max_queued: 64 << 20, ..HubSettings::DEFAULT };
        let _hub = Hub::spawn(vec![listener], server, postman, settings).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&hello).unwrap();
        let (mut got, mut buffer) = (0, vec![0; 1 << 16]);
        // One that reads nothing is sent what its connection takes, and one part more.
        std::thread::park_timeout(Duration::from_millis(500));
        assert!((PARTS / 2..PARTS).contains(&left.load(Relaxed)), "{left:?}");
        while got < PARTS * update.len() {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "{got} bytes");
            got += n;
        }
    }
}
