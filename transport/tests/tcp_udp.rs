//! TCP + UDP over real loopback sockets, with Dissonance on top: which way voice takes, fallback, reconnection, strangers on the UDP side.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods
)]

use crate::harness::players;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use players::{Player, both_bound, pair, pair_at, player, run, serve, tell, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use voxwire_dissonance::{
    Client, ClientCommand, ClientSettings, Server, ServerSettings, SessionState, Speech, Target,
};
use voxwire_transport::{Hub, HubSettings, Listener, TcpUdpSettings, UdpState};

/// D-15, F-71: every frame goes by UDP, both to the server and from it, and none by the stream.
#[tokio::test]
async fn d_15_f_71_voice_goes_by_udp_and_the_rest_by_tcp() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let (hub, server) = serve(bind);
        let proxy = Proxy::start(server, server.ip()).await;
        let (mut ann, mut ben) = pair(proxy.address, &TcpUdpSettings::default()).await;
        both_bound(&mut ann, &mut ben).await;
        for n in 0..50_u8 {
            tell(&mut ann, ClientCommand::Say { frame: &[n; 40] });
            run(&mut ann, Duration::from_millis(2)).await;
        }
        let heard = run(&mut ben, Duration::from_millis(300)).await;
        assert_eq!(heard, (0..50).map(|n| vec![n; 40]).collect::<Vec<_>>(), "{bind}");
        assert_eq!((proxy.data(), proxy.by_stream()), ((50, 50), (0, 0)), "{bind}");
        assert_eq!((hub.stats().dropped_frames, ann.dropped(), ben.dropped()), (0, 0, 0));
        drop(ann);
        until("ben hears that ann has left", &mut ben, |ben| ben.session().find("ann").is_none()).await;
    }
}

/// D-15, F-71: the stream is a way of its own, and carries voice where UDP is not wanted.
#[tokio::test]
async fn d_15_f_71_without_udp_voice_goes_by_tcp() {
    let (_hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, server.ip()).await;
    let lanes = TcpUdpSettings { udp: false, ..TcpUdpSettings::default() };
    let (mut ann, mut ben) = pair(proxy.address, &lanes).await;
    assert_eq!((ann.udp(), ann.path()), (None, None));
    tell(&mut ann, ClientCommand::Say { frame: b"by tcp" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"by tcp"]);
    assert_eq!((proxy.datagrams.load(Relaxed), proxy.by_stream()), (0, (1, 1)));
}

#[tokio::test]
async fn d_07_d_15_a_host_has_a_client_without_a_socket() {
    let (hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, server.ip()).await;
    let mut host = hub.connect(Client::new("host", ClientSettings::DEFAULT).unwrap()).await.unwrap();
    let mut guest = player(proxy.address, "guest", TcpUdpSettings::default()).await;
    tell(&mut guest, ClientCommand::Open { to: Target::Player("host"), as_: Speech::DEFAULT });
    until("the host joins", &mut host, |host| host.session().state() == SessionState::Connected).await;
    until("the guest knows the host", &mut guest, |guest| guest.session().find("host").is_some()).await;
    until("the guest is bound", &mut guest, |guest| guest.udp() == Some(true)).await;
    tell(&mut guest, ClientCommand::Say { frame: b"hello" });
    run(&mut guest, Duration::from_millis(50)).await;
    assert_eq!(run(&mut host, Duration::from_millis(200)).await, [b"hello"]);
    assert_eq!((proxy.data(), proxy.by_stream()), ((1, 0), (0, 0)));
    assert_eq!(hub.stats().connections, 2);
    drop(host);
    until("the host leaves", &mut guest, |guest| guest.session().find("host").is_none()).await;
}

/// Stands between clients and a server, and counts which way voice takes. UDP can be cut off, both ways or towards the server alone.
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
    /// Units that carry what may be lost, to the server and from it.
    units: Arc<[AtomicU64; 2]>,
}

