//! TCP + UDP over real loopback sockets, with Dissonance on top: binding, fallback, reconnection, attacks on the UDP side.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, SessionState, Settings, Speech, Target,
};
use voxwire_transport::{Connection, ConnectionSettings, Handle, Hub, HubSettings, LanesSettings, Listener};

type Player = Connection<Client>;

fn serve(bind: &str) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_lanes(bind.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 5), (), HubSettings::DEFAULT), address)
}

async fn player(address: SocketAddr, name: &str, lanes: LanesSettings) -> Player {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    Connection::connect_lanes(&address.to_string(), lanes, client, ConnectionSettings::DEFAULT).await.unwrap()
}

/// Goes on until `done`, at most for ten seconds. Returns the frames heard.
async fn until(what: &str, player: &mut Player, mut done: impl FnMut(&Player) -> bool) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    let wait = async {
        while !done(player) {
            let turn = player.next().await.expect("the connection goes on");
            if let Ok(Some(ClientEvent::Voice(voice))) = turn.result {
                heard.push(voice.frame.to_vec());
            }
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}: not within 10 s"));
    // What the last event made the client say.
    player.flush().await.unwrap();
    heard
}

/// Goes on for some time. Returns the frames heard.
async fn run(player: &mut Player, time: Duration) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    let end = Instant::now() + time;
    while let Ok(Some(turn)) = tokio::time::timeout_at(end, player.next()).await {
        if let Ok(Some(ClientEvent::Voice(voice))) = turn.result {
            heard.push(voice.frame.to_vec());
        }
    }
    heard
}

fn tell(player: &mut Player, command: ClientCommand<'_>) {
    player.call(|client, now| client.handle_command(now, command)).unwrap();
}

/// Ann, who speaks to the Lobby, and Ben, who listens to it; both are in.
async fn pair(address: SocketAddr, lanes: &LanesSettings) -> (Player, Player) {
    pair_at(address, address, lanes).await
}

/// The same, each by an address of their own.
async fn pair_at(ann: SocketAddr, ben: SocketAddr, lanes: &LanesSettings) -> (Player, Player) {
    let (mut ann, mut ben) =
        (player(ann, "ann", lanes.clone()).await, player(ben, "ben", lanes.clone()).await);
    tell(&mut ben, ClientCommand::Join { room: "Lobby" });
    tell(&mut ann, ClientCommand::Open { to: Target::Room("Lobby"), as_: Speech::DEFAULT });
    let in_session = |player: &Player| player.session().state() == SessionState::Connected;
    until("ben joins", &mut ben, in_session).await;
    let knows = |player: &Player| player.session().rooms().any(|(room, _)| room == "Lobby");
    until("ann hears of the Lobby", &mut ann, knows).await;
    (ann, ben)
}

async fn both_bound(ann: &mut Player, ben: &mut Player) {
    tokio::join!(
        until("ann is bound", ann, |player| player.udp() == Some(true)),
        until("ben is bound", ben, |player| player.udp() == Some(true))
    );
}

#[tokio::test]
async fn d_15_voice_goes_by_udp_and_the_rest_by_tcp() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let (hub, address) = serve(bind);
        let (mut ann, mut ben) = pair(address, &LanesSettings::default()).await;
        both_bound(&mut ann, &mut ben).await;
        for n in 0..50_u8 {
            tell(&mut ann, ClientCommand::Say { frame: &[n; 40] });
            run(&mut ann, Duration::from_millis(2)).await;
        }
        let heard = run(&mut ben, Duration::from_millis(300)).await;
        assert_eq!(heard, (0..50).map(|n| vec![n; 40]).collect::<Vec<_>>(), "{bind}");
        assert_eq!((hub.stats().dropped_frames, ann.dropped(), ben.dropped()), (0, 0, 0));
        drop(ann);
        until("ben hears that ann has left", &mut ben, |ben| ben.session().find("ann").is_none()).await;
    }
}

