//! What the transport cannot do is an error, and never silently ignored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "quic")]
use crate::harness::certificates;

use core::net::SocketAddr;
use std::io;
use voxwire_core::testing::TestSession;
use voxwire_core::{Datagram, DialId, Input, ListenId, Session, Via};
use voxwire_transport::{
    Connection, ConnectionSettings, Error, Hub, HubSettings, Listener, Remote, TcpUdpSettings,
};
use {voxwire_dissonance as dissonance, voxwire_msgpack as msgpack, voxwire_voicelink as voicelink};

const SOON: core::time::Duration = core::time::Duration::from_millis(20);
const ANY: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 0);

/// What a listener refuses, in words that name it and what mends it.
#[track_caller]
fn refused(result: io::Result<Listener>, at: SocketAddr, mends: &str) {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = error.to_string();
    assert!(error.contains(&at.to_string()) && error.contains(mends), "{error}");
}

/// C-18
#[tokio::test]
async fn c_18_a_listener_refuses_what_it_has_no_place_for() {
    let bound = |bind: fn(SocketAddr) -> io::Result<Listener>| {
        let listener = bind(ANY).unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    };
    for bind in [Listener::bind, Listener::bind_udp] {
        let (listener, at) = bound(bind);
        refused(listener.with_admission(|_, _| false), at, "bind_tcp_units");
    }
    for bind in [Listener::bind, Listener::bind_tcp_udp, Listener::bind_tcp_units] {
        let (listener, at) = bound(bind);
        refused(listener.with_broadcast(vec![ANY]), at, "bind_udp");
    }
    for bind in [Listener::bind_tcp_udp, Listener::bind_tcp_units] {
        bound(bind).0.with_admission(|_, _| false).unwrap();
    }
    bound(Listener::bind_udp).0.with_broadcast(vec![ANY]).unwrap();
}

/// C-18: in plain UDP nothing would be encrypted, and on QUIC another certificate would be shown.
#[cfg(feature = "quic")]
#[tokio::test]
async fn c_18_a_listener_without_tls_to_set_refuses_it() {
    let (config, _) = certificates::pair();
    let udp = Listener::bind_udp(ANY).unwrap();
    let at = udp.local_addr().unwrap();
    refused(udp.with_tls(config.clone()), at, "bind_quic");
    let quic = Listener::bind_quic(ANY, &config).unwrap();
    let at = quic.local_addr().unwrap();
    refused(quic.with_tls(config.clone()), at, "leave");
    let quic = Listener::bind_quic(ANY, &config).unwrap();
    let at = quic.local_addr().unwrap();
    refused(quic.with_broadcast(vec![ANY]), at, "bind_udp");
    Listener::bind_tcp_units(ANY).unwrap().with_tls(config).unwrap();
}

