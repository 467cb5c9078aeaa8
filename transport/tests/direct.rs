//! Direct paths between clients over real loopback sockets, with Dissonance on top: announced and given, lost and found again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, tcp::OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};
use voxwire_core::{Handler, PeerId, Session};
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, ServerCommand, ServerEvent, ServerSettings,
    Speech, Target,
};
use voxwire_transport::{
    Connection, ConnectionSettings, DirectSettings, Handle, Hub, HubSettings, Listener, Remote,
    TcpUdpSettings,
};

type Player = Connection<Client>;

const KEY: [u8; 16] = *b"sixteen bytes ok";

fn serve(introductions: usize) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { introductions, ..HubSettings::DEFAULT };
    (Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), settings).unwrap(), address)
}

async fn player(server: SocketAddr, name: &str, direct: DirectSettings) -> Player {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let lanes = TcpUdpSettings { direct, ..TcpUdpSettings::default() };
    Connection::connect(Remote::tcp_udp(server.to_string(), lanes), client, ConnectionSettings::DEFAULT)
        .await
        .unwrap()
}

const fn announced() -> DirectSettings {
    DirectSettings { announce: true, port: 0, key: None, addresses: Vec::new() }
}

/// What a player has heard, and when; and whether it has a direct path to another.
#[derive(Default)]
struct Log {
    heard: Vec<(u8, Instant)>,
    direct: bool,
}