#[tokio::test]
async fn d_15_without_udp_voice_goes_by_tcp() {
    let (_hub, address) = serve("127.0.0.1:0");
    let (mut ann, mut ben) = pair(address, &LanesSettings { udp: false, ..LanesSettings::default() }).await;
    assert_eq!(ann.udp(), None);
    tell(&mut ann, ClientCommand::Say { frame: b"by tcp" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"by tcp"]);
}

#[tokio::test]
async fn d_07_a_host_has_a_client_without_a_socket() {
    let (hub, address) = serve("127.0.0.1:0");
    let mut host = hub.connect(Client::new("host", ClientSettings::DEFAULT).unwrap()).await.unwrap();
    let mut guest = player(address, "guest", LanesSettings::default()).await;
    tell(&mut guest, ClientCommand::Open { to: Target::Player("host"), as_: Speech::DEFAULT });
    until("the host joins", &mut host, |host| host.session().state() == SessionState::Connected).await;
    until("the guest knows the host", &mut guest, |guest| guest.session().find("host").is_some()).await;
    tell(&mut guest, ClientCommand::Say { frame: b"hello" });
    run(&mut guest, Duration::from_millis(50)).await;
    assert_eq!(run(&mut host, Duration::from_millis(200)).await, [b"hello"]);
    assert_eq!(hub.stats().connections, 2);
    drop(host);
    until("the host leaves", &mut guest, |guest| guest.session().find("host").is_none()).await;
}

/// Stands between clients and a server, on another address; UDP can be cut off, both ways or towards the server alone.
#[derive(Clone)]
struct Proxy {
    address: SocketAddr,
    blocked: Arc<AtomicBool>,
    /// Nothing more gets to the server; what the server sends still gets through.
    up_blocked: Arc<AtomicBool>,
    /// Counts up whenever clients get other ports towards the server. What comes in at the ones before still gets through.
    rebindings: Arc<AtomicU64>,
    datagrams: Arc<AtomicU64>,
    /// DATA, to the server and from it.
    data: Arc<[AtomicU64; 2]>,
}

