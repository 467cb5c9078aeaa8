//! What QUIC may cost a server: peers that take nothing, that send without end, that only send first packets. Peers are in a process of their own,
//! which can be stopped, and whose memory is not the server's.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "harness/certificates.rs"]
mod certificates;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};
use voxwire_core::{Datagram, FrameError, Input, Lane, Outbox, PeerId, Session};
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, ServerSettings, SessionState, Speech, Target,
};
use voxwire_transport::tls::rustls::ServerConfig;
use voxwire_transport::{
    Connection, ConnectionSettings, Handle, Hub, HubSettings, Keepalive, Listener, Remote,
};

type Player = Connection<Client>;
const MIB: usize = 1024 * 1024;
const ROLE: &str = "VOXWIRE_TEST_ROLE";

fn serve(config: &Arc<ServerConfig>, settings: HubSettings) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_quic("127.0.0.1:0".parse().unwrap(), config).unwrap();
    let address = listener.local_addr().unwrap();
    // No client is kicked for what it says: what counts here is what it costs to hear it.
    let session = ServerSettings { max_violations: u32::MAX, ..ServerSettings::DEFAULT };
    (Hub::spawn(vec![listener], Server::new(session, 5), (), settings), address)
}

async fn player(
    address: SocketAddr,
    name: &str,
    certificate: &[u8],
) -> Result<Player, voxwire_transport::Error> {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let (host, config) = ("game.example".try_into().unwrap(), certificates::trusting(certificate).into());
    let settings = ConnectionSettings::DEFAULT;
    Connection::connect(Remote::quic(address.to_string(), host, config), client, settings).await
}

/// A client by hand: a connection without a stream.
async fn handshake(address: SocketAddr, certificate: &[u8]) -> (quinn::Endpoint, quinn::Connection) {
    handshake_with(address, certificate, quinn::TransportConfig::default()).await
}

async fn handshake_with(
    address: SocketAddr,
    certificate: &[u8],
    transport: quinn::TransportConfig,
) -> (quinn::Endpoint, quinn::Connection) {
    let endpoint = endpoint(certificate, transport);
    let connection = endpoint.connect(address, "game.example").unwrap().await.unwrap();
    (endpoint, connection)
}

