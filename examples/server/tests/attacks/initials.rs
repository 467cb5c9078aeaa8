//! First packets of QUIC that lead to nothing.

use crate::common::{Flood, Honest, Victim, length};
use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Instant;
use voxwire_dissonance::{Client, ClientSettings, SessionState};
use voxwire_transport::tls::client_config;
use voxwire_transport::{Connection, ConnectionSettings, Error, Remote};

async fn connect(
    server: SocketAddr,
    authority: &Path,
    name: &str,
    limit: Duration,
) -> Result<Connection<Client>, Error> {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let (host, config) = ("localhost".try_into().unwrap(), client_config(authority).unwrap());
    let settings = ConnectionSettings { connect: limit, ..ConnectionSettings::DEFAULT };
    Connection::connect(Remote::quic(server.to_string(), host, config), client, settings).await
}

/// First packets as clients send them, each of a connection of its own.
async fn initials(authority: &Path) -> Vec<Vec<u8>> {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    let mut packets = Vec::new();
    while packets.len() < 16 {
        let (_, packet) = tokio::join!(
            connect(address, authority, "nobody", Duration::from_millis(20)),
            tokio::time::timeout(Duration::from_secs(5), async {
                let mut packet = vec![0; 2000];
                let len = nobody.recv(&mut packet).await.unwrap();
                packet.truncate(len);
                packet
            })
        );
        packets.push(packet.expect("a first packet"));
        // What was sent once more.
        while nobody.try_recv(&mut [0; 2000]).is_ok() {}
    }
    packets
}

/// Connects and is let in.
async fn join(server: SocketAddr, authority: &Path, name: &str) -> Result<(), Error> {
    let limit = Duration::from_secs(30);
    let mut player = connect(server, authority, name, limit).await?;
    let joined = async {
        while player.session().state() != SessionState::Connected {
            player.next().await.expect("the connection goes on");
        }
    };
    tokio::time::timeout(limit, joined).await.expect("joined in 30 s");
    Ok(())
}

/// First packets from 250 addresses; of so many one that can be read, and others that cannot, as their identifier is another.
fn flood(packets: Vec<Vec<u8>>, readable: Option<usize>, server: SocketAddr) -> Flood {
    let sockets: Vec<UdpSocket> =
        (0..250).map(|n| UdpSocket::bind(SocketAddr::from(([127, 0, 0, 2 + n], 0))).unwrap()).collect();
    let mut identifier = 0_u64;
    Flood::start(move || {
        let n = identifier as usize;
        let mut packet = packets[n % packets.len()].clone();
        if readable.is_none_or(|each| !n.is_multiple_of(each)) {
            packet[6..14].copy_from_slice(&identifier.to_be_bytes());
        }
        identifier += 1;
        sockets[n / 4 % sockets.len()].send_to(&packet, server).is_ok()
    })
}

/// F-47: first packets of QUIC, real ones and broken ones, from many sources; every client that comes meanwhile gets in.
#[test]
fn first_packets_that_lead_nowhere_keep_nobody_out() {
    let victim = Victim::start("initials");
    let honest = Honest::call(&victim);
    let server = victim.address("dissonance quic");
    let authority = victim.data.join("quic-cert.pem");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let packets = runtime.block_on(initials(&authority));
    let before = victim.resident();
    let (mut joins, mut slowest) = (0_u32, Duration::ZERO);
    // None that can be read; then one in four.
    for readable in [None, Some(4)] {
        let flood = flood(packets.clone(), readable, server);
        crate::common::pause(Duration::from_secs(1));
        let (start, before) = (Instant::now(), joins);
        while joins == before || start.elapsed() < length() / 2 {
            joins += 1;
            let began = Instant::now();
            let joined = runtime.block_on(join(server, &authority, &format!("player{joins}")));
            slowest = slowest.max(began.elapsed());
            assert!(joined.is_ok(), "join {joins}: {joined:?} after {:?}", began.elapsed());
        }
        let rate = flood.stop();
        println!("{rate} first packets a second; {} joins, {slowest:?} the slowest", joins - before);
        assert!(rate > 1000, "no flood: {rate} a second");
    }
    let grown = victim.resident().saturating_sub(before);
    println!("{grown} KiB more");
    assert!(grown < 64 * 1024, "{grown} KiB more");
    victim.unharmed(honest);
}
