//! A process that has run out of descriptors. One test, because a limit is the whole process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata};
use voxwire_core::Message;
use voxwire_transport::{Hub, HubSettings, Listener};
use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server, ServerSettings, Wire};

/// Where the test's own clients find the server: they are a process of their own, with descriptors of their own.
const SERVER: &str = "VOXWIRE_TEST_SERVER";

/// Counts warnings.
struct Warnings(&'static AtomicUsize);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Relaxed);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// F-19: without descriptors the oldest silent connection goes, and no other; newcomers get in, and the log does not overflow.
#[test]
#[allow(clippy::disallowed_methods, reason = "a child of the test: no setting of a library")]
fn f_19_without_descriptors_the_oldest_silent_connection_goes() {
    static WARNINGS: AtomicUsize = AtomicUsize::new(0);
    if let Ok(address) = std::env::var(SERVER) {
        return clients(address.parse().unwrap());
    }
    tracing::subscriber::set_global_default(Warnings(&WARNINGS)).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _guard = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), (), HubSettings::DEFAULT)
        .unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "f_19_without_descriptors_the_oldest_silent_connection_goes", "--nocapture"])
        .env(SERVER, address.to_string())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(WARNINGS.load(Relaxed), 1, "said once a minute");
    assert_eq!(hub.stats().refused, 0);
}

/// Many who say nothing, and some who do.
fn clients(address: SocketAddr) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut open: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    for n in 0..10 {
        let name = format!("user {n}");
        let (parameters, optional) = (Parameters::DEFAULT, name.as_bytes());
        let packet = Packet::Handshake(Handshake { parameters, user_name: b"", optional });
        let mut bytes = Vec::new();
        packet.encode(&Wire::new(ByteOrder::BigEndian), &mut bytes).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.read_exact(&mut [0; 6]).expect("registered");
        open.push(stream);
    }
    // One goes for each that comes, and not more while its descriptor is not free yet.
    std::thread::park_timeout(Duration::from_millis(300));
    let is_open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let left = open.iter().filter(|stream| is_open(stream)).count();
    assert!(left >= 45, "{left} of some 55 are left");
}
