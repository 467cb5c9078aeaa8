//! TLS on both ends, and those who do not speak it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use core::net::SocketAddr;
use core::time::Duration;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use voxwire_core::Session;
use voxwire_transport::{Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener, tls};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Parameters, Server, Settings,
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
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let listener = listener.with_tls(tls::server_config(&cert, &key).unwrap());
    let address = listener.local_addr().unwrap();
    (Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 1), (), settings), address, cert)
}

#[tokio::test]
async fn c_06_a_session_runs_over_tls() {
    let (hub, address, cert) = serve("session", HubSettings::DEFAULT);
    let config = tls::client_config(&cert).unwrap();
    let client = Client::new(ClientSettings::DEFAULT);
    let name = "localhost".try_into().unwrap();
    let connection =
        Connection::connect_tls(&address.to_string(), name, config, client, ConnectionSettings::DEFAULT)
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

#[tokio::test]
async fn c_06_a_handshake_that_does_not_end_is_cut_off() {
    let settings = HubSettings { hello: Duration::from_millis(300), ..HubSettings::DEFAULT };
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

/// F-15: a reset beneath TLS is noticed while nothing is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_15_a_reset_beneath_tls_ends_a_connection_that_is_not_read() {
    use std::io::{Read, Write};
    use tls::rustls::{ClientConnection, StreamOwned};
    let frames = voxwire_core::Rate { per_second: 1, burst: 1 };
    let settings = HubSettings { frames, ..HubSettings::DEFAULT };
    let listener = Listener::bind_lanes_without_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let (hub, address, cert) = serve_on(listener, "reset", settings);
    let config = tls::client_config(&cert).unwrap();
    let connect = || {
        let connection = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, std::net::TcpStream::connect(address).unwrap());
        stream.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
        stream.read_exact(&mut [0; 32]).unwrap();
        // Sixty controls that nobody knows: it is not read for a minute.
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
