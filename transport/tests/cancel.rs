//! C-15: `Connection::next` may be dropped at any time, over each transport: nothing that was read or written is lost or doubled.
#![cfg(feature = "quic")]
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
use tokio::time::timeout;
use voxwire_core::testing::TestSession;
use voxwire_core::{Input, Lane, LengthPrefix, Rate};
use voxwire_transport::{
    Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener, Remote, TcpUdpSettings,
};

/// What a client hears.
type Numbers = TestSession<Vec<(Lane, u16)>, LengthPrefix>;

const FRAMING: LengthPrefix = LengthPrefix { width: 2, little_endian: false, adjust: 0, min: 4, max: 1000 };

fn say(session: &mut Numbers, lane: Lane, n: u16) {
    session.say(lane, &[&[0, 204][..], &n.to_be_bytes().repeat(101)].concat());
}

/// A client, which writes down what it hears.
fn client() -> Numbers {
    TestSession::new(FRAMING, Vec::new(), |session, _, input| {
        let Input::Frame { lane, bytes, .. } = input else { return };
        assert!(bytes.len() == 204 && bytes[2..].chunks(2).all(|pair| pair == &bytes[2..4]));
        session.state.push((lane, u16::from_be_bytes([bytes[2], bytes[3]])));
    })
}

/// Passes everything on to all others.
fn relay() -> Numbers {
    TestSession::new(FRAMING, Vec::new(), |session, _, input| {
        let Input::Frame { peer, lane, bytes } = input else { return };
        session.relay(peer, lane, bytes);
    })
}

fn serve(listener: Listener) -> (Handle<Numbers>, SocketAddr) {
    let address = listener.local_addr().unwrap();
    let frames = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let settings = HubSettings { frames, ..HubSettings::DEFAULT };
    (Hub::spawn(vec![listener], relay(), (), settings).unwrap(), address)
}

/// Drops `next` again and again while both sides have something to do. Returns how many frames came as what may be lost.
async fn cancel(mut speaker: Connection<Numbers>, mut listener: Connection<Numbers>) -> usize {
    const FRAMES: u16 = 300;
    for connection in [&mut speaker, &mut listener] {
        while connection.session().peers.is_empty() || connection.udp() == Some(false) {
            timeout(Duration::from_secs(10), connection.next()).await.expect("connected").unwrap();
        }
    }
    let pump = tokio::spawn(async move {
        for n in 0..FRAMES {
            speaker.call(|session, _| {
                say(session, Lane::Reliable, n);
                say(session, Lane::Droppable, n);
            });
            let _ = timeout(Duration::from_micros(u64::from(n) * 5), speaker.next()).await;
        }
        while timeout(Duration::from_secs(5), speaker.next()).await.is_ok() {}
    });
    let mut cancelled = 0;
    let reliable = |connection: &Connection<Numbers>| {
        connection.session().state.iter().filter(|(lane, _)| *lane == Lane::Reliable).count()
    };
    let hear = async {
        while reliable(&listener) < usize::from(FRAMES) {
            if timeout(Duration::from_micros(50), listener.next()).await.is_err() {
                cancelled += 1;
            }
        }
        while timeout(Duration::from_millis(200), listener.next()).await.is_ok() {}
    };
    timeout(Duration::from_secs(20), hear).await.expect("all that must arrive");
    assert!(cancelled > 10, "{cancelled}");
    pump.abort();
    let heard = &listener.session().state;
    let on = |lane| heard.iter().filter(move |(on, _)| *on == lane).map(|(_, n)| *n);
    assert!(on(Lane::Reliable).eq(0..FRAMES), "in order, each once");
    // By datagrams they may overtake each other, and none comes twice.
    let mut lost: Vec<u16> = on(Lane::Droppable).collect();
    lost.sort_unstable();
    assert!(lost.windows(2).all(|pair| pair[0] != pair[1]), "{lost:?}");
    lost.len()
}

#[tokio::test]
async fn c_15_f_71_next_is_cancel_safe_over_tls() {
    let (server, config) = certificates::pair();
    let (_hub, address) =
        serve(Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_tls(server).unwrap());
    let connect = || {
        let (name, settings) = ("game.example".try_into().unwrap(), ConnectionSettings::DEFAULT);
        let (address, config) = (address.to_string(), config.clone());
        async move { Connection::connect(Remote::tcp(&address).tls(name, config), client(), settings).await }
    };
    // A stream has one lane: everything must arrive.
    let (speaker, listener) = (connect().await.unwrap(), connect().await.unwrap());
    let (mut speaker, mut listener) = (speaker, listener);
    for connection in [&mut speaker, &mut listener] {
        timeout(Duration::from_secs(10), connection.next()).await.expect("connected").unwrap();
    }
    let pump = tokio::spawn(async move {
        for n in 0..300 {
            speaker.call(|session, _| say(session, Lane::Reliable, n));
            let _ = timeout(Duration::from_micros(u64::from(n) * 5), speaker.next()).await;
        }
        while timeout(Duration::from_secs(5), speaker.next()).await.is_ok() {}
    });
    let mut cancelled = 0;
    let hear = async {
        while listener.session().state.len() < 300 {
            if timeout(Duration::from_micros(50), listener.next()).await.is_err() {
                cancelled += 1;
            }
        }
    };
    timeout(Duration::from_secs(20), hear).await.expect("all of them");
    assert!(cancelled > 10 && listener.session().state.iter().map(|(_, n)| *n).eq(0..300), "{cancelled}");
    pump.abort();
}

#[tokio::test]
async fn c_15_d_15_f_71_next_is_cancel_safe_over_tcp_and_udp() {
    let (_hub, address) = serve(Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap());
    let connect = || {
        let (lanes, settings) = (TcpUdpSettings::default(), ConnectionSettings::DEFAULT);
        let address = address.to_string();
        async move { Connection::connect(Remote::tcp_udp(&address, lanes), client(), settings).await }
    };
    let (speaker, listener) = (connect().await.unwrap(), connect().await.unwrap());
    let by_udp = cancel(speaker, listener).await;
    assert!(by_udp >= 250, "{by_udp} of 300");
}

#[tokio::test]
async fn c_15_f_71_next_is_cancel_safe_over_quic() {
    let (server, config) = certificates::pair();
    let (_hub, address) = serve(Listener::bind_quic("127.0.0.1:0".parse().unwrap(), &server).unwrap());
    let connect = || {
        let (name, settings) = ("game.example".try_into().unwrap(), ConnectionSettings::DEFAULT);
        let address = address.to_string();
        let config = config.clone();
        async move { Connection::connect(Remote::quic(&address, name, config), client(), settings).await }
    };
    let (speaker, listener) = (connect().await.unwrap(), connect().await.unwrap());
    let by_datagrams = cancel(speaker, listener).await;
    assert!(by_datagrams >= 250, "{by_datagrams} of 300");
}