impl Proxy {
    async fn start(server: SocketAddr, ip: IpAddr) -> Self {
        let tcp = TcpListener::bind(SocketAddr::from((ip, 0))).await.unwrap();
        let udp = Arc::new(UdpSocket::bind(SocketAddr::from((ip, 0))).await.unwrap());
        let proxy = Self {
            address: tcp.local_addr().unwrap(),
            blocked: Arc::default(),
            up_blocked: Arc::default(),
            rebindings: Arc::default(),
            datagrams: Arc::default(),
            data: Arc::default(),
            units: Arc::default(),
        };
        let (relaying, port) = (proxy.clone(), udp.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((near, _)) = tcp.accept().await {
                // A server that is not there refuses, and so do we.
                let Ok(far) = TcpStream::connect(server).await else { continue };
                tokio::spawn(relaying.clone().relay(near, far, port));
            }
        });
        tokio::spawn(proxy.clone().forward(udp, server));
        proxy
    }

    /// Passes the TCP side on. The server's hello names its port: ours stands there instead.
    async fn relay(self, near: TcpStream, far: TcpStream, port: u16) {
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
        let [up, down] = &*self.units;
        let to_server = async {
            let mut hello = [0; 8];
            near_in.read_exact(&mut hello).await?;
            let mut token = vec![0; usize::from(u16::from_be_bytes([hello[6], hello[7]]))];
            near_in.read_exact(&mut token).await?;
            far_out.write_all(&hello).await?;
            far_out.write_all(&token).await?;
            pass_on(&mut near_in, &mut far_out, up).await
        };
        let to_client = async {
            let mut hello = [0; 32];
            far_in.read_exact(&mut hello).await?;
            if hello[6..8] != [0; 2] {
                hello[6..8].copy_from_slice(&port.to_be_bytes());
            }
            near_out.write_all(&hello).await?;
            pass_on(&mut far_in, &mut near_out, down).await
        };
        // The end of either is the end of both.
        tokio::select! {
            _ = to_server => {}
            _ = to_client => {}
        }
    }

    async fn forward(self, udp: Arc<UdpSocket>, server: SocketAddr) {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
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
                let far = Arc::new(UdpSocket::bind(any).await.unwrap());
                far.connect(server).await.unwrap();
                fars.push((near, far.clone()));
                let (proxy, near) = (self.clone(), udp.clone());
                tokio::spawn(async move {
                    let mut buffer = [0; 2048];
                    loop {
                        // An error tells of a server that was not there for a moment.
                        let Ok(len) = far.recv(&mut buffer).await else { continue };
                        if !proxy.blocked.load(Relaxed) {
                            proxy.data[1].fetch_add(u64::from(buffer[0] == 3), Relaxed);
                            near.send_to(&buffer[..len], from).await.unwrap();
                        }
                    }
                });
            }
            let (_, far) = fars.iter().find(|(known, _)| *known == near).unwrap();
            let _ = far.send(&buffer[..len]).await;
        }
    }

    /// DATA that has gone to the server, and come from it.
    fn data(&self) -> (u64, u64) {
        (self.data[0].load(Relaxed), self.data[1].load(Relaxed))
    }

    /// What may be lost and has gone by the stream all the same: to the server, and from it.
    fn by_stream(&self) -> (u64, u64) {
        (self.units[0].load(Relaxed), self.units[1].load(Relaxed))
    }
}

/// Passes units on, and counts those that carry what may be lost.
async fn pass_on(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    droppable: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let len = from.read_u16().await?;
        let mut unit = vec![0; usize::from(len)];
        from.read_exact(&mut unit).await?;
        droppable.fetch_add(u64::from(unit[0] == 1), Relaxed);
        to.write_all(&[&len.to_be_bytes()[..], &unit].concat()).await?;
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
async fn dialogue(server: SocketAddr) -> (Proxy, Player, Player) {
    let proxy = Proxy::start(server, server.ip()).await;
    let (mut ann, mut ben) = pair_at(proxy.address, server, &TcpUdpSettings::default()).await;
    tell(&mut ann, ClientCommand::Join { room: "Back" });
    ann.flush().await.unwrap();
    tell(&mut ben, ClientCommand::Open { to: Target::Room("Back"), as_: Speech::DEFAULT });
    until("ben hears of it", &mut ben, |ben| ben.session().rooms().any(|(room, _)| room == "Back")).await;
    both_bound(&mut ann, &mut ben).await;
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_millis(300)).await;
    assert_eq!(heard, (0..said).collect::<Vec<_>>());
    // Ben's way does not lead by the proxy: what goes up is Ann's, and what comes down is his.
    assert_eq!((proxy.data().0, proxy.by_stream()), (said.into(), (0, 0)));
    assert!(proxy.data().1 >= u64::from(said) / 2, "{} of {said} from the server", proxy.data().1);
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
    let (proxy, mut ann, mut ben) = dialogue(server).await;
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
    let (proxy, mut ann, mut ben) = dialogue(server).await;
    proxy.rebindings.fetch_add(1, Relaxed);
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_secs(4)).await;
    assert_recovered(said, &heard);
    // The new place is bound: voice goes by UDP from there.
    until("ann is bound again", &mut ann, |ann| ann.udp() == Some(true)).await;
    let before = (proxy.data().0, proxy.by_stream().0);
    let (said, heard) = talk(&mut ann, &mut ben, Duration::from_millis(300)).await;
    assert_eq!(heard, (0..said).collect::<Vec<_>>());
    assert_eq!((proxy.data().0, proxy.by_stream().0), (before.0 + u64::from(said), before.1));
}

