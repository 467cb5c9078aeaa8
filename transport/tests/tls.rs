//! TLS on both ends, and those who do not speak it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use crate::harness::certificates;
use crate::harness::shouting;

use core::net::SocketAddr;
use core::time::Duration;
use shouting::{shouting, shouting_frames};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use voxwire_core::{Lane, Session};
use voxwire_transport::{
    Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener, Remote, TcpUdpSettings, tls,
};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Parameters, Server, ServerSettings,
};

/// A server for `localhost`, and the file that says whom to trust.
fn serve(name: &str, settings: HubSettings) -> (Handle<Server>, SocketAddr, std::path::PathBuf) {
    serve_on(Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(), name, settings)
}

fn serve_on(
    listener: Listener,
    name: &str,
    settings: HubSettings,
) -> (Handle<Server>, SocketAddr, std::path::PathBuf) {
    let (cert, key) = certificates::files(Path::new(env!("CARGO_TARGET_TMPDIR")), name);
    let listener = listener.with_tls(tls::server_config(&cert, &key).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (
        Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), (), settings).unwrap(),
        address,
        cert,
    )
}

#[tokio::test]
async fn c_06_a_session_runs_over_tls() {
    let (hub, address, cert) = serve("session", HubSettings::DEFAULT);
    let config = tls::client_config(&cert).unwrap();
    let client = Client::new(ClientSettings::DEFAULT);
    let name = certificates::NAME.try_into().unwrap();
    let connection = Connection::connect(
        Remote::tcp(address.to_string()).tls(name, config),
        client,
        ConnectionSettings::DEFAULT,
    )
    .await;
    let mut connection = connection.unwrap();
    let register = async {
        loop {
            let turn = connection.next().await.unwrap();
            match turn.result.unwrap() {
                Some(ClientEvent::Connected) => {
                    let (preferred, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
                    let register =
                        ClientCommand::Register { name: "alice", secret: None, preferred, samples };
                    turn.session.handle_command(turn.now, register).unwrap();
                }
                Some(ClientEvent::Registered) => return,
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(Duration::from_secs(10), register).await.expect("registered within 10 s");
    let drained = tokio::spawn(async move { hub.drain(Duration::from_secs(5)).await });
    while timeout(Duration::from_secs(10), connection.next()).await.unwrap().is_some() {}
    assert_eq!(drained.await.unwrap().cut_off, 0);
}

/// F-62: a client that speaks in the clear learns that the server speaks TLS, with and without a hello of the transport.
#[tokio::test]
async fn f_62_a_client_in_the_clear_learns_that_the_server_speaks_tls() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (_hub, plain, _) = serve("in-the-clear", HubSettings::DEFAULT);
    let (_units, units, _) =
        serve_on(Listener::bind_tcp_units(any).unwrap(), "in-the-clear-units", HubSettings::DEFAULT);
    let to_plain = Remote::tcp(plain.to_string());
    let to_units = Remote::tcp_udp(units.to_string(), TcpUdpSettings::default());
    for remote in [to_plain, to_units] {
        let client = Client::new(ClientSettings::DEFAULT);
        let error = match Connection::connect(remote, client, ConnectionSettings::DEFAULT).await {
            Err(error) => error.to_string(),
            Ok(mut connection) => {
                let register = |client: &mut Client, now| {
                    let (preferred, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
                    client.handle_command(
                        now,
                        ClientCommand::Register { name: "alice", secret: None, preferred, samples },
                    )
                };
                assert!(timeout(Duration::from_secs(5), connection.next()).await.unwrap().is_some());
                connection.call(register).unwrap();
                while timeout(Duration::from_secs(5), connection.next()).await.unwrap().is_some() {}
                connection.error().unwrap().to_string()
            }
        };
        assert_eq!(error, "the server speaks TLS, and this connection is in the clear");
    }
}

#[tokio::test]
async fn c_06_a_handshake_that_does_not_end_is_cut_off() {
    let settings = HubSettings { handshake_timeout: Duration::from_millis(300), ..HubSettings::DEFAULT };
    let (hub, address, _) = serve("hello", settings);
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert!(matches!(timeout(Duration::from_secs(10), silent.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    let mut clear = TcpStream::connect(address).await.unwrap();
    clear.write_all(&[0, 0, 0, 6, 0, 4]).await.unwrap();
    assert!(timeout(Duration::from_secs(10), clear.read_to_end(&mut vec![])).await.is_ok());
    for _ in 0..500 {
        if hub.stats().broken == 2 && hub.stats().connections == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", hub.stats());
}

/// A client on `socket` that a test reads from and writes to by itself, behind its hello.
fn blocking(
    socket: std::net::TcpStream,
    config: &std::sync::Arc<tls::rustls::ClientConfig>,
) -> tls::rustls::StreamOwned<tls::rustls::ClientConnection, std::net::TcpStream> {
    use std::io::{Read, Write};
    let name = certificates::NAME.try_into().unwrap();
    let connection = tls::rustls::ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = tls::rustls::StreamOwned::new(connection, socket);
    stream.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
    stream.read_exact(&mut [0; 32]).unwrap();
    stream
}

/// F-15: a reset beneath TLS is noticed while nothing is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_15_a_reset_beneath_tls_ends_a_connection_that_is_not_read() {
    use std::io::Write;
    let frames = voxwire_core::Rate { per_second: 1, burst: 1 };
    let settings = HubSettings { frames, ..HubSettings::DEFAULT };
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let (hub, address, cert) = serve_on(listener, "reset", settings);
    let config = tls::client_config(&cert).unwrap();
    let connect = || {
        let mut stream = blocking(std::net::TcpStream::connect(address).unwrap(), &config);
        // Sixty unknown controls: it is not read for a minute.
        stream.write_all(&[0, 2, 2, 99].repeat(60)).unwrap();
        stream
    };
    let (_stays, resets) = (connect(), connect());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hub.stats().connections, 2);
    socket2::SockRef::from(&resets.sock).set_linger(Some(Duration::ZERO)).unwrap();
    drop(resets);
    let gone = async {
        while hub.stats().connections > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), gone).await.expect("gone within 5 s");
}

/// F-46, F-15: a record that has begun counts as a frame that has begun: what TLS keeps of it is in the books, and it has to come in like
/// one. A peer that says nothing, or only that its keys are new, may say nothing for as long as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_46_a_tls_record_that_does_not_end_is_a_frame_that_does_not_end() {
    use std::io::Write;
    let settings = HubSettings { frame_timeout: Duration::from_millis(300), ..HubSettings::DEFAULT };
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let (hub, address, cert) = serve_on(listener, "record", settings);
    let config = tls::client_config(&cert).unwrap();
    let connect = || blocking(std::net::TcpStream::connect(address).unwrap(), &config);
    let (_silent, mut keys, mut stalls) = (connect(), connect(), connect());
    keys.conn.refresh_traffic_keys().unwrap();
    keys.flush().unwrap();
    // Of 16 401 bytes.
    stalls.sock.write_all(&[23, 3, 3, 0x40, 0x11]).unwrap();
    stalls.sock.write_all(&[7; 16_000]).unwrap();
    let eventually = async |what: &str, done: &dyn Fn() -> bool| {
        for _ in 0..500 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", hub.stats());
    };
    eventually("it counts", &|| hub.stats().partial >= 16_005).await;
    eventually("it is closed", &|| hub.stats().broken == 1).await;
    eventually("nothing of it counts", &|| hub.stats().partial == 0).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((hub.stats().connections, hub.stats().broken), (2, 1), "the others may be silent");
    // They are heard still: unknown controls, in two pieces.
    keys.write_all(&[0, 2, 2]).unwrap();
    eventually("it waits for the rest", &|| hub.stats().broken == 2).await;
}

/// What begins as a first message of a client of 65 535 bytes does, in records of 4 KiB.
fn endless(bytes: usize) -> Vec<u8> {
    let message = [&[1, 0, 0xff, 0xff, 3, 3][..], &[7; 0xffff]].concat();
    let mut records = Vec::new();
    for part in message.chunks(4096) {
        records.extend([22, 3, 1]);
        records.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        records.extend(part);
    }
    records.truncate(bytes);
    records
}

/// F-46, T-S2: a client's part of a handshake has 16 KiB at most, and one of more than 4 KiB needs a place, which it loses to another one
/// once it has taken longer than a second. A client that has much to say is let in, also where all it sends comes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_46_a_tls_handshake_takes_no_more_than_its_part() {
    use std::io::Write;
    let settings = HubSettings { handshakes: 1, ..HubSettings::DEFAULT };
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let (hub, address, cert) = serve_on(listener, "endless", settings);
    let begin = |bytes: usize| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(&endless(bytes)).unwrap();
        stream
    };
    let broken = async |count: u64, what: &str| {
        for _ in 0..300 {
            if hub.stats().broken == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", hub.stats());
    };
    let _long = begin(17_000);
    broken(1, "of more than 16 KiB").await;
    let (_short, _large) = (begin(4000), begin(12_000));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((hub.stats().broken, hub.stats().connections), (1, 2), "{:?}", hub.stats());
    let _too_early = begin(12_000);
    broken(2, "there is no place yet").await;
    // One that has 7 KiB to say, and then a record of 16 KiB behind its last message.
    tokio::time::sleep(Duration::from_millis(800)).await;
    let mut config = tls::rustls::ClientConfig::clone(&tls::client_config(&cert).unwrap());
    config.alpn_protocols = (0..35).map(|n| vec![n; 200]).collect();
    let name = certificates::NAME.try_into().unwrap();
    let connection = tls::rustls::ClientConnection::new(config.into(), name).unwrap();
    let socket = std::net::TcpStream::connect(address).unwrap();
    let mut stream = tls::rustls::StreamOwned::new(connection, socket);
    let hello = [&b"VOXL\x01\x00\x00\x00"[..], &[0, 2, 2, 99].repeat(4000)].concat();
    stream.write_all(&hello).unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 32]).unwrap();
    broken(3, "the one that has stalled gives way").await;
    assert_eq!(hub.stats().connections, 2, "{:?}", hub.stats());
}

/// F-46: of a record that TLS has opened, what has not been taken is in the books while it waits there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_46_what_tls_has_opened_and_has_not_been_taken_is_in_the_books() {
    use std::io::Write;
    // A quarter is for frames of up to 64 KiB.
    let settings = HubSettings { partial_frames: 4 * 130 * 1024, ..HubSettings::DEFAULT };
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let (_, _, cert) = serve("opened", HubSettings::DEFAULT);
    let listener =
        listener.with_tls(tls::server_config(&cert, &cert.with_extension("key")).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let session = shouting_frames(65_000);
    let hub = Hub::spawn(vec![listener], session, (), settings).unwrap();
    let config = tls::client_config(&cert).unwrap();
    let connect = || blocking(std::net::TcpStream::connect(address).unwrap(), &config);
    // Of 61 440 bytes each, and a little is missing of each.
    let mut stalled = [connect(), connect()];
    let mut waits = connect();
    for stream in &mut stalled {
        stream.write_all(&[0xf0, 0, 1]).unwrap();
        stream.write_all(&[7; 16_000]).unwrap();
    }
    let most = async || {
        let mut most = 0;
        for _ in 0..40 {
            most = most.max(hub.stats().partial);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most
    };
    let before = most().await;
    assert!((120_000..130 * 1024).contains(&before), "{before}");
    waits.write_all(&[&[0xf0, 0, 1][..], &[7; 16_000]].concat()).unwrap();
    let after = most().await;
    assert!(after >= before + 14_000, "{before}, and then {after}");
}

/// F-46: what TLS has taken to send, and the peer does not take, waits like anything else, and does no more once it has been taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_46_what_tls_keeps_for_a_peer_that_does_not_read_waits() {
    use std::io::Read;
    let listener = Listener::bind_tcp_units("127.0.0.1:0".parse().unwrap()).unwrap();
    let (_, _, cert) = serve("unsent", HubSettings::DEFAULT);
    let key = cert.with_extension("key");
    let listener = listener.with_tls(tls::server_config(&cert, &key).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { send_buffer: Some(4096), ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], shouting(), (), settings).unwrap();
    let config = tls::client_config(&cert).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = blocking(socket.into(), &config);
    // Little by little, so that it is TLS that takes what the system does not.
    let (mut said, mut most) = (0_usize, 0);
    while most < 16 * 1024 && said < 10_000 {
        hub.call(|session, _| {
            session.say(Lane::Reliable, &[7; 100]);
        });
        said += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
        if hub.stats().queued > 0 {
            most = hub.stats().queued;
        }
    }
    assert!((16 * 1024..24 * 1024).contains(&most), "{most} bytes wait after {said} frames");
    // Nor has it been written: more than the system may still take after all.
    for _ in 0..100 {
        hub.call(|session, _| {
            session.say(Lane::Reliable, &[7; 100]);
        });
        said += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    hub.call(|session, _| session.outbox.probe(session.peers[0]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hub.call(|session, _| session.state.written), 0);
    stream.read_exact(&mut vec![0; said * 103]).unwrap();
    for _ in 0..500 {
        if hub.stats().queued == 0 && hub.call(|session, _| session.state.written) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", hub.stats());
}
