//! QUIC over real loopback sockets, with Dissonance on top.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use crate::harness::certificates;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, ServerSettings, SessionState, Speech, Target,
};
use voxwire_transport::tls::rustls::{ClientConfig, ServerConfig};
use voxwire_transport::{
    Connection, ConnectionSettings, Handle, Hub, HubSettings, Keepalive, Listener, Remote,
};

type Player = Connection<Client>;

fn serve(address: &str, config: &Arc<ServerConfig>) -> (Handle<Server>, SocketAddr) {
    serve_with(address, config, HubSettings::DEFAULT)
}

fn serve_with(
    address: &str,
    config: &Arc<ServerConfig>,
    settings: HubSettings,
) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_quic(address.parse().unwrap(), config).unwrap();
    let listener = listener.with_admission(|token, _| token == b"sesame").unwrap();
    let address = listener.local_addr().unwrap();
    (Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), settings).unwrap(), address)
}

async fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
    token: &[u8],
) -> Result<Player, voxwire_transport::Error> {
    connect_with(address, name, config, token, ConnectionSettings::DEFAULT).await
}

async fn connect_with(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
    token: &[u8],
    settings: ConnectionSettings,
) -> Result<Player, voxwire_transport::Error> {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let host = "game.example".try_into().unwrap();
    Connection::connect(
        Remote::quic(address.to_string(), host, config.clone()).token(token.to_vec()),
        client,
        settings,
    )
    .await
}

async fn until(what: &str, player: &mut Player, mut done: impl FnMut(&Player) -> bool) {
    let wait = async {
        while !done(player) {
            player.next().await.expect("the connection goes on");
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}: not within 10 s"));
    player.flush().await.unwrap();
}

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

#[tokio::test]
async fn d_15_voice_and_rooms_over_quic_and_back_after_a_restart() {
    let (server, client) = certificates::pair();
    let (hub, address) = serve("127.0.0.1:0", &server);
    let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
    let mut ben = connect(address, "ben", &client, b"sesame").await.unwrap();
    speaks_to(&mut ann, &mut ben).await;
    for n in 0..50_u8 {
        tell(&mut ann, ClientCommand::Say { frame: &[n; 40] });
        run(&mut ann, Duration::from_millis(2)).await;
    }
    let heard = run(&mut ben, Duration::from_millis(300)).await;
    assert_eq!(heard, (0..50).map(|n| vec![n; 40]).collect::<Vec<_>>());
    let path = ann.path().unwrap();
    assert!(path.round_trip > Some(Duration::ZERO) && path.answered > 0 && path.sent >= 50, "{path:?}");
    // The largest frame there is fits a datagram, too.
    tell(&mut ann, ClientCommand::Say { frame: &[9; 980] });
    run(&mut ann, Duration::from_millis(20)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [vec![9; 980]]);
    hub.drain(Duration::from_secs(5)).await;
    drop(hub);
    let lost = |player: &Player| player.session().state() == SessionState::Disconnected;
    until("ann notices", &mut ann, lost).await;
    let bound = async {
        loop {
            match Listener::bind_quic(address, &server) {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let listener = timeout(Duration::from_secs(10), bound).await.expect("the port is free again");
    let _hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 6), (), HubSettings::DEFAULT)
        .unwrap();
    until("ann is back", &mut ann, |ann| ann.session().state() == SessionState::Connected).await;
}

#[tokio::test]
async fn d_16_wrong_tokens_and_wrong_certificates_do_not_come_in() {
    let (server, client) = certificates::pair();
    let (hub, address) = serve("127.0.0.1:0", &server);
    let refused = connect(address, "ann", &client, b"please").await.unwrap_err();
    assert!(refused.to_string().contains("does not admit"), "{refused}");
    let (_, stranger) = certificates::pair();
    assert!(connect(address, "ann", &stranger, b"sesame").await.is_err());
    // A client that says nothing is closed.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    silent.connect(address).await.unwrap();
    for n in 0..200_u8 {
        silent.send(&[n; 1200]).await.unwrap();
    }
    let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
    until("ann joins", &mut ann, |ann| ann.session().state() == SessionState::Connected).await;
    assert_eq!(hub.stats().connections, 1);
}

/// F-22: over QUIC, too.
#[tokio::test]
async fn f_22_d_15_clients_of_any_address_of_a_wildcard_come_in() {
    let (config, client) = certificates::pair();
    for (bind, addresses) in [("0.0.0.0:0", &["127.0.0.5"][..]), ("[::]:0", &["127.0.0.5", "::1"])] {
        for address in addresses {
            // Names rest for some time, and these come from several addresses.
            let (_hub, server) = serve(bind, &config);
            let address = SocketAddr::new(address.parse().unwrap(), server.port());
            let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
            until("ann joins", &mut ann, |ann| ann.session().state() == SessionState::Connected).await;
        }
    }
}

/// Stands between clients and a server, as the other end of QUIC to both, and counts which way voice takes.
#[derive(Clone)]
struct Middle {
    /// To the server and from it.
    datagrams: Arc<[AtomicU64; 2]>,
    /// Units of the stream that carry what may be lost, to the server and from it.
    units: Arc<[AtomicU64; 2]>,
}

impl Middle {
    async fn start(
        server: SocketAddr,
        config: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
    ) -> (SocketAddr, Self) {
        let (mut config, mut client) = (ServerConfig::clone(config), ClientConfig::clone(client));
        config.alpn_protocols = vec![b"voxwire-lanes/1".to_vec()];
        client.alpn_protocols.clone_from(&config.alpn_protocols);
        let config = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
        let client = quinn::crypto::rustls::QuicClientConfig::try_from(client).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let near = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(config)), any).unwrap();
        let mut far = quinn::Endpoint::client(any).unwrap();
        far.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));
        let address = near.local_addr().unwrap();
        let middle = Self { datagrams: Arc::default(), units: Arc::default() };
        let relaying = middle.clone();
        tokio::spawn(async move {
            while let Some(incoming) = near.accept().await {
                let near = incoming.await.unwrap();
                let far = far.connect(server, "game.example").unwrap().await.unwrap();
                tokio::spawn(relaying.clone().relay(near, far));
            }
        });
        (address, middle)
    }

    async fn relay(self, near: quinn::Connection, far: quinn::Connection) {
        let (mut near_out, mut near_in) = near.accept_bi().await.unwrap();
        let (mut far_out, mut far_in) = far.open_bi().await.unwrap();
        let ([up, down], [units_up, units_down]) = (&*self.datagrams, &*self.units);
        // The end of one is the end of all.
        tokio::select! {
            _ = stream(&mut near_in, &mut far_out, true, units_up) => {}
            _ = stream(&mut far_in, &mut near_out, false, units_down) => {}
            _ = datagrams(&near, &far, up) => {}
            _ = datagrams(&far, &near, down) => {}
        }
    }
}

