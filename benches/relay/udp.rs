//! A UDP relay: our hub with Dissonance on it, beside a bare loop of `recvmmsg` and `sendmmsg` that knows its listeners from
//! the start, and tokio's `send_to` in a loop.

use super::Served;
use super::held::{Held, Watched};
use criterion::Criterion;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use voxwire_benches::{UNLIMITED, hall};
use voxwire_dissonance::Server;
use voxwire_transport::{Hub, HubSettings, Listener};

/// Who speaks to whom.
#[derive(Clone, Copy)]
struct Plan {
    rooms: usize,
    listeners: usize,
    /// In each room, and how many packets each has on its way at once.
    speakers: usize,
    burst: usize,
}

const BYTES: usize = 80;

/// A relay that knows its listeners: datagrams with the room in their first byte go to all of the room.
fn bare(plan: Plan) -> (Vec<Vec<UdpSocket>>, Served) {
    let (listeners, to) = listeners(plan);
    let served = Served::start(move || async move {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let socket = tokio::net::UdpSocket::from_std({
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .unwrap();
        tokio::task::spawn_local(async move {
            let mut buffers = vec![[0_u8; 2048]; 64];
            loop {
                socket.readable().await.unwrap();
                let fd = socket.as_raw_fd();
                let batch = socket.try_io(Interest::READABLE, || Ok(forward(fd, &mut buffers, &to)?));
                drop(batch);
            }
        });
        address
    });
    (listeners, served)
}

/// One `recvmmsg`, then as many `sendmmsg` as it takes.
fn forward(fd: i32, buffers: &mut [[u8; 2048]], to: &[Vec<SocketAddrV4>]) -> nix::Result<()> {
    thread_local! {
        static RECEIVE: RefCell<MultiHeaders<SockaddrIn>> = RefCell::new(MultiHeaders::preallocate(64, None));
        static SEND: RefCell<MultiHeaders<SockaddrIn>> = RefCell::new(MultiHeaders::preallocate(64, None));
    }
    let lens: Vec<usize> = RECEIVE.with_borrow_mut(|headers| {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let got = recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        Ok::<_, nix::Error>(got.map(|message| message.bytes).collect())
    })?;
    let datagrams = buffers.iter().zip(&lens).map(|(buffer, len)| &buffer[..*len]);
    let copies: Vec<(SocketAddrV4, &[u8])> = datagrams
        .flat_map(|datagram| to[usize::from(datagram[0])].iter().map(move |to| (*to, datagram)))
        .collect();
    for chunk in copies.chunks(64) {
        let slices: Vec<[IoSlice<'_>; 1]> = chunk.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
        let addresses: Vec<_> = chunk.iter().map(|(to, _)| Some(SockaddrIn::from(*to))).collect();
        SEND.with_borrow_mut(|headers| {
            sendmmsg(fd, headers, &slices, &addresses, [], MsgFlags::empty()).map(|sent| sent.count())
        })?;
    }
    Ok(())
}

/// The usual way.
fn send_to(plan: Plan) -> (Vec<Vec<UdpSocket>>, Served) {
    let (listeners, to) = listeners(plan);
    let served = Served::start(move || async move {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            loop {
                let (len, _) = socket.recv_from(&mut buffer).await.unwrap();
                for to in &to[usize::from(buffer[0])] {
                    socket.send_to(&buffer[..len], *to).await.unwrap();
                }
            }
        });
        address
    });
    (listeners, served)
}

fn listeners(plan: Plan) -> (Vec<Vec<UdpSocket>>, Vec<Vec<SocketAddrV4>>) {
    let bind = |_| UdpSocket::bind("127.0.0.1:0").unwrap();
    let sockets: Vec<Vec<UdpSocket>> =
        (0..plan.rooms).map(|_| (0..plan.listeners).map(bind).collect()).collect();
    let address = |socket: &UdpSocket| match socket.local_addr().unwrap() {
        SocketAddr::V4(v4) => v4,
        SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    };
    let addresses = sockets.iter().map(|room| room.iter().map(address).collect()).collect();
    (sockets, addresses)
}

/// One way of relaying, ready to be loaded: who hears, who speaks, and what each says next.
struct Setup {
    served: Served,
    listeners: Vec<Vec<UdpSocket>>,
    speakers: Vec<(usize, UdpSocket, Vec<u8>)>,
    sequence: Option<usize>,
    said: u16,
    players: Vec<hall::Player>,
}

impl Setup {
    fn plain((listeners, served): (Vec<Vec<UdpSocket>>, Served), plan: Plan) -> Self {
        let speaker = |n: usize| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(served.address).unwrap();
            let room = n % plan.rooms;
            // As long as what our listeners get.
            (room, socket, vec![u8::try_from(room).unwrap(); BYTES + 8 + 20])
        };
        let speakers = (0..plan.rooms * plan.speakers).map(speaker).collect();
        Self { served, listeners, speakers, sequence: None, said: 0, players: Vec::new() }
    }

    fn ours(plan: Plan, held: Option<Held>) -> Self {
        let served = Served::start(move || async move {
            let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let settings = HubSettings { frames: UNLIMITED, max_queued: 16 << 20, ..HubSettings::DEFAULT };
            let server = Server::new(hall::settings(2000), 5);
            // A clock read is little beside a packet, and is left out where nobody looks.
            match held {
                Some(held) => {
                    drop(Hub::spawn(vec![listener], Watched::new(server, held), (), settings).unwrap())
                }
                None => drop(Hub::spawn(vec![listener], server, (), settings).unwrap()),
            }
            address
        });
        let room = |n: usize| format!("room {n}");
        let mut players = Vec::new();
        let mut listeners = Vec::new();
        let mut ids = Vec::new();
        for n in 0..plan.rooms {
            let here: Vec<hall::Player> = (0..plan.listeners)
                .map(|m| hall::Player::connect(served.address, &format!("listener {n} {m}"), Some(&room(n))))
                .collect();
            ids.push(here.iter().map(|player| player.id).collect::<Vec<_>>());
            listeners.push(here.iter().map(|player| player.udp.try_clone().unwrap()).collect());
            players.extend(here);
        }
        let mut speakers = Vec::new();
        for n in 0..plan.rooms * plan.speakers {
            let player = hall::Player::connect(served.address, &format!("speaker {n}"), None);
            let here = n % plan.rooms;
            let datagram = player.datagram(&room(here), &ids[here], 0, &[7; BYTES]);
            speakers.push((here, player.udp.try_clone().unwrap(), datagram));
            players.push(player);
        }
        std::thread::park_timeout(Duration::from_millis(500));
        Self { served, listeners, speakers, sequence: Some(BYTES + 10), said: 0, players }
    }

    /// Every client says a burst, and every client hears it. Returns how many copies there were.
    fn round(&mut self, plan: Plan) -> usize {
        for _ in 0..plan.burst {
            self.said = self.said.wrapping_add(1);
            for (_, socket, datagram) in &mut self.speakers {
                if let Some(from_end) = self.sequence {
                    let at = datagram.len() - from_end;
                    datagram[at..at + 2].copy_from_slice(&self.said.to_be_bytes());
                }
                socket.send(datagram).unwrap();
            }
        }
        let ours = self.sequence.is_some();
        for socket in self.listeners.iter().flatten() {
            for _ in 0..plan.speakers * plan.burst {
                hear(socket, ours);
            }
        }
        plan.rooms * plan.listeners * plan.speakers * plan.burst
    }

    /// To be called once in a second or two: a client that is silent by UDP is sent nothing by UDP.
    fn keep_bound(&self) {
        self.players.iter().for_each(hall::Player::ping);
    }

    /// Has one room after the other hear a packet, one packet every `interval`; how long each listener waited.
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn latencies(&mut self, packets: usize, interval: Duration) -> Vec<Duration> {
        let mut latencies = Vec::with_capacity(packets * self.listeners[0].len());
        let ours = self.sequence.is_some();
        let mut due = Instant::now();
        for n in 0..packets {
            due += interval;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let at = n % self.speakers.len();
            if at == 0 {
                self.said = self.said.wrapping_add(1);
            }
            let (room, socket, datagram) = &mut self.speakers[at];
            if let Some(from_end) = self.sequence {
                let at = datagram.len() - from_end;
                datagram[at..at + 2].copy_from_slice(&self.said.to_be_bytes());
            }
            let sent = Instant::now();
            socket.send(datagram).unwrap();
            for listener in &self.listeners[*room] {
                hear(listener, ours);
                latencies.push(sent.elapsed());
            }
        }
        latencies
    }
}

