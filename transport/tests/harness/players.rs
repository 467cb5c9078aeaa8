//! A server of Dissonance over TCP + UDP, and its players.
#![allow(dead_code, reason = "each test uses a part of it")]

use core::net::SocketAddr;
use core::time::Duration;
use tokio::time::{Instant, timeout};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, ServerSettings, SessionState, Speech, Target,
};
use voxwire_transport::{
    Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener, Remote, TcpUdpSettings,
};

pub(crate) type Player = Connection<Client>;

pub(crate) fn serve(bind: &str) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind_tcp_udp(bind.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (
        Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 5), (), HubSettings::DEFAULT)
            .unwrap(),
        address,
    )
}

pub(crate) async fn player(address: SocketAddr, name: &str, lanes: TcpUdpSettings) -> Player {
    let client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    Connection::connect(Remote::tcp_udp(address.to_string(), lanes), client, ConnectionSettings::DEFAULT)
        .await
        .unwrap()
}

/// Goes on until `done`, at most for ten seconds. Returns the frames heard.
pub(crate) async fn until(
    what: &str,
    player: &mut Player,
    mut done: impl FnMut(&Player) -> bool,
) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    let wait = async {
        while !done(player) {
            let turn = player.next().await.expect("the connection goes on");
            if let Ok(Some(ClientEvent::Voice(voice))) = turn.result {
                heard.push(voice.frame.to_vec());
            }
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}: not within 10 s"));
    // What the last event made the client say.
    player.flush().await.unwrap();
    heard
}

/// Goes on for some time. Returns the frames heard.
pub(crate) async fn run(player: &mut Player, time: Duration) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    let end = Instant::now() + time;
    while let Ok(Some(turn)) = tokio::time::timeout_at(end, player.next()).await {
        if let Ok(Some(ClientEvent::Voice(voice))) = turn.result {
            heard.push(voice.frame.to_vec());
        }
    }
    heard
}

pub(crate) fn tell(player: &mut Player, command: ClientCommand<'_>) {
    player.call(|client, now| client.handle_command(now, command)).unwrap();
}

/// Ann, who speaks to the Lobby, and Ben, who listens to it; both are in.
pub(crate) async fn pair(address: SocketAddr, lanes: &TcpUdpSettings) -> (Player, Player) {
    pair_at(address, address, lanes).await
}

/// The same, each by an address of their own.
pub(crate) async fn pair_at(ann: SocketAddr, ben: SocketAddr, lanes: &TcpUdpSettings) -> (Player, Player) {
    let (mut ann, mut ben) =
        (player(ann, "ann", lanes.clone()).await, player(ben, "ben", lanes.clone()).await);
    tell(&mut ben, ClientCommand::Join { room: "Lobby" });
    tell(&mut ann, ClientCommand::Open { to: Target::Room("Lobby"), as_: Speech::DEFAULT });
    let in_session = |player: &Player| player.session().state() == SessionState::Connected;
    until("ben joins", &mut ben, in_session).await;
    let knows = |player: &Player| player.session().rooms().any(|(room, _)| room == "Lobby");
    until("ann hears of the Lobby", &mut ann, knows).await;
    (ann, ben)
}

pub(crate) async fn both_bound(ann: &mut Player, ben: &mut Player) {
    tokio::join!(
        until("ann is bound", ann, |player| player.udp() == Some(true)),
        until("ben is bound", ben, |player| player.udp() == Some(true))
    );
}
