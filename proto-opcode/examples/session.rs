//! A client and a server without a runtime: one receives what the other sends.
//!
//!     cargo run -p voxwire-opcode --example session

use std::error::Error;
use voxwire_core::{DialId, Input, Instant, Lane, Output, PeerId, Session, Via};
use voxwire_opcode::{Client, ClientCommand, ClientSettings, Server, ServerSettings};

const NOW: Instant = Instant::ZERO;
/// The connection, on either side.
const PEER: PeerId = PeerId { slot: 0, generation: 0 };

fn main() -> Result<(), Box<dyn Error>> {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let mut server = Server::new(ServerSettings::DEFAULT, 1);
    server.handle_input(NOW, Input::Opened { peer: PEER, via: Via::Accepted, from: None })?;
    client.handle_input(NOW, Input::Opened { peer: PEER, via: Via::Dialled(DialId::FIRST), from: None })?;
    client.handle_command(NOW, ClientCommand::Login { name: "alice" })?;

    loop {
        let (to_server, to_client) = (sent(&mut client), sent(&mut server));
        if to_server.is_empty() && to_client.is_empty() {
            break;
        }
        receive("server", &mut server, &to_server)?;
        receive("client", &mut client, &to_client)?;
    }
    assert_eq!(client.name(), Some("alice"));
    Ok(())
}

/// The frames that a session wants sent.
fn sent<S: Session>(session: &mut S) -> Vec<(Lane, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut done = 0;
    for output in session.outputs() {
        done += 1;
        if let Output::Send { lane, frame, .. } = output {
            frames.push((lane, frame.to_vec()));
        }
    }
    session.advance(done);
    frames
}

/// Hands frames in, and shows the events.
fn receive<S: Session>(side: &str, session: &mut S, frames: &[(Lane, Vec<u8>)]) -> Result<(), S::Violation> {
    for (lane, bytes) in frames {
        if let Some(event) = session.handle_input(NOW, Input::Frame { peer: PEER, lane: *lane, bytes })? {
            println!("{side}: {event:?}");
        }
    }
    while session.poll_timeout().is_some_and(|at| at <= NOW) {
        if let Some(event) = session.handle_timeout(NOW) {
            println!("{side}: {event:?}");
        }
    }
    Ok(())
}
