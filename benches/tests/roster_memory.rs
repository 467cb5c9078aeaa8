//! F-46: what those cost who log in one after the other and do not take what they are told: each is told every user's name. Counted in
//! bytes of heap; what all of them wait for is held once.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};
use std::io::Write as _;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;
use voxwire_benches::alloc::{Counting, live_bytes};
use voxwire_core::Message as _;
use voxwire_opcode::{Packet, Server, ServerSettings, Wire};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USERS: usize = 1024;
/// Bytes of a name in a list.
const NAME: usize = 108;

/// A client with a small window that never reads.
fn silent(to: SocketAddrV4, n: usize) -> TcpStream {
    let socket: OwnedFd =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("a socket");
    setsockopt(&socket, sockopt::RcvBuf, &2048).expect("a small window");
    connect(socket.as_raw_fd(), &SockaddrIn::from(to)).expect("a connection");
    let mut stream = TcpStream::from(socket);
    let name = format!("{n:0>100}");
    let mut login = Vec::new();
    Packet::Login { name: name.as_str().into() }.encode(&Wire::SERVER, &mut login).expect("a name that fits");
    stream.write_all(&login).expect("a log-in");
    stream
}

fn until(what: &str, hub: &Handle<Server>, done: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if done() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{what}: {:?}", hub.stats());
}

/// F-46: rosters of 1024 users that nobody takes.
#[test]
fn f_46_all_names_are_held_once_for_all_who_wait_for_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("an IPv4 address") };
    let settings = HubSettings {
        max_queued: 4 << 20,
        send_buffer: Some(4096),
        unacknowledged: None,
        pooled: 2,
        ..HubSettings::DEFAULT
    };
    let hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), (), settings).unwrap();
    let before = live_bytes();
    let mut users: Vec<TcpStream> = Vec::with_capacity(USERS);
    for n in 0..USERS {
        users.push(silent(address, n));
        // Not all at once: each is to be told of many.
        until("log-ins", &hub, || hub.call(|server, _| server.logged_in()) + 16 > n);
    }
    until("log-ins", &hub, || hub.call(|server, _| server.logged_in()) == USERS);
    // The last are told of those who came last.
    std::thread::park_timeout(Duration::from_millis(300));
    let waiting = hub.stats().queued;
    let each = (live_bytes() - before) / USERS as u64;
    let rosters = USERS * NAME / 2;
    println!("{each} bytes for each, who waits for {rosters} on average; {waiting} are accounted for");
    // Nobody has been closed for it.
    assert_eq!((hub.stats().connections, hub.stats().too_slow), (USERS, 0));
    assert!(each < rosters as u64 / 2, "{each} bytes for each of those who wait for {rosters} on average");
    // What is held is in the hub's account: what a connection, its name and its books take besides is less than 6.1 KiB.
    assert!(
        waiting as u64 / USERS as u64 + 6 * 1024 + 100 > each,
        "{waiting} bytes accounted for, {each} for each held"
    );
    // They go, and all is given back.
    drop(users);
    until("all gone", &hub, || hub.stats().connections == 0 && hub.stats().queued == 0);
    std::thread::park_timeout(Duration::from_millis(2500));
    let left = live_bytes().saturating_sub(before);
    println!("{left} bytes are left when all have gone");
    assert!(left < 1 << 20, "{left} bytes are left");
    drop(guard);
}
