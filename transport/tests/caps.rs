//! Who gets a place where there are few, who gives one up, and what the end of a hub waits for.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

#[cfg(feature = "tls")]
use crate::harness::certificates;

use core::net::SocketAddr;
use core::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use voxwire_core::testing::TestSession;
use voxwire_core::{Clock, Input, Instant, LengthPrefix, Limits, Message, Rate, Session};
use voxwire_transport::{Drained, Handle, Hub, HubSettings, Listener};
use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server, ServerSettings, Wire};

fn serve(hub: HubSettings, peers: usize) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { max_peers: peers, ..ServerSettings::DEFAULT.limits };
    let server = Server::new(ServerSettings { limits, ..ServerSettings::DEFAULT }, 1);
    (Hub::spawn(vec![listener], server, (), hub).unwrap(), address)
}

/// Registers a name, by hand.
async fn register(address: SocketAddr, name: &str) -> std::io::Result<TcpStream> {
    let (parameters, optional) = (Parameters::DEFAULT, name.as_bytes());
    let packet = Packet::Handshake(Handshake { parameters, user_name: b"", optional });
    let wire = Wire::new(ByteOrder::BigEndian);
    let mut bytes = Vec::new();
    packet.encode(&wire, &mut bytes).unwrap();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&bytes).await?;
    timeout(Duration::from_secs(10), stream.read_exact(&mut [0; 6])).await??;
    Ok(stream)
}

/// What a client sees of its end.
async fn end(stream: &mut TcpStream) -> Result<usize, std::io::ErrorKind> {
    let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 16])).await.expect("an end");
    read.map_err(|error| error.kind())
}

/// F-45: a connection that makes room is reset, and does not count while it goes.
#[tokio::test]
async fn f_45_silent_strangers_at_a_full_cap_do_not_keep_others_out() {
    // As a server has it: a few more places than the session has.
    let (hub, address) = serve(HubSettings { max_connections: 40, ..HubSettings::DEFAULT }, 32);
    let flood = tokio::spawn(async move {
        let mut strangers = Vec::new();
        for _ in 0..600 {
            strangers.push(TcpStream::connect(address).await);
            sleep(Duration::from_millis(2)).await;
        }
        strangers
    });
    sleep(Duration::from_millis(300)).await;
    let mut honest = Vec::new();
    for n in 0..20 {
        honest.push(register(address, &format!("user {n}")).await.expect("a place"));
        sleep(Duration::from_millis(20)).await;
    }
    let mut strangers = flood.await.unwrap();
    assert_eq!(hub.stats().refused, 0);
    assert_eq!(end(strangers[0].as_mut().unwrap()).await, Err(std::io::ErrorKind::ConnectionReset));
    assert!(hub.call(|server, _| server.find("user 0").is_some()));
}

/// F-19: at the hub's own cap as well, a client that has not said who it is goes first; one that has stays.
#[tokio::test]
async fn f_19_at_the_hubs_cap_the_oldest_silent_connection_goes() {
    let (hub, address) = serve(HubSettings { max_connections: 3, ..HubSettings::DEFAULT }, 100);
    let _ann = register(address, "ann").await.unwrap();
    let mut silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    while hub.stats().connections < 3 {
        sleep(Duration::from_millis(5)).await;
    }
    let _bob = register(address, "bob").await.unwrap();
    assert_eq!(end(&mut silent[0]).await, Err(std::io::ErrorKind::ConnectionReset));
    let _cat = register(address, "cat").await.unwrap();
    assert_eq!(end(&mut silent[1]).await, Err(std::io::ErrorKind::ConnectionReset));
    // Those who are left have names.
    assert!(register(address, "dan").await.is_err());
    assert_eq!((hub.stats().refused, hub.stats().connections), (1, 3));
}

/// Reads to the end, and says how it was.
async fn reset(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    let to_the_end = timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes));
    to_the_end.await.expect("an end").is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

async fn makes_room<S>(listener: Listener, session: S, hello: &[u8])
where
    S: Session<Framing: Send> + Send + 'static,
{
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { max_connections: 1, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], session, (), settings).unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(hello).await.unwrap();
    // It is in the session now.
    sleep(Duration::from_millis(200)).await;
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(hello).await.unwrap();
    assert!(reset(&mut silent).await);
    assert_eq!((hub.stats().connections, hub.stats().refused), (1, 0));
    drop(next);
}

/// F-19: every protocol's session knows who is worth least.
#[tokio::test]
async fn f_19_every_session_gives_up_the_oldest_that_has_not_said_who_it_is() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let tcp = || Listener::bind(any).unwrap();
    makes_room(tcp(), Server::new(ServerSettings::DEFAULT, 1), b"").await;
    makes_room(tcp(), voxwire_opcode::Server::new(voxwire_opcode::ServerSettings::DEFAULT, 1), b"").await;
    let msgpack = voxwire_msgpack::ServerSettings::DEFAULT;
    makes_room(tcp(), voxwire_msgpack::Server::new(msgpack, 1, |_| [0; 32]), b"").await;
    let dissonance = voxwire_dissonance::Server::new(voxwire_dissonance::ServerSettings::DEFAULT, 5);
    makes_room(Listener::bind_tcp_udp(any).unwrap(), dissonance, b"VOXL\x01\0\0\0").await;
}