/// Lets both go on until `done`.
async fn both(
    what: &str,
    (ann, ben): (&mut Player, &mut Player),
    logs: &mut (Log, Log),
    mut done: impl FnMut(&Player, &Player, &(Log, Log)) -> bool,
) {
    fn note(log: &mut Log, event: Option<ClientEvent<'_>>) {
        match event {
            Some(ClientEvent::Voice(voice)) => log.heard.push((voice.frame[0], Instant::now())),
            Some(ClientEvent::Direct { up, .. }) => log.direct = up,
            _ => {}
        }
    }
    let wait = async {
        while !done(ann, ben, logs) {
            tokio::select! {
                turn = ann.next() => note(&mut logs.0, turn.expect("goes on").result.ok().flatten()),
                turn = ben.next() => note(&mut logs.1, turn.expect("goes on").result.ok().flatten()),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}: not within 10 s"));
}

/// Ann speaks to the Lobby, where Ben listens; both have joined.
async fn join(ann: &mut Player, ben: &mut Player, logs: &mut (Log, Log)) {
    let tell = |player: &mut Player, command| {
        player.call(|client, now| client.handle_command(now, command)).unwrap()
    };
    tell(ben, ClientCommand::Join { room: "Lobby" });
    tell(ann, ClientCommand::Open { to: Target::Room("Lobby"), as_: Speech::DEFAULT });
    let ready = |ann: &Player, ben: &Player, _: &(Log, Log)| {
        ann.session().rooms().count() == 1
            && ben.session().find("ann").is_some()
            && ann.udp() == Some(true)
            && ben.udp() == Some(true)
    };
    both("join", (ann, ben), logs, ready).await;
}

/// Ann says `frames` frames, one every 10 ms. Returns how many ben has heard of them, and the longest gap.
async fn talk(ann: &mut Player, ben: &mut Player, logs: &mut (Log, Log), frames: u8) -> (usize, Duration) {
    logs.1.heard.clear();
    let start = Instant::now();
    for n in 0..frames {
        ann.call(|client, now| client.handle_command(now, ClientCommand::Say { frame: &[n; 40] })).unwrap();
        let next = start + Duration::from_millis(10) * (u32::from(n) + 1);
        both("talk", (ann, ben), logs, |_, _, _| Instant::now() >= next).await;
    }
    let end = Instant::now() + Duration::from_millis(100);
    both("the last frames", (ann, ben), logs, |_, _, _| Instant::now() >= end).await;
    let times = [start].into_iter().chain(logs.1.heard.iter().map(|(_, at)| *at)).collect::<Vec<_>>();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    (logs.1.heard.len(), gaps.max().unwrap_or(Duration::MAX))
}

fn relayed(hub: &Handle<Server>) -> u64 {
    hub.call(|server, _| server.stats().voice)
}

#[tokio::test]
async fn d_08_announced_clients_reach_each_other_and_the_server_hears_nothing() {
    let (hub, server) = serve(32);
    let (mut ann, mut ben) =
        (player(server, "ann", announced()).await, player(server, "ben", announced()).await);
    let mut logs = <(Log, Log)>::default();
    join(&mut ann, &mut ben, &mut logs).await;
    both("a way", (&mut ann, &mut ben), &mut logs, |_, _, logs| logs.0.direct && logs.1.direct).await;
    let (heard, _) = talk(&mut ann, &mut ben, &mut logs, 100).await;
    assert_eq!((heard, relayed(&hub)), (100, 0));
    // Ben leaves: the way goes with him, and nothing is stuck.
    ben.shutdown();
    drop(ben);
    let mut other = player(server, "cid", DirectSettings::default()).await;
    both("ann notices", (&mut ann, &mut other), &mut logs, |ann, _, _| ann.session().find("ben").is_none())
        .await;
    let cid = other.call(|client, now| client.handle_command(now, ClientCommand::Join { room: "Lobby" }));
    cid.unwrap();
    both("cid joins", (&mut ann, &mut other), &mut logs, |ann, other, _| {
        ann.session().find("cid").is_some() && other.udp() == Some(true)
    })
    .await;
    // A player that has not asked for it is not introduced.
    logs.0.direct = false;
    let (heard, _) = talk(&mut ann, &mut other, &mut logs, 30).await;
    assert_eq!((heard, relayed(&hub), logs.0.direct, logs.1.direct), (30, 30, false, true));
}

#[tokio::test]
async fn d_08_a_server_that_introduces_no_clients_relays() {
    let (hub, server) = serve(0);
    let (mut ann, mut ben) =
        (player(server, "ann", announced()).await, player(server, "ben", announced()).await);
    let mut logs = <(Log, Log)>::default();
    join(&mut ann, &mut ben, &mut logs).await;
    let (heard, _) = talk(&mut ann, &mut ben, &mut logs, 50).await;
    assert_eq!((heard, relayed(&hub), logs.0.direct), (50, 50, false));
}

/// A way between two that can be blocked, and that changes addresses as a NAT does.
async fn forwarder(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let (here, there) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let (address, blocked) = (here.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let flag = blocked.clone();
    tokio::spawn(async move {
        let (mut one, mut other) = ([0; 2048], [0; 2048]);
        let mut from = None;
        loop {
            tokio::select! {
                Ok((n, source)) = here.recv_from(&mut one) => {
                    from = Some(source);
                    if !flag.load(Relaxed) {
                        let _ = there.send_to(&one[..n], to).await;
                    }
                }
                Ok((n, _)) = there.recv_from(&mut other) => {
                    if let Some(from) = from.filter(|_| !flag.load(Relaxed)) {
                        let _ = here.send_to(&other[..n], from).await;
                    }
                }
            }
        }
    });
    (address, blocked)
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn d_08_a_way_that_breaks_is_relayed_around_within_a_second_and_comes_back() {
    let (hub, server) = serve(32);
    let port = free_port();
    let (between, blocked) = forwarder(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let given = DirectSettings { key: Some(KEY), addresses: vec![between], ..DirectSettings::default() };
    let waiting = DirectSettings { key: Some(KEY), port, ..DirectSettings::default() };
    let (mut ann, mut ben) = (player(server, "ann", given).await, player(server, "ben", waiting).await);
    let mut logs = <(Log, Log)>::default();
    join(&mut ann, &mut ben, &mut logs).await;
    both("a way", (&mut ann, &mut ben), &mut logs, |_, _, logs| logs.0.direct && logs.1.direct).await;
    let (heard, _) = talk(&mut ann, &mut ben, &mut logs, 50).await;
    assert_eq!((heard, relayed(&hub)), (50, 0));
    blocked.store(true, Relaxed);
    let (heard, gap) = talk(&mut ann, &mut ben, &mut logs, 200).await;
    assert!(gap < Duration::from_secs(1) && heard > 100, "{heard} frames, gap {gap:?}");
    assert!(!logs.0.direct && !logs.1.direct && relayed(&hub) > 100);
    blocked.store(false, Relaxed);
    both("a way again", (&mut ann, &mut ben), &mut logs, |_, _, logs| logs.0.direct && logs.1.direct).await;
    let before = relayed(&hub);
    let (heard, _) = talk(&mut ann, &mut ben, &mut logs, 50).await;
    assert_eq!((heard, relayed(&hub)), (50, before));
}

#[tokio::test]
async fn d_16_strangers_that_probe_get_nothing_and_no_ack_is_longer_than_its_probe() {
    let (_hub, server) = serve(32);
    let port = free_port();
    let waiting = DirectSettings { key: Some(KEY), port, ..DirectSettings::default() };
    let (mut ann, mut ben) =
        (player(server, "ann", DirectSettings::default()).await, player(server, "ben", waiting).await);
    let mut logs = <(Log, Log)>::default();
    join(&mut ann, &mut ben, &mut logs).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.connect(("127.0.0.1", port)).await.unwrap();
    let probe = |key: [u8; 16], padding: usize| [&[6][..], &key, &[1, 2, 3, 4], &vec![0; padding]].concat();
    let wrong = probe(*b"sixteen bytes no", 4);
    let short = probe(KEY, 3);
    for datagram in [&wrong[..], &short, &[6], &[7; 25], &[8; 100], &[9; 100], &[10; 14], b""] {
        stranger.send(datagram).await.unwrap();
    }
    let later = Instant::now() + Duration::from_millis(600);
    both("nothing", (&mut ann, &mut ben), &mut logs, |_, _, _| Instant::now() >= later).await;
    assert!(stranger.try_recv(&mut [0; 100]).is_err());
    // With the key it is answered, in as many bytes; what it says afterwards is not believed before it has answered a probe
    // itself.
    stranger.send(&probe(KEY, 4)).await.unwrap();
    stranger.send(&[&[8][..], &KEY[..7], b"\x8b\xc7\x02"].concat()).await.unwrap();
    let later = Instant::now() + Duration::from_millis(300);
    both("an answer", (&mut ann, &mut ben), &mut logs, |_, _, _| Instant::now() >= later).await;
    let mut answer = [0; 100];
    assert_eq!(stranger.try_recv(&mut answer).unwrap(), 25);
    assert_eq!((&answer[..17], &answer[17..21]), (&[&[7][..], &KEY].concat()[..], &[1, 2, 3, 4][..]));
    assert!(!logs.1.direct && logs.1.heard.is_empty());
}

/// A client by hand, as `PROTOCOL.md` has it, that wants direct paths.
struct ByHand {
    tcp: OwnedWriteHalf,
    udp: UdpSocket,
    tag: [u8; 7],
    cookie: [u8; 16],
    /// What the server controls: the first byte of each.
    controls: UnboundedReceiver<u8>,
}

impl ByHand {
    async fn connect(server: SocketAddr) -> Self {
        let (mut read, mut tcp) = TcpStream::connect(server).await.unwrap().into_split();
        tcp.write_all(b"VOXL\x01\x03\x00\x00").await.unwrap();
        let mut hello = [0; 32];
        read.read_exact(&mut hello).await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.connect(server).await.unwrap();
        let (send, controls) = unbounded_channel();
        tokio::spawn(async move {
            let mut head = [0; 3];
            while read.read_exact(&mut head).await.is_ok() {
                let mut body = vec![0; usize::from(u16::from_be_bytes([head[0], head[1]])) - 1];
                read.read_exact(&mut body).await.unwrap();
                assert_eq!(head[2], 2);
                let _ = send.send(body[0]);
            }
        });
        let (tag, cookie) = (hello[8..15].try_into().unwrap(), hello[15..31].try_into().unwrap());
        Self { tcp, udp, tag, cookie, controls }
    }

    async fn datagram(&self, kind: u8, body: &[u8]) {
        self.udp.send(&[&[kind][..], &self.tag, body].concat()).await.unwrap();
    }

    /// The next control from the server, if one comes soon.
    async fn control(&mut self) -> Option<u8> {
        timeout(Duration::from_millis(200), self.controls.recv()).await.ok().flatten()
    }

    /// Binds its address anew. Returns whether it is introduced then.
    async fn move_on(&mut self) -> bool {
        self.tcp.write_all(&[0, 2, 2, 2]).await.unwrap();
        // One that is there before the server knows that UDP is down is worth nothing.
        loop {
            self.datagram(1, &self.cookie).await;
            let mut challenge = [0; 16];
            self.udp.recv(&mut challenge).await.unwrap();
            assert_eq!(challenge[0], 2);
            self.tcp.write_all(&[&[0, 10, 2, 1], &challenge[8..]].concat()).await.unwrap();
            let bound = loop {
                match self.control().await {
                    Some(3) => break true,
                    Some(_) => {}
                    None => break false,
                }
            };
            if bound {
                return self.control().await == Some(4);
            }
        }
    }
}

/// F-34: a client that has moved too often to be introduced at once is introduced later.
#[tokio::test]
async fn f_34_a_client_that_moves_too_often_is_introduced_once_the_rate_allows_it() {
    let (_hub, server) = serve(32);
    let mut ben = player(server, "ben", announced()).await;
    let test = async {
        let mut eve = ByHand::connect(server).await;
        let mut moves = 0;
        while eve.move_on().await {
            moves += 1;
            assert!(moves < 20, "moving has no rate");
        }
        assert!(moves >= 5, "{moves}");
        // It stays where it is, and pings.
        let introduced = async {
            loop {
                eve.datagram(4, &[7; 8]).await;
                if eve.control().await == Some(4) {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(3), introduced).await.expect("introduced within 3 s");
    };
    tokio::select! {
        () = test => {}
        () = async { while ben.next().await.is_some() {} } => panic!("ben is gone"),
    }
}

/// Passes TCP on to `to`. Once told, it takes nothing more from the clients that it has, but passes on what the server says.
async fn stuck(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stuck) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let flag = stuck.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            flag.store(false, Relaxed);
            let server = TcpStream::connect(to).await.unwrap();
            let (mut client_read, mut client_write) = client.into_split();
            let (mut server_read, mut server_write) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut server_read, &mut client_write).await });
            let (flag, mut bytes) = (flag.clone(), [0; 4096]);
            let mut mine = false;
            tokio::spawn(async move {
                loop {
                    mine |= flag.load(Relaxed);
                    if mine {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    let wait = Duration::from_millis(20);
                    match timeout(wait, client_read.read(&mut bytes)).await {
                        Err(_) => {}
                        Ok(Ok(n)) if n > 0 => server_write.write_all(&bytes[..n]).await.unwrap(),
                        Ok(_) => return,
                    }
                }
            });
        }
    });
    (address, stuck)
}

/// F-34: a connection that replaces one which still writes its final frames takes none of its direct paths over.
#[tokio::test]
async fn f_34_direct_ways_go_with_a_connection_that_is_replaced_while_it_closes() {
    let (hub, server) = serve(32);
    let (between, is_stuck) = stuck(server).await;
    // One way at a time: one that stays behind would keep another from being taken.
    let client = Client::new("ann", ClientSettings { max_paths: 1, ..ClientSettings::DEFAULT }).unwrap();
    let lanes = TcpUdpSettings { direct: announced(), ..TcpUdpSettings::default() };
    let mut ann =
        Connection::connect(Remote::tcp_udp(between.to_string(), lanes), client, ConnectionSettings::DEFAULT)
            .await
            .unwrap();
    let mut ben = player(server, "ben", announced()).await;
    let mut logs = <(Log, Log)>::default();
    join(&mut ann, &mut ben, &mut logs).await;
    both("a way", (&mut ann, &mut ben), &mut logs, |_, _, logs| logs.0.direct && logs.1.direct).await;
    // What ann says is not taken: it stays in her queue.
    is_stuck.store(true, Relaxed);
    let later = Instant::now() + Duration::from_millis(100);
    both("stuck", (&mut ann, &mut ben), &mut logs, |_, _, _| Instant::now() >= later).await;
    let text = "x".repeat(900);
    for n in 0..9000_u32 {
        let text = ClientCommand::Text { to: Target::Player("ben"), text: &text };
        ann.call(|client, now| client.handle_command(now, text)).unwrap();
        if n % 50 == 0 {
            let _ = timeout(Duration::from_millis(1), ann.next()).await;
        }
    }
    // The server is another one, with the same connections: ann hears of it by UDP, and connects once more.
    let (session, next) = (ann.session().session(), ann.session().session() + 1);
    hub.call(|server, now| {
        let peers: Vec<_> = server.clients().map(|(id, ..)| id).collect();
        let peers: Vec<_> = peers.into_iter().filter_map(|id| server.peer(id)).collect();
        *server = Server::new(ServerSettings::DEFAULT, u64::from(next));
        assert_ne!(server.session(), session);
        for peer in peers {
            let from = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
            let via = voxwire_core::Via::Accepted;
            let opened = voxwire_core::Input::Opened { peer, via, from };
            server.handle_input(now, opened).unwrap();
        }
    });
    logs = <(Log, Log)>::default();
    let to = Target::Room(voxwire_dissonance::SERVER_ONLY_ROOM);
    ann.call(|client, now| {
        client.handle_command(now, ClientCommand::Open { to, as_: Speech::DEFAULT }).unwrap();
        client.handle_command(now, ClientCommand::Say { frame: b"x" }).unwrap();
    });
    ben.call(|client, now| client.handle_command(now, ClientCommand::Join { room: "Attic" })).unwrap();
    both("another session", (&mut ann, &mut ben), &mut logs, |ann, ben, _| {
        [ann, ben]
            .iter()
            .all(|player| player.session().session() != session && player.session().id().is_some())
    })
    .await;
    both("a way again", (&mut ann, &mut ben), &mut logs, |_, _, logs| logs.0.direct && logs.1.direct).await;
}

/// Who has asked to join.
#[derive(Default, Clone)]
struct Asking(Arc<Mutex<Vec<(String, PeerId)>>>);

impl Handler<Server> for Asking {
    fn on_event(&mut self, _: &mut Server, _: voxwire_core::Instant, event: ServerEvent<'_>) {
        if let ServerEvent::Joining { peer, name, .. } = event {
            self.0.lock().unwrap().push((name.into_owned(), peer));
        }
    }
}

/// F-21: peers are introduced when they are bound. Who joins only later is reached directly all the same.
#[tokio::test]
async fn f_21_a_peer_that_is_bound_long_before_it_joins_is_reached_directly() {
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, asking) = (listener.local_addr().unwrap(), Asking::default());
    let server = Server::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT }, 5);
    let hub = Hub::spawn(vec![listener], server, asking.clone(), HubSettings::DEFAULT).unwrap();
    let retry = Duration::from_millis(100);
    let player = |name: &'static str| async move {
        let settings = ClientSettings { p2p_interval: retry, ..ClientSettings::DEFAULT };
        let client = Client::new(name, settings).unwrap();
        let lanes = TcpUdpSettings { direct: announced(), ..TcpUdpSettings::default() };
        let settings = ConnectionSettings::DEFAULT;
        Connection::connect(Remote::tcp_udp(address.to_string(), lanes), client, settings).await.unwrap()
    };
    let (mut ann, mut ben) = (player("ann").await, player("ben").await);
    let mut logs = <(Log, Log)>::default();
    let admit = |name: &str| {
        let (_, peer) = asking.0.lock().unwrap().iter().rfind(|(asking, _)| asking == name).cloned().unwrap();
        hub.call(|server, now| server.handle_command(now, ServerCommand::Admit { peer })).unwrap();
    };
    let asked = |_: &Player, _: &Player, _: &(Log, Log)| asking.0.lock().unwrap().len() >= 2;
    both("both ask", (&mut ann, &mut ben), &mut logs, asked).await;
    both("both are bound", (&mut ann, &mut ben), &mut logs, |ann, ben, _| {
        ann.udp() == Some(true) && ben.udp() == Some(true)
    })
    .await;
    admit("ann");
    // Longer than it takes to ask five times.
    let later = Instant::now() + 20 * retry;
    both("no answer", (&mut ann, &mut ben), &mut logs, |_, _, _| Instant::now() >= later).await;
    assert!(ann.session().id().is_some() && ben.session().id().is_none());
    admit("ben");
    both("a way", (&mut ann, &mut ben), &mut logs, |_, _, logs| logs.0.direct && logs.1.direct).await;
}
