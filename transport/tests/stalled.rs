//! A client whose server acknowledges what it gets, and takes none of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use crate::harness::certificates;

use core::time::Duration;
use tokio::time::{Instant as Moment, timeout};
use voxwire_core::testing::TestSession;
use voxwire_core::{Input, Lane, LengthPrefix};
use voxwire_transport::{Connection, ConnectionSettings, Error, Hub, HubSettings, Listener, Remote};

const LIMIT: Duration = Duration::from_millis(700);
const SETTINGS: ConnectionSettings =
    ConnectionSettings { write_timeout: LIMIT, unacknowledged: None, ..ConnectionSettings::DEFAULT };

type Saying = TestSession<(), LengthPrefix>;

const FRAMING: LengthPrefix = LengthPrefix { width: 2, little_endian: false, adjust: 0, min: 2, max: 2000 };

/// Says what a test has it say.
fn saying() -> Saying {
    TestSession::new(FRAMING, (), |_, _, _| {})
}

/// Reads nothing for an hour.
fn deaf() -> Saying {
    TestSession::new(FRAMING, (), |session, now, input| {
        if let Input::Opened { peer, .. } = input {
            session.outbox.pause(peer, now.saturating_add(Duration::from_secs(3600)));
        }
    })
}

/// More than all buffers on the way hold.
fn say_much(session: &mut Saying) {
    (0..7000).for_each(|_| session.say(Lane::Reliable, &[7; 1000]));
}

#[derive(Debug, Clone, Copy)]
enum By {
    Tcp,
    Tls,
    Quic,
}

/// A client of a server that never reads.
async fn client(by: By) -> (Connection<Saying>, voxwire_transport::Handle<Saying>) {
    let any = "127.0.0.1:0".parse().unwrap();
    let (server, trusting) = certificates::pair();
    let listener = match by {
        By::Tcp => Listener::bind(any).unwrap(),
        By::Tls => Listener::bind(any).unwrap().with_tls(server).unwrap(),
        By::Quic => Listener::bind_quic(any, &server).unwrap(),
    };
    let address = listener.local_addr().unwrap().to_string();
    let hub = Hub::spawn(vec![listener], deaf(), (), HubSettings::DEFAULT).unwrap();
    let (session, name) = (saying(), "game.example".try_into().unwrap());
    let connected = match by {
        By::Tcp => Connection::connect(&address, session, SETTINGS).await,
        By::Tls => Connection::connect(Remote::tcp(&address).tls(name, trusting), session, SETTINGS).await,
        By::Quic => Connection::connect(Remote::quic(&address, name, trusting), session, SETTINGS).await,
    };
    let mut connection = connected.unwrap();
    connection.next().await.expect("connected");
    (connection, hub)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let begun = Moment::now();
    let result = timeout(Duration::from_secs(20), what).await.expect("an end");
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
    result
}

fn check(by: By, error: &Error) {
    assert!(
        matches!(error, Error::Stalled { after: LIMIT, queued } if *queued > 1_000_000),
        "{by:?}: {error:?}"
    );
    assert!(error.to_string().starts_with("the other side has taken nothing for 700ms, and "), "{error}");
}

/// F-16: a server that acknowledges and never reads ends a connection in time, and the client learns why.
#[tokio::test]
async fn f_16_a_client_does_not_wait_for_ever_for_a_server_that_takes_nothing() {
    for by in [By::Tcp, By::Tls, By::Quic] {
        let (mut connection, _hub) = client(by).await;
        connection.call(|session, _| say_much(session));
        soon(async { while connection.next().await.is_some() {} }).await;
        assert_eq!(connection.session().closed, 1, "{by:?}: the session knows");
        check(by, connection.error().unwrap());
    }
}

/// F-16: a caller that waits for all to be written learns of it, too.
#[tokio::test]
async fn f_16_flushing_ends_where_the_server_takes_nothing() {
    for by in [By::Tcp, By::Tls, By::Quic] {
        let (mut connection, _hub) = client(by).await;
        connection.call(|session, _| say_much(session));
        let error = soon(connection.flush()).await.unwrap_err();
        check(by, &error);
        while connection.next().await.is_some() {}
        check(by, connection.error().unwrap());
    }
}

