//! TCP + UDP by hand, byte by byte as `PROTOCOL.md` has it: the hello, binding, rates, and peers that are not read.
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

use core::net::SocketAddr;
use core::time::Duration;
use players::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use voxwire_dissonance::{Client, ClientSettings, Server, ServerSettings};
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener, Remote, TcpUdpSettings};

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

/// C-06: a connection ends at the head of a unit that is too long for the session; the hub waits for none of its bytes.
#[tokio::test]
async fn c_06_a_unit_that_is_too_long_ends_the_connection_at_its_head() {
    let (hub, address) = serve("127.0.0.1:0");
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"VOXL\x01\x00\x00\x00").await.unwrap();
    tcp.read_exact(&mut [0; 32]).await.unwrap();
    tcp.write_all(&[255, 255, 0]).await.unwrap();
    let end = timeout(Duration::from_secs(5), tcp.read_to_end(&mut Vec::new())).await;
    end.expect("it ends before the unit's own time is over").ok();
    assert_eq!(hub.stats().broken, 1);
}

/// F-20: what a client has answered by UDP costs it no less than what is passed on; what is not its own costs it nothing.
#[tokio::test]
async fn f_20_answers_by_udp_have_a_rate() {
    let frames = voxwire_core::Rate { per_second: 1, burst: 20 };
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { frames, ..HubSettings::DEFAULT };
    let _hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), settings).unwrap();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"VOXL\x01\x01\x00\x00").await.unwrap();
    let mut hello = [0; 32];
    tcp.read_exact(&mut hello).await.unwrap();
    let (tag, cookie) = (&hello[8..15], &hello[15..31]);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for socket in [&socket, &stranger] {
        socket.connect(address).await.unwrap();
    }
    // None uses up what is another's.
    let (bind, ping) = ([&[1][..], tag, cookie].concat(), [&[4][..], tag, b"12345678"].concat());
    let mut wrong = bind.clone();
    wrong[20] ^= 1;
    for _ in 0..50 {
        stranger.send(&wrong).await.unwrap();
        stranger.send(&ping).await.unwrap();
    }
    let answers = async |times: u8, what: &[u8]| {
        let (mut count, mut answer) = (0, [0; 64]);
        for _ in 0..times {
            socket.send(what).await.unwrap();
            let got = timeout(Duration::from_millis(100), socket.recv(&mut answer)).await;
            count += i32::from(got.is_ok());
        }
        (count, answer)
    };
    let (count, challenge) = answers(10, &bind).await;
    assert_eq!(count, 10);
    tcp.write_all(&[&[0, 10, 2, 1][..], &challenge[8..16]].concat()).await.unwrap();
    tcp.read_exact(&mut [0; 4]).await.unwrap();
    let (count, _) = answers(20, &ping).await;
    assert!((10..=13).contains(&count), "{count} answers");
    let (count, _) = answers(5, &bind).await;
    assert!(count <= 1, "{count} answers");
}

#[tokio::test]
async fn d_16_a_token_is_asked_for_before_anything_else_and_no_hello_is_no_connection() {
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.with_admission(|token, _| token == b"open sesame").unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { handshake_timeout: Duration::from_millis(300), ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), settings).unwrap();
    let client = || Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let connect = |token: &[u8]| {
        let lanes = TcpUdpSettings { token: token.to_vec(), ..TcpUdpSettings::default() };
        let server = address.to_string();
        async move {
            Connection::connect(Remote::tcp_udp(&server, lanes), client(), ConnectionSettings::DEFAULT).await
        }
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

/// A client by hand that has sent sixty unknown controls at once: it is not read for a minute.
async fn throttled(address: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"VOXL\x01\x00\x00\x00").await.unwrap();
    tcp.read_exact(&mut [0; 32]).await.unwrap();
    tcp.write_all(&[0, 2, 2, 99].repeat(60)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    tcp
}

/// F-15: a peer that vanishes while we do not read it frees its place; what it sent before still counts.
#[tokio::test]
async fn f_15_a_connection_that_is_not_read_is_watched_for_its_end() {
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let frames = voxwire_core::Rate { per_second: 1, burst: 1 };
    let settings = HubSettings { frames, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), settings).unwrap();
    let (closes, resets, unread) =
        (throttled(address).await, throttled(address).await, throttled(address).await);
    let mut stays = throttled(address).await;
    let (mut says, mut resets_unread) = (unread, throttled(address).await);
    says.write_all(&[0, 2, 2, 99]).await.unwrap();
    resets_unread.write_all(&[0, 2, 2, 99]).await.unwrap();
    assert_eq!(hub.stats().connections, 5);
    for stream in [&resets, &resets_unread] {
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop((closes, resets, resets_unread, says));
    let since = Instant::now();
    while hub.stats().connections > 2 {
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", hub.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(hub.stats().connections, 2, "what was sent before still counts, and who is there stays");
    stays.write_all(&[0, 2, 2, 99]).await.unwrap();
}
