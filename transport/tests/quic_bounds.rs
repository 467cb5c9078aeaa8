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
#[path = "harness/quic_clients.rs"]
mod quic_clients;

use core::net::SocketAddr;
use core::time::Duration;
use quic_clients::{
    Peers, Player, endpoint, eventually, handshake, joined, player, raw, ready, role, serve, until,
};
use std::process::{Command, Stdio};
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout};
use voxwire_core::Session;
use voxwire_dissonance::{ClientCommand, ClientEvent, Server, ServerSettings, SessionState, Speech, Target};
use voxwire_transport::{Handle, Hub, HubSettings, Keepalive, Listener};

const MIB: usize = 1024 * 1024;

fn tell(player: &mut Player, command: ClientCommand<'_>) {
    player.call(|client, now| client.handle_command(now, command)).unwrap();
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

/// Written by tests that measure the memory of this process, read by all others: they would be measured, too.
static ALONE: RwLock<()> = RwLock::const_new(());

/// Memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
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
        Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap(),
    ];
    let [quic, tcp] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let settings = HubSettings { receive_windows: 3 * EACH, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(listeners.into(), Server::new(ServerSettings::DEFAULT, 5), (), settings).unwrap();
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
    assert!(hub.stats().over_rate_frames > 1000, "no flood: {:?}", hub.stats());
    assert!(most < 32 * MIB, "grown by {most} bytes");
}
