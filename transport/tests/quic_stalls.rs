//! Peers on QUIC that take nothing of what they are sent, are not read, or send datagrams before they have come in.
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
#[path = "harness/shouting.rs"]
mod shouting;

use core::net::SocketAddr;
use core::time::Duration;
use quic_clients::{Peers, eventually, handshake, raw, raw_with, ready, role};
use shouting::{Shouting, shouting};
use std::sync::Arc;
use tokio::time::Instant;
use voxwire_core::Lane;
use voxwire_transport::tls::rustls::ServerConfig;
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

fn serve(config: &Arc<ServerConfig>, settings: HubSettings) -> (Handle<Shouting>, SocketAddr) {
    let listener = Listener::bind_quic("127.0.0.1:0".parse().unwrap(), config).unwrap();
    let address = listener.local_addr().unwrap();
    (Hub::spawn(vec![listener], shouting(), (), settings).unwrap(), address)
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
    let settings = HubSettings { max_queued_total: 400_000, unacknowledged: None, ..HubSettings::DEFAULT };
    let (hub, address) = serve(&config, settings);
    let test = "f_16_f_43_over_the_ceiling_those_who_hold_most_in_quic_go";
    let peers = Peers::start(test, "stopped", address, &certificate);
    eventually("all are there", Duration::from_secs(5), || hub.stats().connections == 10).await;
    peers.stop();
    // Some 40 KB each, all of it in the hands of QUIC.
    eventually("over the ceiling", Duration::from_secs(5), || {
        hub.call(|session, _| session.say(Lane::Reliable, &[7; 1000]));
        hub.stats().queued > 400_000
    })
    .await;
    // Far less than makes a connection one of those that hold much.
    for _ in 0..20 {
        hub.call(|session, _| session.say(Lane::Reliable, &[7; 10]));
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
    let unacknowledged = Some(Duration::from_secs(1));
    let (hub, address) = serve(&config, HubSettings { unacknowledged, ..HubSettings::DEFAULT });
    let _silent = frozen(2, address, &certificate).await;
    let mut slow = frozen(1, address, &certificate).await;
    eventually("all are there", Duration::from_secs(5), || hub.stats().connections == 3).await;
    hub.call(|session, _| session.say(Lane::Reliable, &[7; 10_000]));
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
    let (hub, address) = serve(&config, HubSettings::DEFAULT);
    hub.call(|session, _| session.state.pauses = true);
    let (_stays, gone) = (raw(address, &certificate).await, raw(address, &certificate).await);
    eventually("both are there", Duration::from_secs(5), || hub.stats().connections == 2).await;
    gone.1.close(0_u8.into(), b"");
    eventually("one is gone", Duration::from_secs(5), || hub.stats().connections == 1).await;
    assert_eq!(hub.call(|session, _| session.peers.len()), 1);
}

/// F-16: datagrams before the hello are discarded, and do not wait, each with the packet that it came in.
#[tokio::test]
async fn f_16_datagrams_of_those_who_have_not_come_in_are_not_kept() {
    let (config, certificate) = certificates::server();
    let (hub, address) = serve(&config, HubSettings::DEFAULT);
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
        hub.call(|session, _| session.state.droppable.len()) >= 3
    })
    .await;
    assert_eq!(hub.call(|session, _| core::mem::take(&mut session.state.droppable)), [3; 3]);
}
