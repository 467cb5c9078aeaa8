//! QUIC: quinn allocates for every packet, and what it allocates is not ours. The same relay is built on quinn alone, and ours may
//! cost only little more for each frame.

use super::UNLIMITED;
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use voxwire_core::testing::TestSession;
use voxwire_core::{Datagram, Input, Lane};
use voxwire_transport::tls::rustls::crypto::ring::default_provider;
use voxwire_transport::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use voxwire_transport::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener, Remote};

/// For each frame that is relayed: its entry in our books where it is sent, twice, and what waits for the next one in the client. The
/// fourth is for what happens now and then.
const OURS: u64 = 4;

/// Frames counted, after as many to warm up.
const FRAMES: u64 = 1000;

pub(super) fn frames_cost_little_more_than_quinn_takes() {
    let (server, client) = certificate();
    let (bare, ours) = (bare(&server, &client), ours(&server, &client));
    let each = |allocations: u64| allocations as f64 / FRAMES as f64;
    println!(
        "QUIC: {:.2} allocations a frame, {:.2} of them by a relay on quinn alone",
        each(ours),
        each(bare)
    );
    assert!(ours <= bare + OURS * FRAMES, "QUIC: {ours}, {bare} by quinn alone");
}

fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["game.example".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![b"bare".to_vec()];
    client.alpn_protocols = vec![b"bare".to_vec()];
    (server.into(), client.into())
}

fn runtimes() -> (Runtime, Runtime) {
    let there = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    (there, Builder::new_current_thread().enable_all().build().unwrap())
}

/// One frame at a time from one client to another, by way of a server.
fn bare(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> u64 {
    let (there, here) = runtimes();
    let config =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server.clone()).unwrap()));
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let guard = there.enter();
    let endpoint = quinn::Endpoint::server(config, any).unwrap();
    let address = endpoint.local_addr().unwrap();
    there.spawn(async move {
        let from = endpoint.accept().await.unwrap().await.unwrap();
        let to = endpoint.accept().await.unwrap().await.unwrap();
        while let Ok(frame) = from.read_datagram().await {
            to.send_datagram(Bytes::copy_from_slice(&frame)).unwrap();
        }
    });
    drop(guard);
    here.block_on(async {
        let endpoint = quinn::Endpoint::client(any).unwrap();
        let config = QuicClientConfig::try_from(client.clone()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(config));
        let speaker = endpoint.connect_with(config.clone(), address, "game.example").unwrap().await.unwrap();
        let listener = endpoint.connect_with(config, address, "game.example").unwrap().await.unwrap();
        tokio::time::sleep(core::time::Duration::from_millis(300)).await;
        count_frames(async || {
            speaker.send_datagram(Bytes::copy_from_slice(&[7; 100])).unwrap();
            assert_eq!(listener.read_datagram().await.unwrap()[..], [7; 100]);
        })
        .await
    })
}

fn ours(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> u64 {
    let (there, here) = runtimes();
    let guard = there.enter();
    let listener = Listener::bind_quic("127.0.0.1:0".parse().unwrap(), server).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = HubSettings { frames: UNLIMITED, ..HubSettings::DEFAULT };
    let _hub = Hub::spawn(vec![listener], relay(), (), settings).unwrap();
    drop(guard);
    here.block_on(async {
        let connect = || {
            let name = "game.example".try_into().unwrap();
            let settings = ConnectionSettings::DEFAULT;
            Connection::connect(Remote::quic(&address, name, client.clone()), relay(), settings)
        };
        let (mut speaker, mut listener) = (connect().await.unwrap(), connect().await.unwrap());
        for connection in [&mut speaker, &mut listener] {
            connection.next().await.expect("connected");
        }
        count_frames(async || {
            speaker.call(|session, _| session.say(Lane::Droppable, &[7; 100]));
            speaker.flush().await.unwrap();
            let heard = listener.session().state;
            while listener.session().state == heard {
                listener.next().await.expect("the connection goes on");
            }
        })
        .await
    })
}

/// As `count`, for what waits.
async fn count_frames(mut frame: impl AsyncFnMut()) -> u64 {
    for _ in 0..FRAMES {
        frame().await;
    }
    let before = voxwire_benches::alloc::allocations();
    for _ in 0..FRAMES {
        frame().await;
    }
    voxwire_benches::alloc::allocations() - before
}

/// Passes every frame on to all others, and counts them.
fn relay() -> TestSession<u64, Datagram> {
    TestSession::new(Datagram { max: 1000 }, 0, |session, _, input| {
        if let Input::Frame { peer, lane, bytes } = input {
            session.state += 1;
            session.relay(peer, lane, bytes);
        }
    })
}
