//! A peer that vanishes: its packets, and those to it, get lost without a word. Needs Linux, user namespaces, and nftables.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

#[cfg(feature = "quic")]
#[path = "harness/certificates.rs"]
mod certificates;
#[path = "../../tests/kit/namespaces.rs"]
mod namespaces;
#[path = "harness/shouting.rs"]
mod shouting;

use core::time::Duration;
use shouting::{ShoutingOnStream, shouting_on_stream};
use std::process::Command;
use tokio::net::TcpStream;
use tokio::time::sleep;
use voxwire_core::{Clock, Instant, Lane};
use voxwire_transport::{Handle, Hub, HubSettings, Keepalive, Listener};

/// Set for the part of the test that runs in namespaces of its own.
const INSIDE: &str = "VOXWIRE_TEST_INSIDE";

/// F-44: what it takes to find out that nothing comes back, and that nothing is acknowledged, adds up to less than 30 s: the second may
/// begin just before the end of the first.
#[test]
fn f_44_by_default_a_peer_that_has_vanished_is_gone_in_less_than_30_s() {
    let HubSettings { keepalive, unacknowledged, .. } = HubSettings::DEFAULT;
    let Keepalive { idle, interval, probes } = keepalive.unwrap();
    let sum = idle + interval * probes + unacknowledged.unwrap();
    assert!(sum < Duration::from_secs(30), "{sum:?}");
}

/// F-44, C-06: a peer that has vanished is gone in time, with anything or nothing sent to it at any time.
#[test]
fn f_44_c_06_a_peer_that_has_vanished_is_gone_in_time() {
    vanish("tcp");
}

/// F-44, C-06: the same over QUIC, whose idle timer starts anew with the first thing that is sent.
#[cfg(feature = "quic")]
#[test]
fn f_44_c_06_a_peer_on_quic_that_has_vanished_is_gone_in_time() {
    vanish("quic");
}

/// Runs `inside` in namespaces of its own.
fn vanish(transport: &str) {
    if !namespaces::available() {
        return;
    }
    let output = Command::new("unshare")
        .args(namespaces::UNSHARE)
        .arg("--kill-child")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--nocapture"])
        .env(INSIDE, transport)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("all are gone"), "{out}{err}");
}

fn run(command: &str) {
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
}

/// A hub and one peer of it, which says nothing.
type Pair = (Handle<ShoutingOnStream>, Box<dyn core::any::Any>);

async fn tcp(settings: HubSettings) -> Pair {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hub = Hub::spawn(vec![listener], shouting_on_stream(), (), settings).unwrap();
    (hub, Box::new(TcpStream::connect(address).await.unwrap()))
}

/// The same, with a peer that has just been slow to take half a megabyte: its window is small, and it has read as fast as it could.
async fn slow(settings: HubSettings) -> Pair {
    const FRAMES: usize = 500;
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { max_queued: 8 << 20, ..settings };
    let hub = Hub::spawn(vec![listener], shouting_on_stream(), (), settings).unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    let mut peer = socket.connect(address).await.unwrap();
    while hub.call(|session, _| session.peers.is_empty()) {
        sleep(Duration::from_millis(10)).await;
    }
    (0..FRAMES).for_each(|_| hub.call(|session, _| session.say(Lane::Reliable, &[7; 1000])));
    let mut some = vec![0; 5000];
    for _ in 0..FRAMES / 5 {
        tokio::io::AsyncReadExt::read_exact(&mut peer, &mut some).await.unwrap();
        sleep(Duration::from_millis(40)).await;
    }
    (hub, Box::new(peer))
}

#[cfg(feature = "quic")]
async fn quic(settings: HubSettings) -> Pair {
    use voxwire_transport::{Connection, ConnectionSettings, Remote};
    let (config, client) = certificates::pair();
    let listener = Listener::bind_quic("127.0.0.1:0".parse().unwrap(), &config).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hub = Hub::spawn(vec![listener], shouting_on_stream(), (), settings).unwrap();
    let name = "game.example".try_into().unwrap();
    let (session, settings) = (shouting_on_stream(), ConnectionSettings::DEFAULT);
    let connecting = Connection::connect(Remote::quic(&address, name, client), session, settings);
    (hub, Box::new(connecting.await.unwrap()))
}

/// Not a test of its own: what the ones above run in namespaces.
#[tokio::test]
async fn inside() {
    let Some(transport) = std::env::var_os(INSIDE) else { return };
    run("ip link set lo up");
    let keepalive =
        Some(Keepalive { idle: Duration::from_secs(1), interval: Duration::from_secs(1), probes: 2 });
    let unacknowledged = Some(Duration::from_secs(3));
    let settings = HubSettings { keepalive, unacknowledged, ..HubSettings::DEFAULT };
    // Nothing is sent; at once; before the verdict on silence of TCP, which comes 2 to 3 s after the cut, and about when it comes; just
    // before that of QUIC; all the time.
    let always: Vec<u64> = (1..40).map(|n| n * 500).collect();
    let plans: [&[u64]; 6] = [&[], &[100], &[1900], &[2800], &[4500], &always];
    let mut hubs = Vec::new();
    for plan in plans {
        let (hub, peer) = match transport.to_str() {
            #[cfg(feature = "quic")]
            Some("quic") => quic(settings).await,
            _ => tcp(settings).await,
        };
        while hub.call(|session, _| session.peers.is_empty()) {
            sleep(Duration::from_millis(10)).await;
        }
        hubs.push((hub, peer, plan));
    }
    if transport == "tcp" {
        // The systems of the peers above answer for them meanwhile.
        let [(hub, peer), (other, its)] = [slow(settings).await, slow(settings).await];
        hubs.extend([(hub, peer, plans[1]), (other, its, plans[5])]);
    }
    run(
        "nft 'add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }'",
    );
    let clock = Clock::start();
    let watching = hubs.iter().map(|(hub, _, plan)| Box::pin(watch(hub, plan, clock)));
    let times = all(watching.collect()).await;
    println!("{times:?}");
    // A second for what the system's timers, and a machine with other things to do, take.
    assert!(times.iter().all(|time| *time < Duration::from_millis(7000)), "{times:?}");
    if transport == "tcp" {
        assert!(times[2] > Duration::from_millis(3500), "sent in time: {times:?}");
    }
    println!("all are gone");
}

/// Waits for all.
async fn all<T>(waiting: Vec<impl Future<Output = T> + Unpin>) -> Vec<T> {
    let mut waiting: Vec<_> = waiting.into_iter().map(|future| (future, None)).collect();
    core::future::poll_fn(|cx| {
        for (future, done) in &mut waiting {
            if done.is_none() {
                if let core::task::Poll::Ready(value) = core::pin::Pin::new(future).poll(cx) {
                    *done = Some(value);
                }
            }
        }
        if waiting.iter().all(|(_, done)| done.is_some()) {
            core::task::Poll::Ready(())
        } else {
            core::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

/// Sends as planned, and says when the peer was gone.
async fn watch(hub: &Handle<ShoutingOnStream>, plan: &[u64], clock: Clock) -> Duration {
    let mut plan = plan.iter().copied().map(Duration::from_millis).peekable();
    loop {
        let time = clock.now().saturating_duration_since(Instant::ZERO);
        if hub.call(|session, _| session.peers.is_empty()) || time > Duration::from_secs(20) {
            return time;
        }
        if plan.next_if(|at| *at <= time).is_some() {
            hub.call(|session, _| session.say(Lane::Reliable, &[7; 100]));
        }
        sleep(Duration::from_millis(20)).await;
    }
}