/// F-16: final frames that are not taken are given up.
#[tokio::test]
async fn f_16_last_words_end_where_the_server_takes_nothing() {
    for by in [By::Tcp, By::Tls, By::Quic] {
        let (mut connection, _hub) = client(by).await;
        connection.call(|session, _| say_much(session));
        connection.shutdown();
        soon(async { while connection.next().await.is_some() {} }).await;
        assert_eq!(connection.session().closed, 0, "{by:?}: it was the session's will");
    }
}

/// F-16: a server that is slow, and takes something now and then, keeps its clients.
#[tokio::test]
async fn a_server_that_takes_a_little_at_a_time_keeps_its_clients() {
    use tokio::io::AsyncReadExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect = Connection::connect(&address, saying(), SETTINGS);
    let (connection, server) = tokio::join!(connect, listener.accept());
    let (mut connection, (mut server, _)) = (connection.unwrap(), server.unwrap());
    connection.next().await.expect("connected");
    connection.call(|session, _| say_much(session));
    let reading = async {
        let mut some = vec![0; 1 << 20];
        for _ in 0..7 {
            tokio::time::sleep(LIMIT / 3).await;
            server.read_exact(&mut some[..1_000_000]).await.unwrap();
        }
    };
    let (flushed, ()) = tokio::join!(connection.flush(), reading);
    flushed.unwrap();
    assert!(connection.error().is_none());
}

/// F-15, F-44: a server that has to wait before it reads on, for its memory or before a log-in (36 s), keeps its clients; a tenth of it all.
#[tokio::test]
async fn f_15_a_client_outlasts_a_server_that_waits_for_memory_or_before_a_log_in() {
    use tokio::io::AsyncReadExt as _;
    let pause = HubSettings::DEFAULT.partial_wait.max(Duration::from_secs(36)) / 10;
    let unacknowledged = ConnectionSettings::DEFAULT.unacknowledged.map(|limit| limit / 10);
    let settings = ConnectionSettings { unacknowledged, ..ConnectionSettings::DEFAULT };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect = Connection::connect(&address, saying(), settings);
    let (connection, server) = tokio::join!(connect, listener.accept());
    let (mut connection, (mut server, _)) = (connection.unwrap(), server.unwrap());
    connection.next().await.expect("connected");
    connection.call(|session, _| say_much(session));
    let reading = async {
        tokio::time::sleep(pause).await;
        server.read_exact(&mut vec![0; 7_000_000]).await.unwrap();
    };
    let (flushed, ()) = tokio::join!(connection.flush(), reading);
    flushed.unwrap();
}

/// F-44, F-16: over TCP a hub closes a peer that takes nothing of what waits for it, and counts it; one that takes it slowly, with as small a
/// window as firmware has, is not closed, though Linux would end it: its `TCP_USER_TIMEOUT` counts from the first time that the
/// window was too small for what was to be sent next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_44_a_peer_that_takes_nothing_is_closed_and_one_that_takes_it_slowly_is_not() {
    const UNACKNOWLEDGED: Duration = Duration::from_secs(2);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings =
        HubSettings { unacknowledged: Some(UNACKNOWLEDGED), max_queued: 8 << 20, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], saying(), (), settings).unwrap();
    let small_window = async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(address).await.unwrap()
    };
    let (_frozen, mut slow) = (small_window().await, small_window().await);
    while hub.call(|session, _| session.peers.len()) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hub.call(|session, _| say_much(session));
    let (began, mut some) = (Moment::now(), [0; 4000]);
    while began.elapsed() < 4 * UNACKNOWLEDGED {
        let read = tokio::io::AsyncReadExt::read_exact(&mut slow, &mut some);
        timeout(Duration::from_secs(10), read).await.expect("more comes").expect("not closed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let stats = hub.stats();
    assert_eq!((stats.connections, stats.too_slow), (1, 1), "{stats:?}");
}