/// A socket of clients by hand. Each takes some MiB of this process.
fn endpoint(certificate: &[u8], transport: quinn::TransportConfig) -> quinn::Endpoint {
    let mut config = certificates::trusting(certificate);
    config.alpn_protocols = vec![b"voxwire-lanes/1".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// A client by hand: a connection and its stream, the hello said.
async fn raw(
    address: SocketAddr,
    certificate: &[u8],
) -> (quinn::Endpoint, quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    raw_with(address, certificate, quinn::TransportConfig::default()).await
}

async fn raw_with(
    address: SocketAddr,
    certificate: &[u8],
    transport: quinn::TransportConfig,
) -> (quinn::Endpoint, quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    let (endpoint, connection) = handshake_with(address, certificate, transport).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"VOXL\x01\x00\x00\x00").await.unwrap();
    recv.read_exact(&mut [0; 32]).await.unwrap();
    (endpoint, connection, send, recv)
}

fn tell(player: &mut Player, command: ClientCommand<'_>) {
    player.call(|client, now| client.handle_command(now, command)).unwrap();
}

async fn until(what: &str, player: &mut Player, mut done: impl FnMut(&Player) -> bool) {
    let wait = async {
        while !done(player) {
            player.next().await.expect("the connection goes on");
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
    player.flush().await.unwrap();
}

async fn run(player: &mut Player, time: Duration) -> Vec<Vec<u8>> {
    let (mut heard, end) = (Vec::new(), Instant::now() + time);
    while let Ok(Some(turn)) = tokio::time::timeout_at(end, player.next()).await {
        if let Ok(Some(ClientEvent::Voice(voice))) = turn.result {
            heard.push(voice.frame.to_vec());
        }
    }
    heard
}

async fn joined(player: &mut Player) {
    until("joins", player, |player| player.session().state() == SessionState::Connected).await;
}

/// Written by tests that measure the memory of this process, read by all others: they would be measured, too.
static ALONE: RwLock<()> = RwLock::const_new(());

/// Memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// This test's other process. Ends with it.
struct Peers(Child);

impl Peers {
    /// Runs `test` of this program in another process, in a role, and waits until it says that it is ready.
    fn start(test: &str, role: &str, address: SocketAddr, certificate: &[u8]) -> Self {
        let certificate: String = certificate.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{role} {address} {certificate}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        assert!(said.lines().any(|line| line.unwrap().ends_with("ready")), "the peers are not ready");
        Self(child)
    }

    fn stop(&self) {
        let status = Command::new("kill").args(["-STOP", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the other process: what it is to do, if this is it.
fn role() -> Option<(String, SocketAddr, Vec<u8>)> {
    let role = std::env::var(ROLE).ok()?;
    let mut words = role.split(' ');
    let (role, address, hex) = (words.next()?, words.next()?, words.next()?);
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let certificate = (0..hex.len()).step_by(2).map(byte).collect();
    Some((role.to_owned(), address.parse().unwrap(), certificate))
}

fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
}

/// Ann speaks to the Lobby and writes to it, and Ben hears her, for some time. Returns the most that waited meanwhile.
async fn call(hub: &Handle<Server>, ann: &mut Player, ben: &mut Player, time: Duration) -> usize {
    let (since, mut said, mut heard, mut most) = (Instant::now(), 0_u32, Vec::new(), 0);
    while since.elapsed() < time {
        let mut frame = [7; 900];
        frame[..4].copy_from_slice(&said.to_be_bytes());
        tell(ann, ClientCommand::Say { frame: &frame });
        // One in five turns, or Ann exceeds what one client may write.
        if said % 5 == 0 {
            let text = "x".repeat(500);
            let _ = ann.call(|client, now| {
                client.handle_command(now, ClientCommand::Text { to: Target::Room("Lobby"), text: &text })
            });
        }
        said += 1;
        let step = Duration::from_millis(10);
        let (_, some) = tokio::join!(run(ann, step), run(ben, step));
        heard.extend(some.iter().map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap())));
        most = most.max(hub.stats().queued);
    }
    heard.extend(
        run(ben, Duration::from_millis(300))
            .await
            .iter()
            .map(|frame| u32::from_be_bytes(frame[..4].try_into().unwrap())),
    );
    // A busy machine may lose some on the way through its sockets.
    assert!(heard.len() >= said as usize * 9 / 10, "{} of {said} heard", heard.len());
    most
}

/// Ann and Ben, in a call in the Lobby.
async fn honest(address: SocketAddr, certificate: &[u8]) -> (Player, Player) {
    let mut ann = player(address, "ann", certificate).await.unwrap();
    let mut ben = player(address, "ben", certificate).await.unwrap();
    tell(&mut ben, ClientCommand::Join { room: "Lobby" });
    tell(&mut ann, ClientCommand::Open { to: Target::Room("Lobby"), as_: Speech::DEFAULT });
    joined(&mut ben).await;
    until("ann knows the Lobby", &mut ann, |ann| ann.session().rooms().count() >= 1).await;
    until("ben knows ann", &mut ben, |ben| ben.session().find("ann").is_some()).await;
    (ann, ben)
}

/// F-16: eighty listeners that stop in the middle of a call cost what their windows say, lose voice, and go when they do not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_16_frozen_listeners_cost_no_more_than_their_windows_and_an_honest_call_goes_on() {
    const FROZEN: usize = 80;
    if let Some((_, address, certificate)) = role() {
        let mut listeners = Vec::new();
        for n in 0..FROZEN {
            let mut listener = player(address, &format!("listener {n}"), &certificate).await.unwrap();
            tell(&mut listener, ClientCommand::Join { room: "Lobby" });
            joined(&mut listener).await;
            listeners.push(listener);
        }
        ready();
        tokio::time::sleep(Duration::from_secs(60)).await;
        return;
    }
    let (config, certificate) = certificates::server();
    let _alone = ALONE.write().await;
    let second = Duration::from_secs(1);
    let keepalive = Some(Keepalive { idle: second, interval: second, probes: 4 });
    let settings = HubSettings { keepalive, unacknowledged: None, ..HubSettings::DEFAULT };
    let (hub, address) = serve(&config, settings);
    let test = "f_16_frozen_listeners_cost_no_more_than_their_windows_and_an_honest_call_goes_on";
    let peers = Peers::start(test, "listeners", address, &certificate);
    let (mut ann, mut ben) = honest(address, &certificate).await;
    assert_eq!(hub.stats().connections, FROZEN + 2);
    call(&hub, &mut ann, &mut ben, Duration::from_millis(500)).await;
    peers.stop();
    let before = resident();
    let most = call(&hub, &mut ann, &mut ben, Duration::from_secs(4)).await;
    // Each: 64 KiB of the stream, 16 KiB of voice and the queue of 64 KiB; with what holding it costs.
    assert!(most > 100 * 1024, "the listeners are not frozen: {most} waited");
    assert!(most < FROZEN * 160 * 1024, "{most} bytes waited");
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 * MIB, "grown by {grown} bytes, of which {most} are counted");
    assert!(hub.stats().dropped_frames > 0, "voice was dropped for them");
    // They do not come back.
    let since = Instant::now();
    while hub.stats().connections > 2 {
        assert!(since.elapsed() < Duration::from_secs(8), "{} are left", hub.stats().connections);
        call(&hub, &mut ann, &mut ben, Duration::from_millis(300)).await;
    }
    tokio::time::sleep(second).await;
    assert!(hub.stats().queued < 64 * 1024, "{} bytes are queued for no peer", hub.stats().queued);
}

/// F-16: what clients may send before it is read has a bound each, and one for all of them.
#[tokio::test]
async fn f_16_unread_bytes_are_bounded_by_connection_and_in_all() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    // Nothing more than the hello is read: one frame, and then a pause.
    let frames = voxwire_core::Rate { per_second: 1, burst: 1 };
    let settings = HubSettings { frames, receive_windows: 70 * EACH, ..HubSettings::DEFAULT };
    let (_hub, address) = serve(&config, settings);
    let (mut sent, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let (endpoint, connection, mut send, recv) = raw(address, &certificate).await;
        let mut bytes = 0;
        // Unknown controls are ignored.
        let units = [0, 2, 2, 99].repeat(1000);
        while let Ok(Ok(n)) = timeout(Duration::from_millis(60), send.write(&units)).await {
            bytes += n;
        }
        sent.push(bytes);
        clients.push((endpoint, connection, send, recv));
    }
    // Eight times 16 KiB are read in a row.
    let read = 8 * 16 * 1024 + 1024;
    assert!(sent.iter().all(|bytes| *bytes <= read + 32 * 1024), "{sent:?}");
    assert!(sent.iter().all(|bytes| *bytes >= 4096), "{sent:?}");
    // A 256th of what is left each: the later ones have less.
    assert!(sent[40..].iter().max() < sent[..20].iter().max(), "{sent:?}");
}

/// What is counted for each client on QUIC, in bytes; an eighth of all is for those that have ended.
const EACH: usize = 256 * 1024;

/// F-16, F-43: what QUIC keeps of a client's packets while others before them are missing is counted for each of them, and one for which
/// that is not left is refused where all others have joined.
#[tokio::test]
async fn f_16_who_would_be_more_than_memory_is_there_for_is_refused() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (hub, address) = serve(&config, HubSettings { receive_windows: 12 * EACH, ..HubSettings::DEFAULT });
    let mut players = Vec::new();
    for n in 0..10 {
        let mut player = player(address, &format!("player {n}"), &certificate).await.unwrap();
        joined(&mut player).await;
        players.push(player);
    }
    assert!(player(address, "ann", &certificate).await.is_err());
    eventually("it is counted", Duration::from_secs(5), || hub.stats().refused == 1).await;
    drop(players.pop());
    eventually("one is gone", Duration::from_secs(15), || hub.stats().connections == 9).await;
    let mut ann = player(address, "ann", &certificate).await.unwrap();
    joined(&mut ann).await;
    assert!(player(address, "ben", &certificate).await.is_err());
    // Nor is anything left counted of those who have gone, or whom their place was given to.
    drop((players, ann));
    eventually("all are gone", Duration::from_secs(15), || hub.stats().connections == 0).await;
    for _ in 0..10 {
        drop(handshake(address, &certificate).await);
    }
}