#[tokio::test]
async fn d_15_where_udp_is_blocked_voice_goes_by_tcp_within_two_seconds_and_comes_back() {
    let (_hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, server.ip()).await;
    let (mut ann, mut ben) = pair(proxy.address, &TcpUdpSettings::default()).await;
    both_bound(&mut ann, &mut ben).await;
    assert!(proxy.datagrams.load(Relaxed) >= 2);
    // Two PINGs, half a second apart.
    run(&mut ann, Duration::from_millis(900)).await;
    let path = ann.path().unwrap();
    assert!(path.round_trip.is_some_and(|time| time > Duration::ZERO && time < Duration::from_secs(4)));
    assert!(path.answered >= 1 && path.answered <= path.sent, "{path:?}");
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
    assert!(proxy.by_stream().0 > 0 && proxy.by_stream().1 > 0, "{:?}", proxy.by_stream());
    until("both know", &mut ann, |ann| ann.udp() == Some(false)).await;
    assert!(ann.path().unwrap().lost >= path.lost + 3, "{:?} after {path:?}", ann.path());
    // Joining and text go on all the while.
    tell(&mut ben, ClientCommand::Join { room: "Late" });
    run(&mut ben, Duration::from_millis(50)).await;
    until("ann hears of it", &mut ann, |ann| ann.session().rooms().any(|(room, _)| room == "Late")).await;
    proxy.blocked.store(false, Relaxed);
    both_bound(&mut ann, &mut ben).await;
    // What still came by the stream is over.
    run(&mut ben, Duration::from_millis(100)).await;
    let ((up, down), by_stream) = (proxy.data(), proxy.by_stream());
    tell(&mut ann, ClientCommand::Say { frame: b"by udp again" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert!(run(&mut ben, Duration::from_millis(200)).await.contains(&b"by udp again".to_vec()));
    assert_eq!((proxy.data(), proxy.by_stream()), ((up + 1, down + 1), by_stream));
}

#[tokio::test]
async fn d_15_without_fallback_blocked_voice_is_lost_and_nothing_else() {
    let (_hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, server.ip()).await;
    proxy.blocked.store(true, Relaxed);
    let lanes = TcpUdpSettings { fallback: false, ..TcpUdpSettings::default() };
    let (mut ann, mut ben) = pair(proxy.address, &lanes).await;
    tell(&mut ann, ClientCommand::Say { frame: b"lost" });
    run(&mut ann, Duration::from_millis(100)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, Vec::<Vec<u8>>::new());
    assert_eq!((ann.dropped(), proxy.data(), proxy.by_stream()), (1, (0, 0), (0, 0)));
}

#[tokio::test]
async fn d_14_d_15_a_client_finds_a_restarted_server_again() {
    let (hub, address) = serve("127.0.0.1:0");
    let proxy = Proxy::start(address, address.ip()).await;
    let (mut ann, mut ben) = pair(proxy.address, &TcpUdpSettings::default()).await;
    let first = ann.session().session();
    hub.drain(Duration::from_secs(5)).await;
    drop(hub);
    let lost = |player: &Player| player.session().state() == SessionState::Disconnected;
    // F-22, F-66: a server that is away for a moment is no reason to call UDP blocked.
    let not_blocked = |player: &Player| assert_ne!(player.udp_state(), Some(UdpState::Blocked));
    until("ann notices", &mut ann, lost).await;
    until("ben notices", &mut ben, lost).await;
    // The old sockets go with their tasks.
    let listener = loop {
        match Listener::bind_tcp_udp(address) {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let _hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 6), (), HubSettings::DEFAULT)
        .unwrap();
    let back = |player: &Player| {
        not_blocked(player);
        player.session().state() == SessionState::Connected
    };
    tokio::join!(until("ann is back", &mut ann, back), until("ben is back", &mut ben, back));
    assert_ne!(ann.session().session(), first);
    until("ann knows the Lobby", &mut ann, |ann| ann.session().rooms().count() == 1).await;
    let bound = |player: &Player| {
        not_blocked(player);
        player.udp() == Some(true)
    };
    tokio::join!(until("ann is bound", &mut ann, bound), until("ben is bound", &mut ben, bound));
    tell(&mut ann, ClientCommand::Say { frame: b"again" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"again"]);
    assert_eq!((proxy.data(), proxy.by_stream()), ((1, 1), (0, 0)));
}

#[tokio::test]
async fn d_16_strangers_on_the_udp_side_get_less_than_they_send_and_reach_no_client() {
    let (hub, address) = serve("127.0.0.1:0");
    let proxy = Proxy::start(address, address.ip()).await;
    let (mut ann, mut ben) = pair(proxy.address, &TcpUdpSettings::default()).await;
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
    assert_eq!((proxy.data(), proxy.by_stream()), ((1, 1), (0, 0)));
    assert_eq!(hub.stats().connections, 2);
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
            let (mut ann, mut ben) = pair(address, &TcpUdpSettings::default()).await;
            both_bound(&mut ann, &mut ben).await;
            tell(&mut ann, ClientCommand::Say { frame: b"by udp" });
            run(&mut ann, Duration::from_millis(50)).await;
            assert_eq!(run(&mut ben, Duration::from_millis(100)).await, [b"by udp"], "{address} of {bind}");
        }
    }
}