impl Proxy {
    async fn start(server: SocketAddr, ip: [u8; 4]) -> Self {
        let tcp = TcpListener::bind(SocketAddr::from((ip, 0))).await.unwrap();
        let address = tcp.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = tcp.accept().await {
                let mut far = TcpStream::connect(server).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        let proxy = Self {
            address,
            blocked: Arc::default(),
            up_blocked: Arc::default(),
            rebindings: Arc::default(),
            datagrams: Arc::default(),
            data: Arc::default(),
        };
        // The server's hello names its port: that one, on our address.
        let udp = Arc::new(UdpSocket::bind(SocketAddr::from((ip, server.port()))).await.unwrap());
        tokio::spawn(proxy.clone().forward(udp, server));
        proxy
    }

    async fn forward(self, udp: Arc<UdpSocket>, server: SocketAddr) {
        let mut fars: Vec<((SocketAddr, u64), Arc<UdpSocket>)> = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = udp.recv_from(&mut buffer).await {
            if self.blocked.load(Relaxed) || self.up_blocked.load(Relaxed) {
                continue;
            }
            self.datagrams.fetch_add(1, Relaxed);
            self.data[0].fetch_add(u64::from(buffer[0] == 3), Relaxed);
            let near = (from, self.rebindings.load(Relaxed));
            if !fars.iter().any(|(known, _)| *known == near) {
                let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                far.connect(server).await.unwrap();
                fars.push((near, far.clone()));
                let (proxy, near) = (self.clone(), udp.clone());
                tokio::spawn(async move {
                    let mut buffer = [0; 2048];
                    while let Ok(len) = far.recv(&mut buffer).await {
                        if !proxy.blocked.load(Relaxed) {
                            proxy.data[1].fetch_add(u64::from(buffer[0] == 3), Relaxed);
                            near.send_to(&buffer[..len], from).await.unwrap();
                        }
                    }
                });
            }
            let (_, far) = fars.iter().find(|(known, _)| *known == near).unwrap();
            far.send(&buffer[..len]).await.unwrap();
        }
    }

    /// DATA that has gone to the server, and come from it.
    fn data(&self) -> (u64, u64) {
        (self.data[0].load(Relaxed), self.data[1].load(Relaxed))
    }
}

/// Both speak to each other for some time, fifty frames a second. Returns how many frames Ann has said, and which of them, in order
/// of saying, Ben has heard.
async fn talk(ann: &mut Player, ben: &mut Player, time: Duration) -> (u32, Vec<u32>) {
    let (since, mut said, mut heard) = (Instant::now(), 0, Vec::new());
    while since.elapsed() < time {
        tell(ann, ClientCommand::Say { frame: &u32::to_be_bytes(said) });
        tell(ben, ClientCommand::Say { frame: b"ben" });
        said += 1;
        let step = Duration::from_millis(20);
        let (_, frames) = tokio::join!(run(ann, step), run(ben, step));
        heard.extend(frames.iter().map(|frame| u32::from_be_bytes(frame[..].try_into().unwrap())));
    }
    let last = run(ben, Duration::from_millis(200)).await;
    heard.extend(last.iter().map(|frame| u32::from_be_bytes(frame[..].try_into().unwrap())));
    (said, heard)
}

/// Ann by way of a proxy, Ben without one; both speak and hear each other, by UDP.
async fn dialogue(server: SocketAddr, ip: [u8; 4]) -> (Proxy, Player, Player) {
    let proxy = Proxy::start(server, ip).await;
    let (mut ann, mut ben) = pair_at(proxy.address, server, &LanesSettings::default()).await;
    tell(&mut ann, ClientCommand::Join { room: "Back" });
    ann.flush().await.unwrap();
    tell(&mut ben, ClientCommand::Open { to: Target::Room("Back"), as_: Speech::DEFAULT });
    until("ben hears of it", &mut ben, |ben| ben.session().rooms().any(|(room, _)| room == "Back")).await;
    both_bound(&mut ann, &mut ben).await;
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_millis(300)).await;
    assert_eq!(heard, (0..said).collect::<Vec<_>>());
    let (up, down) = proxy.data();
    assert!(up >= u64::from(said) && down >= u64::from(said) / 2, "{up} to the server, {down} from it");
    (proxy, ann, ben)
}

/// Of four seconds of voice, at fifty frames a second, only the first two and a half may be lost.
fn assert_recovered(said: u32, heard: &[u32]) {
    let late: Vec<u32> = heard.iter().copied().filter(|n| *n >= said * 5 / 8).collect();
    assert_eq!(late, (said * 5 / 8..said).collect::<Vec<_>>(), "of {said} said");
}

/// F-20: what others say is no proof that the server hears us.
#[tokio::test]
async fn f_20_where_only_the_way_to_the_server_dies_voice_goes_by_tcp_though_others_talk() {
    let (_hub, server) = serve("127.0.0.1:0");
    let (proxy, mut ann, mut ben) = dialogue(server, [127, 0, 0, 21]).await;
    proxy.up_blocked.store(true, Relaxed);
    let before = proxy.data();
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_secs(4)).await;
    assert!(proxy.data().1 > before.1, "ben was heard by UDP all the while");
    assert_recovered(said, &heard);
    assert_eq!(ann.udp(), Some(false));
    proxy.up_blocked.store(false, Relaxed);
    until("ann is bound again", &mut ann, |ann| ann.udp() == Some(true)).await;
}