/// F-45: connections that take their final frames do not count, and give way.
#[tokio::test]
async fn f_45_connections_that_are_being_closed_give_way() {
    let (hub, address) = serve(HubSettings { max_connections: 4, ..HubSettings::DEFAULT }, 100);
    let mut broken = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A length that makes no sense. The client does not close its side.
        stream.write_all(&[0; 4]).await.unwrap();
        broken.push(stream);
    }
    while hub.stats().closing < 4 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(hub.stats().connections, 0);
    let mut honest = Vec::new();
    for n in 0..4 {
        honest.push(register(address, &format!("user {n}")).await.expect("a place"));
    }
    assert_eq!((hub.stats().refused, hub.stats().connections, hub.stats().closing), (0, 4, 0));
}

/// F-30: a client that has sent no hello is not waited for, and was sent nothing.
#[tokio::test]
async fn f_30_a_connection_without_a_hello_does_not_delay_the_end() {
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), (), HubSettings::DEFAULT)
        .unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"VOXL").await.unwrap();
    while hub.stats().connections < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    let drained = timeout(Duration::from_secs(3), hub.drain(Duration::from_secs(30))).await;
    assert_eq!(drained.expect("at once"), Drained { told: 0, cut_off: 0 });
    assert!(!matches!(end(&mut silent).await, Ok(1..)) && !matches!(end(&mut half).await, Ok(1..)));
}

/// F-30: where a protocol has no hello, a silent connection is not counted as told either.
#[tokio::test]
async fn f_30_a_silent_connection_is_not_counted_as_told() {
    let (hub, address) = serve(HubSettings::DEFAULT, 100);
    let mut ann = register(address, "ann").await.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    while hub.stats().connections < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    let mut last = Vec::new();
    let ends = async { (ann.read_to_end(&mut last).await.is_ok(), end(&mut silent).await) };
    let (drained, ends) = tokio::join!(hub.drain(Duration::from_secs(30)), ends);
    assert_eq!(drained, Drained { told: 1, cut_off: 0 });
    assert_eq!(ends, (true, Ok(0)));
    assert!(!last.is_empty(), "she learns why");
}

/// F-71, C-06: a peer that does not end its hello is closed, on each transport that has one.
#[tokio::test]
async fn c_06_f_71_a_hello_has_a_deadline_on_every_transport() {
    let settings = HubSettings { handshake_timeout: Duration::from_millis(300), ..HubSettings::DEFAULT };
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "there is one transport less"))]
    let mut listeners = vec![(Listener::bind_tcp_udp(any).unwrap(), b"V")];
    #[cfg(feature = "tls")]
    {
        let (config, _) = certificates::server();
        listeners.push((Listener::bind(any).unwrap().with_tls(config).unwrap(), b"\x16"));
    }
    for (listener, begin) in listeners {
        let address = listener.local_addr().unwrap();
        let hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), (), settings).unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        // What a hello begins with.
        half.write_all(begin).await.unwrap();
        assert!(!matches!(end(&mut silent).await, Ok(1..)));
        assert!(!matches!(end(&mut half).await, Ok(1..)));
        assert_eq!((hub.stats().connections, hub.stats().broken), (0, 2));
    }
}

/// F-71, C-06: the idle limit is the session's, and closes the connection.
#[tokio::test]
async fn c_06_f_71_an_idle_connection_is_closed_and_one_that_waits_to_be_called_is_not() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let session = ServerSettings { idle_timeout: Duration::from_millis(300), ..ServerSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], Server::new(session, 1), (), HubSettings::DEFAULT).unwrap();
    let mut ann = register(address, "ann").await.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert!(!matches!(end(&mut silent).await, Ok(1..)));
    assert!(timeout(Duration::from_millis(600), ann.read(&mut [0])).await.is_err());
    assert_eq!(hub.stats().connections, 1);
}

/// Counts frames, and says after every one that it wants more.
fn impatient() -> TestSession<usize, LengthPrefix> {
    let framing = LengthPrefix { width: 1, little_endian: false, adjust: 0, min: 1, max: 9 };
    TestSession::new(framing, 0, |session, now, input| {
        if let Input::Frame { peer, .. } = input {
            session.state += 1;
            session.outbox.pause(peer, now.saturating_add(Duration::from_secs(60)));
            session.outbox.resume(peer);
        }
    })
}

/// F-36: what the session says about reading does not undo what the transport has against it.
#[tokio::test]
async fn f_36_a_session_that_resumes_does_not_lift_the_limit_on_frames() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let frames = Rate { per_second: 40, burst: 10 };
    let hub =
        Hub::spawn(vec![listener], impatient(), (), HubSettings { frames, ..HubSettings::DEFAULT }).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let clock = Clock::start();
    let heard = async |count: usize| {
        while hub.call(|session, _| session.state) < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    for _ in 0..100 {
        stream.write_all(&[2, 7]).await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    // What has come in during a pause is handled at once, and costs the next one: the frame behind it waits for all of them.
    timeout(Duration::from_secs(15), heard(100)).await.expect("all frames");
    stream.write_all(&[2, 7]).await.unwrap();
    timeout(Duration::from_secs(15), heard(101)).await.expect("one more");
    let least = Duration::from_millis((100 - 10) * 1000 / 40 - 100);
    let elapsed = clock.now().saturating_duration_since(Instant::ZERO);
    assert!(elapsed >= least, "{elapsed:?}, {least:?} at least");
}