async fn datagrams(from: &quinn::Connection, to: &quinn::Connection, count: &AtomicU64) {
    while let Ok(datagram) = from.read_datagram().await {
        count.fetch_add(1, Relaxed);
        let _ = to.send_datagram(datagram);
    }
}

/// Passes a hello on and then units, and counts those that carry what may be lost.
async fn stream(
    from: &mut quinn::RecvStream,
    to: &mut quinn::SendStream,
    up: bool,
    droppable: &AtomicU64,
) -> std::io::Result<()> {
    let mut hello = vec![0; if up { 8 } else { 32 }];
    AsyncReadExt::read_exact(from, &mut hello).await?;
    if up {
        let token = usize::from(u16::from_be_bytes([hello[6], hello[7]]));
        hello.resize(8 + token, 0);
        AsyncReadExt::read_exact(from, &mut hello[8..]).await?;
    }
    AsyncWriteExt::write_all(to, &hello).await?;
    loop {
        let len = from.read_u16().await?;
        let mut unit = vec![0; usize::from(len)];
        AsyncReadExt::read_exact(from, &mut unit).await?;
        droppable.fetch_add(u64::from(unit[0] == 1), Relaxed);
        AsyncWriteExt::write_all(to, &[&len.to_be_bytes()[..], &unit].concat()).await?;
    }
}

/// D-15, F-71: every frame goes by a datagram, both to the server and from it, and none by the stream.
#[tokio::test]
async fn d_15_f_71_voice_over_quic_goes_by_datagrams() {
    let (config, client) = certificates::pair();
    let (_hub, server) = serve("127.0.0.1:0", &config);
    let (address, middle) = Middle::start(server, &config, &client).await;
    let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
    let mut ben = connect(address, "ben", &client, b"sesame").await.unwrap();
    speaks_to(&mut ann, &mut ben).await;
    let said: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; 40]).chain([vec![9; 980]]).collect();
    for frame in &said {
        tell(&mut ann, ClientCommand::Say { frame });
        run(&mut ann, Duration::from_millis(2)).await;
    }
    assert_eq!(run(&mut ben, Duration::from_millis(300)).await, said);
    let counted = |counters: &[AtomicU64; 2]| (counters[0].load(Relaxed), counters[1].load(Relaxed));
    assert_eq!((counted(&middle.datagrams), counted(&middle.units)), ((51, 51), (0, 0)));
}

