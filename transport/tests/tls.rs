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
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let config = tls::server_config(&cert, &key).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_tls(config);
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