/// F-16, F-19: where the memory for clients on QUIC is all taken, those give way to a newcomer who have not said for longest who they are,
/// as they do on TCP for a place: those who have only shaken hands, and those who have said no more than the hello. Who has joined stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_16_f_19_silent_clients_on_quic_give_way_to_newcomers() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (hub, address) = serve(&config, HubSettings { receive_windows: 12 * EACH, ..HubSettings::DEFAULT });
    let endpoint = endpoint(&certificate, quinn::TransportConfig::default());
    let connect = async || endpoint.connect(address, "game.example").unwrap().await.unwrap();
    let hello = async |connection: &quinn::Connection| {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(b"VOXL\x01\x00\x00\x00").await.unwrap();
        recv.read_exact(&mut [0; 32]).await.unwrap();
        // Unknown controls, in a frame of the stream for each byte.
        for byte in [0, 2, 2, 99].repeat(4) {
            send.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (send, recv)
    };
    let (mut silent, mut streams) = (Vec::new(), Vec::new());
    for n in 0..10 {
        let connection = connect().await;
        if n % 5 != 0 {
            streams.push(hello(&connection).await);
        }
        silent.push(connection);
    }
    assert_eq!(hub.stats().connections, 10);
    let began = Instant::now();
    let mut players = Vec::new();
    for name in ["ann", "ben", "cleo"] {
        let mut player = player(address, name, &certificate).await.unwrap();
        joined(&mut player).await;
        players.push(player);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // QUIC forgets them some round trips later, and until then each leaves something behind.
    let closed = silent.iter().filter(|connection| connection.close_reason().is_some()).count();
    assert!((3..=9).contains(&closed) && hub.stats().connections <= 10, "{closed}, {:?}", hub.stats());
    // More of the kind displace each other.
    for _ in 0..12 {
        let connection = connect().await;
        streams.push(hello(&connection).await);
        silent.push(connection);
    }
    for player in &mut players {
        run(player, Duration::from_millis(50)).await;
        assert_eq!(player.session().state(), SessionState::Connected);
    }
    assert!(hub.stats().connections <= 10, "{:?}", hub.stats());
}

/// F-16, F-19: clients on QUIC for which no memory is left cost none on TCP its place: that would not help them.
#[tokio::test]
async fn f_16_f_19_newcomers_on_quic_cost_no_client_on_tcp_its_place() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let listeners = [
        Listener::bind_quic("127.0.0.1:0".parse().unwrap(), &config).unwrap(),
        Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
    ];
    let [quic, tcp] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let settings = HubSettings { receive_windows: 3 * EACH, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(listeners.into(), Server::new(ServerSettings::DEFAULT, 5), (), settings);
    let (mut players, mut silent) = (Vec::new(), Vec::new());
    for name in ["ann", "ben"] {
        let mut player = player(quic, name, &certificate).await.unwrap();
        joined(&mut player).await;
        players.push(player);
        silent.push(tokio::net::TcpStream::connect(tcp).await.unwrap());
    }
    eventually("all are in", Duration::from_secs(5), || hub.stats().connections == 4).await;
    assert!(player(quic, "cleo", &certificate).await.is_err());
    assert_eq!(hub.stats().connections, 4);
}

/// F-16: a client that goes on with its handshake for ever, with gaps that keep what it sends, is closed. By a client that is not ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_16_a_handshake_that_goes_on_for_ever_ends_the_connection() {
    let works = Command::new("python3").args(["-c", "import aioquic"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: no Python with aioquic here; install it with pip");
        return;
    }
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (hub, address) = serve(&config, HubSettings::DEFAULT);
    let mut ann = player(address, "ann", &certificate).await.unwrap();
    joined(&mut ann).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gaps.py");
    let peer = Command::new("python3").args([script, &address.port().to_string()]).spawn().unwrap();
    let _peer = Peers(peer);
    eventually("it has come in", Duration::from_secs(10), || hub.stats().connections == 2).await;
    eventually("it is closed", Duration::from_secs(10), || hub.stats().connections == 1).await;
    assert_eq!(hub.stats().broken, 1);
    run(&mut ann, Duration::from_millis(50)).await;
    assert_eq!(ann.session().state(), SessionState::Connected);
}

/// F-16: datagrams before the hello are discarded, and do not wait, each with the packet that it came in.
#[tokio::test]
async fn f_16_datagrams_of_those_who_have_not_come_in_are_not_kept() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (hub, address) = shouting(&config, HubSettings::DEFAULT);
    let (_endpoint, connection) = handshake(address, &certificate).await;
    let send_some = async |n: u8| {
        for _ in 0..n {
            connection.send_datagram_wait(vec![n].into()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    send_some(50).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"VOXL").await.unwrap();
    send_some(50).await;
    send.write_all(b"\x01\x00\x00\x00").await.unwrap();
    recv.read_exact(&mut [0; 32]).await.unwrap();
    send_some(3).await;
    eventually("what comes later is heard", Duration::from_secs(5), || {
        hub.call(|session, _| session.heard.len()) >= 3
    })
    .await;
    assert_eq!(hub.call(|session, _| core::mem::take(&mut session.heard)), [3; 3]);
}

/// F-16: senders without end fill the system's buffer and not the server's memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_16_floods_of_datagrams_do_not_fill_the_memory() {
    if let Some((_, address, certificate)) = role() {
        let mut clients = Vec::new();
        for _ in 0..24 {
            clients.push(raw(address, &certificate).await);
        }
        ready();
        let until = Instant::now() + Duration::from_secs(30);
        for (endpoint, connection, mut send, recv) in clients {
            let datagrams = connection.clone();
            tokio::spawn(async move {
                let _kept = (endpoint, recv);
                while Instant::now() < until {
                    let _ = datagrams.send_datagram_wait(vec![9; 1000].into()).await;
                }
            });
            tokio::spawn(async move { while send.write_all(&[0, 2, 2, 99].repeat(10_000)).await.is_ok() {} });
        }
        tokio::time::sleep_until(until).await;
        return;
    }
    let (config, certificate) = certificates::server();
    let _alone = ALONE.write().await;
    let frames = voxwire_core::Rate { per_second: 100, burst: 100 };
    let (hub, address) = serve(&config, HubSettings { frames, ..HubSettings::DEFAULT });
    let test = "f_16_floods_of_datagrams_do_not_fill_the_memory";
    let _peers = Peers::start(test, "flooders", address, &certificate);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = resident();
    let mut most = 0;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(resident().saturating_sub(before));
    }
    println!("{:?}, {} KiB more", hub.stats(), most / 1024);
    assert!(hub.stats().dropped_frames > 1000, "no flood: {:?}", hub.stats());
    assert!(most < 32 * MIB, "grown by {most} bytes");
}