/// F-22: a client whose UDP never gets through learns so, once, and where it should have got; and learns when it does.
#[tokio::test]
async fn f_22_where_udp_never_gets_through_the_client_is_told_once() {
    let (_hub, server) = serve("127.0.0.1:0");
    let proxy = Proxy::start(server, server.ip()).await;
    proxy.blocked.store(true, Relaxed);
    let (mut ann, mut ben) = pair(proxy.address, &TcpUdpSettings::default()).await;
    assert_eq!((ann.udp(), ann.udp_state()), (Some(false), Some(UdpState::Binding)));
    let mut states = vec![UdpState::Binding];
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(4500) {
        tell(&mut ann, ClientCommand::Say { frame: b"by tcp" });
        let end = Instant::now() + Duration::from_millis(100);
        while tokio::time::timeout_at(end, ann.next()).await.is_ok() {
            states.push(ann.udp_state().unwrap());
            states.dedup();
        }
    }
    assert_eq!(states, [UdpState::Binding, UdpState::Blocked]);
    let at = ann.udp_server().unwrap();
    assert!(at.ip() == proxy.address.ip() && at.port() != proxy.address.port(), "{at}");
    assert!(run(&mut ben, Duration::from_millis(200)).await.len() >= 30, "voice goes by TCP all the while");
    assert_eq!(proxy.data(), (0, 0));
    proxy.blocked.store(false, Relaxed);
    until("ann is bound", &mut ann, |ann| ann.udp_state() == Some(UdpState::Up)).await;
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
        let mut ann = player(server_address, "ann", TcpUdpSettings::default()).await;
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
async fn f_14_without_a_udp_side_voice_goes_by_tcp_and_no_client_is_introduced() {
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let _hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), HubSettings::DEFAULT)
        .unwrap();
    let direct = voxwire_transport::DirectSettings { announce: true, ..Default::default() };
    let lanes = TcpUdpSettings { direct, ..TcpUdpSettings::default() };
    let (mut ann, mut ben) = pair(address, &lanes).await;
    assert_eq!((ann.udp(), ben.udp()), (None, None));
    tell(&mut ann, ClientCommand::Say { frame: b"by tcp" });
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [b"by tcp"]);
    assert!(UdpSocket::bind(address).await.is_ok(), "nothing listens there by UDP");
}