/// The next datagram that is no answer to a PING.
fn hear(socket: &UdpSocket, ours: bool) {
    let mut buffer = [0; 2048];
    while socket.recv(&mut buffer).unwrap() > 0 && ours && buffer[0] == hall::PONG {}
}

const WAYS: [&str; 3] = ["voxwire hub", "recvmmsg and sendmmsg", "tokio send_to"];

/// Sets up one of [`WAYS`], and warms it.
fn warm(way: &str, plan: Plan) -> Setup {
    let setup = match way {
        "voxwire hub" => Setup::ours(plan, None),
        "tokio send_to" => Setup::plain(send_to(plan), plan),
        _ => Setup::plain(bare(plan), plan),
    };
    warmed(setup, plan)
}

fn warmed(mut setup: Setup, plan: Plan) -> Setup {
    for socket in setup.listeners.iter().flatten() {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    setup.round(plan);
    setup
}

/// G-U1 and G-U2: processor time for each copy.
pub(crate) fn relay(criterion: &mut Criterion) {
    for (name, plan) in [
        ("relay/udp/20 rooms x 10", Plan { rooms: 20, listeners: 10, speakers: 1, burst: 1 }),
        ("relay/udp/1 room x 50, 8 speakers", Plan { rooms: 1, listeners: 50, speakers: 8, burst: 1 }),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(6));
        for way in WAYS {
            let mut setup = warm(way, plan);
            group.bench_function(way, |bencher| {
                bencher.iter_custom(|rounds| {
                    setup.keep_bound();
                    let wanted = (rounds as usize).max(20_000);
                    let before = setup.served.used();
                    let mut copies = 0;
                    while copies < wanted {
                        copies += setup.round(plan);
                    }
                    (setup.served.used() - before).mul_f64(rounds as f64 / copies as f64)
                });
            });
        }
        group.finish();
    }
}

