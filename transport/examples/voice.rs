//! A voice server for games and two players on loopback, by TCP and UDP: alice speaks for a second, and bob hears her.
//!
//!     cargo run -p voxwire-transport --example voice

use std::error::Error;
use std::time::Duration;
use tokio::time::{interval, timeout};
use voxwire_core::{Handler, Instant, Session};
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Refusal, Server, ServerCommand, ServerEvent,
    ServerSettings, Speech, Target,
};
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener, Remote, TcpUdpSettings};

const ROOM: &str = "Lobby";
const FRAME: Duration = Duration::from_millis(20);

/// The application of the server: it decides who joins.
struct Admission;

impl Handler<Server> for Admission {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let ServerEvent::Joining { peer, name, .. } = event else { return };
        let answer = match &*name {
            "alice" | "bob" => ServerCommand::Admit { peer },
            _ => ServerCommand::Reject { peer },
        };
        if let Err(refusal) = server.handle_command(now, answer) {
            eprintln!("{refusal}");
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse()?)?;
    let address = listener.local_addr()?.to_string();
    // In a program the seed is random: the session's number comes from it.
    let server = Server::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT }, 1);
    let settings = HubSettings { max_queued: 2 << 20, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], server, Admission, settings)?;

    let players = async {
        let (bob, alice) = (connect(&address, "bob").await?, connect(&address, "alice").await?);
        tokio::try_join!(speak(alice), listen(bob))
    };
    let (said, heard) = timeout(Duration::from_secs(30), players).await??;
    println!("alice said {said} frames, bob heard {heard}");
    assert!(0 < heard && heard <= said);

    hub.drain(Duration::from_secs(10)).await;
    Ok(())
}

/// Connects, and listens to the room.
async fn connect(server: &str, name: &str) -> Result<Connection<Client>, Box<dyn Error>> {
    let client = Client::new(name, ClientSettings::DEFAULT)?;
    let remote = Remote::tcp_udp(server, TcpUdpSettings::default());
    let mut connection = Connection::connect(remote, client, ConnectionSettings::DEFAULT).await?;
    let mut own = None;
    while let Some(turn) = connection.next().await {
        match turn.result {
            Ok(Some(ClientEvent::Connected { id, .. })) => {
                own = Some(id);
                turn.session.handle_command(turn.now, ClientCommand::Join { room: ROOM })?;
            }
            Ok(Some(ClientEvent::Listening { client, joined: true, .. })) if Some(client) == own => {
                return Ok(connection);
            }
            Ok(_) => {}
            // The other side's fault, or a limit: it ends nothing.
            Err(violation) => eprintln!("ignored: {violation}"),
        }
    }
    Err("the server has closed the connection".into())
}

/// Speaks for a second. Returns the number of frames.
async fn speak(mut alice: Connection<Client>) -> Result<u32, Box<dyn Error>> {
    let to = Target::Room(ROOM);
    let open = ClientCommand::Open { to, as_: Speech::DEFAULT };
    alice.call(|client, now| client.handle_command(now, open))?;
    let (mut said, mut ticks) = (0, interval(FRAME));
    while said < 50 {
        tokio::select! {
            turn = alice.next() => if turn.is_none() { return Err("alice was disconnected".into()) },
            _ = ticks.tick() => {
                said += 1;
                if said == 50 {
                    // The next frame is the last one of the speech.
                    alice.call(|client, now| client.handle_command(now, ClientCommand::Close { to }))?;
                }
                // A codec's packet in a program.
                let frame = &[7; 60];
                match alice.call(|client, now| client.handle_command(now, ClientCommand::Say { frame })) {
                    Ok(()) | Err(Refusal::NotConnected) => {}
                    Err(refusal) => return Err(refusal.into()),
                }
            }
        }
    }
    alice.shutdown();
    while alice.next().await.is_some() {}
    Ok(said)
}

/// Counts the frames until the speech ends.
async fn listen(mut bob: Connection<Client>) -> Result<u32, Box<dyn Error>> {
    let mut heard = 0;
    while let Some(turn) = bob.next().await {
        match turn.result {
            Ok(Some(ClientEvent::Voice(voice))) => {
                heard += 1;
                if voice.end {
                    return Ok(heard);
                }
            }
            // The last frame was lost, or alice has left.
            Ok(Some(ClientEvent::SpeechEnded { .. } | ClientEvent::Left { .. })) => return Ok(heard),
            Ok(_) => {}
            Err(violation) => eprintln!("ignored: {violation}"),
        }
    }
    Err("bob was disconnected".into())
}