/// F-20: a NAT gives the client another port, and still delivers to the one before.
#[tokio::test]
async fn f_20_a_nat_that_moves_a_client_and_still_delivers_inwards_costs_two_seconds_of_voice() {
    let (_hub, server) = serve("127.0.0.1:0");
    let (proxy, mut ann, mut ben) = dialogue(server, [127, 0, 0, 22]).await;
    proxy.rebindings.fetch_add(1, Relaxed);
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_secs(4)).await;
    assert_recovered(said, &heard);
    // The new place is bound: voice goes by UDP from there.
    until("ann is bound again", &mut ann, |ann| ann.udp() == Some(true)).await;
    let before = proxy.data();
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_millis(300)).await;
    assert_eq!(heard, (0..said).collect::<Vec<_>>());
    assert!(proxy.data().0 >= before.0 + u64::from(said));
}

#[tokio::test]
async fn d_15_where_udp_is_blocked_voice_goes_by_tcp_within_two_seconds_and_comes_back() {
    let (_hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, [127, 0, 0, 7]).await;
    let (mut ann, mut ben) = pair(proxy.address, &LanesSettings::default()).await;
    both_bound(&mut ann, &mut ben).await;
    assert!(proxy.datagrams.load(Relaxed) >= 2);
    proxy.blocked.store(true, Relaxed);
    let since = Instant::now();
    let (mut heard_at, mut said) = (None, 0_u32);
    while heard_at.is_none() && since.elapsed() < Duration::from_secs(8) {
        said += 1;
        tell(&mut ann, ClientCommand::Say { frame: &said.to_be_bytes() });
        let (_, heard) =
            tokio::join!(run(&mut ann, Duration::from_millis(20)), run(&mut ben, Duration::from_millis(20)));
        heard_at = (!heard.is_empty()).then(|| since.elapsed());
    }
    let took = heard_at.expect("voice goes on");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    until("both know", &mut ann, |ann| ann.udp() == Some(false)).await;
    // Joining and text go on all the while.
    tell(&mut ben, ClientCommand::Join { room: "Late" });
    run(&mut ben, Duration::from_millis(50)).await;
    until("ann hears of it", &mut ann, |ann| ann.session().rooms().any(|(room, _)| room == "Late")).await;
    proxy.blocked.store(false, Relaxed);
    both_bound(&mut ann, &mut ben).await;
    let before = proxy.datagrams.load(Relaxed);
    tell(&mut ann, ClientCommand::Say { frame: b"by udp again" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert!(run(&mut ben, Duration::from_millis(200)).await.contains(&b"by udp again".to_vec()));
    assert!(proxy.datagrams.load(Relaxed) > before);
}

#[tokio::test]
async fn d_15_without_fallback_blocked_voice_is_lost_and_nothing_else() {
    let (_hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, [127, 0, 0, 8]).await;
    proxy.blocked.store(true, Relaxed);
    let lanes = LanesSettings { fallback: false, ..LanesSettings::default() };
    let (mut ann, mut ben) = pair(proxy.address, &lanes).await;
    tell(&mut ann, ClientCommand::Say { frame: b"lost" });
    run(&mut ann, Duration::from_millis(100)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, Vec::<Vec<u8>>::new());
    assert_eq!(ann.dropped(), 1);
}

#[tokio::test]
async fn d_14_a_client_finds_a_restarted_server_again() {
    let (hub, address) = serve("127.0.0.1:0");
    let (mut ann, mut ben) = pair(address, &LanesSettings::default()).await;
    let first = ann.session().session();
    hub.drain(Duration::from_secs(5)).await;
    drop(hub);
    let lost = |player: &Player| player.session().state() == SessionState::Disconnected;
    until("ann notices", &mut ann, lost).await;
    until("ben notices", &mut ben, lost).await;
    // The old sockets go with their tasks.
    let listener = loop {
        match Listener::bind_lanes(address) {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let _hub = Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 6), (), HubSettings::DEFAULT);
    let back = |player: &Player| player.session().state() == SessionState::Connected;
    tokio::join!(until("ann is back", &mut ann, back), until("ben is back", &mut ben, back));
    assert_ne!(ann.session().session(), first);
    until("ann knows the Lobby", &mut ann, |ann| ann.session().rooms().count() == 1).await;
    both_bound(&mut ann, &mut ben).await;
    tell(&mut ann, ClientCommand::Say { frame: b"again" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"again"]);
}

#[tokio::test]
async fn d_16_strangers_on_the_udp_side_get_less_than_they_send_and_reach_nobody() {
    let (hub, address) = serve("127.0.0.1:0");
    let (mut ann, mut ben) = pair(address, &LanesSettings::default()).await;
    both_bound(&mut ann, &mut ben).await;
    let eve = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    eve.connect(address).await.unwrap();
    let mut sent = 0;
    for kind in 0..=255_u8 {
        for slot in 0..3_u8 {
            let mut datagram = vec![kind, 0, 0, slot];
            datagram.extend([0; 60]);
            sent += eve.send(&datagram).await.unwrap();
        }
        sent += eve.send(&[kind]).await.unwrap();
    }
    let mut buffer = [0; 2048];
    let answer = timeout(Duration::from_millis(200), eve.recv(&mut buffer)).await;
    assert!(answer.is_err(), "an answer to a stranger");
    assert!(sent > 30_000);
    tell(&mut ann, ClientCommand::Say { frame: b"still here" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"still here"]);
    assert_eq!(hub.stats().connections, 2);
}

#[tokio::test]
async fn d_16_a_cookie_moves_a_connection_only_together_with_its_tcp_side() {
    let (_hub, address) = serve("127.0.0.1:0");
    // A client by hand, as PROTOCOL.md describes one.
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"VOXL\x01\x01\x00\x00").await.unwrap();
    let mut hello = [0; 32];
    tcp.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello[..6], b"VOXL\x01\x00");
    assert_eq!(u16::from_be_bytes([hello[6], hello[7]]), address.port());
    let (tag, cookie) = (&hello[8..15], &hello[15..31]);
    let bind = [&[1][..], tag, cookie].concat();
    let (home, away) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let mut challenges = Vec::new();
    for socket in [&home, &away] {
        socket.connect(address).await.unwrap();
        socket.send(&bind).await.unwrap();
        let mut challenge = [0; 64];
        let len = timeout(Duration::from_secs(5), socket.recv(&mut challenge)).await.unwrap().unwrap();
        assert_eq!((len, &challenge[..8]), (16, &[&[2][..], tag].concat()[..]));
        challenges.push(challenge[8..16].to_vec());
    }
    assert_ne!(challenges[0], challenges[1]);
    // An old challenge is void, the newest one counts: only the owner of the TCP side can say it.
    for (nonce, bound) in [(&challenges[0], false), (&challenges[1], true)] {
        tcp.write_all(&[&[0, 10, 2, 1][..], nonce].concat()).await.unwrap();
        let mut control = [0; 4];
        let answer = timeout(Duration::from_millis(300), tcp.read_exact(&mut control)).await;
        assert_eq!(answer.is_ok(), bound);
        if bound {
            assert_eq!(control, [0, 2, 2, 3]);
        }
    }
    let ping = [&[4][..], tag, b"12345678"].concat();
    let mut buffer = [0; 64];
    away.send(&ping).await.unwrap();
    let len = timeout(Duration::from_secs(5), away.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer[..len], [&[5][..], tag, b"12345678"].concat());
    home.send(&ping).await.unwrap();
    assert!(timeout(Duration::from_millis(200), home.recv(&mut buffer)).await.is_err());
    // A wrong cookie is not answered.
    let mut wrong = bind;
    wrong[20] ^= 1;
    home.send(&wrong).await.unwrap();
    assert!(timeout(Duration::from_millis(200), home.recv(&mut buffer)).await.is_err());
}

