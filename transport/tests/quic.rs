//! QUIC over real loopback sockets, with Dissonance on top.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;
use tokio::time::{Instant, timeout};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, SessionState, Settings, Speech, Target,
};
use voxwire_transport::tls::rustls::crypto::ring::default_provider;
use voxwire_transport::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use voxwire_transport::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use voxwire_transport::{Connection, ConnectionSettings, Handle, Hub, HubSettings, LanesSettings, Listener};

type Player = Connection<Client>;

fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["game.example".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server.into(), client.into())
}

fn serve(address: &str, config: &Arc<ServerConfig>) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_quic(address.parse().unwrap(), config).unwrap();
    let listener = listener.with_admission(|token, _| token == b"sesame");
    let address = listener.local_addr().unwrap();
    (Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 5), (), HubSettings::DEFAULT), address)
}

async fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
    token: &[u8],
) -> Result<Player, voxwire_transport::Error> {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let lanes = LanesSettings { token: token.to_vec(), ..LanesSettings::default() };
    let host = "game.example".try_into().unwrap();
    let settings = ConnectionSettings::DEFAULT;
    Connection::connect_quic(&address.to_string(), host, config.clone(), lanes, client, settings).await
}

async fn until(what: &str, player: &mut Player, mut done: impl FnMut(&Player) -> bool) {
    let wait = async {
        while !done(player) {
            player.next().await.expect("the connection goes on");
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}: not within 10 s"));
    player.flush().await.unwrap();
}

async fn run(player: &mut Player, time: Duration) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    let end = Instant::now() + time;
    while let Ok(Some(turn)) = tokio::time::timeout_at(end, player.next()).await {
        if let Ok(Some(ClientEvent::Voice(voice))) = turn.result {
            heard.push(voice.frame.to_vec());
        }
    }
    heard
}

fn tell(player: &mut Player, command: ClientCommand<'_>) {
    player.call(|client, now| client.handle_command(now, command)).unwrap();
}

#[tokio::test]
async fn d_15_voice_and_rooms_over_quic_and_back_after_a_restart() {
    let (server, client) = certificate();
    let (hub, address) = serve("127.0.0.1:0", &server);
    let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
    let mut ben = connect(address, "ben", &client, b"sesame").await.unwrap();
    tell(&mut ben, ClientCommand::Join { room: "Lobby" });
    tell(&mut ann, ClientCommand::Open { to: Target::Room("Lobby"), as_: Speech::DEFAULT });
    until("ben joins", &mut ben, |ben| ben.session().state() == SessionState::Connected).await;
    until("ann knows the Lobby", &mut ann, |ann| ann.session().rooms().count() == 1).await;
    until("ben knows ann", &mut ben, |ben| ben.session().find("ann").is_some()).await;
    for n in 0..50_u8 {
        tell(&mut ann, ClientCommand::Say { frame: &[n; 40] });
        run(&mut ann, Duration::from_millis(2)).await;
    }
    let heard = run(&mut ben, Duration::from_millis(300)).await;
    assert_eq!(heard, (0..50).map(|n| vec![n; 40]).collect::<Vec<_>>());
    // The largest frame there is fits a datagram, too.
    tell(&mut ann, ClientCommand::Say { frame: &[9; 980] });
    run(&mut ann, Duration::from_millis(20)).await;
    assert_eq!(run(&mut ben, Duration::from_millis(200)).await, [vec![9; 980]]);
    hub.drain(Duration::from_secs(5)).await;
    drop(hub);
    let lost = |player: &Player| player.session().state() == SessionState::Disconnected;
    until("ann notices", &mut ann, lost).await;
    let bound = async {
        loop {
            match Listener::bind_quic(address, &server) {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let listener = timeout(Duration::from_secs(10), bound).await.expect("the port is free again");
    let _hub = Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 6), (), HubSettings::DEFAULT);
    until("ann is back", &mut ann, |ann| ann.session().state() == SessionState::Connected).await;
}

#[tokio::test]
async fn d_16_wrong_tokens_and_wrong_certificates_do_not_come_in() {
    let (server, client) = certificate();
    let (hub, address) = serve("127.0.0.1:0", &server);
    let refused = connect(address, "ann", &client, b"please").await.unwrap_err();
    assert!(refused.to_string().contains("does not admit"), "{refused}");
    let (_, stranger) = certificate();
    assert!(connect(address, "ann", &stranger, b"sesame").await.is_err());
    // Whoever says nothing is sent away.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    silent.connect(address).await.unwrap();
    for n in 0..200_u8 {
        silent.send(&[n; 1200]).await.unwrap();
    }
    let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
    until("ann joins", &mut ann, |ann| ann.session().state() == SessionState::Connected).await;
    assert_eq!(hub.stats().connections, 1);
}

/// F-22: over QUIC, too.
#[tokio::test]
async fn f_22_d_15_clients_of_any_address_of_a_wildcard_come_in() {
    let (config, client) = certificate();
    for (bind, addresses) in [("0.0.0.0:0", &["127.0.0.5"][..]), ("[::]:0", &["127.0.0.5", "::1"])] {
        for address in addresses {
            // Names rest for some time, and these come from several addresses.
            let (_hub, server) = serve(bind, &config);
            let address = SocketAddr::new(address.parse().unwrap(), server.port());
            let mut ann = connect(address, "ann", &client, b"sesame").await.unwrap();
            until("ann joins", &mut ann, |ann| ann.session().state() == SessionState::Connected).await;
        }
    }
}