/// Why `session` is not served on `listener`.
#[track_caller]
fn not_served<S>(session: S, listener: Listener) -> String
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let at = listener.local_addr().unwrap();
    match Hub::spawn(
        vec![Listener::bind_tcp_units(ANY).unwrap(), listener],
        session,
        (),
        HubSettings::DEFAULT,
    ) {
        Err(error @ Error::WrongListener { address, .. }) => {
            assert_eq!(address, at);
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

/// C-18: frames of datagrams would run into each other on plain TCP, and those of a stream would be cut by datagrams.
#[tokio::test]
async fn c_18_a_hub_serves_no_session_whose_frames_a_listener_cannot_carry() {
    let dissonance = dissonance::Server::new(dissonance::ServerSettings::DEFAULT, 1);
    let error = not_served(dissonance, Listener::bind(ANY).unwrap());
    assert!(error.contains("bind_tcp_udp"), "{error}");
    let voicelink = voicelink::Server::new(voicelink::ServerSettings::DEFAULT, 1);
    let error = not_served(voicelink, Listener::bind_udp(ANY).unwrap());
    assert!(error.contains("`Listener::bind`"), "{error}");
}

/// C-18: a framing that shakes hands, as ZMTP does, finds no peer to shake hands with inside units.
#[tokio::test]
async fn c_18_a_framing_with_a_handshake_needs_a_stream_of_its_own() {
    let zmtp = || msgpack::Client::new(msgpack::ClientSettings::DEFAULT);
    let spawned = Hub::spawn(vec![Listener::bind_tcp_units(ANY).unwrap()], zmtp(), (), HubSettings::DEFAULT);
    assert!(matches!(spawned, Err(Error::WrongListener { .. })), "{spawned:?}");
    let remote = Remote::tcp_udp("127.0.0.1:9", TcpUdpSettings::default());
    let connected = Connection::connect(remote, zmtp(), ConnectionSettings::DEFAULT).await;
    assert!(matches!(connected, Err(Error::NeedsStream)), "{connected:?}");
}

/// C-18: nothing is connected with a token that the server would not be shown, or would be shown a part of.
#[tokio::test]
async fn c_18_a_token_that_cannot_be_shown_is_an_error() {
    let connect = async |remote: Remote| {
        let client = voicelink::Client::new(voicelink::ClientSettings::DEFAULT);
        Connection::connect(remote, client, ConnectionSettings::DEFAULT).await.expect_err("not connected")
    };
    let at = "127.0.0.1:9";
    let error = connect(Remote::tcp(at).token(vec![1])).await;
    assert!(matches!(error, Error::TokenOnTcp), "{error:?}");
    assert!(error.to_string().contains("Remote::tcp_udp"), "{error}");
    let error = connect(Remote::tcp(at).token(Vec::new())).await;
    assert!(matches!(error, Error::Io(_)), "no token is none too many: {error:?}");
    let token = vec![7; TcpUdpSettings::MAX_TOKEN + 1];
    for remote in [
        Remote::tcp_udp(at, TcpUdpSettings::default()).token(token.clone()),
        Remote::tcp_udp(at, TcpUdpSettings { token, ..TcpUdpSettings::default() }),
    ] {
        let error = connect(remote).await;
        assert!(matches!(error, Error::TokenTooLong { len: 1025, max: 1024 }), "{error:?}");
    }
    let longest = vec![7; TcpUdpSettings::MAX_TOKEN];
    let error = connect(Remote::tcp_udp(at, TcpUdpSettings::default()).token(longest)).await;
    assert!(matches!(error, Error::Io(_)), "{error:?}");
}

/// C-18: a hub with a listener on QUIC whose limits cannot be set serves nothing, rather than all but QUIC.
#[cfg(feature = "quic")]
#[tokio::test]
async fn c_18_limits_that_quic_does_not_take_are_an_error() {
    use core::time::Duration;
    use voxwire_transport::Keepalive;
    let (config, _) = certificates::pair();
    let listeners = vec![Listener::bind(ANY).unwrap(), Listener::bind_quic(ANY, &config).unwrap()];
    let address = listeners.first().unwrap().local_addr().unwrap();
    let keepalive = Some(Keepalive { idle: Duration::MAX, ..Keepalive::DEFAULT });
    let session = voicelink::Server::new(voicelink::ServerSettings::DEFAULT, 1);
    let error = Hub::spawn(listeners, session, (), HubSettings { keepalive, ..HubSettings::DEFAULT })
        .expect_err("refused");
    assert!(matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::InvalidInput), "{error:?}");
    assert!(error.to_string().contains("keepalive"), "{error}");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nothing is served");
}

/// C-18: a byte stream of the session's own making would carry datagrams without telling them apart. The session hears that it cannot have one,
/// on a client as on a hub, and nothing connects.
#[tokio::test]
async fn c_18_a_session_of_datagrams_has_no_streams_of_its_own() {
    type Refused = TestSession<Vec<String>, Datagram>;
    let bystander = tokio::net::TcpListener::bind(ANY).await.unwrap();
    let port = bystander.local_addr().unwrap().port();
    let session = || {
        Refused::new(Datagram { max: 100 }, Vec::new(), |session, _, input| {
            if matches!(input, Input::DialFailed(_) | Input::ListenFailed(_) | Input::Listening { .. })
                || matches!(input, Input::Opened { via: Via::Dialled(id), .. } if id != DialId::FIRST)
            {
                session.state.push(format!("{input:?}"));
            }
        })
    };
    let ask = |session: &mut Refused| {
        session.outbox.dial(DialId::new(1), "127.0.0.1", port).unwrap();
        session.outbox.listen(ListenId::new(1));
    };
    let refused = |session: &Refused| {
        let mut answers = session.state.clone();
        answers.sort();
        answers == ["DialFailed(DialId(1))", "ListenFailed(ListenId(1))"]
    };
    let listener = Listener::bind_tcp_units(ANY).unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let hub = Hub::spawn(vec![listener], session(), (), HubSettings::DEFAULT).unwrap();
    let remote = Remote::tcp_udp(at, TcpUdpSettings { udp: false, ..TcpUdpSettings::default() });
    let free = tokio::net::TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    let settings =
        ConnectionSettings { ports: Some((free.port(), free.port())), ..ConnectionSettings::DEFAULT };
    let mut client = Connection::connect(remote, session(), settings).await.unwrap();
    hub.call(|session, _| ask(session));
    client.call(|session, _| ask(session));
    assert!(tokio::net::TcpStream::connect(free).await.is_err(), "no port is opened, not even for a moment");
    let answered = async {
        while !(refused(client.session()) && hub.call(|session, _| refused(session))) {
            let _ = tokio::time::timeout(SOON, client.next()).await;
        }
    };
    let answered = tokio::time::timeout(core::time::Duration::from_secs(10), answered).await;
    assert!(
        answered.is_ok(),
        "{:?}, {:?}",
        client.session().state,
        hub.call(|session, _| session.state.clone())
    );
    assert!(tokio::time::timeout(SOON, bystander.accept()).await.is_err(), "nothing connects");
}

/// C-18: a hub that is full says so, and how many it takes.
#[tokio::test]
async fn c_18_a_hub_that_is_full_says_how_many_connections_it_takes() {
    let settings = HubSettings { max_connections: 0, ..HubSettings::DEFAULT };
    let session = voicelink::Server::new(voicelink::ServerSettings::DEFAULT, 1);
    let hub = Hub::spawn(Vec::new(), session, (), settings).unwrap();
    let client = || voicelink::Client::new(voicelink::ClientSettings::DEFAULT);
    let error = hub.connect(client()).await.expect_err("full");
    assert!(matches!(error, Error::Full { max: 0 }), "{error:?}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    hub.drain(core::time::Duration::ZERO).await;
    let error = hub.connect(client()).await.expect_err("it has ended");
    assert!(matches!(error, Error::Closed), "{error:?}");
}

/// A hub serves on when its last handle is dropped: only `drain`, or the end of its runtime, ends it.
#[tokio::test]
async fn a_hub_goes_on_without_its_handle() {
    let listener = Listener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let session = voicelink::Server::new(voicelink::ServerSettings::DEFAULT, 1);
    drop(Hub::spawn(vec![listener], session, (), HubSettings::DEFAULT).unwrap());
    for _ in 0..3 {
        tokio::time::sleep(core::time::Duration::from_millis(20)).await;
        let client = voicelink::Client::new(voicelink::ClientSettings::DEFAULT);
        let mut connection =
            Connection::connect(address.clone(), client, ConnectionSettings::DEFAULT).await.unwrap();
        let turn = connection.next().await.expect("a turn");
        assert!(matches!(turn.result, Ok(Some(voicelink::ClientEvent::Connected))), "{:?}", turn.result);
    }
}