#[tokio::test]
async fn d_16_a_token_is_asked_for_before_anything_else_and_no_hello_is_no_connection() {
    let listener = Listener::bind_lanes("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.with_admission(|token, _| token == b"open sesame");
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { hello: Duration::from_millis(300), ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 5), (), settings);
    let client = || Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let connect = |token: &[u8]| {
        let lanes = LanesSettings { token: token.to_vec(), ..LanesSettings::default() };
        let server = address.to_string();
        async move { Connection::connect_lanes(&server, lanes, client(), ConnectionSettings::DEFAULT).await }
    };
    assert!(connect(b"please").await.unwrap_err().to_string().contains("does not admit"));
    connect(b"open sesame").await.unwrap();
    for hello in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"VOXL\x02\x01\x00\x00", b"VOXL\x01\x01\xff\xff", b"VOX"] {
        let mut eve = TcpStream::connect(address).await.unwrap();
        eve.write_all(hello).await.unwrap();
        let read = timeout(Duration::from_secs(5), eve.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{hello:?}: {read:?}");
    }
    assert_eq!(hub.stats().broken, 5);
}

/// F-22: a server of many addresses answers by UDP from the one that its client knows.
#[tokio::test]
async fn f_22_d_15_clients_of_any_address_of_a_wildcard_are_bound() {
    for (bind, addresses) in
        [("0.0.0.0:0", &["127.0.0.1", "127.0.0.5"][..]), ("[::]:0", &["127.0.0.5", "::1", "127.0.0.1"])]
    {
        for address in addresses {
            // Names rest for some time, and these come from several addresses.
            let (_hub, server) = serve(bind);
            let address = SocketAddr::new(address.parse().unwrap(), server.port());
            let (mut ann, mut ben) = pair(address, &LanesSettings::default()).await;
            both_bound(&mut ann, &mut ben).await;
            tell(&mut ann, ClientCommand::Say { frame: b"by udp" });
            run(&mut ann, Duration::from_millis(50)).await;
            assert_eq!(run(&mut ben, Duration::from_millis(100)).await, [b"by udp"], "{address} of {bind}");
        }
    }
}