/// F-47: first packets that come to nothing, of more addresses and in a greater number than are let wait, do not keep others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_47_first_packets_that_come_to_nothing_do_not_keep_others_out() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (_hub, address) = serve(&config, HubSettings::DEFAULT);
    // An identifier of one byte, which no client may choose for a server: quinn hands nothing on.
    let mut broken = vec![0xc3, 0, 0, 0, 1, 1, 7, 0, 0];
    for _ in 0..100 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for len in [9, 30, 1199, 1200, 1200, 1200, 1200, 1200] {
            broken.resize(len, 0);
            socket.send_to(&broken, address).unwrap();
        }
    }
    let mut ann = player(address, "ann", &certificate).await.unwrap();
    joined(&mut ann).await;
}

/// F-47: another version of QUIC is answered with those that are spoken, and costs no more: its first packets would pass what holds
/// back floods of ours.
#[tokio::test]
async fn f_47_no_draft_of_quic_is_spoken() {
    let (config, _) = certificates::server();
    let _beside = ALONE.read().await;
    let (_hub, address) = serve(&config, HubSettings::DEFAULT);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for draft in 0x1d..=0x22 {
        let mut packet =
            [&[0xc3, 0xff, 0, 0, draft, 8][..], &[7; 8], &[8], &[9; 8], &[0, 0x44, 0x90]].concat();
        packet.resize(1200, 0);
        socket.send_to(&packet, address).await.unwrap();
        let mut answer = [0; 1500];
        let n = timeout(Duration::from_secs(5), socket.recv(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(answer[1..5], [0; 4], "it is to say which versions there are");
        assert!(answer[23..n].chunks(4).any(|version| version == [0, 0, 0, 1]));
        assert!(answer[23..n].chunks(4).all(|version| version[..2] != [0xff, 0]));
    }
}

/// F-47: who begins a handshake and does not go on gives way to others where there are as many as may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_47_handshakes_that_stall_give_way() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (_hub, address) = serve(&config, HubSettings { handshakes: 2, ..HubSettings::DEFAULT });
    let _first = handshake(address, &certificate).await;
    let _second = handshake(address, &certificate).await;
    let began = Instant::now();
    let mut ann = player(address, "ann", &certificate).await.unwrap();
    joined(&mut ann).await;
    assert!(
        began.elapsed() < HubSettings::DEFAULT.handshake_timeout / 2,
        "not only once they have had their time"
    );
}

/// Sends the same to all peers.
#[derive(Debug)]
struct Shouting {
    peers: Vec<PeerId>,
    /// Reads no peer for a minute.
    pauses: bool,
    /// The first byte of each frame that came in a datagram.
    heard: Vec<u8>,
    outbox: Outbox,
}

impl Default for Shouting {
    fn default() -> Self {
        Self { peers: vec![], pauses: false, heard: vec![], outbox: Outbox::new(1 << 20) }
    }
}

impl Shouting {
    fn shout(&mut self, frame: &[u8]) {
        self.outbox.forward(self.peers.iter().copied(), Lane::Reliable, frame).unwrap();
    }
}

impl Session for Shouting {
    type Framing = Datagram;
    type Command<'a> = ();
    type Event<'a> = ();
    type Violation = FrameError;
    type Refusal = FrameError;

    fn framing(&self) -> Datagram {
        Datagram { max: 1000 }
    }

    fn handle_input<'a>(
        &mut self,
        now: voxwire_core::Instant,
        input: Input<'a>,
    ) -> Result<Option<()>, FrameError> {
        match input {
            Input::Opened { peer, .. } => {
                self.peers.push(peer);
                if self.pauses {
                    self.outbox.pause(peer, now.saturating_add(Duration::from_secs(60)));
                }
            }
            Input::Closed { peer } => self.peers.retain(|&known| known != peer),
            Input::Frame { lane: Lane::Droppable, bytes, .. } => self.heard.extend(bytes.first()),
            _ => {}
        }
        Ok(None)
    }

    fn handle_command(&mut self, _now: voxwire_core::Instant, _command: ()) -> Result<(), FrameError> {
        Ok(())
    }

    fn handle_timeout<'a>(&mut self, _now: voxwire_core::Instant) -> Option<Self::Event<'a>> {
        None
    }

    fn poll_timeout(&self) -> Option<voxwire_core::Instant> {
        None
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: voxwire_core::Instant) {}
}

