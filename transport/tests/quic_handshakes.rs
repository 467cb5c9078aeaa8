//! Handshakes of QUIC that come to nothing, or that stall.
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

use core::time::Duration;
use quic_clients::{handshake, joined, player, serve};
use tokio::time::{Instant, timeout};
use voxwire_transport::HubSettings;

/// F-47: first packets that come to nothing, of more addresses and in a greater number than are let wait, do not keep others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_47_first_packets_that_come_to_nothing_do_not_keep_others_out() {
    let (config, certificate) = certificates::server();
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