/// G-U6: how long the hub's lock is held for each copy, of the processor time above.
pub(crate) fn lock(criterion: &mut Criterion) {
    for (name, plan) in [
        ("relay/udp/lock/20 rooms x 10", Plan { rooms: 20, listeners: 10, speakers: 1, burst: 1 }),
        ("relay/udp/lock/1 room x 50, 8 speakers", Plan { rooms: 1, listeners: 50, speakers: 8, burst: 1 }),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(6));
        let held = Held::default();
        let mut setup = warmed(Setup::ours(plan, Some(held.clone())), plan);
        for (what, of_lock) in [("under the lock", true), ("in all", false)] {
            group.bench_function(what, |bencher| {
                bencher.iter_custom(|rounds| {
                    setup.keep_bound();
                    let wanted = (rounds as usize).max(20_000);
                    let before = (held.time(), setup.served.used());
                    let mut copies = 0;
                    while copies < wanted {
                        copies += setup.round(plan);
                    }
                    let used = setup.served.used();
                    let passed = if of_lock { held.time() - before.0 } else { used - before.1 };
                    passed.mul_f64(rounds as f64 / copies as f64)
                });
            });
        }
        group.finish();
    }
}

/// G-U5: from a speaker's `send` to each listener's `recv`, at 1000 packets and 10 000 copies a second.
pub(crate) fn latency(criterion: &mut Criterion) {
    let plan = Plan { rooms: 20, listeners: 10, speakers: 1, burst: 1 };
    let mut group = criterion.benchmark_group("relay/udp/latency");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    for way in WAYS {
        let mut setup = warm(way, plan);
        for (name, per_mille) in [("p50", 500), ("p99", 990)] {
            group.bench_function(format!("{name}/{way}"), |bencher| {
                bencher.iter_custom(|rounds| {
                    setup.keep_bound();
                    let mut latencies = setup.latencies(500, Duration::from_millis(1));
                    latencies.sort_unstable();
                    latencies[latencies.len() * per_mille / 1000].mul_f64(rounds as f64)
                });
            });
        }
    }
    group.finish();
}