fn shouting(config: &Arc<ServerConfig>, settings: HubSettings) -> (Handle<Shouting>, SocketAddr) {
    let listener = Listener::bind_quic("127.0.0.1:0".parse().unwrap(), config).unwrap();
    let address = listener.local_addr().unwrap();
    (Hub::spawn(vec![listener], Shouting::default(), (), settings), address)
}

/// Clients whose QUIC answers every probe, and which take nothing of the stream but the hello.
async fn frozen(
    count: usize,
    address: SocketAddr,
    certificate: &[u8],
) -> Vec<(quinn::Endpoint, quinn::Connection, quinn::SendStream, quinn::RecvStream)> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(64_u8.into()).keep_alive_interval(Some(Duration::from_millis(200)));
        clients.push(raw_with(address, certificate, transport).await);
    }
    clients
}

async fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// F-16, F-43: over the ceiling of all connections those go that hold most in QUIC, though nothing of it waits in our own queues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_16_f_43_over_the_ceiling_those_who_hold_most_in_quic_go() {
    if let Some((_, address, certificate)) = role() {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(raw(address, &certificate).await);
        }
        ready();
        tokio::time::sleep(Duration::from_secs(60)).await;
        return;
    }
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let settings = HubSettings { max_queued_total: 400_000, unacknowledged: None, ..HubSettings::DEFAULT };
    let (hub, address) = shouting(&config, settings);
    let test = "f_16_f_43_over_the_ceiling_those_who_hold_most_in_quic_go";
    let peers = Peers::start(test, "stopped", address, &certificate);
    eventually("all are there", Duration::from_secs(5), || hub.stats().connections == 10).await;
    peers.stop();
    // Some 40 KB each, all of it in the hands of QUIC.
    eventually("over the ceiling", Duration::from_secs(5), || {
        hub.call(|session, _| session.shout(&[7; 1000]));
        hub.stats().queued > 400_000
    })
    .await;
    // Far less than makes a connection one of those that hold much.
    for _ in 0..20 {
        hub.call(|session, _| session.shout(&[7; 10]));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = hub.stats();
    assert!(stats.too_slow > 0, "{stats:?}");
    assert!(stats.queued <= 400_000 && (1..10).contains(&stats.connections), "{stats:?}");
    assert_eq!(hub.call(|session, _| session.peers.len()), stats.connections);
}