/// Ann speaks to the Lobby, where Ben listens.
async fn speaks_to(ann: &mut Player, ben: &mut Player) {
    tell(ben, ClientCommand::Join { room: "Lobby" });
    tell(ann, ClientCommand::Open { to: Target::Room("Lobby"), as_: Speech::DEFAULT });
    until("ben joins", ben, |ben| ben.session().state() == SessionState::Connected).await;
    until("ann knows the Lobby", ann, |ann| ann.session().rooms().count() == 1).await;
    until("ben knows ann", ben, |ben| ben.session().find("ann").is_some()).await;
}

/// Passes datagrams on, both ways, until they are to get lost.
async fn forwarder(server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let (near, lost) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), Arc::new(AtomicBool::new(false)));
    let (address, is_lost) = (near.local_addr().unwrap(), lost.clone());
    tokio::spawn(async move {
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        far.connect(server).await.unwrap();
        let (mut client, mut up, mut down) = (None, [0; 2048], [0; 2048]);
        loop {
            let lost = is_lost.load(Relaxed);
            tokio::select! {
                received = near.recv_from(&mut up) => {
                    let Ok((len, from)) = received else { continue };
                    client = Some(from);
                    if !lost {
                        let _ = far.send(&up[..len]).await;
                    }
                }
                received = far.recv(&mut down) => {
                    let (Ok(len), Some(client)) = (received, client) else { continue };
                    if !lost {
                        let _ = near.send_to(&down[..len], client).await;
                    }
                }
            }
        }
    });
    (address, lost)
}

/// C-06, F-71, F-44: QUIC's probes keep up a connection that has nothing to say, and its idle limit ends, for both sides, one whose
/// packets get lost, though the server goes on sending. Either side's settings are enough.
#[tokio::test]
async fn c_06_f_71_f_44_over_quic_silence_is_probed_and_ends_a_connection_in_time() {
    let (config, client) = certificates::pair();
    // A second in all.
    let keepalive =
        Some(Keepalive { idle: Duration::from_millis(300), interval: Duration::from_millis(100), probes: 2 });
    let unacknowledged = Some(Duration::from_millis(500));
    let (hub, own) = (HubSettings::DEFAULT, ConnectionSettings::DEFAULT);
    for (hub, own) in [
        (HubSettings { keepalive, unacknowledged, ..hub }, own),
        (hub, ConnectionSettings { keepalive, unacknowledged, ..own }),
    ] {
        let (hub, server) = serve_with("127.0.0.1:0", &config, hub);
        let (address, lost) = forwarder(server).await;
        let mut ann = connect(server, "ann", &client, b"sesame").await.unwrap();
        let mut ben = connect_with(address, "ben", &client, b"sesame", own).await.unwrap();
        speaks_to(&mut ann, &mut ben).await;
        tokio::join!(run(&mut ann, Duration::from_secs(3)), run(&mut ben, Duration::from_secs(3)));
        assert_eq!((hub.stats().connections, ben.session().state()), (2, SessionState::Connected));
        lost.store(true, Relaxed);
        let since = Instant::now();
        let (mut gone, mut noticed) = (None, None);
        while (gone.is_none() || noticed.is_none()) && since.elapsed() < Duration::from_secs(5) {
            tell(&mut ann, ClientCommand::Say { frame: b"are you there?" });
            let step = Duration::from_millis(20);
            tokio::join!(run(&mut ann, step), run(&mut ben, step));
            if ann.session().find("ben").is_none() {
                gone.get_or_insert_with(|| since.elapsed());
            }
            if ben.session().state() != SessionState::Connected {
                noticed.get_or_insert_with(|| since.elapsed());
            }
        }
        let in_time = |time: Option<Duration>| time.is_some_and(|time| time < Duration::from_millis(2500));
        assert!(in_time(gone) && in_time(noticed), "gone after {gone:?}, noticed after {noticed:?}");
    }
}
