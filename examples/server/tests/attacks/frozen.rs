//! Listeners that do not read.

use crate::common::{Honest, Victim, length, pause};
use crate::raw::{handshake, next_packet, packet, registered, reluctant};
use core::time::Duration;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use voxwire_core::Session;
use voxwire_dissonance::{Client, ClientCommand, ClientSettings, SessionState, Speech, Target};
use voxwire_transport::{Connection, ConnectionSettings, Remote, tls};

/// F-43: calls whose callees never read, with packets of 1 MB.
#[test]
fn calls_of_large_packets_to_frozen_callees() {
    let victim = Victim::start("frozen-tcp");
    let honest = Honest::call(&victim);
    call_frozen_callees(&victim);
    assert!(honest.goes_on());
    victim.unharmed(honest);
}

/// A hundred calls, whose callers send as much as is taken.
pub fn call_frozen_callees(victim: &Victim) {
    let address = victim.address("voicelink tcp");
    let mut calls: Vec<(TcpStream, TcpStream)> = (0..100)
        .map(|n| {
            let mut caller = registered(crate::raw::connect(address), &format!("caller{n}"));
            let mut callee = registered(reluctant(address), &format!("callee{n}"));
            caller.write_all(&handshake(&format!("callee{n}"))).unwrap();
            assert_eq!(next_packet(&mut callee), 0);
            callee.write_all(&packet(4, b"")).unwrap();
            assert_eq!(next_packet(&mut caller), 4);
            caller.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            (caller, callee)
        })
        .collect();
    let data = packet(6, &vec![7; 1_000_000]);
    let end = Instant::now() + length();
    let mut sent = 0_u32;
    while Instant::now() < end {
        for (caller, _) in &mut calls {
            sent += u32::from(caller.write_all(&data).is_ok());
        }
    }
    println!("{sent} packets of 1 MB");
}

type Player = Connection<Client>;

async fn player(server: SocketAddr, ca: &Path, name: &str) -> Player {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let config = tls::client_config(ca).unwrap();
    let host = "localhost".try_into().unwrap();
    let (server, settings) = (server.to_string(), ConnectionSettings::DEFAULT);
    Connection::connect(Remote::quic(&server, host, config), client, settings).await.unwrap()
}

async fn until(player: &mut Player, done: impl Fn(&Player) -> bool) {
    let wait = async {
        while !done(player) {
            player.next().await.expect("the connection goes on");
        }
        player.flush().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time");
}

fn tell(player: &mut Player, command: ClientCommand<'_>) {
    player.call(|client, now| client.handle_command(now, command)).unwrap();
}

/// F-16: forty listeners over QUIC whose machines stand still, not only their programs, while others talk and write.
#[test]
fn frozen_listeners_over_quic() {
    let victim = Victim::start("frozen-quic");
    let honest = Honest::call(&victim);
    talk_to_frozen_listeners(&victim);
    victim.unharmed(honest);
}

/// Four players talk to forty whose machines stand still.
pub fn talk_to_frozen_listeners(victim: &Victim) {
    let address = victim.address("dissonance quic");
    let ca = victim.data.join("quic-cert.pem");
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, wait) = std::sync::mpsc::channel();
    let (stopped, certificate) = (stop.clone(), ca.clone());
    let frozen = std::thread::spawn(move || {
        let runtime = crate::user::runtime();
        let players = runtime.block_on(async {
            let mut players = Vec::new();
            for n in 0..40 {
                let mut player = player(address, &certificate, &format!("frozen{n}")).await;
                tell(&mut player, ClientCommand::Join { room: "Hall" });
                until(&mut player, |player| player.session().state() == SessionState::Connected).await;
                players.push(player);
            }
            players
        });
        ready.send(()).unwrap();
        // Nobody drives the runtime: not even acknowledgements are sent.
        while !stopped.load(Relaxed) {
            pause(Duration::from_millis(50));
        }
        drop(players);
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("forty players");
    let runtime = crate::user::runtime();
    let said = runtime.block_on(async {
        let mut speakers = Vec::new();
        for n in 0..4 {
            let mut speaker = player(address, &ca, &format!("speaker{n}")).await;
            tell(&mut speaker, ClientCommand::Open { to: Target::Room("Hall"), as_: Speech::DEFAULT });
            let knows = |player: &Player| player.session().rooms().any(|(room, _)| room == "Hall");
            until(&mut speaker, knows).await;
            speakers.push(speaker);
        }
        let end = Instant::now() + length();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let mut said = 0_u32;
        while Instant::now() < end {
            ticks.tick().await;
            for speaker in &mut speakers {
                tell(speaker, ClientCommand::Say { frame: &[7; 900] });
                if said.is_multiple_of(50) {
                    let text = "x".repeat(1000);
                    let _ = speaker.call(|client, now| {
                        client.handle_command(
                            now,
                            ClientCommand::Text { to: Target::Room("Hall"), text: &text },
                        )
                    });
                }
                speaker.flush().await.unwrap();
            }
            said += 1;
        }
        said
    });
    println!("{said} frames and {} texts of four speakers", said / 50);
    stop.store(true, Relaxed);
    frozen.join().unwrap();
}