/// F-16, F-44: a peer that takes nothing of what it is sent is closed on QUIC as it is on TCP, however lively it is otherwise; and one that
/// takes it slowly is not.
#[tokio::test]
async fn f_16_who_acknowledges_nothing_of_the_stream_is_closed() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let unacknowledged = Some(Duration::from_secs(1));
    let (hub, address) = shouting(&config, HubSettings { unacknowledged, ..HubSettings::DEFAULT });
    let _silent = frozen(2, address, &certificate).await;
    let mut slow = frozen(1, address, &certificate).await;
    eventually("all are there", Duration::from_secs(5), || hub.stats().connections == 3).await;
    hub.call(|session, _| session.shout(&[7; 10_000]));
    let began = Instant::now();
    let (_, _, _, reading) = &mut slow[0];
    let mut read = 0;
    while read < 10_003 {
        read += reading.read(&mut [0; 64]).await.unwrap().expect("not closed");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(2), "it was not slow");
    eventually("those who take nothing are gone", Duration::from_secs(5), || {
        hub.stats().connections == 1 && hub.stats().too_slow == 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(hub.stats().connections, 1, "nothing is unacknowledged now");
}

/// F-15: a peer that vanishes while the session lets it wait is gone on QUIC, too.
#[tokio::test]
async fn f_15_a_quic_connection_that_is_not_read_is_watched_for_its_end() {
    let (config, certificate) = certificates::server();
    let _beside = ALONE.read().await;
    let (hub, address) = shouting(&config, HubSettings::DEFAULT);
    hub.call(|session, _| session.pauses = true);
    let (_stays, gone) = (raw(address, &certificate).await, raw(address, &certificate).await);
    eventually("both are there", Duration::from_secs(5), || hub.stats().connections == 2).await;
    gone.1.close(0_u8.into(), b"");
    eventually("one is gone", Duration::from_secs(5), || hub.stats().connections == 1).await;
    assert_eq!(hub.call(|session, _| session.peers.len()), 1);
}