/// F-24: a client that did not run for two seconds takes the answers that wait in its socket before it calls UDP blocked.
#[test]
fn f_24_after_a_stall_of_the_client_udp_is_not_blocked() {
    let (address, addressed) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (_hub, server) = serve("127.0.0.1:0");
            address.send(server).unwrap();
            let _ = ended.await;
        });
    });
    let server_address = addressed.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let mut ann = player(server_address, "ann", LanesSettings::default()).await;
        until("ann is bound", &mut ann, |ann| ann.udp() == Some(true)).await;
        for _ in 0..2 {
            run(&mut ann, Duration::from_millis(700)).await;
            std::thread::sleep(Duration::from_secs(2));
            let end = Instant::now() + Duration::from_millis(700);
            loop {
                let turn = tokio::time::timeout_at(end, ann.next()).await.is_ok();
                assert_eq!(ann.udp(), Some(true));
                if !turn {
                    break;
                }
            }
        }
    });
    end.send(()).unwrap();
    server.join().unwrap();
}

/// F-14: a server that is to be encrypted offers no UDP side, and voice goes by TCP (TLS, where it is configured).
#[tokio::test]
async fn f_14_without_a_udp_side_voice_goes_by_tcp_and_nobody_is_introduced() {
    let listener = Listener::bind_lanes_without_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let _hub = Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 5), (), HubSettings::DEFAULT);
    let direct = voxwire_transport::DirectSettings { announce: true, ..Default::default() };
    let lanes = LanesSettings { direct, ..LanesSettings::default() };
    let (mut ann, mut ben) = pair(address, &lanes).await;
    assert_eq!((ann.udp(), ben.udp()), (None, None));
    tell(&mut ann, ClientCommand::Say { frame: b"by tcp" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"by tcp"]);
    assert!(UdpSocket::bind(address).await.is_ok(), "nothing listens there by UDP");
}
